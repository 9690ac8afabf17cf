//! The tables in redb. Whatever fails here, the store is closed and opened anew: redb does not go on after a failed
//! write, and reads of a file that could not be synchronised prove nothing.
//!
//! A commit is one write of the changed pages and one fsync. If the machine stops in between, redb finds at the next
//! opening that the pages do not match their check sums, and goes back to the commit before.

use std::fs::File;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{
    Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};

use super::backend::Place;
use super::known::Settled;
use super::record::Record;
use crate::time::UnixTime;
use crate::wal::EntryId;

/// What waits: number → record.
const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// What failed before: number → failed attempts, due.
const PROGRESS: TableDefinition<'_, u64, (u32, u64)> = TableDefinition::new("progress");
/// What no upstream took: number → attempts, when it was given up, reason, record.
const DEAD: TableDefinition<'_, u64, (u32, u64, &str, &[u8])> = TableDefinition::new("dead");
/// What left the log lately: order of leaving → id, when.
const SETTLED: TableDefinition<'_, u64, (u128, u64)> = TableDefinition::new("settled");
/// The version of these tables, under `format`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 1;

/// Memory for pages. Entries are read once, so that more would not help.
const CACHE: usize = 32 * 1024 * 1024;
/// A file is made smaller when it is opened, if it is at least this large and three quarters of it are free.
const COMPACT_FROM: u64 = 64 * 1024 * 1024;

/// Why the store cannot be used, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StoreError {
    /// Another process has it open.
    Locked,
    /// It is of another version.
    Version(u64),
    /// Its structure is damaged.
    Corrupt(String),
    /// The system says no, now.
    System(String),
}

/// A change that can be made twice without harm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Takes an entry or a dead letter out.
    Settle { sequence: u64, settled: Order },
    /// An attempt failed.
    Postpone { sequence: u64, attempts: u32, due: UnixTime },
    /// An entry becomes a dead letter.
    Bury { sequence: u64, attempts: u32, at: UnixTime, reason: String },
    /// A dead letter becomes an entry again, or an entry begins anew.
    Revive { sequence: u64 },
    /// Removes what nobody was promised to be kept.
    Erase { sequence: u64 },
    /// Removes the ids that left the log before this one.
    Forget { below: u64 },
}

/// When which id left the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Order {
    order: u64,
    id: EntryId,
    at: UnixTime,
}

impl From<Settled> for Order {
    fn from(Settled { order, id, at }: Settled) -> Self {
        Self { order, id, at }
    }
}

/// A dead letter beside its record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Death {
    pub(super) attempts: u32,
    pub(super) at: UnixTime,
    pub(super) reason: String,
}

/// What a record belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// It waits.
    Waiting {
        /// Attempts that have failed.
        attempts: u32,
        /// Not before.
        due: UnixTime,
    },
    /// It is a dead letter.
    Dead(Death),
}

/// The open tables.
#[derive(Debug)]
pub(super) struct Store {
    database: Database,
    file: File,
}

impl Store {
    /// Opens the file, which must be there; an empty one gets its tables. After a crash, every page is compared with its
    /// check sum.
    pub(super) fn open(place: &Place) -> Result<Self, StoreError> {
        let (file, backend) = place.open().map_err(|error| StoreError::System(error.to_string()))?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        let opened = guarded(|| builder.create_with_backend(backend).map_err(of))?;
        let store = Self { database: opened, file };
        guarded(|| store.prepare())?;
        Ok(store)
    }

    fn prepare(&self) -> Result<(), StoreError> {
        let write = self.database.begin_write().map_err(of)?;
        let version = {
            let mut meta = write.open_table(META).map_err(of)?;
            let version = meta.get("format").map_err(of)?.map(|version| version.value());
            if version.is_none() {
                meta.insert("format", FORMAT).map_err(of)?;
            }
            version
        };
        match version {
            Some(FORMAT) => write.abort().map_err(of),
            Some(other) => Err(StoreError::Version(other)),
            None => {
                // Reading asks for tables that are there.
                write.open_table(ENTRIES).map_err(of)?;
                write.open_table(PROGRESS).map_err(of)?;
                write.open_table(DEAD).map_err(of)?;
                write.open_table(SETTLED).map_err(of)?;
                write.commit().map_err(of)
            }
        }
    }

    /// Compares every page with its check sum. False when the file had to be repaired, and may say something else now.
    pub(super) fn check(&mut self) -> Result<bool, StoreError> {
        guarded(|| self.database.check_integrity().map_err(of))
    }

    /// Pretends that another program wrote the file.
    #[cfg(test)]
    pub(super) fn set_version(&self, version: u64) {
        let write = self.database.begin_write().unwrap();
        write.open_table(META).unwrap().insert("format", version).unwrap();
        write.commit().unwrap();
    }

    /// Makes the file smaller if little of it is in use. `used` are the bytes of its entries. Tells the bytes before and
    /// after, if it did.
    pub(super) fn compact(&mut self, used: u64) -> Result<Option<(u64, u64)>, StoreError> {
        let length = |file: &File| file.metadata().map_or(0, |metadata| metadata.len());
        let before = length(&self.file);
        if before < COMPACT_FROM || used > before / 4 {
            return Ok(None);
        }
        guarded(|| self.database.compact().map_err(of))?;
        Ok(Some((before, length(&self.file))))
    }

    /// Makes the changes and adds the records, all or nothing, and returns when they are durable.
    pub(super) fn commit(&self, changes: &[Change], records: &[Record]) -> Result<(), StoreError> {
        guarded(|| {
            let write = self.database.begin_write().map_err(of)?;
            if !changes.is_empty() {
                change(&write, changes)?;
            }
            {
                let mut entries = write.open_table(ENTRIES).map_err(of)?;
                for record in records {
                    let mut place = entries.insert_reserve(record.sequence, record.len()).map_err(of)?;
                    record.write(place.as_mut());
                }
            }
            write.commit().map_err(of)
        })
    }

    /// The record of an entry or dead letter, and what it belongs to.
    pub(super) fn find(&self, sequence: u64) -> Result<Option<(Kept, Vec<u8>)>, StoreError> {
        guarded(|| {
            let read = self.database.begin_read().map_err(of)?;
            let entries = read.open_table(ENTRIES).map_err(of)?;
            if let Some(record) = entries.get(sequence).map_err(of)? {
                let progress = read.open_table(PROGRESS).map_err(of)?;
                return Ok(Some((waiting(&progress, sequence)?, record.value().to_vec())));
            }
            let dead = read.open_table(DEAD).map_err(of)?;
            let Some(found) = dead.get(sequence).map_err(of)? else { return Ok(None) };
            let (attempts, at, reason, record) = found.value();
            let death = Death { attempts, at: UnixTime(at), reason: reason.to_owned() };
            Ok(Some((Kept::Dead(death), record.to_vec())))
        })
    }

    /// All entries and then all dead letters, each in the order of recording.
    pub(super) fn walk(&self, mut each: impl FnMut(u64, Kept, &[u8])) -> Result<(), StoreError> {
        guarded(|| {
            let read = self.database.begin_read().map_err(of)?;
            let progress = read.open_table(PROGRESS).map_err(of)?;
            for entry in read.open_table(ENTRIES).map_err(of)?.range::<u64>(..).map_err(of)? {
                let (sequence, record) = entry.map_err(of)?;
                each(sequence.value(), waiting(&progress, sequence.value())?, record.value());
            }
            for letter in read.open_table(DEAD).map_err(of)?.range::<u64>(..).map_err(of)? {
                let (sequence, letter) = letter.map_err(of)?;
                let (attempts, at, reason, record) = letter.value();
                let death = Death { attempts, at: UnixTime(at), reason: reason.to_owned() };
                each(sequence.value(), Kept::Dead(death), record);
            }
            Ok(())
        })
    }

    /// How many entries and dead letters there are.
    pub(super) fn count(&self) -> Result<u64, StoreError> {
        use redb::ReadableTableMetadata as _;
        guarded(|| {
            let read = self.database.begin_read().map_err(of)?;
            let entries = read.open_table(ENTRIES).map_err(of)?.len().map_err(of)?;
            Ok(entries + read.open_table(DEAD).map_err(of)?.len().map_err(of)?)
        })
    }

    /// The ids that left the log, in that order.
    pub(super) fn settled(&self, mut each: impl FnMut(Settled)) -> Result<(), StoreError> {
        guarded(|| {
            let read = self.database.begin_read().map_err(of)?;
            for item in read.open_table(SETTLED).map_err(of)?.range::<u64>(..).map_err(of)? {
                let (order, settled) = item.map_err(of)?;
                let (id, at) = settled.value();
                let id = EntryId(id.to_be_bytes());
                each(Settled { order: order.value(), id, at: UnixTime(at) });
            }
            Ok(())
        })
    }
}

fn waiting(progress: &ReadOnlyTable<u64, (u32, u64)>, sequence: u64) -> Result<Kept, StoreError> {
    let (attempts, due) = progress.get(sequence).map_err(of)?.map_or((0, 0), |it| it.value());
    Ok(Kept::Waiting { attempts, due: UnixTime(due) })
}

fn change(write: &WriteTransaction, changes: &[Change]) -> Result<(), StoreError> {
    let mut entries = write.open_table(ENTRIES).map_err(of)?;
    let mut progress = write.open_table(PROGRESS).map_err(of)?;
    let mut dead = write.open_table(DEAD).map_err(of)?;
    let mut settled = write.open_table(SETTLED).map_err(of)?;
    for change in changes {
        match change {
            Change::Settle { sequence, settled: Order { order, id, at } } => {
                entries.remove(sequence).map_err(of)?;
                progress.remove(sequence).map_err(of)?;
                dead.remove(sequence).map_err(of)?;
                settled.insert(order, (u128::from_be_bytes(id.0), at.0)).map_err(of)?;
            }
            Change::Postpone { sequence, attempts, due } => {
                progress.insert(sequence, (*attempts, due.0)).map_err(of)?;
            }
            Change::Bury { sequence, attempts, at, reason } => {
                if let Some(record) = entries.remove(sequence).map_err(of)? {
                    dead.insert(sequence, (*attempts, at.0, reason.as_str(), record.value())).map_err(of)?;
                }
                progress.remove(sequence).map_err(of)?;
            }
            Change::Revive { sequence } => {
                if let Some(letter) = dead.remove(sequence).map_err(of)? {
                    let (_, _, _, record) = letter.value();
                    entries.insert(sequence, record).map_err(of)?;
                }
                progress.remove(sequence).map_err(of)?;
            }
            Change::Erase { sequence } => {
                entries.remove(sequence).map_err(of)?;
                progress.remove(sequence).map_err(of)?;
                dead.remove(sequence).map_err(of)?;
            }
            Change::Forget { below } => settled.retain_in(..*below, |_, _| false).map_err(of)?,
        }
    }
    Ok(())
}

/// redb may panic over a damaged file that it did not check; that must not end the thread of the log.
fn guarded<T>(action: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let panicked = |_| StoreError::Corrupt("its structure cannot be read".to_owned());
    catch_unwind(AssertUnwindSafe(action)).unwrap_or_else(|panic| Err(panicked(panic)))
}

fn of(error: impl Into<redb::Error>) -> StoreError {
    let error = error.into();
    if let redb::Error::DatabaseAlreadyOpen = error {
        return StoreError::Locked;
    }
    if let redb::Error::Corrupted(what) = error {
        return StoreError::Corrupt(what);
    }
    if let redb::Error::Io(error) = error {
        // A file that is none of redb's, and one that was cut.
        let damaged = matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof);
        // The message of the system alone: `No space left on device (os error 28)`.
        let text = error.to_string();
        return if damaged { StoreError::Corrupt(text) } else { StoreError::System(text) };
    }
    StoreError::System(error.to_string())
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Locked => f.write_str("another process has it open"),
            Self::Version(version) => {
                write!(f, "it has format {version}, and this program reads format {FORMAT}")
            }
            Self::Corrupt(what) => write!(f, "the file is damaged: {what}"),
            Self::System(what) => f.write_str(what),
        }
    }
}
