//! The log on disk: what it promises beyond the contract of all logs.

mod damage;
pub(super) mod faults;
mod model;

use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::wal::contract::{self, Promises, entry};

/// A clock that stands until it is moved.
#[derive(Clone)]
struct Hands(Arc<AtomicU64>);

impl Hands {
    fn at(seconds: u64) -> Self {
        Self(Arc::new(AtomicU64::new(seconds)))
    }

    fn clock(&self) -> Clock {
        let hands = self.clone();
        Arc::new(move || hands.now())
    }

    fn now(&self) -> UnixTime {
        UnixTime(self.0.load(Ordering::SeqCst))
    }

    fn turn(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

const NOW: u64 = 1_700_000_000;
const DAY: u64 = 24 * 60 * 60;

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// With small segments, so that there are several.
fn place(directory: &TempDir) -> Place {
    Place { length: 2048, ..Place::new(&directory.path().join("wal")) }
}

fn open(directory: &TempDir, hands: &Hands) -> Disk {
    Disk::start(place(directory), 1 << 30, hands.clock()).unwrap()
}

fn refused(result: Result<Disk, OpenError>) -> OpenError {
    match result {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

/// The figures, as they are when all that was asked before is done.
async fn stats(log: &Disk) -> Stats {
    let (reply, answer) = oneshot::channel();
    let question = move |keeper: &mut Keeper| {
        let _ = reply.send(keeper.state.stats(0));
    };
    log.send(Command::Ask(Box::new(question))).unwrap();
    answer.await.unwrap()
}

#[tokio::test]
async fn it_keeps_the_contract() {
    let directories = Mutex::new(Vec::new());
    contract::holds(Promises::all(), async || {
        let directory = directory();
        let log = open(&directory, &Hands::at(NOW));
        directories.lock().unwrap().push(directory);
        log
    })
    .await;
}

#[tokio::test]
async fn all_is_there_after_it_was_closed() {
    let (directory, hands) = (directory(), Hands::at(NOW));
    let log = open(&directory, &hands);
    for number in 0..4 {
        log.record(entry(number, "/a", false)).await.unwrap();
    }
    let taken = log.take(3).await.unwrap();
    log.settle(&taken[0]).await.unwrap();
    log.bury(&taken[1], "no").await.unwrap();
    log.postpone(&taken[2], UnixTime(NOW + 10)).await.unwrap();
    let before = stats(&log).await;
    assert_eq!((before.waiting, before.dead, before.out), (2, 1, 0));
    drop(log);

    let log = open(&directory, &hands);
    assert_eq!(stats(&log).await, before);
    let again = log.take(9).await.unwrap();
    assert_eq!(again.iter().map(|it| it.entry.path.as_str()).collect::<Vec<_>>(), ["/path/3"]);
    hands.turn(10);
    let later = log.take(9).await.unwrap();
    assert_eq!(
        later.iter().map(|it| (it.entry.path.as_str(), it.attempt)).collect::<Vec<_>>(),
        [("/path/2", 2)]
    );
    for number in 0..4 {
        assert_eq!(log.record(entry(number, "/a", false)).await, Ok(Recorded::Duplicate), "{number}");
    }
}

#[tokio::test]
async fn what_is_out_when_it_is_closed_comes_again() {
    let (directory, hands) = (directory(), Hands::at(NOW));
    let log = open(&directory, &hands);
    log.record(entry(1, "/a", true)).await.unwrap();
    log.record(entry(2, "/a", true)).await.unwrap();
    assert_eq!(log.take(9).await.unwrap().len(), 1);
    drop(log);
    let log = open(&directory, &hands);
    let taken = log.take(9).await.unwrap();
    assert_eq!((taken.len(), taken[0].entry.path.as_str()), (1, "/path/1"));
}

#[tokio::test]
async fn an_id_is_known_for_a_day_after_its_entry_left() {
    let (directory, hands) = (directory(), Hands::at(NOW));
    let log = open(&directory, &hands);
    for number in 0..3 {
        log.record(entry(number, "/a", false)).await.unwrap();
    }
    let taken = log.take(2).await.unwrap();
    log.settle(&taken[0]).await.unwrap();
    stats(&log).await;
    hands.turn(DAY - 1);
    assert_eq!(log.record(entry(0, "/a", false)).await, Ok(Recorded::Duplicate));
    log.settle(&taken[1]).await.unwrap();
    drop(log);

    let log = open(&directory, &hands);
    hands.turn(1);
    // Pruned with the next commit.
    log.record(entry(3, "/a", false)).await.unwrap();
    assert_eq!(log.record(entry(0, "/a", false)).await, Ok(Recorded::New), "it is forgotten");
    assert_eq!(log.record(entry(1, "/a", false)).await, Ok(Recorded::Duplicate), "it left a second ago");
    assert_eq!(log.record(entry(2, "/a", false)).await, Ok(Recorded::Duplicate), "it waits");
    drop(log);
    let log = open(&directory, &hands);
    assert_eq!(log.record(entry(0, "/a", false)).await, Ok(Recorded::Duplicate), "it waits again");
}

#[tokio::test]
async fn a_full_log_says_so_and_takes_more_when_there_is_room() {
    let directory = directory();
    let log = Disk::start(place(&directory), 2000, Hands::at(NOW).clock()).unwrap();
    let mut kept = 0_u32;
    let error = loop {
        match log.record(entry(kept, "/a", false)).await {
            Ok(recorded) => assert_eq!(recorded, Recorded::New),
            Err(error) => break error,
        }
        kept += 1;
    };
    assert!(kept >= 4, "{kept}");
    let WalError::Full { used, limit: 2000 } = error else { panic!("{error}") };
    assert_eq!(stats(&log).await.bytes, used);
    assert!(used <= 2000 && used > 1500, "{used}");
    // Dead letters take room, too.
    let taken = log.take(2).await.unwrap();
    log.bury(&taken[0], "no").await.unwrap();
    assert!(matches!(log.record(entry(kept, "/a", false)).await, Err(WalError::Full { .. })));
    log.settle(&taken[1]).await.unwrap();
    assert_eq!(log.record(entry(kept, "/a", false)).await, Ok(Recorded::New));
}

#[tokio::test]
async fn an_entry_that_is_too_large_is_refused() {
    let directory = directory();
    let log = open(&directory, &Hands::at(NOW));
    let body = Bytes::from(vec![0; usize::try_from(MAX_ENTRY).unwrap()]);
    let refused = log.record(Entry { body, ..entry(1, "/a", false) }).await;
    assert!(matches!(refused, Err(WalError::TooLarge { limit: MAX_ENTRY, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_second_gateway_is_told_who_has_the_directory() {
    let (directory, hands) = (directory(), Hands::at(NOW));
    let log = open(&directory, &hands);
    let error = refused(Disk::start(place(&directory), 1 << 30, hands.clock())).to_string();
    assert!(
        error.contains("another portcullis") && error.contains(directory.path().to_str().unwrap()),
        "{error}"
    );
    drop(log);
    open(&directory, &hands);
}

#[tokio::test]
async fn only_its_user_can_read_it() {
    let directory = directory();
    let _log = open(&directory, &Hands::at(NOW));
    let place = place(&directory);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&place.directory), mode(&place.file())), (0o700, 0o600));
}

#[tokio::test]
async fn a_file_of_another_version_is_refused() {
    let directory = directory();
    place(&directory).make().unwrap();
    Store::open(&place(&directory)).unwrap().set_version(7);
    let error = refused(Disk::start(place(&directory), 1 << 30, Hands::at(NOW).clock())).to_string();
    assert!(error.contains("format 7"), "{error}");
}

#[tokio::test]
async fn little_is_read_into_memory_at_once() {
    let directory = directory();
    let log = open(&directory, &Hands::at(NOW));
    for number in 0..3 {
        let body = Bytes::from(vec![b'x'; 30 * 1024 * 1024]);
        log.record(Entry { body, ..entry(number, "/a", false) }).await.unwrap();
    }
    assert_eq!(log.take(9).await.unwrap().len(), 2, "64 MiB at most");
    assert_eq!(log.take(9).await.unwrap().len(), 1);
}

#[tokio::test]
async fn who_waits_gets_what_becomes_due() {
    let directory = directory();
    let log = Disk::start(place(&directory), 1 << 30, Arc::new(UnixTime::now)).unwrap();
    log.record(entry(1, "/a", false)).await.unwrap();
    let taken = log.take(1).await.unwrap();
    let until = UnixTime::now().plus(Duration::from_secs(2));
    log.postpone(&taken[0], until).await.unwrap();
    let again = log.take(1).await.unwrap();
    assert_eq!(again[0].attempt, 2);
    assert!(UnixTime::now() >= until);
}
