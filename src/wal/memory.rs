//! A log that ends with its test, as plain as can be: the contract's second reading.

use std::sync::{Mutex, MutexGuard};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::{Delivery, Entry, Handle, Recorded, Stats, Wal, WalError};
use crate::time::UnixTime;

/// What became of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Waiting,
    Out,
    Settled,
    Dead(String),
}

/// An entry and what became of it.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) entry: Entry,
    pub(crate) fate: Fate,
    pub(crate) attempts: u32,
    pub(crate) due: UnixTime,
}

/// A log in memory.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    kept: Mutex<Vec<Kept>>,
    changed: Notify,
}

impl Memory {
    /// All that was ever recorded, in that order.
    pub(crate) fn kept(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn change(&self, delivery: &Delivery, change: impl FnOnce(&mut Kept)) {
        if let Some(kept) = self.kept().iter_mut().find(|kept| kept.entry.id == delivery.entry.id) {
            change(kept);
        }
        self.changed.notify_waiters();
    }

    /// Hands out what is due.
    pub(crate) fn due(&self, now: UnixTime, most: usize) -> Vec<Delivery> {
        let mut kept = self.kept();
        let mut taken = Vec::new();
        for number in 0..kept.len() {
            let (before, rest) = kept.split_at_mut(number);
            let Some(it) = rest.first_mut() else { continue };
            let blocks = |earlier: &Kept| {
                earlier.entry.ordered
                    && earlier.entry.location == it.entry.location
                    && matches!(earlier.fate, Fate::Waiting | Fate::Out)
            };
            let blocked = it.entry.ordered && before.iter().any(blocks);
            if it.fate == Fate::Waiting && it.due <= now && !blocked && taken.len() < most {
                it.fate = Fate::Out;
                let (entry, attempt) = (it.entry.clone(), it.attempts + 1);
                taken.push(Delivery { entry, attempt, handle: Handle::Sequence(number as u64) });
            }
        }
        taken
    }
}

#[async_trait]
impl Wal for Memory {
    async fn record(&self, entry: Entry) -> Result<Recorded, WalError> {
        let mut kept = self.kept();
        if kept.iter().any(|kept| kept.entry.id == entry.id) {
            return Ok(Recorded::Duplicate);
        }
        kept.push(Kept { entry, fate: Fate::Waiting, attempts: 0, due: UnixTime::default() });
        self.changed.notify_waiters();
        Ok(Recorded::New)
    }

    async fn take(&self, most: usize) -> Result<Vec<Delivery>, WalError> {
        loop {
            let changed = self.changed.notified();
            let taken = self.due(UnixTime::now(), most);
            if !taken.is_empty() {
                return Ok(taken);
            }
            // A second has passed, or something else has changed.
            let _ = tokio::time::timeout(std::time::Duration::from_secs(1), changed).await;
        }
    }

    async fn settle(&self, delivery: &Delivery) -> Result<(), WalError> {
        self.change(delivery, |kept| kept.fate = Fate::Settled);
        Ok(())
    }

    async fn postpone(&self, delivery: &Delivery, until: UnixTime) -> Result<(), WalError> {
        self.change(delivery, |kept| {
            (kept.fate, kept.due) = (Fate::Waiting, until);
            kept.attempts += 1;
        });
        Ok(())
    }

    async fn bury(&self, delivery: &Delivery, reason: &str) -> Result<(), WalError> {
        self.change(delivery, |kept| kept.fate = Fate::Dead(reason.to_owned()));
        Ok(())
    }

    fn stats(&self) -> Option<Stats> {
        let kept = self.kept();
        let count = |wanted: fn(&Fate) -> bool| kept.iter().filter(|kept| wanted(&kept.fate)).count() as u64;
        let first = kept.iter().find(|kept| matches!(kept.fate, Fate::Waiting | Fate::Out));
        Some(Stats {
            waiting: count(|fate| matches!(fate, Fate::Waiting | Fate::Out)),
            out: count(|fate| *fate == Fate::Out),
            dead: count(|fate| matches!(fate, Fate::Dead(_))),
            oldest: first.map(|kept| kept.entry.received),
            ..Stats::default()
        })
    }
}

#[tokio::test]
async fn a_log_in_memory_keeps_the_contract() {
    super::contract::holds(super::contract::Promises::all(), async || Memory::default()).await;
}
