//! The only wiring: from a configuration to parts, from parts to services, and the life of the process.

mod attend;
mod descriptors;
mod make;
mod recording;
mod reload;
mod tls;
mod watch;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::listeners::{L4BufferSettings, ListenerConfig};
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch};
use pingora::services::background::background_service;
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};

use self::attend::Attendant;
use self::make::Lasting;
use self::reload::Reloader;
use self::tls::Certificate;
use crate::adapt::AdapterProblem;
use crate::admin;
use crate::config::{Config, Limits, Problems};
use crate::outbound::Outbound;
use crate::proxy::{Connections, Proxy};
use crate::secrets::SecretProblem;
use crate::telemetry::logger::{self, RequestLog};
use crate::telemetry::metrics::{Metrics, Reading};
use crate::wal::disk::OpenError;

pub use self::reload::Source;

/// How long requests under way may go on after SIGTERM. Cloud Run kills the process after ten seconds.
const GRACE: Duration = Duration::from_secs(8);
/// Limit on the runtimes' own end after that.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(1);
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
    /// The listener's certificate cannot be used.
    #[error("tls: the certificate cannot be used: {0}")]
    Tls(String),
    /// The configuration has problems.
    #[error("{0}")]
    Config(Problems),
    /// What has changed is not read anew.
    #[error("{}: {} changed; restart to change that", .0.display(), .1.join(", "))]
    Fixed(PathBuf, Vec<String>),
}

impl StartError {
    /// 2 for what the operator wrote, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Adapters(_) | Self::Config(_) | Self::Fixed(..) => 2,
            Self::Bind(..) | Self::Log(_) | Self::Secrets(_) | Self::Tls(_) | Self::Wal(_) => 1,
        }
    }
}

fn lines(problems: &[impl ToString]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
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
    recording::adapters(config, PathBuf::new()).map(drop).map_err(StartError::Adapters)
}

/// Serves until a signal ends the process. Without a `source`, the configuration stays what it is. Returns only when it
/// could not start.
pub fn run(
    config: Config,
    platform: Platform,
    source: Option<Source>,
) -> Result<std::convert::Infallible, StartError> {
    let addresses = Addresses::bind(&config)?;
    let log =
        logger::install(config.log.format, config.log.level, config.log.requests).map_err(StartError::Log)?;
    let (limits, warnings) = (config.limits.clone(), config.warnings.clone());
    for warning in &warnings {
        log::warn!("{warning}");
    }
    let metrics = Arc::new(Metrics::new());
    let lasting = Lasting {
        outbound: Arc::new(Outbound::new(Arc::clone(&metrics))),
        metrics: Arc::clone(&metrics),
        log: log.clone(),
        stopping: Arc::default(),
        program: platform.program.clone(),
    };
    let stopping = Arc::clone(&lasting.stopping);
    let reloader = Reloader::start(config, addresses, lasting, source)?;
    let mut server = Server::new_with_opt_and_conf(None, server_conf());
    let proxy = Proxy::new(reloader.current(), Arc::clone(&metrics));
    let in_flight = proxy.in_flight();
    let certificate = reloader.certificate();
    observe(&metrics, Arc::clone(&in_flight), log.clone());
    let mut proxy = http_proxy(&server.configuration, proxy);
    proxy.server_options = Some(server_options());
    proxy.h2_options = Some(h2_options(&limits));
    let most = descriptors::connections(limits.connections);
    let connections = Connections::new(proxy, Arc::clone(&metrics), &limits, most);
    let mut service = Service::new("proxy".to_owned(), connections);
    service.add_listener(listener(addresses.listen, certificate.as_ref())?);
    server.add_service(service);
    if let Some(address) = addresses.admin {
        server.add_service(admin::service(address, metrics, Arc::clone(&stopping)));
    }
    let attendant =
        Attendant { listen: addresses.listen, platform, reloader, stopping, in_flight, log: log.clone() };
    server.add_service(background_service("attendant", attendant));
    server.run(RunArgs { shutdown_signal: Box::new(Signals) });
    log.flush();
    std::process::exit(0)
}

/// The public listener, with TLS where there is a certificate.
fn listener(
    address: SocketAddr,
    certificate: Option<&Arc<Certificate>>,
) -> Result<ListenerConfig, StartError> {
    let buffer = L4BufferSettings::default().read(READ_BUFFER);
    let listener = ListenerConfig::tcp(address.to_string()).l4_buffer(buffer);
    let Some(certificate) = certificate else { return Ok(listener) };
    let tls = certificate.settings().map_err(|error| StartError::Tls(error.to_string()))?;
    Ok(listener.tls(tls))
}

/// Has the metrics tell what is kept elsewhere.
fn observe(metrics: &Metrics, in_flight: Arc<AtomicUsize>, log: RequestLog) {
    metrics.add_source(move || {
        let number = in_flight.load(Ordering::Acquire) as f64;
        vec![
            Reading::gauge("portcullis_requests_in_flight", "Requests under way.", number),
            Reading::counter(
                "portcullis_log_lines_dropped_total",
                "Log lines that were dropped because whoever reads them is too slow.",
                log.dropped() as f64,
            ),
        ]
    });
}

/// Where the process listens, with ports that were free in place of 0.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    listen: SocketAddr,
    admin: Option<SocketAddr>,
}

impl Addresses {
    fn bind(config: &Config) -> Result<Self, StartError> {
        Ok(Self { listen: probe(config.listen)?, admin: config.admin.map(probe).transpose()? })
    }

    /// The configuration with these in place of those that are written.
    fn put_into(self, config: Config) -> Config {
        Config { listen: self.listen, admin: self.admin, ..config }
    }
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

/// SIGTERM drains, SIGINT ends at once; SIGQUIT, which would start Pingora's hand-over to a successor that does not
/// exist, is noted and ignored. SIGHUP is the reloader's.
struct Signals;

#[async_trait]
impl ShutdownSignalWatch for Signals {
    async fn recv(&self) -> ShutdownSignal {
        let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::quit()];
        let [Ok(mut terminate), Ok(mut interrupt), Ok(mut quit)] = kinds.map(signal) else {
            log::error!("signals cannot be received: the process can only be killed");
            return std::future::pending().await;
        };
        loop {
            tokio::select! {
                _ = terminate.recv() => return ShutdownSignal::GracefulTerminate,
                _ = interrupt.recv() => return ShutdownSignal::FastShutdown,
                _ = quit.recv() => log::warn!("SIGQUIT ignored"),
            }
        }
    }
}
