//! Files that were cut or changed: nothing that is wrong is ever handed out, and what is wrong is said.

use proptest::prelude::*;
use std::collections::BTreeMap;
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

/// The files of a log, by name.
type Files = BTreeMap<String, Vec<u8>>;

fn place_of(directory: &TempDir) -> Place {
    Place { length: 16 * 1024, ..place(directory) }
}

/// The files of a log that was closed, or that its process left behind.
fn files(closed: bool) -> Files {
    let (directory, hands) = (directory(), Hands::at(NOW));
    let read = || -> Files {
        let files = fs::read_dir(place_of(&directory).directory).unwrap().map(|file| file.unwrap());
        files.map(|it| (it.file_name().into_string().unwrap(), fs::read(it.path()).unwrap())).collect()
    };
    runtime().block_on(async {
        let log = Disk::start(place_of(&directory), 1 << 30, hands.clock()).unwrap();
        for number in 0..ENTRIES {
            log.record(bytes_of(number)).await.unwrap();
        }
        if closed {
            drop(log);
            return read();
        }
        read()
    })
}

/// The byte with this number, if all files were one.
fn byte(files: &mut Files, index: prop::sample::Index) -> &mut u8 {
    let mut at = index.index(files.values().map(Vec::len).sum());
    for bytes in files.values_mut() {
        if at < bytes.len() {
            return &mut bytes[at];
        }
        at -= bytes.len();
    }
    unreachable!("there are as many bytes");
}

/// Opens such files. Tells how many entries there are, each of which is as it was recorded, or why it does not open.
fn judge(files: &Files) -> Result<u64, String> {
    let directory = directory();
    place(&directory).make().unwrap();
    for (name, bytes) in files {
        fs::write(place(&directory).directory.join(name), bytes).unwrap();
    }
    let log = Disk::start(place_of(&directory), 1 << 30, Hands::at(NOW).clock())
        .map_err(|error| error.to_string())?;
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
        assert_eq!(judge(&files(closed)), Ok(u64::from(ENTRIES)), "closed: {closed}");
    }
}

#[test]
fn a_changed_entry_is_named() {
    let mut changed = files(true);
    let needle = b"5/200\n5/201\n";
    let mut places = 0;
    for bytes in changed.values_mut() {
        let copies = bytes.windows(needle.len()).enumerate().filter(|(_, window)| window == needle);
        for at in copies.map(|(at, _)| at).collect::<Vec<usize>>() {
            bytes[at] ^= 1;
            places += 1;
        }
    }
    assert!(places > 0);
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
        for name in ["wal.redb", "entries-0000000001"] {
            let files = [(name.to_owned(), garbage.clone())].into();
            says_what_is_wrong(&judge(&files).unwrap_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases / 4))]

    #[test]
    fn a_cut_file_opens_with_whole_entries_or_says_what_is_wrong(
        which: prop::sample::Index,
        share in 0.0..1.0_f64,
        closed: bool,
    ) {
        let mut files = files(closed);
        let name = which.get(&files.keys().cloned().collect::<Vec<_>>()).clone();
        let whole = files.get_mut(&name).unwrap();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of the file")]
        let cut = (whole.len() as f64 * share) as usize;
        if cut > 0 {
            whole.truncate(cut);
            match judge(&files) {
                Ok(count) => prop_assert_eq!(count, u64::from(ENTRIES)),
                Err(message) => says_what_is_wrong(&message),
            }
        }
    }

    #[test]
    fn a_missing_file_is_missed(which: prop::sample::Index) {
        let mut files = files(true);
        let name = which.get(&files.keys().cloned().collect::<Vec<_>>()).clone();
        files.remove(&name);
        says_what_is_wrong(&judge(&files).unwrap_err());
    }

    #[test]
    fn changed_bytes_lose_nothing_silently(
        places in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
    ) {
        let mut files = files(true);
        for (place, change) in &places {
            *byte(&mut files, *place) ^= change;
        }
        match judge(&files) {
            Ok(count) => prop_assert_eq!(count, u64::from(ENTRIES)),
            Err(message) => says_what_is_wrong(&message),
        }
    }

    #[test]
    fn changed_bytes_of_files_in_use_never_change_an_entry(place: prop::sample::Index, change in 1..=255_u8) {
        let mut files = files(false);
        *byte(&mut files, place) ^= change;
        match judge(&files) {
            // What was written last may be missing: a write that the machine did not finish looks the same.
            Ok(count) => prop_assert!(count == u64::from(ENTRIES) || count == u64::from(ENTRIES) - 1),
            Err(message) => says_what_is_wrong(&message),
        }
    }
}
