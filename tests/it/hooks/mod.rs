//! Webhooks, adapters and the write-ahead log: the real binary between senders, the log and an upstream that fails.

mod adapters;
mod bodies;
mod console;
mod direct;
mod forged;
mod fidelity;
mod kit;
mod order;
mod outage;
mod poison;
mod publish;
mod pull;
mod push;
mod replay;
mod restart;
mod schemes;
mod statuses;
