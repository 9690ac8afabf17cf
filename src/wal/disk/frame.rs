//! The bytes of a segment: a head of [`START`] bytes, then frames of a head and a record each, then zeros.
//!
//! Frames that were written together are a batch. A batch is written when the one before it is durable, and each frame
//! says where its batch begins: so a frame proves that everything before its batch had reached the disk.

use super::record;
use crate::wal::EntryId;

/// Bytes before the first frame.
pub(super) const START: usize = 44;
/// Bytes before the record of a frame.
pub(super) const HEAD: usize = 28;
/// At the beginning of a segment, with the version of what follows.
const SEGMENT: [u8; 16] = *b"portcullis wal 1";
/// At the beginning of a frame.
const FRAME: [u8; 4] = *b"\xabwal";

/// What a segment says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its number, which is in its file's name.
    pub(super) number: u64,
    /// Bytes of its file, from the beginning on; what is not written yet is zero.
    pub(super) length: u64,
    /// Random, and part of all check sums: no sender can make a body that looks like frames of this segment.
    pub(super) salt: EntryId,
}

impl Segment {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = [SEGMENT.as_slice(), &self.length.to_be_bytes(), &self.salt.0].concat();
        bytes.extend(crc32c::crc32c_append(crc32c::crc32c(&bytes), &self.number.to_be_bytes()).to_be_bytes());
        bytes
    }

    /// Reads what [`Segment::encode`] wrote.
    pub(super) fn decode(number: u64, bytes: &[u8]) -> Option<Self> {
        let (_, rest) = bytes.split_first_chunk::<{ SEGMENT.len() }>()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (salt, _) = rest.split_first_chunk()?;
        let it = Self { number, length: u64::from_be_bytes(*length), salt: EntryId(*salt) };
        bytes.starts_with(&it.encode()).then_some(it)
    }
}

/// What a frame says about its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Bytes of the record.
    pub(super) length: u32,
    /// Number of the entry.
    pub(super) sequence: u64,
    /// Where in the segment the batch of the frame begins.
    pub(super) batch: u64,
}

impl Head {
    /// The head of a frame at this place of a segment.
    pub(super) fn encode(&self, segment: &Segment, at: u64) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        let sum = self.sum(segment, at);
        let fields = FRAME
            .into_iter()
            .chain(self.length.to_be_bytes())
            .chain(self.sequence.to_be_bytes())
            .chain(self.batch.to_be_bytes())
            .chain(sum.to_be_bytes());
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        bytes
    }

    fn sum(&self, segment: &Segment, at: u64) -> u32 {
        let sum = crc32c::crc32c(&segment.salt.0);
        [at, u64::from(self.length), self.sequence, self.batch]
            .iter()
            .fold(sum, |sum, field| crc32c::crc32c_append(sum, &field.to_be_bytes()))
    }

    fn decode(segment: &Segment, at: u64, bytes: &[u8]) -> Option<Self> {
        let (mark, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (batch, rest) = rest.split_first_chunk()?;
        let (sum, _) = rest.split_first_chunk()?;
        let it = Self {
            length: u32::from_be_bytes(*length),
            sequence: u64::from_be_bytes(*sequence),
            batch: u64::from_be_bytes(*batch),
        };
        (*mark == FRAME && it.sum(segment, at).to_be_bytes() == *sum).then_some(it)
    }
}

/// How much of a segment is known to have reached the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// So many bytes, and no more belong to it.
    Exactly(u64),
    /// So many bytes, or more.
    AtLeast(u64),
}

/// A frame that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// Number of the entry. Of a frame whose head is damaged, the number after the one before.
    pub(super) sequence: u64,
    /// Where its batch begins.
    pub(super) batch: u64,
    /// Where the frame begins.
    pub(super) at: u64,
    /// Where the record begins.
    pub(super) record: u64,
    /// Where it ends.
    pub(super) end: u64,
    /// Whether its bytes match their check sum.
    whole: bool,
}

/// What is in a segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contents {
    /// All frames, damaged ones included.
    pub(super) frames: Vec<Frame>,
    /// Where the last one ends. What follows is a batch that the machine did not finish, or zeros.
    pub(super) end: u64,
}

/// Finds the frames of a segment, whose bytes these are.
///
/// What is wrong in a place that had reached the disk is damage, and is found as a frame with a record that cannot be
/// opened. What is wrong behind that is the last write, which the machine did not finish: nobody was told that it is
/// kept, and it is left out, with all that follows.
pub(super) fn scan(segment: &Segment, bytes: &[u8], reached: Reached) -> Contents {
    let (bytes, least) = match reached {
        Reached::Exactly(end) => (bytes.get(..index(end)).unwrap_or(bytes), end),
        Reached::AtLeast(end) => (bytes, end),
    };
    let (mut frames, mut at, mut last): (Vec<Frame>, u64, u64) = (Vec::new(), START as u64, 0);
    loop {
        let frame = frame(segment, bytes, at).or_else(|| {
            // Behind the last frame that can be read, only what had reached the disk is missed.
            let end = next(segment, bytes, at + 1).unwrap_or(least);
            let damaged =
                Frame { sequence: last.saturating_add(1), batch: 0, at, record: at, end, whole: false };
            (end > at).then_some(damaged)
        });
        let Some(frame) = frame else { break };
        (at, last) = (frame.end, frame.sequence);
        frames.push(frame);
    }
    let durable = frames.iter().map(|frame| frame.batch).max().unwrap_or(0).max(least);
    if let Some(torn) = frames.iter().position(|frame| !frame.whole && frame.at >= durable) {
        at = frames.get(torn).map_or(at, |frame| frame.at);
        frames.truncate(torn);
    }
    Contents { frames, end: at }
}

/// The frame that begins here.
fn frame(segment: &Segment, bytes: &[u8], at: u64) -> Option<Frame> {
    let rest = bytes.get(index(at)..)?;
    let Head { length, sequence, batch } = Head::decode(segment, at, rest)?;
    let kept = rest.get(HEAD..)?.get(..index(u64::from(length)))?;
    let record = at + HEAD as u64;
    let whole = record::is_whole(sequence, kept);
    Some(Frame { sequence, batch, at, record, end: record + u64::from(length), whole })
}

/// Where the next frame begins whose head can be read.
fn next(segment: &Segment, bytes: &[u8], from: u64) -> Option<u64> {
    let mut at = from;
    loop {
        let rest = bytes.get(index(at)..)?;
        at += rest.iter().position(|byte| Some(byte) == FRAME.first())? as u64;
        if frame(segment, bytes, at).is_some() {
            return Some(at);
        }
        at += 1;
    }
}

fn index(at: u64) -> usize {
    usize::try_from(at).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
