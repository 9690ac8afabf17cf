//! Which ids were recorded, so that a sender's retry is known for what it is.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::time::UnixTime;
use crate::wal::EntryId;

/// How long an id is remembered after its entry has left the log.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);
/// Most ids of entries that have left the log; each takes some 80 bytes of memory.
const MAX_SETTLED: usize = 1_000_000;
/// Stands for an entry that has left the log; numbers of entries begin at 1.
const GONE: u64 = 0;

/// The ids of what is in the log, and of what was in it lately.
#[derive(Debug, Default)]
pub(super) struct Known {
    ids: HashMap<EntryId, u64>,
    settled: VecDeque<Settled>,
    next: u64,
}

/// An id whose entry has left the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    /// Its place in the order of leaving.
    pub(super) order: u64,
    pub(super) id: EntryId,
    /// When it left.
    pub(super) at: UnixTime,
}

impl Known {
    pub(super) fn contains(&self, id: EntryId) -> bool {
        self.ids.contains_key(&id)
    }

    /// The entry is in the log, under this number.
    pub(super) fn keep(&mut self, id: EntryId, sequence: u64) {
        self.ids.insert(id, sequence);
    }

    /// The entry leaves the log.
    pub(super) fn settle(&mut self, id: EntryId, at: UnixTime) -> Settled {
        let settled = Settled { order: self.next, id, at };
        self.remember(settled);
        settled
    }

    /// As [`Known::settle`], as it was read from the store; in the order of leaving.
    pub(super) fn remember(&mut self, settled: Settled) {
        self.next = settled.order.saturating_add(1);
        self.ids.insert(settled.id, GONE);
        self.settled.push_back(settled);
    }

    /// Forgets what left the log long ago. Tells the first that is still remembered, if anything was forgotten.
    pub(super) fn prune(&mut self, now: UnixTime) -> Option<u64> {
        let mut pruned = false;
        while let Some(first) = self.settled.front()
            && (first.at.plus(REMEMBERED) <= now || self.settled.len() > MAX_SETTLED)
        {
            // The same id may have been recorded again since.
            if self.ids.get(&first.id) == Some(&GONE) {
                self.ids.remove(&first.id);
            }
            self.settled.pop_front();
            pruned = true;
        }
        pruned.then(|| self.settled.front().map_or(self.next, |first| first.order))
    }

    /// The entries in the log whose ids begin with these hexadecimal digits, at most `most`.
    pub(super) fn beginning_with(&self, digits: &str, most: usize) -> Vec<u64> {
        if let Ok(id) = digits.parse::<EntryId>() {
            return self.ids.get(&id).copied().filter(|sequence| *sequence != GONE).into_iter().collect();
        }
        let in_log = self.ids.iter().filter(|(_, sequence)| **sequence != GONE);
        let found = in_log.filter(|(id, _)| id.to_string().starts_with(digits));
        found.map(|(_, sequence)| *sequence).take(most).collect()
    }
}
