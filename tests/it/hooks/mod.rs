//! Webhooks, adapters and the write-ahead log: the real binary between senders, the log and an upstream that fails.

mod adapters;
mod bodies;
mod camunda;
mod canary;
mod console;
mod direct;
mod fidelity;
mod forged;
mod kit;
mod order;
mod outage;
mod poison;
mod publish;
mod pull;
mod push;
mod python;
mod replay;
mod restart;
mod schemes;
mod secrets;
mod statuses;
