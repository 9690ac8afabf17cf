//! The thread that owns the store. Everybody else sends it commands.
//!
//! All records that wait are one commit, and so one fsync. What becomes of deliveries is known in memory at once and
//! reaches the disk a moment later: if the machine stops in between, entries are delivered once more, as they may be at
//! any time.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::backend::Place;
use super::change::Change;
use super::hand::{Handed, Taker};
use super::inbox::{Former, Inbox};
use super::record::{self, Record};
use super::state::State;
use super::store::{Kept, Store, StoreError};
use crate::time::UnixTime;
use crate::wal::{Delivery, Entry, Handle, Recorded, Stats, WalError};

/// How long a change may wait for others before it is made durable. Records do not wait for changes: these take longer.
const FLUSH: Duration = Duration::from_millis(100);
/// So many changes do not wait.
const MAX_PENDING: usize = 10_000;
/// How often the wall clock is read again while somebody waits for an entry to be due; it may be set meanwhile.
const CLOCK: Duration = Duration::from_secs(1);
/// Most bytes of entries that are handed out at once, unless it is one entry.
const MAX_HANDED: u64 = 64 * 1024 * 1024;

/// What the thread is asked to do.
pub(super) enum Command {
    Record(Box<New>),
    Take(Taker),
    Settle(u64),
    Postpone(u64, UnixTime),
    Bury(u64, String),
    /// They were handed out, and nobody took them.
    Return(Vec<u64>),
    /// A question of the operator.
    Ask(Box<dyn FnOnce(&mut Keeper) + Send>),
    Stop,
}

/// An entry that somebody wants to be kept.
pub(super) struct New {
    /// Without its body.
    pub(super) entry: Entry,
    /// CRC-32C of `bytes`.
    pub(super) sum: u32,
    pub(super) bytes: bytes::Bytes,
    pub(super) reply: oneshot::Sender<Result<Recorded, WalError>>,
}

/// The store, or why there is none at present.
enum Shelf {
    Open(Box<Store>),
    Broken { why: String, not_before: Instant },
}

/// Where the thread reads the time.
pub(super) type Clock = Arc<dyn Fn() -> UnixTime + Send + Sync>;

/// The thread's belongings.
pub(super) struct Keeper {
    place: Place,
    shelf: Shelf,
    pub(super) state: State,
    clock: Clock,
    max_size: u64,
    /// Changes that are not durable yet, and since when.
    pending: Vec<Change>,
    since: Option<Instant>,
    takers: Vec<Taker>,
    former: Former,
    stats: Arc<Mutex<Stats>>,
}

impl Keeper {
    pub(super) fn new(place: Place, store: Store, state: State, clock: Clock, max_size: u64) -> Self {
        let stats = Arc::new(Mutex::new(state.stats(max_size)));
        let shelf = Shelf::Open(Box::new(store));
        Self {
            place,
            shelf,
            state,
            clock,
            max_size,
            pending: Vec::new(),
            since: None,
            takers: Vec::new(),
            former: Former::default(),
            stats,
        }
    }

    pub(super) fn stats(&self) -> Arc<Mutex<Stats>> {
        Arc::clone(&self.stats)
    }

    pub(super) fn now(&self) -> UnixTime {
        (self.clock)()
    }

    /// Serves until it is told to stop.
    pub(super) fn run(mut self, inbox: &Inbox) {
        let mut open = true;
        while open {
            let batch = inbox.receive(self.pause(), self.former);
            open = self.serve(batch);
            let late = self.since.is_some_and(|since| since.elapsed() >= FLUSH);
            if !self.pending.is_empty() && (late || !open || self.pending.len() >= MAX_PENDING) {
                // Not lost: they stay, and the failure is in the log.
                let _ = self.commit(&[]);
            }
            self.hand_out();
            *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.state.stats(self.max_size);
        }
        if let Shelf::Open(store) = &mut self.shelf
            && let Err(error) = store.close()
        {
            log::warn!("the write-ahead log in {} was not closed: {error}", self.place.directory.display());
        }
    }

    /// How long to wait for a command; for ever without an answer.
    fn pause(&self) -> Option<Duration> {
        let flush = self.since.map(|since| {
            let wanted = FLUSH.saturating_sub(since.elapsed());
            match &self.shelf {
                Shelf::Open(_) => wanted,
                // It has been tried, and is tried again with a record or now and then.
                Shelf::Broken { not_before, .. } => {
                    not_before.saturating_duration_since(Instant::now()).max(CLOCK)
                }
            }
        });
        let due = self.state.schedule.until_due(self.now()).filter(|_| !self.takers.is_empty());
        // Nothing is due now, or it would have been handed out: the shortest wait is until the second is over.
        let due = due.map(|due| due.clamp(Duration::from_millis(50), CLOCK));
        flush.into_iter().chain(due).min()
    }

    /// Does what was asked. Tells whether it shall go on.
    fn serve(&mut self, batch: Vec<Command>) -> bool {
        let (mut news, mut open) = (Vec::new(), true);
        for command in batch {
            match command {
                Command::Record(new) => news.push(*new),
                Command::Take(taker) => self.takers.push(taker),
                Command::Settle(sequence) => {
                    let now = self.now();
                    let change = self.state.settle(sequence, now);
                    self.later(change);
                }
                Command::Postpone(sequence, until) => {
                    let change = self.state.postpone(sequence, until);
                    self.later(change);
                }
                Command::Bury(sequence, reason) => {
                    let now = self.now();
                    let change = self.state.bury(sequence, reason, now);
                    self.later(change);
                }
                Command::Return(sequences) => self.take_back(&sequences),
                Command::Ask(question) => question(self),
                Command::Stop => open = false,
            }
        }
        self.record(news);
        open
    }

    /// Makes a change durable with the next commit.
    pub(super) fn later(&mut self, change: Option<Change>) {
        self.pending.extend(change);
        if !self.pending.is_empty() {
            self.since.get_or_insert_with(Instant::now);
        }
    }

    /// Keeps new entries with one commit, and answers for each.
    fn record(&mut self, news: Vec<New>) {
        let (mut kept, mut again) = (Vec::new(), Vec::new());
        let (mut records, mut coming) = (Vec::new(), HashMap::new());
        let mut used = self.state.used;
        for new in news {
            if self.state.known.contains(new.entry.id) {
                let _ = new.reply.send(Ok(Recorded::Duplicate));
            } else if coming.contains_key(&new.entry.id) {
                again.push(new.reply);
            } else {
                let New { entry, sum, bytes, reply } = new;
                let sequence = self.state.next_sequence();
                let record = Record::new(sequence, sum, bytes);
                let size = record.len() as u64;
                if used.saturating_add(size) > self.max_size {
                    let _ = reply.send(Err(WalError::Full { used, limit: self.max_size }));
                    continue;
                }
                used += size;
                coming.insert(entry.id, sequence);
                records.push(record);
                kept.push((sequence, entry, size, reply));
            }
        }
        if records.is_empty() {
            return;
        }
        let result = self.commit(&records);
        drop(records);
        for (sequence, entry, size, reply) in kept {
            if result.is_ok() {
                self.state.recorded(sequence, &entry, size);
            }
            let _ = reply.send(result.clone().map(|()| Recorded::New));
        }
        for reply in again {
            let _ = reply.send(result.clone().map(|()| Recorded::Duplicate));
        }
    }

    /// Makes these records durable or, if there are none, the changes that wait.
    pub(super) fn commit(&mut self, records: &[Record]) -> Result<(), WalError> {
        let now = self.now();
        let pruned = self.state.known.prune(now);
        self.later(pruned.map(|below| Change::Forget { below }));
        let changes = if records.is_empty() { mem::take(&mut self.pending) } else { Vec::new() };
        let begun = Instant::now();
        let committed = self.store().map(|store| store.commit(&changes, records));
        let result = committed.and_then(|it| it.map_err(|error| self.broke(&error, records)));
        if !records.is_empty() {
            self.former = Former { records: records.len(), took: begun.elapsed() };
        }
        if result.is_err() {
            // Whatever came to wait meanwhile was asked for later.
            let newer = mem::replace(&mut self.pending, changes);
            self.pending.extend(newer);
        }
        if result.is_err() || records.is_empty() {
            self.since = (!self.pending.is_empty()).then(Instant::now);
        }
        result
    }

    /// Makes the changes that wait durable, if there are any.
    pub(super) fn flush(&mut self) -> Result<(), WalError> {
        if self.pending.is_empty() { Ok(()) } else { self.commit(&[]) }
    }

    /// The record of an entry or dead letter, and what it belongs to.
    pub(super) fn find(&mut self, sequence: u64) -> Result<Option<(Kept, Vec<u8>)>, WalError> {
        let found = self.store()?.find(sequence);
        found.map_err(|error| self.broke(&error, &[]))
    }

    /// The store, opened anew if it has failed.
    pub(super) fn store(&mut self) -> Result<&mut Store, WalError> {
        if let Shelf::Broken { why, not_before } = &self.shelf {
            let begun = Instant::now();
            if begun < *not_before {
                return Err(WalError::Unavailable(why.clone()));
            }
            self.shelf = match Store::open(&self.place) {
                Ok(store) => {
                    log::info!("the write-ahead log in {} is open again", self.place.directory.display());
                    Shelf::Open(Box::new(store))
                }
                // Opening reads all of a large file: half of the time is left for other work.
                Err(error) => {
                    let why = format!("{}: {error}", self.place.directory.display());
                    Shelf::Broken { why, not_before: Instant::now() + begun.elapsed() }
                }
            };
        }
        match &mut self.shelf {
            Shelf::Open(store) => Ok(store),
            Shelf::Broken { why, .. } => Err(WalError::Unavailable(why.clone())),
        }
    }

    /// Closes a store that has failed. Records of the failed commit may be on the disk all the same, though their
    /// senders heard that they are not: they are removed when there is a store again.
    fn broke(&mut self, error: &StoreError, records: &[Record]) -> WalError {
        let why = format!("{}: {error}", self.place.directory.display());
        log::error!("the write-ahead log does not work and is opened again with the next entry: {why}");
        self.shelf = Shelf::Broken { why: why.clone(), not_before: Instant::now() };
        self.pending.extend(records.iter().map(|record| Change::Erase { sequence: record.sequence }));
        WalError::Unavailable(why)
    }

    /// Gives whoever waits what is due.
    fn hand_out(&mut self) {
        self.takers.retain(|taker| !taker.reply.is_closed());
        let now = self.now();
        while !self.takers.is_empty() {
            let most = self.takers.first().map_or(1, |taker| taker.most);
            let sequences = self.state.schedule.take(now, most, MAX_HANDED);
            if sequences.is_empty() {
                return;
            }
            let result: Result<Vec<_>, _> = sequences.iter().map(|sequence| self.read(*sequence)).collect();
            if result.is_err() {
                self.take_back(&sequences);
            }
            let taker = self.takers.remove(0);
            let back = taker.back;
            // Whoever does not take them any more drops them, and so they come back as a command.
            drop(taker.reply.send(result.map(|deliveries| Handed::new(deliveries, back))));
        }
    }

    fn read(&mut self, sequence: u64) -> Result<Delivery, WalError> {
        let found = self.find(sequence)?;
        let directory = self.place.directory.display();
        let bytes = found.map(|(_, bytes)| bytes).ok_or_else(|| {
            WalError::Unavailable(format!("{directory}: entry #{sequence} is gone from the file"))
        })?;
        let entry = record::open(sequence, &bytes)
            .map_err(|damage| WalError::Unavailable(format!("{directory}: {damage}. {REMEDY}")))?;
        let attempt =
            self.state.schedule.get(sequence).map_or(0, |waiting| waiting.attempts).saturating_add(1);
        Ok(Delivery { entry, attempt, handle: Handle::Sequence(sequence) })
    }

    fn take_back(&mut self, sequences: &[u64]) {
        for sequence in sequences {
            if let Some(waiting) = self.state.schedule.get(*sequence).filter(|waiting| waiting.out) {
                let (attempts, due) = (waiting.attempts, waiting.due);
                self.state.schedule.again(*sequence, attempts, due);
            }
        }
    }
}

/// What an operator can do about a damaged entry.
pub(super) const REMEDY: &str = "Nothing is delivered until it is gone: remove it with `portcullis wal drop`, \
     or bring back the directory from a copy";
