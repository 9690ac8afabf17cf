//! The only wiring: from a configuration to parts, from parts to services, and the life of the process.

mod descriptors;
mod recording;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::adapt::AdapterProblem;
use crate::admin;
use crate::config::{Access, Config, Limits};
use crate::gate::{Gate, SignIn};
use crate::identity::{IdentityProvider, Verifier};
use crate::login::{GoogleRevocation, Login};
use crate::metadata::MetadataServer;
use crate::mint::{Mint, TokenMinter};
use crate::outbound::Outbound;
use crate::playback::Player;
use crate::proxy::{Connections, Proxy};
use crate::secrets::SecretProblem;
use crate::telemetry::logger::{self, RequestLog};
use crate::telemetry::metrics::{Metrics, Reading};
use crate::telemetry::spans::Spans;
use crate::time::UnixTime;
use crate::wal::disk::OpenError;

/// How long requests under way may go on after SIGTERM. Cloud Run kills the process after ten seconds.
const GRACE: Duration = Duration::from_secs(8);
/// Limit on the runtimes' own end after that.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(1);
/// Limit on sending the last spans of traces, within what Cloud Run leaves after the grace.
const FLUSH: Duration = Duration::from_millis(1500);
/// Idle connections to upstreams that are kept, in all.
const IDLE_UPSTREAM_CONNECTIONS: usize = 256;
/// Attempts for one request, over all addresses of its upstream: enough to pass by what is down, few enough that callers
/// do not wait for a long list of dead ones.
const ATTEMPTS: usize = 4;
/// Largest header list in bytes, as in HTTP/1.1.
const H2_HEADER_LIST: u32 = 64 * 1024;
/// What every connection of a caller has for reading, in bytes, idle or not. Pingora's 64 KiB are two thirds of all that
/// an idle connection takes; longer reads of a body pass it by.
const READ_BUFFER: usize = 8 * 1024;
/// How long an idle HTTP/2 connection of a caller is kept.
const H2_IDLE: Duration = Duration::from_secs(620);
/// What a caller may send on an HTTP/2 stream before the upstream has taken it: the default of RFC 9113, section 6.9.2.
const H2_WINDOW: u32 = 65_535;

/// Why the gateway does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {1}{help}", help = bind_help(.1))]
    Bind(SocketAddr, io::Error),
    /// The log cannot be set up.
    #[error("cannot write a log: {0}")]
    Log(io::Error),
    /// Adapters have problems.
    #[error("{}", lines(.0))]
    Adapters(Vec<AdapterProblem>),
    /// Signing secrets have no value.
    #[error("{}", lines(.0))]
    Secrets(Vec<SecretProblem>),
    /// The write-ahead log cannot be opened.
    #[error("{0}")]
    Wal(#[from] OpenError),
}

impl StartError {
    /// 2 for what the operator wrote, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Adapters(_) => 2,
            Self::Bind(..) | Self::Log(_) | Self::Secrets(_) | Self::Wal(_) => 1,
        }
    }
}

fn lines(problems: &[impl ToString]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// The parts that outlive a single request.
struct Parts {
    /// The gate included.
    proxy: Proxy,
    metrics: Arc<Metrics>,
    warm_up: WarmUp,
    spans: Option<Arc<Spans>>,
    stopping: Arc<AtomicBool>,
    player: Option<Player>,
}

/// What is fetched ahead of the first request.
struct WarmUp {
    verifier: Option<Arc<Verifier>>,
    mint: Arc<Mint>,
    metadata: Arc<MetadataServer>,
}

/// Where the process runs.
#[derive(Clone, Debug, Default)]
pub struct Platform {
    /// This program, which starts itself as the worker that evaluates adapters.
    pub program: PathBuf,
    /// The Google Cloud project, if the environment names it.
    pub project: Option<String>,
    /// Whether this is Cloud Run, whose metadata server names the project otherwise.
    pub cloud_run: bool,
}

/// What `run` would find wrong before it serves, and the file alone does not show.
pub fn check(config: &Config) -> Result<(), StartError> {
    recording::adapters(config, PathBuf::new()).map(|_| ()).map_err(StartError::Adapters)
}

/// Builds the parts. Waits for nobody, unless secrets have to be fetched.
fn assemble(
    config: &Arc<Config>,
    request_log: Option<RequestLog>,
    program: PathBuf,
) -> Result<Parts, StartError> {
    let metrics = Arc::new(Metrics::new(config.locations.iter().map(|location| location.name.as_str())));
    let outbound = Arc::new(Outbound::new(Arc::clone(&metrics)));
    let metadata = Arc::new(MetadataServer::new(Arc::clone(&outbound), config.endpoints.metadata.clone()));
    let minter: Arc<dyn TokenMinter> = metadata.clone();
    let audiences = config.upstreams.iter().filter_map(|upstream| upstream.audience.as_deref());
    let mint = Arc::new(Mint::new(audiences, &minter));
    let stopping = Arc::new(AtomicBool::new(false));
    let verifier =
        config.google.as_ref().map(|google| Arc::new(Verifier::new(config, google, Arc::clone(&outbound))));
    let sign_in = config.google.as_ref().zip(verifier.clone()).map(|(google, provider)| {
        let revocation = GoogleRevocation::new(Arc::clone(&outbound), config.endpoints.revocation.clone());
        let identities: Arc<dyn IdentityProvider> = provider.clone();
        let authorization = &config.endpoints.authorization;
        let domain = hosted_domain(config);
        let login =
            Login::new(google, authorization, &config.login, domain, identities, Arc::new(revocation));
        SignIn { provider, login }
    });
    let keys = verifier.as_ref().map(|verifier| verifier.keys());
    let shared = recording::Shared { config, outbound: &outbound, metadata: &metadata, mint: &mint, keys };
    let (recorder, player) = recording::assemble(&shared, program)?.unzip();
    let gate = Gate::new(Arc::clone(config), sign_in, recorder, Arc::clone(&stopping));
    let spans = config
        .traces
        .as_ref()
        .map(|traces| Arc::new(Spans::new(Arc::clone(&outbound), traces.endpoint.clone(), traces.sample)));
    let proxy = Proxy::new(
        Arc::clone(config),
        gate,
        Arc::clone(&mint),
        Arc::clone(&metrics),
        request_log.clone(),
        spans.clone(),
    );
    watch(&metrics, proxy.in_flight(), request_log);
    let warm_up = WarmUp { verifier, mint, metadata };
    Ok(Parts { proxy, metrics, warm_up, spans, stopping, player: player.flatten() })
}

/// Has the metrics tell what is kept elsewhere.
fn watch(metrics: &Metrics, in_flight: Arc<AtomicUsize>, log: Option<RequestLog>) {
    metrics.add_source(move || {
        let number = in_flight.load(Ordering::Acquire) as f64;
        let dropped = log.as_ref().map_or(0, RequestLog::dropped) as f64;
        vec![
            Reading::gauge("portcullis_requests_in_flight", "Requests under way.", number),
            Reading::counter(
                "portcullis_log_lines_dropped_total",
                "Log lines that were dropped because whoever reads them is too slow.",
                dropped,
            ),
        ]
    });
}

/// Serves until a signal ends the process. Returns only when it could not start.
pub fn run(mut config: Config, platform: Platform) -> Result<std::convert::Infallible, StartError> {
    config.listen = probe(config.listen)?;
    if let Some(admin) = &mut config.admin {
        *admin = probe(*admin)?;
    }
    let log =
        logger::install(config.log.format, config.log.level, config.log.requests).map_err(StartError::Log)?;
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    let config = Arc::new(config);
    let parts = assemble(&config, Some(log.clone()), platform.program.clone())?;
    let mut server = Server::new_with_opt_and_conf(None, server_conf());
    let in_flight = parts.proxy.in_flight();
    if let Some(checks) = parts.proxy.health_checks() {
        server.add_service(background_service("health checks", checks));
    }
    let mut proxy = http_proxy(&server.configuration, parts.proxy);
    proxy.server_options = Some(server_options());
    proxy.h2_options = Some(h2_options(&config.limits));
    let most = descriptors::connections(config.limits.connections);
    let connections = Connections::new(proxy, Arc::clone(&parts.metrics), &config.limits, most);
    let mut service = Service::new("proxy".to_owned(), connections);
    let buffer = L4BufferSettings::default().read(READ_BUFFER);
    service.add_listener(ListenerConfig::tcp(config.listen.to_string()).l4_buffer(buffer));
    server.add_service(service);
    if let Some(address) = config.admin {
        server.add_service(admin::service(address, parts.metrics, Arc::clone(&parts.stopping)));
    }
    let Parts { warm_up, spans, stopping, player, .. } = parts;
    let attendant =
        Attendant { config, platform, warm_up, spans, stopping, in_flight, player, log: log.clone() };
    server.add_service(background_service("attendant", attendant));
    server.run(RunArgs { shutdown_signal: Box::new(Signals) });
    log.flush();
    std::process::exit(0)
}

/// Binds an address for a moment, because Pingora would go on without it. Port 0 becomes a free port.
pub fn probe(address: SocketAddr) -> Result<SocketAddr, StartError> {
    let listener = TcpListener::bind(address).map_err(|error| StartError::Bind(address, error))?;
    listener.local_addr().map_err(|error| StartError::Bind(address, error))
}

/// What to do when an address cannot be listened on.
#[expect(clippy::wildcard_enum_match_arm, reason = "the standard library's list of errors is open")]
fn bind_help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "\n    help: another process listens there; stop it, or choose another port"
        }
        io::ErrorKind::PermissionDenied => {
            "\n    help: ports below 1024 need a privilege; choose another port"
        }
        io::ErrorKind::AddrNotAvailable => "\n    help: this machine does not have that address",
        _ => "",
    }
}

/// The one domain that Google's account chooser can be limited to.
fn hosted_domain(config: &Config) -> Option<String> {
    let mut domains: Vec<&String> = Vec::new();
    for location in &config.locations {
        match &location.access {
            Access::Public | Access::Webhook(_) => {}
            Access::Google(allow) if allow.workspace_only && allow.emails.is_empty() => {
                domains.extend(&allow.domains);
            }
            Access::Google(_) => return None,
        }
    }
    domains.sort();
    domains.dedup();
    match domains.as_slice() {
        [only] => Some((*only).clone()),
        _ => None,
    }
}

fn server_conf() -> ServerConf {
    ServerConf {
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        grace_period_seconds: Some(GRACE.as_secs()),
        graceful_shutdown_timeout_seconds: Some(RUNTIME_TIMEOUT.as_secs()),
        upstream_keepalive_pool_size: IDLE_UPSTREAM_CONNECTIONS,
        max_retries: ATTEMPTS,
        ..ServerConf::default()
    }
}

fn server_options() -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(H2_IDLE);
    options
}

/// Pingora's bounds apply to its own defaults only (CVE-2026-105297), so start from those. The others are said as well:
/// what is right for this gateway must not change with a library.
fn h2_options(limits: &Limits) -> H2Options {
    let mut options = default_h2_options();
    options
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(H2_HEADER_LIST)
        .max_frame_size(16 * 1024)
        // What a caller may send ahead of the upstream, on a stream and on the connection.
        .initial_window_size(H2_WINDOW)
        .initial_connection_window_size(4 * H2_WINDOW)
        // What an answer may be ahead of the caller, on a stream.
        .max_send_buffer_size(64 * 1024)
        // Resets by the caller before we saw the request (CVE-2023-44487), resets by us that the caller provokes
        // (CVE-2025-8671), and those that are remembered for a while.
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(Some(256))
        .max_concurrent_reset_streams(50)
        .reset_stream_duration(Duration::from_secs(1));
    options
}

/// Looks after the process: warms up, says when it is ready, and ends it early when nothing is left to do.
struct Attendant {
    config: Arc<Config>,
    platform: Platform,
    warm_up: WarmUp,
    spans: Option<Arc<Spans>>,
    stopping: Arc<AtomicBool>,
    in_flight: Arc<AtomicUsize>,
    player: Option<Player>,
    log: RequestLog,
}

#[async_trait]
impl BackgroundService for Attendant {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let mut playback_shutdown = shutdown.clone();
        let prepare = async {
            tokio::join!(self.announce(), self.warm_up.run(), self.find_project());
            std::future::pending::<()>().await;
        };
        let serve = async {
            tokio::select! {
                () = prepare => {}
                // Either way it is over: the sender lives as long as the server.
                _ = shutdown.wait_for(|stop| *stop) => {}
            }
            self.drain().await;
        };
        let play = async {
            if let Some(player) = &self.player {
                let stop = async { drop(playback_shutdown.wait_for(|stop| *stop).await) };
                player.run(stop).await;
            }
        };
        tokio::join!(serve, play);
        log::info!("stopped");
        self.log.flush();
        std::process::exit(0);
    }
}

impl Attendant {
    /// Waits for the requests under way.
    async fn drain(&self) {
        self.stopping.store(true, Ordering::Release);
        log::info!("stopping: waiting for the requests under way");
        let busy = || self.in_flight.load(Ordering::Acquire) > 0;
        loop {
            while busy() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            // Answers that are written may still be on their way out of the sockets, and a request that was on its
            // way in when the signal came may only now be there.
            tokio::time::sleep(Duration::from_millis(100)).await;
            if !busy() {
                break;
            }
        }
        if let Some(spans) = &self.spans {
            // What does not get through by then is lost, as it is when the collector is down.
            let _ = tokio::time::timeout(FLUSH, spans.flush()).await;
        }
    }

    async fn announce(&self) {
        let address = reachable(self.config.listen);
        while TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        log::info!("listening on {}", self.config.listen);
    }

    async fn find_project(&self) {
        let project = match &self.platform.project {
            Some(project) => Some(project.clone()),
            None if self.platform.cloud_run => self.warm_up.metadata.project_id().await,
            None => None,
        };
        if let Some(project) = project {
            self.log.set_project(project);
        }
    }
}

/// An address at which a listener on all interfaces can be reached from here.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let mut address = listen;
    if listen.ip().is_unspecified() {
        address.set_ip(match listen {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

impl WarmUp {
    async fn run(&self) {
        let now = UnixTime::now();
        let keys = async {
            if let Some(verifier) = &self.verifier {
                verifier.prefetch(now).await;
            }
        };
        tokio::join!(keys, self.mint.prefetch(now));
    }
}

/// SIGTERM drains, SIGINT ends at once; SIGHUP and SIGQUIT, which would end a process or start Pingora's hand-over
/// to a successor that does not exist, are noted and ignored.
struct Signals;

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let kinds =
            [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()];
        let [Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup), Ok(mut quit)] = kinds.map(signal) else {
            log::error!("signals cannot be received: the process can only be killed");
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => return ShutdownSignal::GracefulTerminate,
                _ = interrupt.recv() => return ShutdownSignal::FastShutdown,
                _ = hangup.recv() => log::warn!("SIGHUP ignored: the configuration is read at start only"),
                _ = quit.recv() => log::warn!("SIGQUIT ignored"),
            }
        }
    }
}
