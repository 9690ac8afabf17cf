//! Files that were cut or changed: nothing that is wrong is ever handed out, and what is wrong is said.

use proptest::prelude::*;
use std::fs;

use super::*;

const ENTRIES: u32 = 12;

fn bytes_of(number: u32) -> Entry {
    let body: String = (0..300).map(|line| format!("{number}/{line}\n")).collect();
    Entry { body: body.into(), ..entry(number, "/a", false) }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The file of a log that was closed, or that its process left behind.
fn file(closed: bool) -> Vec<u8> {
    let (directory, hands) = (directory(), Hands::at(NOW));
    runtime().block_on(async {
        let log = open(&directory, &hands);
        for number in 0..ENTRIES {
            log.record(bytes_of(number)).await.unwrap();
        }
        if closed {
            drop(log);
            return fs::read(place(&directory).file()).unwrap();
        }
        fs::read(place(&directory).file()).unwrap()
    })
}

/// Opens such a file. Tells how many entries it has, each of which is as it was recorded, or why it does not open.
fn judge(bytes: &[u8]) -> Result<u64, String> {
    let directory = directory();
    place(&directory).make().unwrap();
    fs::write(place(&directory).file(), bytes).unwrap();
    let log =
        Disk::start(place(&directory), 1 << 30, Hands::at(NOW).clock()).map_err(|error| error.to_string())?;
    runtime().block_on(async {
        let count = stats(&log).await.waiting;
        let mut taken = 0;
        while taken < count {
            for delivery in log.take(100).await.map_err(|error| error.to_string())? {
                let number: u32 = delivery.entry.path.trim_start_matches("/path/").parse().unwrap();
                assert_eq!(delivery.entry, bytes_of(number), "an entry was changed");
                taken += 1;
            }
        }
        Ok(count)
    })
}

fn says_what_is_wrong(message: &str) {
    let says = ["damaged", "cannot be opened"].iter().any(|word| message.contains(word));
    assert!(says && message.contains("the write-ahead log in /"), "{message}");
}

#[test]
fn an_undamaged_file_opens() {
    for closed in [true, false] {
        assert_eq!(judge(&file(closed)), Ok(u64::from(ENTRIES)), "closed: {closed}");
    }
}

#[test]
fn a_changed_entry_is_named() {
    let file = file(true);
    let needle = b"5/200\n5/201\n";
    let copies = file.windows(needle.len()).enumerate().filter(|(_, window)| window == needle);
    let places: Vec<usize> = copies.map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    let mut changed = file;
    for at in places {
        changed[at] ^= 1;
    }
    let message = judge(&changed).unwrap_err();
    assert!(message.contains("entry #6"), "{message}");
    assert!(message.contains(&bytes_of(5).id.to_string()), "{message}");
    assert!(message.contains("do not match its check sum"), "{message}");
    assert!(message.contains("portcullis wal drop"), "{message}");
}

#[test]
fn an_entry_that_changes_while_the_log_is_open_is_named_when_it_is_taken() {
    let directory = directory();
    let mut other = bytes_of(2);
    other.body = Bytes::from(vec![b'z'; 100]);
    runtime().block_on(async {
        let log = open(&directory, &Hands::at(NOW));
        log.record(bytes_of(1)).await.unwrap();
        let (reply, answer) = oneshot::channel();
        let swap = move |keeper: &mut Keeper| {
            let record = record::Record::new(1, 0, other.encode().into());
            drop(reply.send(keeper.commit(&[record])));
        };
        log.send(Command::Ask(Box::new(swap))).unwrap();
        answer.await.unwrap().unwrap();
        for _ in 0..2 {
            let message = log.take(1).await.unwrap_err().to_string();
            assert!(message.contains("entry #1") && message.contains("portcullis wal drop"), "{message}");
        }
        assert_eq!(stats(&log).await.out, 0);
    });
}

#[test]
fn garbage_is_no_log() {
    for garbage in [b"garbage".to_vec(), vec![0; 5000], vec![0xff; 100_000]] {
        says_what_is_wrong(&judge(&garbage).unwrap_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    #[test]
    fn a_cut_file_opens_with_whole_entries_or_says_what_is_wrong(share in 0.0..1.0_f64, closed: bool) {
        let whole = file(closed);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the file")]
        let cut = (whole.len() as f64 * share) as usize;
        if cut > 0 {
            match judge(&whole[..cut]) {
                Ok(count) => prop_assert_eq!(count, u64::from(ENTRIES)),
                Err(message) => says_what_is_wrong(&message),
            }
        }
    }

    #[test]
    fn changed_bytes_lose_nothing_silently(
        places in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
    ) {
        let mut bytes = file(true);
        for (place, change) in &places {
            let at = place.index(bytes.len());
            bytes[at] ^= change;
        }
        match judge(&bytes) {
            Ok(count) => prop_assert_eq!(count, u64::from(ENTRIES)),
            Err(message) => says_what_is_wrong(&message),
        }
    }

    #[test]
    fn changed_bytes_of_a_file_in_use_never_change_an_entry(place: prop::sample::Index, change in 1..=255_u8) {
        let mut bytes = file(false);
        let at = place.index(bytes.len());
        bytes[at] ^= change;
        match judge(&bytes) {
            // What was written last may be missing: a write that the machine did not finish looks the same.
            Ok(count) => prop_assert!(count == u64::from(ENTRIES) || count == u64::from(ENTRIES) - 1),
            Err(message) => says_what_is_wrong(&message),
        }
    }
}
