//! What does it cost to acknowledge a webhook? A slash command of Slack with its adapter, evaluated in the real worker
//! process, and an event of GitHub without one, both of 1 and 64 KiB.
//!
//! `message`: through the gate, from the head to the answer: verify, adapt, record. `verify`, `adapt`, `record`: these
//! alone. Each is recorded twice: `disk`, in the target directory, and `memory`, in `/dev/shm`, where an fsync costs
//! nothing; the difference is the disk's. `process`: one client and the whole gateway, HTTP included, while the upstream
//! takes nothing.
//!
//! Criterion tells the time that passes. The lines `CPU …` tell what a cloud bills: the CPU time of gateway and workers
//! for each message, one after the other, so that no two share a commit.
//!
//! `cargo bench --bench webhook`

#![expect(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a benchmark that cannot be set up has nothing to measure, and what it measures is to be read"
)]

#[path = "webhook/cpu.rs"]
mod cpu;
#[path = "webhook/message.rs"]
mod message;
#[path = "webhook/process.rs"]
mod process;

use std::collections::HashMap;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, criterion_group, criterion_main};
use http::{HeaderMap, Method};
use portcullis::adapt::{AdaptError, Adapters, Limits, Output, Request, WorkerCommand};
use portcullis::config::{self, AdapterSource, Config, DiskStore, Environment, Scheme};
use portcullis::gate::record::Recorder;
use portcullis::gate::request::{Path as RequestPath, RequestView};
use portcullis::gate::{Decision, Gate};
use portcullis::google_api::GoogleApi;
use portcullis::metadata::MetadataServer;
use portcullis::mint::{Mint, TokenMinter};
use portcullis::outbound::Outbound;
use portcullis::playback::Courier;
use portcullis::secret::Secret;
use portcullis::secrets::{SecretManager, Secrets};
use portcullis::time::UnixTime;
use portcullis::wal::disk::Disk;
use portcullis::wal::{Entry, EntryId, Recorded, Wal};
use portcullis::webhook::{Incoming, Verified, verify};
use tokio::runtime::Runtime;

use cpu::Meter;
use message::{Kind, Message, SECRET};

/// As the gateway has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// So many messages are prepared at a time; each is signed anew, because a replay is known and not recorded.
const PREPARED: u64 = 64;
/// Where an fsync costs nothing.
const MEMORY: &str = "/dev/shm";

/// Runs something with fresh messages, and counts only that.
fn each(
    (meter, count): (&mut Meter, u64),
    (kind, size): (Kind, usize),
    run: impl AsyncFn(Message),
    runtime: &Runtime,
) -> Duration {
    let mut took = Duration::ZERO;
    let mut left = count;
    while left > 0 {
        let now = left.min(PREPARED);
        left -= now;
        let messages: Vec<Message> = (0..now).map(|_| Message::new(kind, size, UnixTime::now())).collect();
        took += meter.time(now, || {
            runtime.block_on(async {
                for message in messages {
                    run(message).await;
                }
            });
        });
    }
    took
}

fn bench(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    what: (Kind, usize),
    run: impl AsyncFn(Message),
    runtime: &Runtime,
) {
    let mut meter = Meter::default();
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| each((&mut meter, count), what, &run, runtime));
    });
    if meter.has_measured() {
        eprintln!("CPU webhook/{name}: {meter}");
    }
}

fn view<'a>(path: &'a str, headers: &'a HeaderMap, body: Bytes) -> RequestView<'a> {
    RequestView {
        method: &Method::POST,
        path: RequestPath::parse(path).expect("the path is canonical"),
        query: None,
        host: "gw.example.com",
        headers,
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        https: true,
        request_id: "0123456789abcdef0123456789abcdef",
        body,
    }
}

/// Verify, adapt and record, as a request does.
async fn acknowledge(gate: &Gate, path: &str, message: Message) {
    let now = UnixTime::now();
    let Message { headers, body } = message;
    let decided = gate.decide(&view(path, &headers, Bytes::new()), now).await.decision;
    let Decision::Read(pending) = decided else { return assert_eq!(format!("{decided:?}"), "read") };
    let finished = gate.finish(&pending, &view(path, &headers, body), now).await.decision;
    let Decision::Answer(reply) = finished else { return assert_eq!(format!("{finished:?}"), "an answer") };
    assert_eq!(reply.status, 200);
}

/// The program of the slash command, and its process.
fn adapters(sources: &[Arc<AdapterSource>]) -> Adapters {
    let worker = WorkerCommand::new(env!("CARGO_BIN_EXE_portcullis"));
    Adapters::new(sources, worker, Limits::default()).expect("the program is good")
}

fn slash_command(config: &Config) -> Arc<AdapterSource> {
    let found = config.locations.iter().find_map(|location| location.adapt.clone());
    found.expect("a location has an adapter")
}

/// What `portcullis run` puts together, without its sockets.
async fn gate(config: Arc<Config>, wal: Arc<dyn Wal>) -> Gate {
    let outbound = Arc::new(Outbound::default());
    let metadata = MetadataServer::new(Arc::clone(&outbound), config.endpoints.metadata.clone());
    let metadata = Arc::new(metadata);
    let minter: Arc<dyn TokenMinter> = metadata.clone();
    let mint = Arc::new(Mint::new(std::iter::empty(), &minter));
    let api = Arc::new(GoogleApi::new(Arc::clone(&outbound), metadata));
    let manager = Arc::new(SecretManager::new(api, None));
    let (secrets, problems) = Secrets::load(&config.secrets, &manager, None, UnixTime::now()).await;
    assert!(problems.is_empty(), "{problems:?}");
    let adapters = adapters(&[slash_command(&config)]);
    adapters.warm_up().await.expect("the worker starts");
    // Only a gate knows which location is which.
    let router = Gate::new(Arc::clone(&config), None, None, Arc::default());
    let none = HeaderMap::new();
    let verdict = router.decide(&view(Kind::Slack.path(), &none, Bytes::new()), UnixTime::now()).await;
    let adapted = verdict.location.expect("it has a location");
    let recorder = Recorder {
        secrets: Arc::new(secrets),
        adapters: Arc::new(adapters),
        adapter_of: HashMap::from([(adapted, 0)]),
        wal: Some(wal),
        courier: Arc::new(Courier::new(Arc::clone(&config), mint, outbound)),
        push: None,
    };
    Gate::new(config, None, Some(recorder), Arc::default())
}

fn log(directory: &Path) -> Arc<Disk> {
    let store = DiskStore { directory: directory.join("wal"), max_size: u64::MAX };
    Arc::new(Disk::open(&store).expect("the log opens"))
}

async fn record(log: &Disk, kind: Kind, message: Message) {
    let entry = Entry {
        id: EntryId::random().expect("there are random numbers"),
        location: kind.path().to_owned(),
        ordered: false,
        method: Method::POST,
        path: kind.path().to_owned(),
        query: None,
        headers: HeaderMap::new(),
        body: message.body,
        sender: None,
        received: UnixTime::now(),
    };
    assert_eq!(log.record(entry).await, Ok(Recorded::New));
}

async fn adapt(adapters: &Adapters, kind: Kind, message: Message) {
    let (headers, body) = (&message.headers, &message.body);
    let request = Request { method: "POST", path: kind.path(), query: None, headers, body };
    let result: Result<Output, AdaptError> = adapters.run(0, &request).await;
    assert!(matches!(black_box(result), Ok(Output::Json(_))));
}

fn webhook(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime starts");
    let mut group = criterion.benchmark_group("webhook");
    group.sample_size(10).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    let secret = Secret::new(SECRET);
    for kind in [Kind::Slack, Kind::Github] {
        for size in [1024, 64 * 1024] {
            let what = (kind, size);
            let name = format!("{}/{}KiB", kind.name(), size / 1024);
            let scheme = if kind == Kind::Slack { Scheme::Slack } else { Scheme::Github };
            let check = async |message: Message| {
                let incoming = Incoming { headers: &message.headers, body: &message.body };
                let verified = verify(&scheme, &[&secret], &incoming, UnixTime::now());
                assert!(matches!(black_box(verified), Ok(Verified::Message { .. })));
            };
            bench(&mut group, &format!("{name}/verify"), what, check, &runtime);
            for (medium, place) in [("disk", env!("CARGO_TARGET_TMPDIR")), ("memory", MEMORY)] {
                if !Path::new(place).is_dir() {
                    continue;
                }
                let directory = tempfile::tempdir_in(place).expect("the directory can be written");
                let file = message::configuration(directory.path(), "http://127.0.0.1:9");
                let config = config::load(&file, &Environment::empty()).expect("the configuration is good");
                let config = Arc::new(config);
                if kind == Kind::Slack && medium == "disk" {
                    let adapters = adapters(&[slash_command(&config)]);
                    runtime.block_on(adapters.warm_up()).expect("the worker starts");
                    let run = async |message| adapt(&adapters, kind, message).await;
                    bench(&mut group, &format!("{name}/adapt"), what, run, &runtime);
                }
                let log = log(directory.path());
                let run = async |message| record(&log, kind, message).await;
                bench(&mut group, &format!("{name}/record/{medium}"), what, run, &runtime);
                let gate = runtime.block_on(gate(config, log));
                let run = async |message| acknowledge(&gate, kind.path(), message).await;
                bench(&mut group, &format!("{name}/message/{medium}"), what, run, &runtime);
                process::measure(&format!("{name}/process/{medium}"), what, place);
            }
        }
    }
    group.finish();
}

criterion_group!(benches, webhook);
criterion_main!(benches);
