//! How long does it take to open a write-ahead log with a million small entries, and how much memory does each take?
//!
//! `cargo bench --bench wal_open`. Needs half a gigabyte of the disk that holds the target directory.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, Method};
use portcullis::config::DiskStore;
use portcullis::time::UnixTime;
use portcullis::wal::disk::Disk;
use portcullis::wal::{Entry, EntryId, Wal as _};

/// The gateway's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ENTRIES: u32 = 1_000_000;
const AT_ONCE: u32 = 4_000;
/// Bytes of a page of memory, in the units of `/proc/self/statm`.
const PAGE: f64 = 4096.0;
/// With this argument and a directory, it opens the log there.
const OPEN: &str = "--open";

fn entry(number: u32) -> Entry {
    Entry {
        id: EntryId::of_delivery("/hooks", &number.to_string()),
        location: "/hooks".to_owned(),
        ordered: false,
        method: Method::POST,
        path: "/engine-rest/message".to_owned(),
        query: None,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"{}"),
        sender: None,
        received: UnixTime(1_700_000_000),
    }
}

/// Bytes of memory of this process.
fn memory() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: Option<f64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    pages.unwrap_or(f64::NAN) * PAGE
}

fn main() {
    // The second process, whose memory has not held anything else.
    if let Some(directory) = std::env::args_os().skip_while(|argument| argument != OPEN).nth(1) {
        return open(PathBuf::from(directory));
    }
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("it can be written");
    let store = DiskStore { directory: directory.path().join("wal"), max_size: u64::MAX };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    let begun = Instant::now();
    let log = Disk::open(&store).expect("the log opens");
    runtime.block_on(async {
        for first in (0..ENTRIES).step_by(usize::try_from(AT_ONCE).unwrap_or(1)) {
            let recorded = (first..first + AT_ONCE).map(|number| log.record(entry(number)));
            assert!(join_all(recorded).await.iter().all(Result::is_ok), "the disk works");
        }
    });
    println!("wal_open: {ENTRIES} entries recorded in {:.1} s", begun.elapsed().as_secs_f64());
    drop(log);
    let program = std::env::current_exe().expect("it has a name");
    let status = Command::new(program).arg(OPEN).arg(&store.directory).status().expect("it runs again");
    assert!(status.success(), "the log opens");
}

fn open(directory: PathBuf) {
    let store = DiskStore { directory, max_size: u64::MAX };
    let (before, begun) = (memory(), Instant::now());
    let log = Disk::open(&store).expect("the log opens");
    let (took, after) = (begun.elapsed().as_secs_f64(), memory());
    let waiting = log.stats().map_or(0, |stats| stats.waiting);
    println!(
        "wal_open: {waiting} entries opened in {took:.1} s, with {:.0} bytes of memory for each",
        (after - before) / f64::from(ENTRIES)
    );
}
