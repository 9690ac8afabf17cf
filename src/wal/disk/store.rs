//! What the log keeps: new entries in the [`Journal`], and what became of them in tables in redb. Whatever fails here,
//! the store is closed and opened anew: redb does not go on after a failed write, and reads of a file that could not be
//! synchronised prove nothing.
//!
//! redb makes all changes of a commit or none. If the machine stops in between, it finds at the next opening that the
//! pages do not match their check sums, and goes back to the commit before. That takes several times as long as one
//! write at the end of a file, and so new entries do not wait for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{Database, ReadOnlyTable, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use super::backend::Place;
use super::change::{self, Change};
use super::journal::{Journal, Note};
use super::known::Settled;
use super::record::Record;
use crate::time::UnixTime;
use crate::wal::EntryId;

/// What waits and is not in the journal: number → record.
pub(super) const ENTRIES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("entries");
/// What failed before: number → failed attempts, due.
pub(super) const PROGRESS: TableDefinition<'_, u64, (u32, u64)> = TableDefinition::new("progress");
/// What no upstream took: number → attempts, when it was given up, reason, record.
pub(super) const DEAD: TableDefinition<'_, u64, (u32, u64, &str, &[u8])> = TableDefinition::new("dead");
/// What left the log lately: order of leaving → id, when.
pub(super) const SETTLED: TableDefinition<'_, u64, (u128, u64)> = TableDefinition::new("settled");
/// What has left the journal and is still in its files: number.
pub(super) const GONE: TableDefinition<'_, u64, ()> = TableDefinition::new("gone");
/// Files of the journal: number → where it ends, and whether it is written no more.
pub(super) const SEGMENTS: TableDefinition<'_, u64, (u64, bool)> = TableDefinition::new("segments");
/// The version of these tables, under `format`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const FORMAT: u64 = 2;

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

/// The open tables and the journal.
#[derive(Debug)]
pub(super) struct Store {
    database: Database,
    file: File,
    journal: Journal,
    /// From which to which number nothing is in the files any more.
    forgotten: Vec<(u64, u64)>,
    /// The highest number of an entry that left.
    highest: u64,
}

impl Store {
    /// Opens the file, which must be there; an empty one gets its tables. After a crash, every page is compared with its
    /// check sum.
    pub(super) fn open(place: &Place) -> Result<Self, StoreError> {
        let (file, backend) = place.open().map_err(|error| StoreError::System(error.to_string()))?;
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE);
        let database = guarded(|| builder.create_with_backend(backend).map_err(of))?;
        let begun = place.segments().map_err(of)?.first().is_some();
        guarded(|| prepare(&database, begun))?;
        let (notes, gone) = guarded(|| noted(&database))?;
        let journal = Journal::open(place, &notes, &gone).map_err(of)?;
        let highest = journal.highest().max(gone.last().copied().unwrap_or(0));
        let forgotten = journal.unknown(&gone);
        let mut store = Self { database, file, journal, forgotten, highest };
        // From now on it is certain where the files end that were not closed.
        store.change(&[])?;
        Ok(store)
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

    /// Makes the file smaller if little of it is in use. `used` are the bytes of all entries and dead letters. Tells the bytes before and
    /// after, if it did.
    pub(super) fn compact(&mut self, used: u64) -> Result<Option<(u64, u64)>, StoreError> {
        let length = |file: &File| file.metadata().map_or(0, |metadata| metadata.len());
        let before = length(&self.file);
        if before < COMPACT_FROM || used.saturating_sub(self.journal.bytes()) > before / 4 {
            return Ok(None);
        }
        guarded(|| self.database.compact().map_err(of))?;
        Ok(Some((before, length(&self.file))))
    }

    /// Makes the changes, all or nothing, then adds the records, and returns when all are durable.
    pub(super) fn commit(&mut self, changes: &[Change], records: &[Record]) -> Result<(), StoreError> {
        if !changes.is_empty() {
            self.change(changes)?;
        }
        if !records.is_empty() && self.journal.append(records).map_err(of)? {
            self.change(&[])?;
        }
        Ok(())
    }

    /// Ends the journal, so that whatever is missing at the next opening is known to be missing.
    pub(super) fn close(&mut self) -> Result<(), StoreError> {
        if self.journal.end() { self.change(&[]) } else { Ok(()) }
    }

    fn change(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let Self { database, journal, forgotten, highest, .. } = self;
        let (left, notes) = guarded(|| change::make(database, journal, changes, forgotten))?;
        *highest = left.last().copied().unwrap_or(0).max(*highest);
        *forgotten = journal.noted(&left, notes).map_err(of)?;
        Ok(())
    }

    /// The highest number that an entry had, as far as that is known without reading.
    pub(super) fn highest(&self) -> u64 {
        self.highest.max(self.journal.highest())
    }

    /// The record of an entry or dead letter, and what it belongs to.
    pub(super) fn find(&mut self, sequence: u64) -> Result<Option<(Kept, Vec<u8>)>, StoreError> {
        guarded(|| {
            let read = self.database.begin_read().map_err(of)?;
            if let Some(record) = self.journal.read(sequence).map_err(of)? {
                let progress = read.open_table(PROGRESS).map_err(of)?;
                return Ok(Some((waiting(&progress, sequence)?, record)));
            }
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

    /// All entries and then all dead letters.
    pub(super) fn walk(&mut self, mut each: impl FnMut(u64, Kept, &[u8])) -> Result<(), StoreError> {
        guarded(|| {
            let read = self.database.begin_read().map_err(of)?;
            let progress = read.open_table(PROGRESS).map_err(of)?;
            for entry in read.open_table(ENTRIES).map_err(of)?.range::<u64>(..).map_err(of)? {
                let (sequence, record) = entry.map_err(of)?;
                each(sequence.value(), waiting(&progress, sequence.value())?, record.value());
            }
            for sequence in self.journal.numbers() {
                if let Some(record) = self.journal.read(sequence).map_err(of)? {
                    each(sequence, waiting(&progress, sequence)?, &record);
                }
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
            Ok(self.journal.len() + entries + read.open_table(DEAD).map_err(of)?.len().map_err(of)?)
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

/// Makes the tables if there are none, which is wrong if there are files of the journal.
fn prepare(database: &Database, begun: bool) -> Result<(), StoreError> {
    let write = database.begin_write().map_err(of)?;
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
        None if begun => Err(StoreError::Corrupt("the file with its tables is missing or empty".to_owned())),
        None => {
            // Reading asks for tables that are there.
            write.open_table(ENTRIES).map_err(of)?;
            write.open_table(PROGRESS).map_err(of)?;
            write.open_table(DEAD).map_err(of)?;
            write.open_table(SETTLED).map_err(of)?;
            write.open_table(GONE).map_err(of)?;
            write.open_table(SEGMENTS).map_err(of)?;
            write.commit().map_err(of)
        }
    }
}

/// Where the files of the journal end, and what of them has left.
type Noted = (BTreeMap<u64, Note>, BTreeSet<u64>);

fn noted(database: &Database) -> Result<Noted, StoreError> {
    let read = database.begin_read().map_err(of)?;
    let (mut notes, mut gone) = (BTreeMap::new(), BTreeSet::new());
    for item in read.open_table(SEGMENTS).map_err(of)?.range::<u64>(..).map_err(of)? {
        let (number, note) = item.map_err(of)?;
        notes.insert(number.value(), note.value());
    }
    for item in read.open_table(GONE).map_err(of)?.range::<u64>(..).map_err(of)? {
        gone.insert(item.map_err(of)?.0.value());
    }
    Ok((notes, gone))
}

fn waiting(progress: &ReadOnlyTable<u64, (u32, u64)>, sequence: u64) -> Result<Kept, StoreError> {
    let (attempts, due) = progress.get(sequence).map_err(of)?.map_or((0, 0), |it| it.value());
    Ok(Kept::Waiting { attempts, due: UnixTime(due) })
}

/// redb may panic over a damaged file that it did not check; that must not end the thread of the log.
fn guarded<T>(action: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    let panicked = |_| StoreError::Corrupt("its structure cannot be read".to_owned());
    catch_unwind(AssertUnwindSafe(action)).unwrap_or_else(|panic| Err(panicked(panic)))
}

pub(super) fn of(error: impl Into<redb::Error>) -> StoreError {
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
