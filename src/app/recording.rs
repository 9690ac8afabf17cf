//! Wires what locations need whose bodies the gateway reads itself: secrets, adapters, the log, and playback.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Builder;

use super::StartError;
use crate::adapt::{AdapterProblem, Adapters, Limits, WorkerCommand};
use crate::config::{AdapterSource, Config, PubSubDelivery, WalStore};
use crate::gate::location::LocationId;
use crate::gate::record::{Push, Recorder};
use crate::google_api::GoogleApi;
use crate::identity::{Jwks, PushCaller};
use crate::metadata::MetadataServer;
use crate::mint::Mint;
use crate::outbound::Outbound;
use crate::playback::{Courier, Player};
use crate::secrets::{SecretError, SecretManager, Secrets};
use crate::telemetry::metrics::Reading;
use crate::time::UnixTime;
use crate::wal::disk::Disk;
use crate::wal::pubsub::PubSub;
use crate::wal::{Stats, Wal};

/// Parts that others use as well.
pub(super) struct Shared<'a> {
    pub(super) config: &'a Arc<Config>,
    pub(super) outbound: &'a Arc<Outbound>,
    pub(super) metadata: &'a Arc<MetadataServer>,
    pub(super) mint: &'a Arc<Mint>,
    /// Google's keys, if sign-in has them already.
    pub(super) keys: Option<Arc<Jwks>>,
}

/// The recorder, and the player of a log that hands out its entries itself. Nothing when no location reads bodies.
pub(super) fn assemble(
    shared: &Shared<'_>,
    program: PathBuf,
) -> Result<Option<(Recorder, Option<Player>)>, StartError> {
    let config = shared.config;
    if config.locations.iter().all(|location| location.message.is_none()) {
        return Ok(None);
    }
    let (adapters, adapter_of) = adapters(config, program).map_err(StartError::Adapters)?;
    let api = Arc::new(GoogleApi::new(Arc::clone(shared.outbound), Arc::clone(shared.metadata)));
    let secrets = Arc::new(secrets(config, &api)?);
    let courier = (Arc::clone(config), Arc::clone(shared.mint), Arc::clone(shared.outbound));
    let courier = Arc::new(Courier::new(courier.0, courier.1, courier.2));
    let Log { wal, pubsub, push, plays } = log(shared, api)?;
    watch(shared, &courier, wal.clone(), pubsub);
    let player = wal.clone().zip(config.wal.as_ref()).filter(|_| plays);
    let player = player.map(|(wal, settings)| Player::new(wal, Arc::clone(&courier), settings.retry));
    Ok(Some((Recorder { secrets, adapters, adapter_of, wal, courier, push }, player)))
}

/// The adapters, and which of them each location has.
pub(super) fn adapters(
    config: &Config,
    program: PathBuf,
) -> Result<(Adapters, HashMap<LocationId, usize>), Vec<AdapterProblem>> {
    let mut sources: Vec<Arc<AdapterSource>> = Vec::new();
    let mut adapter_of = HashMap::new();
    for (index, location) in config.locations.iter().enumerate() {
        let Some(source) = &location.adapt else { continue };
        let known = sources.iter().position(|known| known == source);
        let adapter = known.unwrap_or_else(|| {
            sources.push(Arc::clone(source));
            sources.len() - 1
        });
        adapter_of.insert(LocationId(index), adapter);
    }
    Ok((Adapters::new(&sources, WorkerCommand::new(program), Limits::default())?, adapter_of))
}

/// The secrets, read. One that is not there ends the start; one that cannot be reached is tried again when it is needed,
/// and until then its senders get 503.
fn secrets(config: &Config, api: &Arc<GoogleApi>) -> Result<Secrets, StartError> {
    let manager = Arc::new(SecretManager::new(Arc::clone(api), config.endpoints.secret_manager.clone()));
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("secrets").enable_all().build();
    let runtime = runtime.map_err(StartError::Log)?;
    let (secrets, problems) = runtime.block_on(Secrets::load(&config.secrets, &manager, UnixTime::now()));
    // The connections that it opened are kept for the next reads, and they live on this runtime.
    std::mem::forget(runtime);
    let (fatal, passing): (Vec<_>, Vec<_>) =
        problems.into_iter().partition(|problem| matches!(problem.why, SecretError::Unusable(_)));
    if !fatal.is_empty() {
        return Err(StartError::Secrets(fatal));
    }
    for problem in passing {
        log::error!("{problem}; its senders get 503 until it can be read");
    }
    Ok(secrets)
}

/// Has the metrics tell what the log and the courier keep.
fn watch(
    shared: &Shared<'_>,
    courier: &Arc<Courier>,
    wal: Option<Arc<dyn Wal>>,
    pubsub: Option<Arc<PubSub>>,
) {
    let courier = Arc::clone(courier);
    shared.outbound.metrics().add_source(move || {
        let counts = courier.counts();
        let deliveries = |outcome: &str, count: u64| {
            let help = "Deliveries of messages, by what the service's answer meant for the message.";
            Reading::counter("portcullis_deliveries_total", help, count as f64).label("outcome", outcome)
        };
        let mut readings = vec![
            deliveries("settled", counts.settled),
            deliveries("retried", counts.retried),
            deliveries("dead", counts.dead),
        ];
        if let Some(pubsub) = &pubsub {
            let help = "Messages of Pub/Sub that hold no entry of the log.";
            let unreadable = pubsub.unreadable() as f64;
            readings.push(Reading::counter("portcullis_wal_unreadable_total", help, unreadable));
        }
        if let Some(stats) = wal.as_ref().and_then(|wal| wal.stats()) {
            readings.extend(of_disk(&stats, UnixTime::now()));
        }
        readings
    });
}

/// The figures of a log on disk; Pub/Sub counts its own.
fn of_disk(stats: &Stats, now: UnixTime) -> Vec<Reading> {
    let entries = |state: &str, number: u64| {
        let help = "Entries of the write-ahead log on disk: waiting, on their way, dead letters.";
        Reading::gauge("portcullis_wal_entries", help, number as f64).label("state", state)
    };
    let age = stats.oldest.map_or(0, |oldest| now.since(oldest).as_secs());
    vec![
        entries("waiting", stats.waiting.saturating_sub(stats.out)),
        entries("out", stats.out),
        entries("dead", stats.dead),
        Reading::gauge("portcullis_wal_bytes", "Bytes of entries and dead letters.", stats.bytes as f64),
        Reading::gauge("portcullis_wal_limit_bytes", "Most bytes that there may be.", stats.limit as f64),
        Reading::gauge(
            "portcullis_wal_oldest_age_seconds",
            "How long the oldest entry has waited; 0 when none waits.",
            age as f64,
        ),
    ]
}

struct Log {
    wal: Option<Arc<dyn Wal>>,
    pubsub: Option<Arc<PubSub>>,
    push: Option<Push>,
    /// Whether the gateway asks the log for entries; with push, Pub/Sub brings them.
    plays: bool,
}

fn log(shared: &Shared<'_>, api: Arc<GoogleApi>) -> Result<Log, StartError> {
    let Some(settings) = &shared.config.wal else {
        return Ok(Log { wal: None, pubsub: None, push: None, plays: false });
    };
    let store = match &settings.store {
        WalStore::Disk(store) => {
            let disk: Arc<dyn Wal> = Arc::new(Disk::open(store)?);
            return Ok(Log { wal: Some(disk), pubsub: None, push: None, plays: true });
        }
        WalStore::PubSub(store) => store,
    };
    let endpoints = &shared.config.endpoints;
    let api = if endpoints.pubsub_emulator {
        Arc::new(GoogleApi::without_token(Arc::clone(shared.outbound)))
    } else {
        api
    };
    let log = Arc::new(PubSub::new(&api, &endpoints.pubsub, store));
    let push = match &store.delivery {
        PubSubDelivery::Push { account, audience } => {
            let keys = shared
                .keys
                .clone()
                .unwrap_or_else(|| Arc::new(Jwks::new(Arc::clone(shared.outbound), endpoints.certs.clone())));
            let caller = PushCaller::new(keys, account.clone(), audience.clone());
            Some(Push { caller, log: Arc::clone(&log) })
        }
        PubSubDelivery::Pull { .. } => None,
    };
    let plays = push.is_none();
    let pubsub = Some(Arc::clone(&log));
    Ok(Log { wal: Some(log), pubsub, push, plays })
}
