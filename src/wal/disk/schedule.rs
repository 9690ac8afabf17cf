//! What is handed out next. Everything but the entries themselves, in memory.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use crate::time::UnixTime;
use crate::wal::{Entry, EntryId};

/// An entry that the upstream has not taken yet.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) id: EntryId,
    /// Bytes that it takes.
    pub(super) size: u64,
    /// When it was accepted.
    pub(super) received: UnixTime,
    /// Attempts that have failed.
    pub(super) attempts: u32,
    /// Not handed out before.
    pub(super) due: UnixTime,
    /// Whether somebody has it at present.
    pub(super) out: bool,
    /// Its location, if the entries of that are delivered one after the other.
    ordered: Option<usize>,
}

/// Entries of one location that are delivered one after the other.
#[derive(Debug, Default)]
struct Queue {
    all: BTreeSet<u64>,
    /// The one that may be handed out, or is.
    head: Option<u64>,
}

/// Which entries wait, and which of them are handed out next. All that is named here is known by its number.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    entries: BTreeMap<u64, Waiting>,
    /// Due, in the order of recording.
    ready: BTreeSet<u64>,
    /// Due at some time.
    later: BTreeSet<(UnixTime, u64)>,
    queues: Vec<Queue>,
    names: HashMap<String, usize>,
    out: u64,
}

impl Schedule {
    /// Adds an entry that nobody has.
    pub(super) fn insert(&mut self, sequence: u64, entry: &Entry, size: u64, attempts: u32, due: UnixTime) {
        let ordered = entry.ordered.then(|| self.queue(&entry.location));
        let (id, received) = (entry.id, entry.received);
        let waiting = Waiting { id, size, received, attempts, due, out: false, ordered };
        self.entries.insert(sequence, waiting);
        if let Some(queue) = ordered.and_then(|number| self.queues.get_mut(number)) {
            queue.all.insert(sequence);
        }
        self.offer(sequence, ordered, due);
    }

    fn queue(&mut self, location: &str) -> usize {
        if let Some(number) = self.names.get(location) {
            return *number;
        }
        self.queues.push(Queue::default());
        self.names.insert(location.to_owned(), self.queues.len() - 1);
        self.queues.len() - 1
    }

    /// Lets an entry be handed out when it is its turn.
    fn offer(&mut self, sequence: u64, ordered: Option<usize>, due: UnixTime) {
        match ordered {
            None => self.put(sequence, due),
            Some(queue) => self.advance(queue),
        }
    }

    /// Makes the first entry of a queue the one that may be handed out, unless one is out.
    fn advance(&mut self, number: usize) {
        let Some(queue) = self.queues.get_mut(number) else { return };
        let head = queue.head.and_then(|head| Some((head, self.entries.get(&head)?)));
        if head.is_some_and(|(_, entry)| entry.out) {
            return;
        }
        let former = head.map(|(sequence, entry)| (sequence, entry.due));
        let first = queue.all.first().copied();
        queue.head = first;
        if let Some((sequence, due)) = former {
            self.take_back(sequence, due);
        }
        if let Some((sequence, due)) = first.and_then(|it| Some((it, self.entries.get(&it)?.due))) {
            self.put(sequence, due);
        }
    }

    fn put(&mut self, sequence: u64, due: UnixTime) {
        if due == UnixTime::default() {
            self.ready.insert(sequence);
        } else {
            self.later.insert((due, sequence));
        }
    }

    fn take_back(&mut self, sequence: u64, due: UnixTime) {
        self.ready.remove(&sequence);
        self.later.remove(&(due, sequence));
    }

    /// Forgets an entry.
    pub(super) fn remove(&mut self, sequence: u64) -> Option<Waiting> {
        let gone = self.entries.remove(&sequence)?;
        self.take_back(sequence, gone.due);
        self.out -= u64::from(gone.out);
        if let Some(number) = gone.ordered {
            if let Some(queue) = self.queues.get_mut(number) {
                queue.all.remove(&sequence);
            }
            self.advance(number);
        }
        Some(gone)
    }

    /// Hands out what is due: at most `most` entries, which together have at most `bytes` bytes unless it is one.
    pub(super) fn take(&mut self, now: UnixTime, most: usize, bytes: u64) -> Vec<u64> {
        while let Some((due, sequence)) = self.later.first().copied().filter(|(due, _)| *due <= now) {
            self.later.remove(&(due, sequence));
            self.ready.insert(sequence);
        }
        let (mut taken, mut sum) = (Vec::new(), 0_u64);
        while let Some(sequence) = self.ready.first().copied().filter(|_| taken.len() < most) {
            let Some(entry) = self.entries.get_mut(&sequence) else {
                self.ready.remove(&sequence);
                continue;
            };
            sum = sum.saturating_add(entry.size);
            if sum > bytes && !taken.is_empty() {
                break;
            }
            entry.out = true;
            self.out += 1;
            self.ready.remove(&sequence);
            taken.push(sequence);
        }
        taken
    }

    /// Takes an entry back from whoever had it, or changes when it is due.
    pub(super) fn again(&mut self, sequence: u64, attempts: u32, due: UnixTime) {
        let Some(entry) = self.entries.get_mut(&sequence) else { return };
        let (former, ordered) = (entry.due, entry.ordered);
        self.out -= u64::from(entry.out);
        (entry.out, entry.attempts, entry.due) = (false, attempts, due);
        self.take_back(sequence, former);
        self.offer(sequence, ordered, due);
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Waiting> {
        self.entries.get(&sequence)
    }

    /// The entries after a number, in the order of recording.
    pub(super) fn after(&self, sequence: u64) -> impl Iterator<Item = (u64, &Waiting)> {
        self.entries.range(sequence.saturating_add(1)..).map(|(sequence, waiting)| (*sequence, waiting))
    }

    /// How long until something can be handed out; nothing when no time will bring it.
    pub(super) fn until_due(&self, now: UnixTime) -> Option<Duration> {
        let ready = self.ready.first().map(|_| Duration::ZERO);
        ready.or_else(|| self.later.first().map(|(due, _)| due.since(now)))
    }

    pub(super) fn len(&self) -> u64 {
        self.entries.len() as u64
    }

    /// How many somebody has at present.
    pub(super) fn out(&self) -> u64 {
        self.out
    }

    /// When the entry that was recorded first was accepted.
    pub(super) fn oldest(&self) -> Option<UnixTime> {
        self.entries.first_key_value().map(|(_, entry)| entry.received)
    }
}
