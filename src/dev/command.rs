//! The `dev` command: the same gateway as `run`, with the stand-in for Google and an echo upstream, all on
//! loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use super::echo::Echo;
use super::google::{Options, PushSpec, StandIn, SubscriptionSpec};
use crate::app::{self, Platform, StartError};
use crate::config::{
    self, Access, Config, Environment, LogFormat, Problems, PubSubDelivery, SecretSource, WalStore,
};

/// The configuration that is used when none is named.
const BUILT_IN: &str = include_str!("../../conf/dev.yaml");
const BUILT_IN_NAME: &str = "conf/dev.yaml (built in)";
/// What every secret of Secret Manager holds here.
const SECRET: &str = "dev-signing-secret";
/// Deliveries before an entry is a dead letter.
const ATTEMPTS: u32 = 100;
/// Set by Cloud Run for services and jobs.
const CLOUD_RUN: [&str; 3] = ["K_SERVICE", "K_REVISION", "CLOUD_RUN_JOB"];

/// Why `dev` does not start.
#[derive(Debug, Error)]
pub enum DevError {
    /// This is no developer's machine.
    #[error("dev signs in whoever clicks, so it does not start on Cloud Run ({0} is set); use run")]
    CloudRun(&'static str),
    /// The address can be reached from elsewhere.
    #[error("dev signs in whoever clicks, so it listens on loopback only, not on {0}")]
    NotLoopback(SocketAddr),
    /// The configuration has problems.
    #[error("{0}")]
    Config(Problems),
    /// A helper of `dev` cannot be started.
    #[error("{0} cannot be started: {1}")]
    Helper(&'static str, std::io::Error),
    /// The gateway cannot be started.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl DevError {
    /// 2 for what the operator wrote, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::CloudRun(_) | Self::NotLoopback(_) | Self::Config(_) => 2,
            Self::Start(error) => error.exit_code(),
            Self::Helper(..) => 1,
        }
    }
}

/// Serves until a signal ends the process. Returns only when it could not start.
pub fn run(
    file: Option<&Path>,
    listen: Option<SocketAddr>,
    environment: &Environment,
    program: PathBuf,
) -> Result<std::convert::Infallible, DevError> {
    if let Some(name) = CLOUD_RUN.into_iter().find(|name| environment.get(name).is_some()) {
        return Err(DevError::CloudRun(name));
    }
    let mut config = match file {
        Some(path) => config::load(path, environment),
        None => config::parse(BUILT_IN, BUILT_IN_NAME, environment),
    }
    .map_err(DevError::Config)?;
    let own_port = SocketAddr::from((Ipv4Addr::LOCALHOST, config.listen.port()));
    config.listen = app::probe(listen.unwrap_or(own_port))?;
    if !config.listen.ip().is_loopback() {
        return Err(DevError::NotLoopback(config.listen));
    }
    let runtime = runtime().map_err(|error| DevError::Helper("the stand-in", error))?;
    let (stand_in, echo) = runtime.block_on(start_helpers(&config))?;
    divert(&mut config, &stand_in, &echo);
    runtime.block_on(async { furnish(&config, &stand_in) });
    print(&welcome(&config, &stand_in, &echo, file));
    Ok(app::run(config, Platform { program, ..Platform::default() }, None)?)
}

/// The helpers' own runtime, apart from those of the gateway's services.
fn runtime() -> std::io::Result<Runtime> {
    Builder::new_multi_thread().worker_threads(1).thread_name("dev").enable_all().build()
}

async fn start_helpers(config: &Config) -> Result<(StandIn, Echo), DevError> {
    let domain = allowed_domain(config).unwrap_or_else(|| Options::default().domain);
    // Any other client would get tokens that the gateway refuses, and Google would not know it either.
    let google = config.google.iter();
    let clients =
        google.flat_map(|google| std::iter::once(&google.client_id).chain(&google.accepted_clients));
    let gateway = Some(gateway_url(config));
    let options = Options { domain, clients: clients.cloned().collect(), gateway, ..Options::default() };
    let [near, elsewhere] = addresses(config.listen.port(), 1);
    let stand_in = match StandIn::start(near, options.clone()).await {
        Ok(stand_in) => Ok(stand_in),
        Err(_) => StandIn::start(elsewhere, options).await,
    };
    let stand_in = stand_in.map_err(|error| DevError::Helper("the stand-in for Google", error))?;
    let [near, elsewhere] = addresses(config.listen.port(), 2);
    let echo = match Echo::start(near).await {
        Ok(echo) => Ok(echo),
        Err(_) => Echo::start(elsewhere).await,
    };
    Ok((stand_in, echo.map_err(|error| DevError::Helper("the echo upstream", error))?))
}

/// Where a helper listens: on the `nth` port after the gateway's, so that its address can be written down; where that
/// is taken, on any free port.
fn addresses(gateway: u16, nth: u16) -> [SocketAddr; 2] {
    [gateway.checked_add(nth).unwrap_or_default(), 0]
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// A domain whose people pass somewhere, so that the stand-in's people are of use.
fn allowed_domain(config: &Config) -> Option<String> {
    config.locations.iter().find_map(|location| match &location.access {
        Access::Public | Access::Webhook(_) => None,
        Access::Google(allow) => allow.domains.first().cloned(),
    })
}

/// Points everything at the helpers. Audiences stay what they are, so that the tokens are the real ones' like.
fn divert(config: &mut Config, stand_in: &StandIn, echo: &Echo) {
    let endpoints = &mut config.endpoints;
    endpoints.authorization = stand_in.authorization();
    endpoints.tokeninfo = stand_in.tokeninfo();
    endpoints.certs = stand_in.certs();
    endpoints.revocation = stand_in.revocation();
    endpoints.metadata = stand_in.metadata();
    endpoints.secret_manager = Some(stand_in.secret_manager());
    endpoints.pubsub = stand_in.pubsub();
    endpoints.pubsub_emulator = false;
    for upstream in &mut config.upstreams {
        upstream.replace(echo.base_url());
        upstream.protocol = config::Protocol::Http1;
    }
    config.public_url = Some(config::Origin::local(config.listen));
    config.trusted_hops = 0;
    config.log.format = match config.log.format {
        LogFormat::Auto => LogFormat::Text,
        chosen @ (LogFormat::Text | LogFormat::Json) => chosen,
    };
}

/// Gives the stand-in what the configuration expects at Google: secrets, topics, and the subscription that brings
/// entries of the log back.
fn furnish(config: &Config, stand_in: &StandIn) {
    for secret in &config.secrets {
        if let SecretSource::SecretManager(version) = &secret.source {
            let name = version.split("/versions/").next().unwrap_or_default();
            stand_in.add_secret_version(name, SECRET.as_bytes());
        }
    }
    let Some(WalStore::PubSub(store)) = config.wal.as_ref().map(|wal| &wal.store) else { return };
    stand_in.create_topic(&store.topic);
    let mut subscription = SubscriptionSpec::pull(&store.topic);
    subscription.backoff = Some((Duration::from_secs(1), Duration::from_secs(10)));
    if let Some(topic) = &store.dead_letter_topic {
        stand_in.create_topic(topic);
        subscription.dead_letter = Some((topic.clone(), ATTEMPTS));
    }
    let name = match &store.delivery {
        PubSubDelivery::Pull { subscription } => subscription.clone(),
        PubSubDelivery::Push { account, audience } => {
            let mut endpoint = config::Origin::local(config.listen).as_str().to_owned();
            endpoint.push_str("/.portcullis/playback");
            // An origin and a path always make a URL.
            let Ok(endpoint) = endpoint.parse() else { return };
            subscription.push =
                Some(PushSpec { endpoint, account: account.clone(), audience: audience.clone() });
            format!("{}-playback", store.topic.replacen("/topics/", "/subscriptions/", 1))
        }
    };
    stand_in.create_subscription(&name, subscription);
}

/// How a browser on this machine names the gateway.
fn gateway_url(config: &Config) -> String {
    format!("{}/", config::Origin::local(config.listen).as_str())
}

fn welcome(config: &Config, stand_in: &StandIn, echo: &Echo, file: Option<&Path>) -> String {
    let gateway = gateway_url(config);
    let (stand_in, echo) = (stand_in.base_url(), echo.base_url());
    let held = config.secrets.iter().any(|secret| matches!(secret.source, SecretSource::SecretManager(_)));
    let secrets =
        if held { format!("Secrets   those of Secret Manager are {SECRET}\n\n") } else { String::new() };
    let file = file.map_or_else(|| PathBuf::from(BUILT_IN_NAME), Path::to_path_buf);
    let person = format!("ada@{}", allowed_domain(config).unwrap_or_else(|| Options::default().domain));
    format!(
        "\nportcullis dev: {} with a stand-in for Google\n\n\
         Open      {gateway}\n          \
         sign in as one of the stand-in's people, and see what a service behind the gateway receives\n\n\
         Try       curl -i {gateway}  # a program without a token: 401\n          \
         curl -i -H 'Accept: text/html' {gateway}  # a browser: 302 to sign-in\n          \
         curl -i -H \"Authorization: Bearer $(curl -s '{stand_in}dev/access-token?as={person}')\" {gateway}  # a program with a token of {person}\n\n\
         Stand-in  {stand_in}  people, programs, their tokens, and switches to make it slow or failing\n\
         Echo      {echo}  answers in place of every upstream\n          \
         curl -X POST {echo}.echo/off  # it is down, until .echo/on\n\n\
         {secrets}\
         Ctrl-C ends it all.\n\n",
        file.display(),
    )
}

fn print(text: &str) {
    use std::io::Write as _;
    // Standard output may be closed; the gateway serves all the same.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(listen: Option<&str>, environment: &Environment) -> String {
        let error = run(None, listen.map(|address| address.parse().unwrap()), environment, PathBuf::new())
            .unwrap_err();
        assert_eq!(error.exit_code(), 2);
        error.to_string()
    }

    #[test]
    fn it_does_not_start_on_cloud_run() {
        for name in CLOUD_RUN {
            let environment = Environment::of([(name, "x")]);
            assert!(refused(None, &environment).contains(name));
        }
    }

    #[test]
    fn it_listens_on_loopback_only() {
        for address in ["0.0.0.0:0", "[::]:0"] {
            assert!(refused(Some(address), &Environment::empty()).contains("loopback only"), "{address}");
        }
    }

    #[test]
    fn helpers_listen_beside_the_gateway() {
        assert_eq!(addresses(8080, 1).map(|address| address.to_string()), ["127.0.0.1:8081", "127.0.0.1:0"]);
        assert_eq!(addresses(u16::MAX, 2).map(|address| address.port()), [0, 0]);
    }

    #[test]
    fn helpers_move_elsewhere_when_their_ports_are_taken() {
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut config = config::parse(BUILT_IN, BUILT_IN_NAME, &Environment::empty()).unwrap();
        for nth in [1, 2] {
            config.listen.set_port(port - nth);
            let (stand_in, echo) = runtime().unwrap().block_on(start_helpers(&config)).unwrap();
            let ports = [stand_in.base_url(), echo.base_url()].map(|url| url.port().unwrap());
            assert!(!ports.contains(&port), "{ports:?}");
        }
    }

    #[test]
    fn the_built_in_configuration_is_good() {
        let config = config::parse(BUILT_IN, BUILT_IN_NAME, &Environment::empty()).unwrap();
        assert_eq!(allowed_domain(&config).as_deref(), Some("example.com"));
    }
}
