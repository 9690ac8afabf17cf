//! How much of what the disk gives does the write-ahead log take? `log/N`: N senders at a time, each of which waits
//! until its entry of 1 KiB is durable. `plain/N`: the same bytes in batches of N, each one write and one fdatasync to a
//! plain file.
//!
//! Since disks are busy with other things, too, the two are compared in turns: one line at the end tells, for 64
//! senders, the entries per second of the log, those of a plain stream of exactly the batches that the log wrote, to
//! files of the same length, and the ratio. All three are medians. The log is good when the ratio is at least 0.6.
//!
//! `cargo bench --bench wal_append`. Measures the disk that holds the target directory.

#![expect(clippy::expect_used, reason = "a benchmark that cannot be set up has nothing to measure")]
#![expect(clippy::print_stdout, reason = "figures are what it is for")]

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
use portcullis::wal::disk::{Disk, batches};
use portcullis::wal::{Entry, EntryId, Recorded, Wal as _};
use tokio::runtime::Runtime;

/// The gateway's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BODY: usize = 1024;
const WRITERS: [u64; 3] = [1, 8, 64];
/// Of the comparison: writers, entries of a round, and rounds.
const SENDERS: u64 = 64;
const ENTRIES: u64 = 12_800;
const ROUNDS: usize = 11;
/// Bytes of a file of the log.
const FILE: u64 = 16 * 1024 * 1024;

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

/// Records at least so many entries in a new log below a directory, and tells how long all of them took.
fn log(runtime: &Runtime, directory: &Path, writers: u64, entries: u64) -> Duration {
    let store = DiskStore { directory: directory.to_owned(), max_size: u64::MAX };
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

/// Writes batches of so many bytes to plain files, as long as the log's.
fn plain(directory: &Path, batches: &[u64]) -> Duration {
    let most = batches.iter().max().copied().unwrap_or(0);
    let bytes = vec![b'x'; usize::try_from(most).expect("a batch fits into memory")];
    let (mut files, mut room, mut file) = (0, 0, None);
    let begun = Instant::now();
    for size in batches {
        if room < *size {
            let name = directory.join(format!("plain-{files}"));
            let next = File::create(name).expect("the target directory can be written");
            next.set_len(FILE).expect("the disk works");
            (files, room, file) = (files + 1, FILE, Some(next));
        }
        let (Some(file), Ok(length)) = (&mut file, usize::try_from(*size)) else { continue };
        file.write_all(bytes.get(..length).unwrap_or_default()).expect("the disk works");
        file.sync_data().expect("the disk works");
        room -= size;
    }
    begun.elapsed()
}

/// Compares the log with a plain stream, in turns.
fn compare(_: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let (mut logs, mut plains, mut ratios, mut sizes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let directory = directory();
        let place = directory.path().join("wal");
        let of_log = log(&runtime, &place, SENDERS, ENTRIES).as_secs_f64();
        let batches = batches(&place).expect("the log can be read");
        let of_plain = plain(directory.path(), &batches).as_secs_f64();
        let entries = f64::from(u32::try_from(ENTRIES).expect("a small number"));
        logs.push(entries / of_log);
        plains.push(entries / of_plain);
        ratios.push(of_plain / of_log);
        sizes.push(entries / f64::from(u32::try_from(batches.len()).expect("a small number")));
    }
    println!(
        "wal_append: {SENDERS} writers: log {:.0} entries/s, plain {:.0} entries/s, ratio {:.2} \
         (rounds {ROUNDS}, {:.0} entries per batch)",
        median(&mut logs),
        median(&mut plains),
        median(&mut ratios),
        median(&mut sizes),
    );
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn append(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("wal_append");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    for writers in WRITERS {
        group.bench_function(BenchmarkId::new("log", writers), |bencher| {
            bencher.iter_custom(|entries| {
                let directory = directory();
                log(&runtime, &directory.path().join("wal"), writers, entries)
            });
        });
        let one = entry(&Bytes::from(vec![b'x'; BODY])).encode().len() as u64;
        group.bench_function(BenchmarkId::new("plain", writers), |bencher| {
            bencher.iter_custom(|entries| {
                let batches = usize::try_from(entries.div_ceil(writers)).expect("a small number");
                plain(directory().path(), &vec![writers * one; batches])
            });
        });
    }
    group.finish();
}

criterion_group!(benches, compare, append);
criterion_main!(benches);
