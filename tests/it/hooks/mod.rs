//! Webhooks, adapters and the write-ahead log: the real binary between senders, the log and an upstream that fails.

mod console;
mod fidelity;
mod kit;
mod order;
mod outage;
mod restart;
mod statuses;
