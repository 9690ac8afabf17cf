//! Wires what locations need whose bodies the gateway reads itself: secrets, adapters, the log, and playback.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::StartError;
use super::make::{Google, Lasting};
use crate::adapt::{AdapterProblem, Adapters, Limits, WorkerCommand};
use crate::config::{AdapterSource, Config, PubSubDelivery, WalStore};
use crate::gate::location::LocationId;
use crate::gate::record::{Push, Recorder};
use crate::google_api::GoogleApi;
use crate::identity::{Jwks, PushCaller};
use crate::mint::Mint;
use crate::playback::{Courier, Player};
use crate::secrets::{SecretError, Secrets};
use crate::telemetry::metrics::{Metrics, Reading};
use crate::time::UnixTime;
use crate::wal::disk::Disk;
use crate::wal::pubsub::PubSub;
use crate::wal::{Stats, Wal};

/// Parts that others use as well.
pub(super) struct Shared<'a> {
    pub(super) config: &'a Arc<Config>,
    pub(super) google: &'a Google,
    pub(super) mint: &'a Arc<Mint>,
    pub(super) secrets: &'a Arc<Secrets>,
    /// Google's keys, if sign-in has them already.
    pub(super) keys: Option<Arc<Jwks>>,
}

/// What the next configuration takes over.
#[derive(Clone)]
pub(super) struct Recording {
    sources: Vec<Arc<AdapterSource>>,
    adapters: Arc<Adapters>,
    courier: Arc<Courier>,
    log: Option<Log>,
    /// Google's keys, and where they come from.
    keys: Option<(Url, Arc<Jwks>)>,
}

/// The log, open for as long as the process runs.
#[derive(Clone)]
struct Log {
    wal: Arc<dyn Wal>,
    /// The same, where it is in Pub/Sub.
    pubsub: Option<Arc<PubSub>>,
}

impl Recording {
    /// What hands out the entries of a log that does so itself; with push, Pub/Sub brings them.
    pub(super) fn player(&self, config: &Config) -> Option<Player> {
        let settings = config.wal.as_ref().filter(|settings| match &settings.store {
            WalStore::Disk(_) => true,
            WalStore::PubSub(store) => match store.delivery {
                PubSubDelivery::Pull { .. } => true,
                PubSubDelivery::Push { .. } => false,
            },
        })?;
        let log = self.log.as_ref()?;
        Some(Player::new(Arc::clone(&log.wal), Arc::clone(&self.courier), settings.retry))
    }

    /// Has a player deliver as this configuration says.
    pub(super) fn direct(&self, player: &Player, config: &Config) {
        if let Some(settings) = &config.wal {
            player.follow(Arc::clone(&self.courier), settings.retry);
        }
    }

    /// Has the metrics tell what the log and the couriers keep, whatever the configuration is later.
    pub(super) fn observe(&self, metrics: &Metrics) {
        let (counts, log) = (self.courier.counter(), self.log.clone());
        metrics.add_source(move || {
            let counts = counts();
            let deliveries = |outcome: &str, count: u64| {
                let help = "Deliveries of messages, by what the service's answer meant for the message.";
                Reading::counter("portcullis_deliveries_total", help, count as f64).label("outcome", outcome)
            };
            let mut readings = vec![
                deliveries("settled", counts.settled),
                deliveries("retried", counts.retried),
                deliveries("dead", counts.dead),
            ];
            let Some(log) = &log else { return readings };
            if let Some(pubsub) = &log.pubsub {
                let help = "Messages of Pub/Sub that hold no entry of the log.";
                let unreadable = pubsub.unreadable() as f64;
                readings.push(Reading::counter("portcullis_wal_unreadable_total", help, unreadable));
            }
            if let Some(stats) = log.wal.stats() {
                readings.extend(of_disk(&stats, UnixTime::now()));
            }
            readings
        });
    }
}

/// The recorder, and what the next configuration takes over of it. Nothing when no location reads bodies.
pub(super) fn assemble(
    lasting: &Lasting,
    shared: &Shared<'_>,
    before: Option<&Recording>,
) -> Result<Option<(Recorder, Recording)>, StartError> {
    let config = shared.config;
    if config.locations.iter().all(|location| location.message.is_none()) {
        return Ok(None);
    }
    let (sources, adapter_of) = sources(config);
    let known = before.filter(|before| before.sources == sources);
    let adapters = match known {
        Some(before) => Arc::clone(&before.adapters),
        None => Arc::new(compile(&sources, lasting.program.clone()).map_err(StartError::Adapters)?),
    };
    let courier = match before {
        Some(before) => before.courier.with(Arc::clone(config), Arc::clone(shared.mint)),
        None => Courier::new(Arc::clone(config), Arc::clone(shared.mint), Arc::clone(&lasting.outbound)),
    };
    let courier = Arc::new(courier);
    let log = match before.and_then(|before| before.log.clone()) {
        Some(log) => Some(log),
        None => open(lasting, shared)?,
    };
    let certs = &config.endpoints.certs;
    let known = before.and_then(|before| before.keys.clone()).filter(|(url, _)| url == certs);
    let keys = shared.keys.clone().or(known.map(|(_, keys)| keys));
    let push = log.as_ref().and_then(|log| push(lasting, config, log, keys));
    let recorder = Recorder {
        secrets: Arc::clone(shared.secrets),
        adapters: Arc::clone(&adapters),
        adapter_of,
        wal: log.as_ref().map(|log| Arc::clone(&log.wal)),
        courier: Arc::clone(&courier),
        push: push.as_ref().map(|(push, _)| push.clone()),
    };
    let keys = push.map(|(_, keys)| (certs.clone(), keys));
    Ok(Some((recorder, Recording { sources, adapters, courier, log, keys })))
}

/// Compiles the adapters of a configuration.
pub(super) fn adapters(config: &Config, program: PathBuf) -> Result<Adapters, Vec<AdapterProblem>> {
    compile(&sources(config).0, program)
}

fn compile(sources: &[Arc<AdapterSource>], program: PathBuf) -> Result<Adapters, Vec<AdapterProblem>> {
    Adapters::new(sources, WorkerCommand::new(program), Limits::default())
}

/// The adapters, and which of them each location has.
fn sources(config: &Config) -> (Vec<Arc<AdapterSource>>, HashMap<LocationId, usize>) {
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
    (sources, adapter_of)
}

/// The secrets, read. One that is not there is an error; one that cannot be reached is tried again when it is needed, and
/// until then its senders get 503.
pub(super) async fn secrets(
    config: &Config,
    google: &Google,
    before: Option<&Secrets>,
) -> Result<Secrets, StartError> {
    let (secrets, problems) =
        Secrets::load(&config.secrets, &google.secret_manager, before, UnixTime::now()).await;
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

fn open(lasting: &Lasting, shared: &Shared<'_>) -> Result<Option<Log>, StartError> {
    let Some(settings) = &shared.config.wal else { return Ok(None) };
    Ok(Some(match &settings.store {
        WalStore::Disk(store) => Log { wal: Arc::new(Disk::open(store)?), pubsub: None },
        WalStore::PubSub(store) => {
            let endpoints = &shared.config.endpoints;
            let api = if endpoints.pubsub_emulator {
                Arc::new(GoogleApi::without_token(Arc::clone(&lasting.outbound)))
            } else {
                Arc::clone(&shared.google.api)
            };
            let pubsub = Arc::new(PubSub::new(&api, &endpoints.pubsub, store));
            let wal: Arc<dyn Wal> = pubsub.clone();
            Log { wal, pubsub: Some(pubsub) }
        }
    }))
}

/// The playback endpoint, where there is one, with the keys that its callers are verified with.
fn push(lasting: &Lasting, config: &Config, log: &Log, keys: Option<Arc<Jwks>>) -> Option<(Push, Arc<Jwks>)> {
    let Some(WalStore::PubSub(store)) = config.wal.as_ref().map(|settings| &settings.store) else {
        return None;
    };
    let PubSubDelivery::Push { account, audience } = &store.delivery else { return None };
    let certs = &config.endpoints.certs;
    let keys = keys.unwrap_or_else(|| Arc::new(Jwks::new(Arc::clone(&lasting.outbound), certs.clone())));
    let caller = PushCaller::new(Arc::clone(&keys), account.clone(), audience.clone());
    Some((Push { caller: Arc::new(caller), log: Arc::clone(log.pubsub.as_ref()?) }, keys))
}
