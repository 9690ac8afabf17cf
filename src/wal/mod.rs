//! The write-ahead log: what was accepted from a sender is kept here until the upstream has taken it.
//!
//! Whoever records an entry gets an answer when it is durable and not before. Entries come back at least once. An
//! entry names a location and a path below it, never a host, so that a forged one cannot choose where it goes.

pub mod console;
#[cfg(test)]
pub(crate) mod contract;
pub mod disk;
mod entry;
#[cfg(test)]
pub(crate) mod memory;
pub mod pubsub;

use async_trait::async_trait;
use thiserror::Error;

use crate::time::UnixTime;

pub use entry::{Entry, EntryId, Malformed, Sender};

/// Where entries are kept.
#[async_trait]
pub trait Wal: Send + Sync {
    /// Keeps an entry. Returns when it is durable.
    async fn record(&self, entry: Entry) -> Result<Recorded, WalError>;

    /// Hands out at most `most` entries that are due, in the order in which they were recorded. Each stays with whoever
    /// took it until it is settled, postponed or buried, or until the process ends. Of an ordered location there is
    /// never more than one entry out, and none before an earlier one is settled or buried.
    ///
    /// Waits until there is one. Dropping the future loses nothing.
    async fn take(&self, most: usize) -> Result<Vec<Delivery>, WalError>;

    /// The upstream has taken it.
    async fn settle(&self, delivery: &Delivery) -> Result<(), WalError>;

    /// It is tried again at `until`, or a little later.
    async fn postpone(&self, delivery: &Delivery, until: UnixTime) -> Result<(), WalError>;

    /// No upstream will take it: it becomes a dead letter, with the reason.
    async fn bury(&self, delivery: &Delivery, reason: &str) -> Result<(), WalError>;

    /// Makes durable what became of deliveries, before the process ends: otherwise some of them are made once more.
    async fn flush(&self) -> Result<(), WalError> {
        Ok(())
    }

    /// Its figures, at any time and without waiting. Nothing where others count.
    fn stats(&self) -> Option<Stats> {
        None
    }
}

/// The figures of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries that the upstream has not taken yet, those on their way included.
    pub waiting: u64,
    /// Entries on their way.
    pub out: u64,
    /// Dead letters.
    pub dead: u64,
    /// Bytes of entries and dead letters.
    pub bytes: u64,
    /// Most bytes that there may be.
    pub limit: u64,
    /// When the entry that has waited longest was accepted.
    pub oldest: Option<UnixTime>,
}

/// What became of a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// It is kept.
    New,
    /// It was known already: a retry of the sender, or a replay.
    Duplicate,
}

/// An entry on its way to the upstream.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The entry.
    pub entry: Entry,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How the log finds it again.
    pub(crate) handle: Handle,
}

/// How a log finds an entry again that it has handed out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Handle {
    /// Its number in the log on disk.
    Sequence(u64),
    /// `ackId` of Pub/Sub.
    Ack(String),
}

/// Why the log could not do it. The text is for the operator.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WalError {
    /// It has as many bytes as it may have.
    #[error("the write-ahead log is full: {used} of {limit} bytes")]
    Full {
        /// Bytes of its entries.
        used: u64,
        /// Most that it may have.
        limit: u64,
    },
    /// The entry is larger than the log can keep.
    #[error("an entry of {size} bytes is larger than {limit}, the most that the write-ahead log keeps")]
    TooLarge {
        /// Bytes of the entry.
        size: u64,
        /// Most that an entry may have.
        limit: u64,
    },
    /// It may do it later.
    #[error("the write-ahead log is not available: {0}")]
    Unavailable(String),
}
