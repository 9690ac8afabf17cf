//! Reading the configuration again, at SIGHUP and when a file of it changes. All of it is checked and made before anything
//! is put into use; a configuration with a problem changes nothing.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, watch};

use super::make::{Google, Lasting, Made};
use super::tls::Certificate;
use super::watch::Files;
use super::{Addresses, StartError, recording};
use crate::config::{self, Config, Environment, WalStore};
use crate::metadata::MetadataServer;
use crate::playback::Player;
use crate::proxy::Edition;
use crate::secrets::Secrets;
use crate::telemetry::metrics::{Metrics, Reading};
use crate::telemetry::spans::Spans;
use crate::time::UnixTime;

/// How often files are looked at.
const GLANCE: Duration = Duration::from_secs(1);
/// How often the certificate's files are, where no others are watched: whoever renews them seldom sends a signal.
const CERTIFICATE_GLANCE: Duration = Duration::from_secs(10);

/// Where the configuration comes from.
#[derive(Debug)]
pub struct Source {
    file: PathBuf,
    environment: Environment,
    watch: bool,
    files: Files,
}

impl Source {
    /// A file that is about to be read for the first time. `watch` is whether it is read again when it changes, or when a
    /// file that it names does; SIGHUP does so in any case.
    pub fn new(file: &Path, environment: &Environment, watch: bool) -> Self {
        let files = Files::new(vec![file.to_owned()]);
        Self { file: file.to_owned(), environment: environment.clone(), watch, files }
    }

    /// Reads the file.
    pub fn read(&mut self) -> Result<Config, config::Problems> {
        self.files.mark();
        let (config, files) = config::load_noting(&self.file, &self.environment);
        self.files.name(files);
        config
    }
}

/// Puts one configuration into the place of another.
pub(super) struct Reloader {
    lasting: Lasting,
    current: Arc<ArcSwap<Edition>>,
    addresses: Addresses,
    /// What is in use. Held during a reload, so that there is only one.
    state: Mutex<State>,
    player: Option<Player>,
    certificate: Option<Arc<Certificate>>,
    swapped: watch::Sender<()>,
    outcomes: Arc<Outcomes>,
}

struct State {
    made: Made,
    /// As it was written, without ports in place of 0.
    written: Config,
    source: Option<Source>,
}

/// How reloads ended.
#[derive(Default)]
struct Outcomes {
    good: AtomicU64,
    bad: AtomicU64,
    /// When the configuration in use was read, in seconds since 1970.
    last: AtomicU64,
}

impl Reloader {
    /// Makes the first edition. Waits for nobody, unless secrets have to be fetched.
    pub(super) fn start(
        written: Config,
        addresses: Addresses,
        lasting: Lasting,
        source: Option<Source>,
    ) -> Result<Self, StartError> {
        let config = Arc::new(addresses.put_into(written.clone()));
        let google = Google::of(&config, &lasting, None);
        let secrets = first_secrets(&config, &google)?;
        let made = Made::new(&config, &lasting, google, secrets, None)?;
        let certificate = written.tls.as_ref().map(|tls| Certificate::new(&tls.identity)).transpose();
        let certificate = certificate.map_err(|error| StartError::Tls(error.to_string()))?.map(Arc::new);
        let outcomes = Arc::new(Outcomes::default());
        outcomes.last.store(UnixTime::now().0, Ordering::Relaxed);
        observe(&lasting.metrics, Arc::clone(&outcomes));
        if let Some(recording) = &made.recording {
            recording.observe(&lasting.metrics);
        }
        Ok(Self {
            current: Arc::new(ArcSwap::new(Arc::clone(&made.edition))),
            addresses,
            player: made.recording.as_ref().and_then(|recording| recording.player(&written)),
            certificate,
            state: Mutex::new(State { made, written, source }),
            lasting,
            swapped: watch::Sender::new(()),
            outcomes,
        })
    }

    /// What requests begin with.
    pub(super) fn current(&self) -> Arc<ArcSwap<Edition>> {
        Arc::clone(&self.current)
    }

    /// What the public listener shows, where it ends TLS.
    pub(super) fn certificate(&self) -> Option<Arc<Certificate>> {
        self.certificate.clone()
    }

    /// Plays the log back, where the log wants that.
    pub(super) fn player(&self) -> Option<&Player> {
        self.player.as_ref()
    }

    /// Where spans go at present.
    pub(super) async fn spans(&self) -> Option<Arc<Spans>> {
        self.state.lock().await.made.spans.clone()
    }

    pub(super) async fn metadata(&self) -> Arc<MetadataServer> {
        Arc::clone(&self.state.lock().await.made.google.metadata)
    }

    /// Fetches what the first requests would wait for.
    pub(super) async fn warm_up(&self) {
        let warm_up = self.state.lock().await.made.warm_up();
        warm_up.await;
    }

    /// Asks upstreams whether they are well, always those of the configuration in use.
    pub(super) async fn check_health(&self) {
        let mut swapped = self.swapped.subscribe();
        loop {
            let checks = self.current.load_full().health_checks();
            let check = async {
                match &checks {
                    Some(checks) => checks.run().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = check => {}
                // The sender lives as long as this.
                _ = swapped.changed() => {}
            }
        }
    }

    /// Reloads whenever somebody wants it.
    pub(super) async fn run(&self) {
        let Ok(mut hangup) = signal(SignalKind::hangup()) else {
            return log::error!("SIGHUP cannot be received: the configuration cannot be read again");
        };
        loop {
            tokio::select! {
                _ = hangup.recv() => self.reload().await,
                all = self.files_change() => if all { self.reload().await } else { self.renew().await },
            }
        }
    }

    /// Waits for a change of a file that counts; whether all is to be read again, or only the certificate.
    async fn files_change(&self) -> bool {
        let state = self.state.lock().await;
        let tls = state.written.tls.as_ref();
        let (files, all) = match &state.source {
            Some(source) if source.watch => (Some(source.files.clone()), true),
            Some(source) => (tls.map(|tls| source.files.only(&tls.files)), false),
            None => (None, false),
        };
        drop(state);
        match files {
            Some(mut files) => files.changed(if all { GLANCE } else { CERTIFICATE_GLANCE }).await,
            None => std::future::pending().await,
        }
        all
    }

    /// Reads the certificate again, and nothing else.
    async fn renew(&self) {
        let mut state = self.state.lock().await;
        let State { written, source, .. } = &mut *state;
        let (Some(tls), Some(source), Some(certificate)) = (&mut written.tls, source, &self.certificate)
        else {
            return;
        };
        source.files.mark_only(&tls.files);
        let read = tokio::task::block_in_place(|| config::read_certificate(&tls.files));
        let replaced = read.map_err(|problems| problems.without_count()).and_then(|identity| {
            certificate.replace(&identity).map_err(|error| error.to_string())?;
            tls.identity = identity;
            Ok(())
        });
        match replaced {
            Ok(()) => log::info!("certificate reloaded"),
            Err(why) => tell("the certificate is not reloaded, the one before stays in use", &why),
        }
    }

    async fn reload(&self) {
        let mut state = self.state.lock().await;
        if state.source.is_none() {
            return log::warn!("SIGHUP ignored: this configuration is read at start only");
        }
        match self.succeed(&mut state).await {
            Ok(changes) => {
                self.outcomes.good.fetch_add(1, Ordering::Relaxed);
                self.outcomes.last.store(UnixTime::now().0, Ordering::Relaxed);
                log::info!("configuration reloaded: {changes}");
            }
            Err(error) => {
                self.outcomes.bad.fetch_add(1, Ordering::Relaxed);
                let why = if let StartError::Config(problems) = &error {
                    problems.without_count()
                } else {
                    error.to_string()
                };
                tell("the configuration is not reloaded, the one before stays in use", &why);
            }
        }
        let warm_up = state.made.warm_up();
        drop(state);
        // Requests come meanwhile, and fetch for themselves what they need.
        warm_up.await;
    }

    /// Puts the file's present configuration into use; what has changed with it.
    async fn succeed(&self, state: &mut State) -> Result<String, StartError> {
        let State { made, written, source } = state;
        let Some(source) = source else { return Ok("it has no source".to_owned()) };
        let new = tokio::task::block_in_place(|| source.read()).map_err(StartError::Config)?;
        let fixed = fixed(written, &new);
        if !fixed.is_empty() {
            return Err(StartError::Fixed(source.file.clone(), fixed));
        }
        let config = Arc::new(self.addresses.put_into(new.clone()));
        let next = Made::after(made, config, &self.lasting).await?;
        let changes = changes(written, &new);
        if let (Some(certificate), Some(tls)) = (&self.certificate, &new.tls) {
            certificate.replace(&tls.identity).map_err(|error| StartError::Tls(error.to_string()))?;
        }
        self.current.store(Arc::clone(&next.edition));
        for warning in &new.warnings {
            log::warn!("{warning}");
        }
        if let (None, Some(recording)) = (&made.recording, &next.recording) {
            recording.observe(&self.lasting.metrics);
        }
        if let (Some(player), Some(recording)) = (&self.player, &next.recording) {
            recording.direct(player, &new);
        }
        (*made, *written) = (next, new);
        self.swapped.send_replace(());
        Ok(changes)
    }
}

/// The secrets of the first configuration, for which nothing runs yet.
fn first_secrets(config: &Config, google: &Google) -> Result<Secrets, StartError> {
    if config.secrets.is_empty() {
        return Ok(Secrets::default());
    }
    let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("secrets").enable_all().build();
    let runtime = runtime.map_err(StartError::Log)?;
    let secrets = runtime.block_on(recording::secrets(config, google, None));
    // The connections that it opened are kept for the next reads, and they live on this runtime.
    std::mem::forget(runtime);
    secrets
}

/// Says what is wrong, line by line: a line of the log holds no line breaks.
fn tell(what: &str, why: &str) {
    log::error!("{what}");
    for line in why.lines() {
        log::error!("{}", line.trim());
    }
}

/// What a process cannot change while it runs, of what has changed.
fn fixed(before: &Config, after: &Config) -> Vec<String> {
    let mut keys = Vec::new();
    let mut note = |changed: bool, key: &str| {
        if changed {
            keys.push(format!("`{key}`"));
        }
    };
    note(before.listen != after.listen, "listen");
    note(before.tls.is_some() != after.tls.is_some(), "tls");
    note(before.admin != after.admin, "admin");
    note(before.log.format != after.log.format, "log.format");
    note(before.log.level != after.log.level, "log.level");
    let (old, new) = (&before.limits, &after.limits);
    note(old.connections != new.connections, "limits.connections");
    note(old.connections_per_address != new.connections_per_address, "limits.connections_per_address");
    note(old.streams != new.streams, "limits.streams");
    note(old.idle != new.idle, "limits.idle");
    note(old.buffered != new.buffered, "limits.buffered");
    let store = |config: &Config| config.wal.as_ref().map(|wal| wal.store.clone());
    note(store(before) != store(after), "wal");
    let pubsub = matches!(store(before), Some(WalStore::PubSub(_)));
    note(pubsub && before.endpoints != after.endpoints, "google.endpoints");
    keys
}

/// What has changed, in numbers.
fn changes(before: &Config, after: &Config) -> String {
    let location = |at: &config::Location| (at.host.clone(), at.name.clone(), at.methods.clone());
    let upstream = |to: &config::Upstream| to.name.clone();
    let locations = difference(&before.locations, &after.locations, location);
    let upstreams = difference(&before.upstreams, &after.upstreams, upstream);
    format!(
        "{}{locations}, {}{upstreams}",
        count(after.locations.len(), "location"),
        count(after.upstreams.len(), "upstream"),
    )
}

/// ` (2 new, 1 gone)`, or nothing.
fn difference<T, K: PartialEq>(before: &[T], after: &[T], key: impl Fn(&T) -> K) -> String {
    let missing = |from: &[T], of: &[T]| {
        of.iter().filter(|one| !from.iter().any(|other| key(other) == key(one))).count()
    };
    let parts = [(missing(before, after), "new"), (missing(after, before), "gone")];
    let parts: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, what)| format!("{number} {what}"))
        .collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// `1 upstream`, `2 upstreams`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn observe(metrics: &Metrics, outcomes: Arc<Outcomes>) {
    metrics.add_source(move || {
        let count = |word: &str, number: &AtomicU64| {
            let number = number.load(Ordering::Relaxed) as f64;
            let help = "Times that the configuration was read again, by result.";
            Reading::counter("portcullis_config_reloads_total", help, number).label("result", word)
        };
        vec![
            count("ok", &outcomes.good),
            count("failed", &outcomes.bad),
            Reading::gauge(
                "portcullis_config_last_reload_timestamp_seconds",
                "When the configuration in use was read, in seconds since 1970.",
                outcomes.last.load(Ordering::Relaxed) as f64,
            ),
        ]
    });
}
