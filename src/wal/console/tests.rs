//! The commands, to a log that a gateway holds and to one that nobody holds: both say the same.

use std::io::Cursor;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::config::DiskStore;
use crate::time::UnixTime;
use crate::wal::Wal as _;
use crate::wal::contract::entry;
use crate::wal::disk::Disk;

const SECRET: &str = "nobody's business";

fn open(directory: &TempDir) -> Disk {
    Disk::open(&DiskStore { directory: directory.path().to_owned(), max_size: 1 << 30 }).unwrap()
}

/// A log with an entry that waits, a dead letter, one that is tried later, and one of bytes that are no text.
async fn filled() -> (TempDir, Disk) {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory);
    for number in 0..4 {
        let body = if number == 3 {
            Bytes::from_static(b"\x1b[2J\xff")
        } else {
            Bytes::from_static(SECRET.as_bytes())
        };
        let mut entry = Entry { body, ..entry(number, "/a", false) };
        entry.headers.append("x-kind", http::HeaderValue::from_static("test"));
        log.record(entry).await.unwrap();
    }
    let taken = log.take(3).await.unwrap();
    log.bury(&taken[1], "said 410\x1b[31m").await.unwrap();
    log.postpone(&taken[2], UnixTime(4_000_000_000)).await.unwrap();
    log.postpone(&taken[0], UnixTime::default()).await.unwrap();
    (directory, log)
}

fn id(number: u32) -> String {
    entry(number, "/a", false).id.to_string()
}

struct Said {
    out: Vec<u8>,
    error: String,
    result: Result<(), Failure>,
}

impl Said {
    fn text(&self) -> String {
        if let Err(failure) = &self.result {
            panic!("{failure}");
        }
        String::from_utf8(self.out.clone()).unwrap()
    }

    fn failure(&self) -> (u8, String) {
        let failure = self.result.as_ref().unwrap_err();
        (failure.exit_code(), failure.to_string())
    }
}

fn say(directory: &Path, command: &Command, answer: Option<&str>) -> Said {
    let (mut out, mut error) = (Vec::new(), Vec::new());
    let mut input = Cursor::new(answer.unwrap_or_default().to_owned());
    let interactive = answer.is_some();
    let mut terminal = Terminal { out: &mut out, error: &mut error, input: &mut input, interactive };
    let result = run(directory, command, &mut terminal);
    Said { out, error: String::from_utf8(error).unwrap(), result }
}

fn list(directory: &Path, which: Which, json: bool) -> String {
    say(directory, &Command::List { which, json }, None).text()
}

fn ids(ids: &[&str]) -> Chosen {
    Chosen::Ids(ids.iter().map(|&id| id.to_owned()).collect())
}

/// Does it twice: while a gateway holds the log, and when nobody does.
async fn both_ways(check: impl Fn(&Path)) {
    let (directory, log) = filled().await;
    check(directory.path());
    drop(log);
    assert!(!directory.path().join("control.sock").exists());
    let (other, log) = filled().await;
    drop(log);
    check(other.path());
}

#[tokio::test]
async fn a_list_has_what_is_there_and_no_bodies() {
    both_ways(|directory| {
        let all = list(directory, Which::All, false);
        assert_eq!(all.lines().count(), 5, "{all}");
        assert!(
            all.starts_with("ID  ") && all.contains("POST /path/2") && all.contains("2096-10-02T07:06:40Z"),
            "{all}"
        );
        assert!(all.contains(&id(1)[..12]) && all.contains("(dead: said 410\u{fffd}[31m)"), "{all}");
        assert!(!all.contains(SECRET) && !all.contains('\x1b'), "{all}");
        let dead = list(directory, Which::Dead, true);
        let line: Line = serde_json::from_str(&dead).unwrap();
        assert_eq!((line.id, line.attempts, line.location.as_str()), (Some(id(1)), 1, "/a"));
        assert!(matches!(line.standing, Standing::Dead { reason, .. } if reason.starts_with("said 410")));
        assert!(!dead.contains(SECRET));
        let waiting = list(directory, Which::Waiting, true);
        assert_eq!(waiting.lines().count(), 3, "{waiting}");
    })
    .await;
}

#[tokio::test]
async fn a_long_list_comes_whole() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory);
    let entries = (0..1300).map(|number| log.record(entry(number, "/a", false)));
    futures_util::future::join_all(entries).await;
    let mut numbers = Vec::new();
    for line in list(directory.path(), Which::All, true).lines() {
        numbers.push(serde_json::from_str::<Line>(line).unwrap().number);
    }
    assert_eq!(numbers, (1..=1300).collect::<Vec<u64>>());
}

#[tokio::test]
async fn one_entry_is_shown_with_all_it_has() {
    both_ways(|directory| {
        let show = |id: &str, body| say(directory, &Command::Show { id: id.to_owned(), body }, None);
        let shown = show(&id(1)[..10], false).text();
        for part in [&id(1), "x-kind: test", "POST /path/1", "dead since", SECRET] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
        assert_eq!(show("#4", true).out, b"\x1b[2J\xff");
        let binary = show("#4", false).text();
        assert!(binary.contains("5 bytes that are no text") && !binary.contains('\x1b'), "{binary}");
        assert_eq!(show("#9", false).failure(), (1, "there is no entry #9 in the log".to_owned()));
        let (code, text) = show("not-an-id", false).failure();
        assert!(code == 1 && text.contains("is no id"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn an_id_that_is_not_unique_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let log = open(&directory);
    // Seventeen ids: two of them begin with the same digit.
    let mut first: Vec<char> = Vec::new();
    for number in 0..17 {
        log.record(entry(number, "/a", false)).await.unwrap();
        first.push(id(number).chars().next().unwrap());
    }
    let twice = first.iter().find(|one| first.iter().filter(|other| other == one).count() > 1).unwrap();
    let command = Command::Show { id: twice.to_string(), body: false };
    let (_, text) = say(directory.path(), &command, None).failure();
    assert!(text.contains("more than one id begins with"), "{text}");
    let command = Command::Drop { chosen: ids(&[&id(1), &twice.to_string()]), yes: true };
    assert!(say(directory.path(), &command, None).failure().1.starts_with("nothing was changed"));
    assert_eq!(list(directory.path(), Which::All, true).lines().count(), 17);
}

#[tokio::test]
async fn what_is_replayed_is_due_at_once_with_no_attempt_counted() {
    both_ways(|directory| {
        let replay = |chosen| say(directory, &Command::Replay(chosen), None);
        assert_eq!(replay(ids(&[&id(2)])).text(), "1 entry is due now\n");
        assert_eq!(replay(Chosen::AllDead).text(), "1 entry is due now\n");
        let waiting = list(directory, Which::Waiting, true);
        assert_eq!(waiting.lines().count(), 4, "{waiting}");
        for line in waiting.lines().map(|line| serde_json::from_str::<Line>(line).unwrap()) {
            assert_eq!(line.standing, Standing::Waiting { due: 0 });
            assert_eq!(line.attempts, u32::from(line.number == 1), "{line:?}");
        }
        assert_eq!(list(directory, Which::Dead, true), "");
    })
    .await;
}

#[tokio::test]
async fn a_running_gateway_delivers_what_is_replayed() {
    let (directory, log) = filled().await;
    say(directory.path(), &Command::Replay(Chosen::AllDead), None).text();
    let taken = log.take(9).await.unwrap();
    let paths: Vec<_> = taken.iter().map(|it| (it.entry.path.as_str(), it.attempt)).collect();
    assert_eq!(paths, [("/path/0", 2), ("/path/1", 1), ("/path/3", 1)]);
    // It is somebody's now.
    let said = say(directory.path(), &Command::Drop { chosen: ids(&[&id(0)]), yes: true }, None);
    assert!(said.failure().1.contains("on its way"));
    assert!(list(directory.path(), Which::All, false).contains("under way"));
}

#[tokio::test]
async fn what_is_dropped_is_gone_and_somebody_was_asked() {
    both_ways(|directory| {
        let one = ids(&[&id(0)]);
        let drop = |yes, answer| say(directory, &Command::Drop { chosen: one.clone(), yes }, answer);
        let (code, text) = drop(false, None).failure();
        assert!(code == 2 && text.contains("--yes"), "{text}");
        assert_eq!(drop(false, Some("n\n")).failure().1, "nothing was removed");
        assert_eq!(drop(false, Some("")).failure().1, "nothing was removed");
        assert_eq!(list(directory, Which::All, true).lines().count(), 4);
        let said = drop(false, Some("y\n"));
        assert_eq!(said.text(), "1 entry is removed\n");
        assert!(said.error.contains("Remove 1 entry"), "{}", said.error);
        assert!(drop(true, None).failure().1.contains("there is no entry"));
        let all = Command::Drop { chosen: Chosen::AllDead, yes: true };
        assert_eq!(say(directory, &all, None).text(), "1 entry is removed\n");
        assert_eq!(list(directory, Which::All, true).lines().count(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_directory_without_a_log_says_so_and_gets_none() {
    let directory = tempfile::tempdir().unwrap();
    let command = Command::List { which: Which::All, json: false };
    let (code, text) = say(directory.path(), &command, None).failure();
    assert!(code == 1 && text.contains("there is no write-ahead log in"), "{text}");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn the_socket_is_its_user_s_and_a_stale_one_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("control.sock");
    drop(UnixListener::bind(&socket).unwrap());
    assert!(socket.exists());
    let log = open(&directory);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    log.record(entry(1, "/a", false)).await.unwrap();
    assert_eq!(list(directory.path(), Which::All, true).lines().count(), 1);
    drop(log);
    // One of a gateway that was killed.
    drop(UnixListener::bind(&socket).unwrap());
    assert_eq!(list(directory.path(), Which::All, true).lines().count(), 1);
}

#[tokio::test]
async fn questions_that_are_none_are_answered() {
    let directory = tempfile::tempdir().unwrap();
    let _log = open(&directory);
    for question in ["", "{}", "{\"list\":\"everything\"}", "\u{0}\u{1}", "{\"explode\":1}"] {
        let mut stream =
            std::os::unix::net::UnixStream::connect(directory.path().join("control.sock")).unwrap();
        stream.write_all(format!("{question}\n").as_bytes()).unwrap();
        let mut line = String::new();
        io::BufReader::new(&stream).read_line(&mut line).unwrap();
        assert!(line.starts_with("{\"failed\":"), "{question}: {line}");
    }
    assert_eq!(list(directory.path(), Which::All, true), "");
}
