//! What the gateway was told to do: the resolved, ready-to-use form of the configuration file.
//!
//! `file` reads YAML into nodes that know their position, `mirror` gives them the shape of the file (and is the
//! reference of its keys), `resolve` turns the mirror into the values below, and `problem` collects everything that
//! is wrong, so that an operator sees all of it at once. Nothing falls back to a default because it could not be read.

mod cors;
mod environment;
mod file;
mod limits;
mod message;
mod mirror;
mod problem;
mod read;
mod resolve;
mod sender;
#[cfg(test)]
mod tests;
mod traces;
mod upstream;
mod warning;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use url::Url;

pub use cors::{Cors, Origins, PreflightBy};
pub use environment::Environment;
pub use limits::{Limits, LocationLimits, Rate, RateUnit};
pub use message::{
    AdapterSource, DiskStore, FixedReply, Meaning, Message, PubSubDelivery, PubSubStore, Retry, StatusRange,
    Wal, WalStore,
};
pub use problem::Problems;
pub use resolve::{load, load_noting, parse, read_certificate};
pub use sender::{
    HmacAlgorithm, HmacEncoding, HmacScheme, KeyForm, Scheme, SecretRef, SecretSource, SignedPart,
    TimestampPlace, Webhook,
};
pub use traces::Traces;
pub use upstream::{
    Address, Balance, ClientCertificate, HealthCheck, InFlightLimit, ListenerTls, Protocol, Timeouts,
    Upstream, UpstreamTls,
};
pub use warning::{Risk, Warning};

pub use crate::telemetry::{LogFormat, LogRequests};

/// The prefix of the gateway's own endpoints: no location takes what is below it.
pub const RESERVED_PREFIX: &str = "/.portcullis";

/// What the names of sign-in's own cookies begin with, behind any prefix. No session cookie is called like that.
pub const OWN_COOKIES: OwnCookies =
    OwnCookies { attempt: "portcullis-attempt", hint: "portcullis-hint", last: "portcullis-last" };

/// See [`OWN_COOKIES`].
#[derive(Clone, Copy, Debug)]
pub struct OwnCookies {
    /// Attempts to sign in; a number follows.
    pub attempt: &'static str,
    /// Who signed in last.
    pub hint: &'static str,
    /// How sign-in ended last.
    pub last: &'static str,
}

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the public listener: HTTP/1.1 and h2c on one port.
    pub listen: SocketAddr,
    /// TLS on it, if the gateway ends TLS itself.
    pub tls: Option<ListenerTls>,
    /// How callers name the gateway. Without it, origins come from `Host` and the front end's
    /// `X-Forwarded-Proto`, and ID tokens of service accounts are refused.
    pub public_url: Option<Origin>,
    /// Address of the operators' listener, if any.
    pub admin: Option<SocketAddr>,
    /// How many proxies in front of the gateway append to `X-Forwarded-For` and may be believed: 1 on
    /// Cloud Run, else 0, unless the file says otherwise.
    pub trusted_hops: u8,
    /// Logging.
    pub log: Log,
    /// Where spans of traces go, if anywhere.
    pub traces: Option<Traces>,
    /// Whose tokens are accepted; absent when no location asks who somebody is.
    pub google: Option<Google>,
    /// Where Google is reached.
    pub endpoints: Endpoints,
    /// Sign-in of people.
    pub login: Login,
    /// Life of verified facts.
    pub cache: Cache,
    /// Where secrets are.
    pub secrets: Vec<SecretRef>,
    /// The write-ahead log, if any location writes to it.
    pub wal: Option<Wal>,
    /// What callers may ask for.
    pub limits: Limits,
    /// The services behind the gateway.
    pub upstreams: Vec<Upstream>,
    /// What is let through, and where to. In the order of the file, which has no meaning.
    pub locations: Vec<Location>,
    /// What is risky, and not accepted in the file.
    pub warnings: Vec<Warning>,
}

/// Scheme, host and port, in the form that browsers send in `Origin` (RFC 6454): no path, no trailing slash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(pub(crate) Box<str>);

impl Origin {
    /// The origin as text, such as `https://gw.example.com`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The origin of a loopback address: `localhost` for the usual one, which may lead elsewhere than the others.
    #[cfg(feature = "dev")]
    pub(crate) fn local(address: SocketAddr) -> Self {
        if address.ip() == std::net::Ipv4Addr::LOCALHOST {
            Self(format!("http://localhost:{}", address.port()).into())
        } else {
            Self(format!("http://{address}").into())
        }
    }
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Form of the lines.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: log::LevelFilter,
    /// Which requests get a line of their own.
    pub requests: LogRequests,
}

/// Whose tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Google {
    /// The OAuth web client of our own sign-in. It has no secret here.
    pub client_id: String,
    /// Other OAuth clients whose tokens are accepted.
    pub accepted_clients: Vec<String>,
}

/// Where Google is reached. `https`, or `http` to loopback.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints {
    /// Where browsers are sent to sign in.
    pub authorization: Url,
    /// Tells whom an access token belongs to.
    pub tokeninfo: Url,
    /// Google's public keys as a JWK set (RFC 7517).
    pub certs: Url,
    /// Revokes a token (RFC 7009).
    pub revocation: Url,
    /// The metadata server, which mints the tokens for upstreams. Only scheme, host and port are used.
    pub metadata: Url,
    /// Secret Manager where it is not Google's own; the path is `/`.
    pub secret_manager: Option<Url>,
    /// Pub/Sub; the path is `/`.
    pub pubsub: Url,
    /// Whether that is the emulator, which wants no credential.
    pub pubsub_emulator: bool,
}

/// Sign-in of people.
#[derive(Clone, Debug)]
pub struct Login {
    /// What Google hands to the browser.
    pub flow: Flow,
    /// OAuth scopes that are asked for.
    pub scopes: Vec<String>,
    /// Name of the session cookie.
    pub cookie: String,
}

/// The two ways to sign in that need no client secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// `response_type=token`: the fragment carries an access token (RFC 6749, section 4.2).
    AccessToken,
    /// `response_type=id_token`: a form post carries an ID token (OpenID Connect Core, section 3.2).
    IdToken,
}

/// Who passes. All entries are lower-case.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Domains of e-mail addresses, compared whole.
    pub domains: Vec<String>,
    /// Single e-mail addresses.
    pub emails: Vec<String>,
    /// Service accounts, by e-mail address; never admitted by a domain.
    pub service_accounts: Vec<String>,
    /// Whether a domain is compared with the `hd` claim instead of the address.
    pub workspace_only: bool,
}

/// Life of verified facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// How long a verified token is believed; never past its own expiry.
    pub verified: Duration,
    /// How long a rejected token is remembered.
    pub rejected: Duration,
    /// Entries of the cache of verified tokens.
    pub entries: usize,
}

/// Which requests it takes, who passes, and where they go.
#[derive(Clone, Debug)]
pub struct Location {
    /// The path as written in the file, such as `/app` or `= /app`: its name in logs and in `explain`.
    pub name: String,
    /// The path it takes, decoded.
    pub path: LocationPath,
    /// The only host name it takes: lower-case, without port.
    pub host: Option<String>,
    /// The only methods it takes; all when empty.
    pub methods: Vec<Method>,
    /// Who passes.
    pub access: Access,
    /// What replaces the matched part of the path, percent-encoded.
    pub rewrite: Option<String>,
    /// Index into [`Config::upstreams`].
    pub upstream: usize,
    /// Which pages of other origins may call it.
    pub cors: Option<Cors>,
    /// The upstream's limits, with the location's own laid over them.
    pub timeouts: Timeouts,
    /// Largest request body in bytes; none when absent.
    pub max_body: Option<u64>,
    /// Forms of a path that are refused elsewhere.
    pub allow_encoded: AllowEncoded,
    /// Rates, besides those of the whole gateway.
    pub limits: LocationLimits,
    /// What makes the body that the upstream gets.
    pub adapt: Option<Arc<AdapterSource>>,
    /// How messages are delivered, where the gateway reads the body itself: with a signature to verify, an adapter, or
    /// a log to write to.
    pub message: Option<Message>,
}

/// The path that a location takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocationPath {
    /// Only this path.
    Exact(String),
    /// This path, and all below it at a segment boundary.
    Prefix(String),
}

impl LocationPath {
    /// Whether it takes a decoded path. A prefix ends at a segment boundary.
    pub fn takes(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => exact == path,
            Self::Prefix(prefix) => path
                .strip_prefix(prefix.as_str())
                .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/')),
        }
    }

    /// Of several paths that take a request, the one with the greatest rank wins.
    pub(crate) fn rank(&self) -> (usize, bool) {
        match self {
            Self::Exact(path) => (path.len(), true),
            Self::Prefix(path) => (path.len(), false),
        }
    }
}

/// Who passes a location.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody.
    Public,
    /// Callers with a Google credential that this list admits.
    Google(Arc<Allow>),
    /// Senders whose signature is good.
    Webhook(Arc<Webhook>),
}

/// Forms of a path that two readers may understand differently, allowed at a location whose upstream needs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AllowEncoded {
    /// `%2F`.
    pub slash: bool,
    /// `;` and `%3B`.
    pub semicolon: bool,
    /// `%25` before two hexadecimal digits, which a second decoding would change.
    pub percent: bool,
    /// `//`.
    pub double_slash: bool,
}
