//! New entries, in files that are only written at their end: one write and one fsync for all that arrive together.
//!
//! Each file, or segment, has room for many batches. It is not written any more once another has begun or the log was
//! closed, and it is removed when none of its entries is left. Which of its entries have left, and where it ends, is in
//! the tables.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};

use redb::StorageBackend as _;

use super::backend::{Place, Storage};
use super::frame::{self, HEAD, Head, Reached, START, Segment};
use super::record::Record;
use crate::wal::EntryId;

/// Most memory that is kept for the next write.
const MAX_BUFFER: usize = 1024 * 1024;
/// What is left of a segment moves to the tables when it is no more than this part of the segment.
const THIN: u64 = 4;
/// A segment of which less than this part is in use is as good as thin.
const SMALL: u64 = 64;
/// Most bytes that move at once, but for the last entry.
const MAX_MOVED: u64 = 4 * 1024 * 1024;

/// Where a segment ends, and whether it does so for ever.
pub(super) type Note = (u64, bool);
/// The note of a segment of which nothing is left, whose file may be gone.
pub(super) const EMPTY: Note = (0, true);

/// Where the record of an entry is.
#[derive(Clone, Copy, Debug)]
struct Spot {
    segment: u64,
    at: u32,
    length: u32,
}

/// What is known of a segment.
#[derive(Debug)]
struct Known {
    /// Where its last batch ends.
    end: u64,
    /// What the tables say of its end.
    noted: Option<Note>,
    /// First and last number of its entries, the ones that left included.
    numbers: Option<(u64, u64)>,
    /// How many of its entries are left.
    left: u64,
    /// Bytes of their records.
    bytes: u64,
}

/// The segment that is written.
#[derive(Debug)]
struct Writing {
    segment: Segment,
    file: Storage,
}

/// All segments.
#[derive(Debug)]
pub(super) struct Journal {
    place: Place,
    segments: BTreeMap<u64, Known>,
    spots: BTreeMap<u64, Spot>,
    writing: Option<Writing>,
    /// The segment that was read last.
    reading: Option<(u64, Storage)>,
    buffer: Vec<u8>,
    /// The number of the next segment, which none had since the tables were last without notes.
    next: u64,
    /// The highest number of an entry that was ever in a segment that is still here.
    highest: u64,
}

impl Journal {
    /// Reads all segments. `notes` and `gone` are what the tables say: where segments end, and which entries have left.
    pub(super) fn open(place: &Place, notes: &BTreeMap<u64, Note>, gone: &BTreeSet<u64>) -> io::Result<Self> {
        let mut journal = Self {
            place: place.clone(),
            segments: BTreeMap::new(),
            spots: BTreeMap::new(),
            writing: None,
            reading: None,
            buffer: Vec::new(),
            next: 1,
            highest: 0,
        };
        let mut files = place.segments()?;
        let highest = files.iter().chain(notes.keys()).max().copied().unwrap_or(0);
        journal.next = highest.saturating_add(1);
        for (number, _) in notes.iter().filter(|(_, note)| **note == EMPTY) {
            if files.remove(number) {
                place.remove_segment(*number)?;
            }
        }
        let missing = notes.iter().find(|(number, note)| **note != EMPTY && !files.contains(number));
        if let Some((missing, _)) = missing {
            return Err(damaged(&format!("{} is missing", place.segment(*missing).display())));
        }
        for number in &files {
            let note = notes.get(number).copied();
            journal.load(*number, note, *number == highest, gone)?;
        }
        // Files that were removed are gone from now on.
        place.sync()?;
        Ok(journal)
    }

    fn load(&mut self, number: u64, noted: Option<Note>, last: bool, gone: &BTreeSet<u64>) -> io::Result<()> {
        let file = self.place.open_segment(number)?;
        let bytes = read(&file)?;
        let Some(segment) = Segment::decode(number, &bytes) else {
            // The machine stopped while it was made: nothing was written to it.
            let unused = bytes.is_empty() || (bytes.len() > START && bytes.iter().all(|byte| *byte == 0));
            if last && noted.is_none() && unused {
                return self.place.remove_segment(number);
            }
            return Err(damaged(&format!("{} does not begin as it was written", self.name(number))));
        };
        let length = bytes.len() as u64;
        if segment.length != length {
            let wanted = segment.length;
            return Err(damaged(&format!("{} has {length} bytes instead of {wanted}", self.name(number))));
        }
        let written = || bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at as u64 + 1);
        let reached = match noted {
            Some((end, true)) => Reached::Exactly(end),
            Some((end, false)) if last => Reached::AtLeast(end),
            None if last => Reached::AtLeast(START as u64),
            // Another was begun when all of this one was durable.
            Some((_, false)) | None => Reached::AtLeast(written()),
        };
        let contents = frame::scan(&segment, &bytes, reached);
        if !matches!(reached, Reached::Exactly(_)) {
            // Whoever asks for one of these again is told that it is kept.
            file.sync_data()?;
        }
        let known = Known { end: contents.end, noted, numbers: None, left: 0, bytes: 0 };
        self.segments.insert(number, known);
        for frame in contents.frames {
            let stays = !gone.contains(&frame.sequence);
            self.add(number, frame.sequence, (frame.record, frame.end), stays)?;
        }
        Ok(())
    }

    fn name(&self, number: u64) -> String {
        self.place.segment(number).display().to_string()
    }

    fn add(&mut self, number: u64, sequence: u64, (at, end): (u64, u64), stays: bool) -> io::Result<()> {
        self.highest = self.highest.max(sequence);
        let Some(known) = self.segments.get_mut(&number) else { return Ok(()) };
        let (first, last) = known.numbers.unwrap_or((sequence, sequence));
        known.numbers = Some((first.min(sequence), last.max(sequence)));
        if stays {
            let short = |size: u64| u32::try_from(size).map_err(|_| damaged("a segment is too long"));
            let spot = Spot { segment: number, at: short(at)?, length: short(end - at)? };
            known.left += 1;
            known.bytes += end - at;
            let former = self.spots.insert(sequence, spot);
            self.leave(former);
        }
        Ok(())
    }

    fn leave(&mut self, spot: Option<Spot>) {
        if let Some((spot, known)) = spot.and_then(|it| Some((it, self.segments.get_mut(&it.segment)?))) {
            known.left = known.left.saturating_sub(1);
            known.bytes = known.bytes.saturating_sub(u64::from(spot.length));
        }
    }

    /// Adds records, and returns when they are durable. Tells whether that ended a segment.
    pub(super) fn append(&mut self, records: &[Record]) -> io::Result<bool> {
        let need: u64 = records.iter().map(|record| (HEAD + record.len()) as u64).sum();
        let ended = self.begin(need)?;
        let (Some(writing), Some(known)) = (&self.writing, self.segments.last_entry()) else {
            return Err(damaged("there is no segment"));
        };
        let (number, begin) = (*known.key(), known.get().end);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut spots = Vec::with_capacity(records.len());
        for record in records {
            let at = begin + buffer.len() as u64;
            let length = u32::try_from(record.len()).map_err(|_| damaged("an entry is too long"))?;
            let head = Head { length, sequence: record.sequence, batch: begin };
            buffer.extend_from_slice(&head.encode(&writing.segment, at));
            record.write(&mut buffer);
            spots.push((record.sequence, (at + HEAD as u64, begin + buffer.len() as u64)));
        }
        writing.file.write(begin, &buffer)?;
        writing.file.sync_data()?;
        known.into_mut().end = begin + buffer.len() as u64;
        for (sequence, spot) in spots {
            self.add(number, sequence, spot, true)?;
        }
        if buffer.capacity() <= MAX_BUFFER {
            buffer.clear();
            self.buffer = buffer;
        }
        Ok(ended)
    }

    /// Begins a segment if there is none with so many bytes of room. Tells whether another has ended thereby.
    fn begin(&mut self, need: u64) -> io::Result<bool> {
        let end = self.segments.last_key_value().map_or(0, |(_, known)| known.end);
        let room = self.writing.as_ref().map(|writing| writing.segment.length.saturating_sub(end));
        if room.is_some_and(|room| room >= need) {
            return Ok(false);
        }
        let number = self.next;
        let salt = EntryId::random().ok_or_else(|| io::Error::other("there are no random numbers"))?;
        let length = self.place.length.max(START as u64 + need);
        let segment = Segment { number, length, salt };
        let file = self.place.make_segment(number)?;
        self.next = number.saturating_add(1);
        file.set_len(length)?;
        file.write(0, &segment.encode())?;
        file.sync_data()?;
        self.place.sync()?;
        let known = Known { end: START as u64, noted: None, numbers: None, left: 0, bytes: 0 };
        self.segments.insert(number, known);
        Ok(self.writing.replace(Writing { segment, file }).is_some())
    }

    /// Writes the present segment no more. Tells whether there was one.
    pub(super) fn end(&mut self) -> bool {
        self.writing.take().is_some()
    }

    /// Of these numbers, those that no segment has.
    pub(super) fn unknown(&self, numbers: &BTreeSet<u64>) -> Vec<(u64, u64)> {
        let has = |number: u64| {
            let mut ranges = self.segments.values().filter_map(|known| known.numbers);
            ranges.any(|(first, last)| (first..=last).contains(&number))
        };
        numbers.iter().filter(|number| !has(**number)).map(|number| (*number, *number)).collect()
    }

    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.spots.contains_key(&sequence)
    }

    /// The record of an entry, as it is in the file.
    pub(super) fn read(&mut self, sequence: u64) -> io::Result<Option<Vec<u8>>> {
        let Some(spot) = self.spots.get(&sequence).copied() else { return Ok(None) };
        let mut record = vec![0; usize::try_from(spot.length).unwrap_or(0)];
        let open = self.reading.take_if(|(number, _)| *number == spot.segment);
        let (_, file) = match open {
            Some(open) => self.reading.insert(open),
            None => {
                let file = self.place.reopen_segment(spot.segment)?;
                self.reading.insert((spot.segment, file))
            }
        };
        file.read(u64::from(spot.at), &mut record)?;
        Ok(Some(record))
    }

    /// The numbers of all entries, in their order.
    pub(super) fn numbers(&self) -> Vec<u64> {
        self.spots.keys().copied().collect()
    }

    pub(super) fn len(&self) -> u64 {
        self.spots.len() as u64
    }

    /// Bytes of the records that are left.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.values().map(|known| known.bytes).sum()
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Entries that are nearly alone in their segments, when these leave: they are better off in the tables.
    pub(super) fn stragglers(&self, leaving: &BTreeSet<u64>) -> Vec<u64> {
        let written = self.written();
        let ended = self.segments.iter().filter(|(number, _)| Some(**number) != written);
        let thin = ended.filter(|(_, known)| {
            known.bytes > 0 && (known.bytes <= known.end / THIN || known.bytes <= self.place.length / SMALL)
        });
        let numbers = thin.filter_map(|(number, known)| Some((number, known.numbers?)));
        let spots = numbers.flat_map(|(number, (first, last))| {
            self.spots.range(first..=last).filter(move |(_, spot)| spot.segment == *number)
        });
        let mut moved = 0;
        spots
            .filter(|(sequence, _)| !leaving.contains(sequence))
            .take_while(|(_, spot)| {
                let before = moved;
                moved += u64::from(spot.length);
                before < MAX_MOVED
            })
            .map(|(sequence, _)| *sequence)
            .collect()
    }

    fn written(&self) -> Option<u64> {
        self.writing.as_ref().map(|writing| writing.segment.number)
    }

    /// What the tables should say of segments when these entries have left, as far as they say something else.
    pub(super) fn notes(&self, leaving: &BTreeSet<u64>) -> Vec<(u64, Note)> {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        for spot in leaving.iter().filter_map(|sequence| self.spots.get(sequence)) {
            *counts.entry(spot.segment).or_default() += 1;
        }
        let written = self.written();
        let wanted = self.segments.iter().map(|(number, known)| {
            let ended = Some(*number) != written;
            let empty = known.left == counts.get(number).copied().unwrap_or(0);
            (*number, if ended && empty { EMPTY } else { (known.end, ended) }, known.noted)
        });
        wanted
            .filter(|(_, note, noted)| Some(*note) != *noted)
            .map(|(number, note, _)| (number, note))
            .collect()
    }

    /// The tables say so now: entries have left, and segments end. Removes files, and returns the numbers of the entries
    /// that were in them, from the first to the last.
    pub(super) fn noted(
        &mut self,
        left: &BTreeSet<u64>,
        notes: Vec<(u64, Note)>,
    ) -> io::Result<Vec<(u64, u64)>> {
        for sequence in left {
            let spot = self.spots.remove(sequence);
            self.leave(spot);
        }
        let mut removed = Vec::new();
        for (number, note) in notes {
            if note != EMPTY {
                if let Some(known) = self.segments.get_mut(&number) {
                    known.noted = Some(note);
                }
                continue;
            }
            self.reading.take_if(|(reading, _)| *reading == number);
            self.place.remove_segment(number)?;
            removed.extend(self.segments.remove(&number).and_then(|known| known.numbers));
        }
        if !removed.is_empty() {
            self.place.sync()?;
        }
        Ok(removed)
    }
}

fn read(file: &Storage) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read(0, &mut bytes)?;
    Ok(bytes)
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}

/// Bytes of each write to a log that nobody changes at present, in their order.
pub(super) fn batches(place: &Place) -> io::Result<Vec<u64>> {
    let mut sizes = Vec::new();
    for number in place.segments()? {
        let bytes = read(&place.open_segment(number)?)?;
        let Some(segment) = Segment::decode(number, &bytes) else { continue };
        let contents = frame::scan(&segment, &bytes, Reached::AtLeast(START as u64));
        let begins: BTreeSet<u64> = contents.frames.iter().map(|frame| frame.batch).collect();
        let ends = begins.iter().skip(1).copied().chain([contents.end]);
        sizes.extend(begins.iter().zip(ends).map(|(begin, end)| end - begin));
    }
    Ok(sizes)
}
