use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::wal::disk::record::Record;

const SALT: EntryId = EntryId([7; 16]);
const LENGTH: usize = 4096;

/// A segment with these batches of bodies, and where each frame begins.
fn written(batches: &[Vec<Vec<u8>>]) -> (Segment, Vec<u8>, Vec<Vec<u64>>) {
    let segment = Segment { number: 3, length: LENGTH as u64, salt: SALT };
    let (mut bytes, mut places, mut sequence) = (segment.encode(), Vec::new(), 0);
    for bodies in batches {
        let (batch, mut begins) = (bytes.len() as u64, Vec::new());
        for body in bodies {
            sequence += 1;
            let record = Record::new(sequence, crc32c::crc32c(body), Bytes::from(body.clone()));
            let at = bytes.len() as u64;
            let length = u32::try_from(record.len()).unwrap();
            bytes.extend(Head { length, sequence, batch }.encode(&segment, at));
            record.write(&mut bytes);
            begins.push(at);
        }
        places.push(begins);
    }
    (segment, bytes, places)
}

fn numbers(contents: &Contents) -> Vec<(u64, bool)> {
    contents.frames.iter().map(|frame| (frame.sequence, frame.whole)).collect()
}

fn three() -> Vec<Vec<Vec<u8>>> {
    vec![
        vec![b"one".to_vec(), b"two".to_vec()],
        vec![b"three".to_vec()],
        vec![b"four".to_vec(), b"five".to_vec()],
    ]
}

const ALL: [(u64, bool); 5] = [(1, true), (2, true), (3, true), (4, true), (5, true)];

#[test]
fn a_segment_says_what_it_is() {
    let (segment, bytes, _) = written(&[]);
    assert_eq!(bytes.len(), START);
    assert_eq!(Segment::decode(3, &bytes), Some(segment));
    assert_eq!(Segment::decode(4, &bytes), None, "another file's");
    for at in 0..START {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert_eq!(Segment::decode(3, &changed), None, "byte {at}");
    }
}

#[test]
fn all_is_found() {
    let (segment, mut bytes, _) = written(&three());
    let end = bytes.len() as u64;
    for reached in [Reached::Exactly(end), Reached::AtLeast(START as u64), Reached::AtLeast(end)] {
        let contents = scan(&segment, &bytes, reached);
        assert_eq!((numbers(&contents), contents.end), (ALL.to_vec(), end));
        bytes.resize(LENGTH, 0);
    }
}

#[test]
fn the_last_batch_may_be_missing_and_no_other() {
    let (segment, mut bytes, places) = written(&three());
    bytes.resize(LENGTH, 0);
    let end = places[2][1] + (HEAD + record::CHECK) as u64 + 4;
    for at in START..usize::try_from(end).unwrap() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        let found = scan(&segment, &changed, Reached::AtLeast(START as u64));
        let last = at as u64 >= places[2][0];
        assert_eq!(found.frames.iter().all(|frame| frame.whole), last, "byte {at}");
        if !last {
            assert_eq!(found.frames.len(), 5, "byte {at}");
        }
        // When it is known where the end is, nothing may be missing.
        let found = scan(&segment, &changed, Reached::Exactly(end));
        assert_eq!(numbers(&found).iter().filter(|(_, whole)| !whole).count(), 1, "byte {at}");
        assert_eq!(found.end, end);
    }
}

#[test]
fn a_body_cannot_pretend_to_be_frames() {
    let other = Segment { salt: EntryId([8; 16]), number: 3, length: LENGTH as u64 };
    let at = (START + HEAD + record::CHECK) as u64;
    let forged = Record::new(9, crc32c::crc32c(b"forged"), Bytes::from_static(b"forged"));
    let mut body = Head { length: 10, sequence: 9, batch: at }.encode(&other, at).to_vec();
    forged.write(&mut body);
    let (segment, mut bytes, _) = written(&[vec![body], vec![b"two".to_vec()]]);
    bytes[START] ^= 1;
    let found = scan(&segment, &bytes, Reached::AtLeast(START as u64));
    assert_eq!(numbers(&found), [(1, false), (2, true)]);
}

proptest! {
    #[test]
    fn any_bytes_are_read(bytes in proptest::collection::vec(any::<u8>(), 0..300), at_least in 0..400_u64) {
        let (segment, mut whole, _) = written(&three());
        whole.extend(bytes);
        for reached in [Reached::AtLeast(START as u64), Reached::AtLeast(at_least), Reached::Exactly(at_least)] {
            let contents = scan(&segment, &whole, reached);
            let ends = contents.frames.iter().map(|frame| frame.end);
            prop_assert!(ends.clone().zip(ends.skip(1)).all(|(one, next)| one < next));
        }
    }
}
