//! What the thread of the log knows without reading: rebuilt from the store when it is opened.

use std::collections::BTreeMap;

use super::change::Change;
use super::known::Known;
use super::record::{self, Damage};
use super::schedule::Schedule;
use super::store::{Kept, Store, StoreError};
use crate::time::UnixTime;
use crate::wal::{Entry, EntryId, Stats};

/// A dead letter, but for what only the store has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Letter {
    pub(super) id: EntryId,
    pub(super) size: u64,
}

/// What is in the log.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) schedule: Schedule,
    pub(super) dead: BTreeMap<u64, Letter>,
    pub(super) known: Known,
    /// What cannot be used; neither handed out nor counted.
    pub(super) damaged: BTreeMap<u64, Damage>,
    /// Bytes of entries and dead letters.
    pub(super) used: u64,
    last: u64,
}

impl State {
    /// Reads the whole store, and checks every entry. `progress` is told how many of how many are done.
    pub(super) fn load(store: &mut Store, mut progress: impl FnMut(u64, u64)) -> Result<Self, StoreError> {
        let mut state = Self::default();
        let (total, mut done) = (store.count()?, 0);
        state.last = store.highest();
        store.settled(|settled| state.known.remember(settled))?;
        store.walk(|sequence, kept, bytes| {
            state.last = state.last.max(sequence);
            match record::open(sequence, bytes) {
                Ok(entry) => state.add(sequence, &entry, &kept, bytes.len() as u64),
                Err(damage) => drop(state.damaged.insert(sequence, damage)),
            }
            done += 1;
            progress(done, total);
        })?;
        Ok(state)
    }

    fn add(&mut self, sequence: u64, entry: &Entry, kept: &Kept, size: u64) {
        self.used = self.used.saturating_add(size);
        self.known.keep(entry.id, sequence);
        match kept {
            Kept::Waiting { attempts, due } => self.schedule.insert(sequence, entry, size, *attempts, *due),
            Kept::Dead(_) => drop(self.dead.insert(sequence, Letter { id: entry.id, size })),
        }
    }

    /// A number that no entry had before.
    pub(super) fn next_sequence(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// A new entry is durable.
    pub(super) fn recorded(&mut self, sequence: u64, entry: &Entry, size: u64) {
        self.add(sequence, entry, &Kept::Waiting { attempts: 0, due: UnixTime::default() }, size);
    }

    /// Takes an entry, a dead letter or a damaged one out of the log, if it is there.
    pub(super) fn settle(&mut self, sequence: u64, now: UnixTime) -> Option<Change> {
        let waiting = self.schedule.remove(sequence).map(|waiting| (waiting.id, waiting.size));
        let found = waiting.or_else(|| self.dead.remove(&sequence).map(|it| (it.id, it.size)));
        let Some((id, size)) = found else {
            self.damaged.remove(&sequence)?;
            return Some(Change::Erase { sequence });
        };
        self.used = self.used.saturating_sub(size);
        Some(Change::Settle { sequence, settled: self.known.settle(id, now).into() })
    }

    /// An attempt failed.
    pub(super) fn postpone(&mut self, sequence: u64, until: UnixTime) -> Option<Change> {
        let attempts = self.schedule.get(sequence).filter(|waiting| waiting.out)?.attempts.saturating_add(1);
        self.schedule.again(sequence, attempts, until);
        Some(Change::Postpone { sequence, attempts, due: until })
    }

    /// Makes an entry a dead letter.
    pub(super) fn bury(&mut self, sequence: u64, reason: String, now: UnixTime) -> Option<Change> {
        let waiting = self.schedule.remove(sequence)?;
        self.dead.insert(sequence, Letter { id: waiting.id, size: waiting.size });
        let attempts = waiting.attempts.saturating_add(1);
        Some(Change::Bury { sequence, attempts, at: now, reason })
    }

    /// The figures of the log.
    pub(super) fn stats(&self, limit: u64) -> Stats {
        Stats {
            waiting: self.schedule.len(),
            out: self.schedule.out(),
            dead: self.dead.len() as u64,
            bytes: self.used,
            limit,
            oldest: self.schedule.oldest(),
        }
    }
}
