//! Entries on their way from the thread to whoever asked for them.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::inbox::Inbox;
use super::keeper::Command;
use crate::wal::{Delivery, Handle, WalError};

/// Somebody who waits for entries.
pub(super) struct Taker {
    pub(super) most: usize,
    pub(super) reply: oneshot::Sender<Result<Handed, WalError>>,
    pub(super) back: Arc<Inbox>,
}

/// Entries that nobody has taken yet. When they are dropped, they go back.
pub(super) struct Handed {
    deliveries: Vec<Delivery>,
    back: Arc<Inbox>,
}

impl Handed {
    pub(super) fn new(deliveries: Vec<Delivery>, back: Arc<Inbox>) -> Self {
        Self { deliveries, back }
    }

    /// They are somebody's now.
    pub(super) fn keep(mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        let numbers: Vec<u64> =
            self.deliveries.iter().filter_map(|delivery| number(&delivery.handle)).collect();
        if !numbers.is_empty() {
            // When the thread has ended, so has the log.
            let _ = self.back.send(Command::Return(numbers));
        }
    }
}

/// The entry's number, if it is of this log.
pub(super) fn number(handle: &Handle) -> Option<u64> {
    match handle {
        Handle::Sequence(sequence) => Some(*sequence),
        Handle::Ack(_) => None,
    }
}
