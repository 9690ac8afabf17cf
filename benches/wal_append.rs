//! How much of what the disk gives does the write-ahead log take? `log/N`: N senders at a time, each of which waits
//! until its entry of 1 KiB is durable. `plain/N`: the same bytes in batches of N, each one write and one fdatasync to a
//! plain file. The log is good when `log/64` reaches at least 60 % of the entries per second of `plain/64`.
//!
//! `cargo bench --bench wal_append`. Measures the disk that holds the target directory.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use http::{HeaderMap, HeaderValue, Method, header};
use portcullis::config::DiskStore;
use portcullis::time::UnixTime;
use portcullis::wal::disk::Disk;
use portcullis::wal::{Entry, EntryId, Recorded, Wal as _};
use tokio::runtime::Runtime;

/// The gateway's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BODY: usize = 1024;
const WRITERS: [u64; 3] = [1, 8, 64];

fn entry(body: &Bytes) -> Entry {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Entry {
        id: EntryId::random().expect("there are random numbers"),
        location: "/hooks/github".to_owned(),
        ordered: false,
        method: Method::POST,
        path: "/engine-rest/message".to_owned(),
        query: None,
        headers,
        body: body.clone(),
        sender: None,
        received: UnixTime(1_700_000_000),
    }
}

fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target directory can be written")
}

/// Records at least so many entries in a new log, and tells how long all of them took.
fn log(runtime: &Runtime, writers: u64, entries: u64) -> Duration {
    let directory = directory();
    let store = DiskStore { directory: directory.path().join("wal"), max_size: u64::MAX };
    let log = Arc::new(Disk::open(&store).expect("the log opens"));
    let body = Bytes::from(vec![b'x'; BODY]);
    let begun = Instant::now();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..writers)
            .map(|_| {
                let (log, body) = (Arc::clone(&log), body.clone());
                tokio::spawn(async move {
                    for _ in 0..entries.div_ceil(writers) {
                        let recorded = log.record(entry(&body)).await.expect("the disk works");
                        assert_eq!(recorded, Recorded::New);
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no writer panics");
        }
    });
    begun.elapsed()
}

/// Writes the bytes of as many entries to a plain file.
fn plain(directory: &Path, batch: u64, entries: u64) -> Duration {
    let one = entry(&Bytes::from(vec![b'x'; BODY])).encode();
    let bytes = one.repeat(usize::try_from(batch).expect("a batch fits into memory"));
    let mut file = File::create(directory.join("plain")).expect("the target directory can be written");
    let begun = Instant::now();
    for _ in 0..entries.div_ceil(batch) {
        file.write_all(&bytes).expect("the disk works");
        file.sync_data().expect("the disk works");
    }
    begun.elapsed()
}

fn append(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("wal_append");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for writers in WRITERS {
        group.bench_function(BenchmarkId::new("log", writers), |bencher| {
            bencher.iter_custom(|entries| log(&runtime, writers, entries));
        });
        let directory = directory();
        group.bench_function(BenchmarkId::new("plain", writers), |bencher| {
            bencher.iter_custom(|entries| plain(directory.path(), writers, entries));
        });
    }
    group.finish();
}

criterion_group!(benches, append);
criterion_main!(benches);
