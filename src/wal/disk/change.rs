//! What becomes of entries, in the tables.

use std::collections::BTreeSet;

use redb::{Database, Table};

use super::journal::{EMPTY, Journal, Note};
use super::known::Settled;
use super::store::{DEAD, ENTRIES, GONE, PROGRESS, SEGMENTS, SETTLED, StoreError, of};
use crate::time::UnixTime;
use crate::wal::EntryId;

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

/// The tables that changes are made in.
struct Tables<'a> {
    entries: Table<'a, u64, &'static [u8]>,
    progress: Table<'a, u64, (u32, u64)>,
    dead: Table<'a, u64, (u32, u64, &'static str, &'static [u8])>,
    settled: Table<'a, u64, (u128, u64)>,
    gone: Table<'a, u64, ()>,
}

/// What has left the journal, and where its files end.
pub(super) type Made = (BTreeSet<u64>, Vec<(u64, Note)>);

/// Makes changes, all or nothing, and returns when they are durable. In the files of the journal is nothing of the
/// numbers `forgotten`, from the first to the last.
pub(super) fn make(
    database: &Database,
    journal: &mut Journal,
    changes: &[Change],
    forgotten: &[(u64, u64)],
) -> Result<Made, StoreError> {
    let write = database.begin_write().map_err(of)?;
    let mut leaving = BTreeSet::new();
    let notes = {
        let mut tables = Tables {
            entries: write.open_table(ENTRIES).map_err(of)?,
            progress: write.open_table(PROGRESS).map_err(of)?,
            dead: write.open_table(DEAD).map_err(of)?,
            settled: write.open_table(SETTLED).map_err(of)?,
            gone: write.open_table(GONE).map_err(of)?,
        };
        for (first, last) in forgotten {
            tables.gone.retain_in(*first..=*last, |_, ()| false).map_err(of)?;
        }
        for change in changes {
            tables.make(change, journal, &mut leaving)?;
        }
        for sequence in journal.stragglers(&leaving) {
            if let Some(record) = tables.leave(sequence, journal, &mut leaving)? {
                tables.entries.insert(sequence, record.as_slice()).map_err(of)?;
            }
        }
        let notes = journal.notes(&leaving);
        let mut segments = write.open_table(SEGMENTS).map_err(of)?;
        // The files of these were removed after the commit before.
        segments.retain(|_, note| note != EMPTY).map_err(of)?;
        for (number, note) in &notes {
            segments.insert(number, *note).map_err(of)?;
        }
        notes
    };
    write.commit().map_err(of)?;
    Ok((leaving, notes))
}

impl Tables<'_> {
    fn make(
        &mut self,
        change: &Change,
        journal: &mut Journal,
        leaving: &mut BTreeSet<u64>,
    ) -> Result<(), StoreError> {
        match change {
            Change::Settle { sequence, settled: Order { order, id, at } } => {
                self.erase(*sequence, journal, leaving)?;
                self.settled.insert(order, (u128::from_be_bytes(id.0), at.0)).map_err(of)?;
            }
            Change::Postpone { sequence, attempts, due } => {
                self.progress.insert(sequence, (*attempts, due.0)).map_err(of)?;
            }
            Change::Bury { sequence, attempts, at, reason } => {
                let kept = self.entries.remove(sequence).map_err(of)?.map(|record| record.value().to_vec());
                let record = match kept {
                    Some(record) => Some(record),
                    None => self.leave(*sequence, journal, leaving)?,
                };
                if let Some(record) = record {
                    let letter = (*attempts, at.0, reason.as_str(), record.as_slice());
                    self.dead.insert(sequence, letter).map_err(of)?;
                }
                self.progress.remove(sequence).map_err(of)?;
            }
            Change::Revive { sequence } => {
                if let Some(letter) = self.dead.remove(sequence).map_err(of)? {
                    let (_, _, _, record) = letter.value();
                    self.entries.insert(sequence, record).map_err(of)?;
                }
                self.progress.remove(sequence).map_err(of)?;
            }
            Change::Erase { sequence } => self.erase(*sequence, journal, leaving)?,
            Change::Forget { below } => self.settled.retain_in(..*below, |_, _| false).map_err(of)?,
        }
        Ok(())
    }

    fn erase(
        &mut self,
        sequence: u64,
        journal: &Journal,
        leaving: &mut BTreeSet<u64>,
    ) -> Result<(), StoreError> {
        self.entries.remove(sequence).map_err(of)?;
        self.progress.remove(sequence).map_err(of)?;
        self.dead.remove(sequence).map_err(of)?;
        if journal.holds(sequence) && leaving.insert(sequence) {
            self.gone.insert(sequence, ()).map_err(of)?;
        }
        Ok(())
    }

    /// Takes an entry out of the journal, and returns its record if it was there.
    fn leave(
        &mut self,
        sequence: u64,
        journal: &mut Journal,
        leaving: &mut BTreeSet<u64>,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        if leaving.contains(&sequence) {
            return Ok(None);
        }
        let record = journal.read(sequence).map_err(of)?;
        if record.is_some() && leaving.insert(sequence) {
            self.gone.insert(sequence, ()).map_err(of)?;
        }
        Ok(record)
    }
}
