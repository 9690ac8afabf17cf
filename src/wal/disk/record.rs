//! The bytes of an entry in the store: a check sum, then what [`Entry::encode`] wrote.

use bytes::Bytes;

use crate::wal::{Entry, EntryId};

/// Bytes of the check sum: CRC-32C (RFC 3720, appendix B.4), big-endian.
pub(super) const CHECK: usize = 4;

/// An entry on its way into the store.
#[derive(Debug)]
pub(super) struct Record {
    /// Its place in the order of recording.
    pub(super) sequence: u64,
    sum: u32,
    bytes: Bytes,
}

impl Record {
    /// `sum` is the CRC-32C of `bytes`, which is worked out where the entry is encoded.
    pub(super) fn new(sequence: u64, sum: u32, bytes: Bytes) -> Self {
        Self { sequence, sum, bytes }
    }

    /// Bytes that it takes in the store.
    pub(super) fn len(&self) -> usize {
        CHECK + self.bytes.len()
    }

    /// Appends it to `buffer`, [`Record::len`] bytes.
    pub(super) fn write(&self, buffer: &mut Vec<u8>) {
        buffer.extend_from_slice(&with_sequence(self.sum, self.sequence).to_be_bytes());
        buffer.extend_from_slice(&self.bytes);
    }
}

/// Whether every byte of a record is as it was written.
pub(super) fn is_whole(sequence: u64, record: &[u8]) -> bool {
    record
        .split_first_chunk::<CHECK>()
        .is_some_and(|(check, rest)| with_sequence(crc32c::crc32c(rest), sequence).to_be_bytes() == *check)
}

/// The number is part of what is checked, so that an entry in the place of another is noticed.
fn with_sequence(sum: u32, sequence: u64) -> u32 {
    crc32c::crc32c_append(sum, &sequence.to_be_bytes())
}

/// Why an entry cannot be used, and what could be read of it all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Damage {
    /// Its place in the order of recording.
    pub(super) sequence: u64,
    /// Its id, if the bytes still say one.
    pub(super) id: Option<EntryId>,
    /// What is wrong with it.
    pub(super) reason: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "entry #{}", self.sequence)?;
        if let Some(id) = self.id {
            write!(f, " (id {id})")?;
        }
        write!(f, " is damaged: {}", self.reason)
    }
}

/// The entry of a record, if every byte is as it was written.
pub(super) fn open(sequence: u64, record: &[u8]) -> Result<Entry, Damage> {
    let damage = |id, reason: &str| Damage { sequence, id, reason: reason.to_owned() };
    let Some((_, encoded)) = record.split_first_chunk::<CHECK>() else {
        return Err(damage(None, "it is shorter than its check sum"));
    };
    let entry = Entry::decode(&Bytes::copy_from_slice(encoded));
    if !is_whole(sequence, record) {
        return Err(damage(entry.ok().map(|entry| entry.id), "its bytes do not match its check sum"));
    }
    entry.map_err(|malformed| damage(None, &malformed.to_string()))
}
