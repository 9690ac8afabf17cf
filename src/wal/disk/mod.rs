//! The log in a directory of this machine, for one gateway at a time.
//!
//! One thread owns the file `wal.redb`, see [`keeper`]. In memory are some 200 bytes for each entry, and its body only
//! while it is on its way.
//!
//! The limit `max_size` is for the bytes of entries and dead letters. The file may be larger: redb changes pages by
//! writing new ones, uses the old ones again, and gives the space of many free ones back when the log is opened.

mod backend;
mod hand;
mod inbox;
mod inspect;
mod keeper;
mod known;
mod record;
mod schedule;
mod state;
mod store;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::oneshot;

use self::backend::Place;
use self::hand::{Taker, number};
use self::inbox::Inbox;
use self::keeper::{Clock, Command, Keeper, New, REMEDY};
use self::state::State;
use self::store::{Store, StoreError};
use super::console::Control;
use super::{Delivery, Entry, Recorded, Stats, Wal, WalError};
use crate::config::DiskStore;
use crate::time::UnixTime;

pub(super) use self::inspect::{Console, Outcome};

/// Most bytes of one entry. The gateway's limits for bodies are far below.
const MAX_ENTRY: u64 = 64 * 1024 * 1024;
/// So many damaged entries are named; who has more needs no list.
const MAX_NAMED: usize = 10;
/// A large log says how far it is after so many entries.
const REPORT: u64 = 250_000;

/// Why the log cannot be opened, with what to do about it.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The directory cannot be made or read.
    #[error("the write-ahead log in {} cannot be opened: {reason}", directory.display())]
    Unusable {
        /// The log's directory.
        directory: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// There is no log.
    #[error("there is no write-ahead log in {}", directory.display())]
    Missing {
        /// The directory.
        directory: PathBuf,
    },
    /// Another process has it.
    #[error("the write-ahead log in {} is in use by another portcullis: stop that one, or name another directory", directory.display())]
    Locked {
        /// The log's directory.
        directory: PathBuf,
    },
    /// Entries are not as they were written.
    #[error("the write-ahead log in {}: {}. {REMEDY}", directory.display(), entries.join("; "))]
    Damaged {
        /// The log's directory.
        directory: PathBuf,
        /// Which entries, and what is wrong with them.
        entries: Vec<String>,
    },
    /// The file is not as it was written.
    #[error("the write-ahead log in {} is damaged and no entry of it can be trusted: {reason}. Bring back the directory from a copy, or move it away and begin anew; then what waited in it is not delivered", directory.display())]
    Corrupt {
        /// The log's directory.
        directory: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// A log in a directory. It is closed when this is dropped, which waits for the disk.
pub struct Disk {
    commands: Arc<Inbox>,
    thread: Option<JoinHandle<()>>,
    stats: Arc<Mutex<Stats>>,
    /// For operators while the gateway runs.
    control: Option<Control>,
}

impl Disk {
    /// Opens the log, or begins one, and checks all that is in it. Reads the whole file. From then on it answers
    /// `portcullis wal` on a socket in the directory.
    pub fn open(store: &DiskStore) -> Result<Self, OpenError> {
        let place = Place::new(&store.directory);
        let mut log = Self::start(place, store.max_size, Arc::new(UnixTime::now))?;
        // A directory whose path is too long for a socket, or whose file system has none, is good for a log all the same.
        match Control::start(&store.directory, log.console()) {
            Ok(control) => log.control = Some(control),
            Err(error) => log::warn!(
                "`portcullis wal` works only while this gateway is stopped: no socket in {}: {error}",
                store.directory.display()
            ),
        }
        Ok(log)
    }

    /// Opens a log that no gateway uses, to look at it. Damaged entries do not hinder that.
    pub(super) fn open_resting(
        directory: &Path,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Self, OpenError> {
        let place = Place::new(directory);
        if !place.file().exists() {
            return Err(OpenError::Missing { directory: directory.to_owned() });
        }
        let (store, state) = load(&place, progress)?;
        Self::keep(place, store, state, Arc::new(UnixTime::now), u64::MAX)
    }

    /// For questions of operators.
    pub(super) fn console(&self) -> Console {
        Console::new(Arc::clone(&self.commands))
    }

    fn start(place: Place, max_size: u64, clock: Clock) -> Result<Self, OpenError> {
        let directory = &place.directory;
        place.make().map_err(|error| unusable(directory, error.to_string()))?;
        let (mut store, mut state) = load(&place, &mut report)?;
        if !state.damaged.is_empty() {
            let named = state.damaged.values().take(MAX_NAMED).map(ToString::to_string);
            return Err(OpenError::Damaged { directory: directory.clone(), entries: named.collect() });
        }
        if !store.check().map_err(|error| refuse(directory, error))? {
            log::warn!("the write-ahead log in {} was repaired", directory.display());
            state = State::load(&store, report).map_err(|error| refuse(directory, error))?;
        }
        if let Some((from, to)) = store.compact(state.used).map_err(|error| refuse(directory, error))? {
            log::info!("the file of the write-ahead log shrank from {from} to {to} bytes");
        }
        Self::keep(place, store, state, clock, max_size)
    }

    /// Starts the thread.
    fn keep(
        place: Place,
        store: Store,
        state: State,
        clock: Clock,
        max_size: u64,
    ) -> Result<Self, OpenError> {
        let directory = place.directory.clone();
        let keeper = Keeper::new(place, store, state, clock, max_size);
        let stats = keeper.stats();
        let commands = Arc::new(Inbox::new());
        let inbox = Arc::clone(&commands);
        let thread = std::thread::Builder::new()
            .name("wal".to_owned())
            .spawn(move || {
                let closing = Closing(inbox);
                keeper.run(&closing.0);
            })
            .map_err(|error| unusable(&directory, error.to_string()))?;
        Ok(Self { commands, thread: Some(thread), stats, control: None })
    }

    fn send(&self, command: Command) -> Result<(), WalError> {
        self.commands.send(command).map_err(|_| closed())
    }
}

/// However the thread ends, nobody waits for it any more.
struct Closing(Arc<Inbox>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn load(place: &Place, progress: &mut dyn FnMut(u64, u64)) -> Result<(Store, State), OpenError> {
    let store = Store::open(place).map_err(|error| refuse(&place.directory, error))?;
    let state = State::load(&store, progress).map_err(|error| refuse(&place.directory, error))?;
    Ok((store, state))
}

fn report(done: u64, total: u64) {
    if done.is_multiple_of(REPORT) {
        log::info!("checked {done} of {total} entries of the write-ahead log");
    }
}

fn unusable(directory: &Path, reason: String) -> OpenError {
    OpenError::Unusable { directory: directory.to_owned(), reason }
}

fn refuse(directory: &Path, error: StoreError) -> OpenError {
    match error {
        StoreError::Locked => OpenError::Locked { directory: directory.to_owned() },
        StoreError::Corrupt(reason) => OpenError::Corrupt { directory: directory.to_owned(), reason },
        StoreError::Version(_) | StoreError::System(_) => unusable(directory, error.to_string()),
    }
}

fn closed() -> WalError {
    WalError::Unavailable("it is closed".to_owned())
}

#[async_trait]
impl Wal for Disk {
    async fn record(&self, mut entry: Entry) -> Result<Recorded, WalError> {
        let bytes = Bytes::from(entry.encode());
        let size = bytes.len() as u64;
        if size > MAX_ENTRY {
            return Err(WalError::TooLarge { size, limit: MAX_ENTRY });
        }
        entry.body = Bytes::new();
        let sum = crc32c::crc32c(&bytes);
        let (reply, answer) = oneshot::channel();
        self.send(Command::Record(Box::new(New { entry, sum, bytes, reply })))?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    async fn take(&self, most: usize) -> Result<Vec<Delivery>, WalError> {
        let (reply, answer) = oneshot::channel();
        let back = Arc::clone(&self.commands);
        self.send(Command::Take(Taker { most: most.max(1), reply, back }))?;
        let handed = answer.await.unwrap_or_else(|_| Err(closed()))?;
        Ok(handed.keep())
    }

    async fn settle(&self, delivery: &Delivery) -> Result<(), WalError> {
        number(&delivery.handle).map_or(Ok(()), |sequence| self.send(Command::Settle(sequence)))
    }

    async fn postpone(&self, delivery: &Delivery, until: UnixTime) -> Result<(), WalError> {
        number(&delivery.handle).map_or(Ok(()), |sequence| self.send(Command::Postpone(sequence, until)))
    }

    async fn bury(&self, delivery: &Delivery, reason: &str) -> Result<(), WalError> {
        let reason = reason.to_owned();
        number(&delivery.handle).map_or(Ok(()), |sequence| self.send(Command::Bury(sequence, reason)))
    }

    async fn flush(&self) -> Result<(), WalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Ask(Box::new(move |keeper| drop(reply.send(keeper.flush())))))?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    fn stats(&self) -> Option<Stats> {
        Some(*self.stats.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.control = None;
        let _ = self.commands.send(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
