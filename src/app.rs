//! The only wiring: from a configuration to parts, from parts to services, and the life of the process.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::HttpServerOptions;
use pingora::protocols::http::v2::server::{H2Options, default_h2_options};
use pingora::server::configuration::ServerConf;
use pingora::server::{RunArgs, Server, ShutdownSignal, ShutdownSignalWatch, ShutdownWatch};
use pingora::services::background::{BackgroundService, background_service};
use pingora::services::listening::Service;
use pingora_proxy::http_proxy;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin;
use crate::config::{Access, Config};
use crate::gate::{Gate, SignIn};
use crate::identity::{IdentityProvider, Verifier};
use crate::login::{GoogleRevocation, Login};
use crate::mint::{MetadataServer, Mint, TokenMinter};
use crate::outbound::Outbound;
use crate::proxy::{Connections, Proxy};
use crate::telemetry::logger::{self, RequestLog};
use crate::telemetry::metrics::{Metrics, Reading};
use crate::telemetry::spans::Spans;
use crate::time::UnixTime;

/// How long requests under way may go on after SIGTERM. Cloud Run kills the process after ten seconds.
const GRACE: Duration = Duration::from_secs(8);
/// Limit on the runtimes' own end after that.
const RUNTIME_TIMEOUT: Duration = Duration::from_secs(1);
/// Limit on sending the last spans of traces, within what Cloud Run leaves after the grace.
const FLUSH: Duration = Duration::from_millis(1500);
/// Idle connections to upstreams that are kept, in all.
const IDLE_UPSTREAM_CONNECTIONS: usize = 256;
/// How long an idle HTTP/2 connection of a caller is kept.
const H2_IDLE: Duration = Duration::from_secs(620);

/// Why the gateway does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {0}: {1}{help}", help = bind_help(.1))]
    Bind(SocketAddr, io::Error),
    /// The log cannot be set up.
    #[error("cannot write a log: {0}")]
    Log(io::Error),
}

/// The parts that outlive a single request.
struct Parts {
    /// The gate included.
    proxy: Proxy,
    metrics: Arc<Metrics>,
    warm_up: WarmUp,
    spans: Option<Arc<Spans>>,
    stopping: Arc<AtomicBool>,
}

/// What is fetched ahead of the first request.
struct WarmUp {
    verifier: Option<Arc<Verifier>>,
    mint: Arc<Mint>,
    metadata: Arc<MetadataServer>,
}

/// Where the process runs, as far as the log cares.
#[derive(Clone, Debug, Default)]
pub struct Platform {
    /// The Google Cloud project, if the environment names it.
    pub project: Option<String>,
    /// Whether this is Cloud Run, whose metadata server names the project otherwise.
    pub cloud_run: bool,
}

/// Builds the parts. Opens nothing and waits for nobody.
fn assemble(config: &Arc<Config>, request_log: Option<RequestLog>) -> Parts {
    let metrics = Arc::new(Metrics::new(config.locations.iter().map(|location| location.name.as_str())));
    let outbound = Arc::new(Outbound::new(Arc::clone(&metrics)));
    let metadata = Arc::new(MetadataServer::new(Arc::clone(&outbound), config.metadata.clone()));
    let minter: Arc<dyn TokenMinter> = metadata.clone();
    let audiences = config.upstreams.iter().filter_map(|upstream| upstream.audience.as_deref());
    let mint = Arc::new(Mint::new(audiences, &minter));
    let stopping = Arc::new(AtomicBool::new(false));
    let verifier =
        config.google.as_ref().map(|google| Arc::new(Verifier::new(config, google, Arc::clone(&outbound))));
    let sign_in = config.google.as_ref().zip(verifier.clone()).map(|(google, provider)| {
        let revocation = GoogleRevocation::new(Arc::clone(&outbound), google.endpoints.revocation.clone());
        let identities: Arc<dyn IdentityProvider> = provider.clone();
        let login =
            Login::new(google, &config.login, hosted_domain(config), identities, Arc::new(revocation));
        SignIn { provider, login }
    });
    let gate = Gate::new(Arc::clone(config), sign_in, Arc::clone(&stopping));
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
    Parts { proxy, metrics, warm_up: WarmUp { verifier, mint, metadata }, spans, stopping }
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
    let config = Arc::new(config);
    let parts = assemble(&config, Some(log.clone()));
    let mut server = Server::new_with_opt_and_conf(None, server_conf());
    let in_flight = parts.proxy.in_flight();
    let mut proxy = http_proxy(&server.configuration, parts.proxy);
    proxy.server_options = Some(server_options());
    proxy.h2_options = Some(h2_options());
    let connections = Connections::new(proxy, Arc::clone(&parts.metrics));
    let mut service = Service::new("proxy".to_owned(), connections);
    service.add_tcp(&config.listen.to_string());
    server.add_service(service);
    if let Some(address) = config.admin {
        server.add_service(admin::service(address, parts.metrics, Arc::clone(&parts.stopping)));
    }
    let (warm_up, spans, stopping) = (parts.warm_up, parts.spans, parts.stopping);
    let attendant = Attendant { config, platform, warm_up, spans, stopping, in_flight, log: log.clone() };
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
            Access::Public => {}
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
        max_retries: 4,
        ..ServerConf::default()
    }
}

fn server_options() -> HttpServerOptions {
    let mut options = HttpServerOptions::default();
    options.h2c = true;
    options.h2_idle_timeout = Some(H2_IDLE);
    options
}

/// Pingora's bounds on header lists and streams apply to its own defaults only (CVE-2026-105297), so start
/// from those.
fn h2_options() -> H2Options {
    let mut options = default_h2_options();
    options.max_concurrent_streams(250).max_header_list_size(64 * 1024);
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
    log: RequestLog,
}

#[async_trait]
impl BackgroundService for Attendant {
    async fn start(&self, mut shutdown: ShutdownWatch) {
        let prepare = async {
            tokio::join!(self.announce(), self.warm_up.run(), self.find_project());
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = prepare => {}
            // Either way it is over: the sender lives as long as the server.
            _ = shutdown.wait_for(|stop| *stop) => {}
        }
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
        log::info!("stopped");
        self.log.flush();
        std::process::exit(0);
    }
}

impl Attendant {
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
