//! What the gateway was told to do: the resolved, ready-to-use form of the configuration file.
//!
//! `file` reads YAML into nodes that know their position, `mirror` gives them the shape of the file (and is the
//! reference of its keys), `resolve` turns the mirror into the values below, and `problem` collects everything that
//! is wrong, so that an operator sees all of it at once. Nothing falls back to a default because it could not be read.

mod environment;
mod file;
mod mirror;
mod problem;
mod read;
mod resolve;
#[cfg(test)]
mod tests;
mod traces;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, Method};
use url::Url;

pub use environment::Environment;
pub use problem::Problems;
pub use resolve::{load, parse};
pub use traces::Traces;

pub use crate::telemetry::{LogFormat, LogRequests};

use crate::secret::Secret;

/// The prefix of the gateway's own endpoints: no location takes what is below it.
pub const RESERVED_PREFIX: &str = "/.portcullis";

/// The whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address of the public listener: HTTP/1.1 and h2c on one port.
    pub listen: SocketAddr,
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
    /// Whose tokens are accepted and where Google is reached; absent when every location is public.
    pub google: Option<Google>,
    /// The metadata server, which mints the tokens for upstreams, public locations included. Only scheme, host and
    /// port are used.
    pub metadata: Url,
    /// Sign-in of people.
    pub login: Login,
    /// Life of verified facts.
    pub cache: Cache,
    /// The services behind the gateway.
    pub upstreams: Vec<Upstream>,
    /// What is let through, and where to. In the order of the file, which has no meaning.
    pub locations: Vec<Location>,
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
#[derive(Clone, Debug)]
pub struct Log {
    /// Form of the lines.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: log::LevelFilter,
    /// Which requests get a line of their own.
    pub requests: LogRequests,
}

/// Whose tokens are accepted and where Google is reached.
#[derive(Clone, Debug)]
pub struct Google {
    /// The OAuth web client of our own sign-in. It has no secret here.
    pub client_id: String,
    /// Other OAuth clients whose tokens are accepted.
    pub accepted_clients: Vec<String>,
    /// Google's endpoints.
    pub endpoints: Endpoints,
}

/// Where Google is reached. `https`, or `http` to loopback.
#[derive(Clone, Debug)]
pub struct Endpoints {
    /// Where browsers are sent to sign in.
    pub authorization: Url,
    /// Tells whom an access token belongs to.
    pub tokeninfo: Url,
    /// Google's public keys as a JWK set (RFC 7517).
    pub certs: Url,
    /// Revokes a token (RFC 7009).
    pub revocation: Url,
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
#[derive(Clone, Debug)]
pub struct Cache {
    /// How long a verified token is believed; never past its own expiry.
    pub verified: Duration,
    /// How long a rejected token is remembered.
    pub rejected: Duration,
    /// Entries of the cache of verified tokens.
    pub entries: usize,
}

/// A service behind the gateway.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// Its name in the file.
    pub name: String,
    /// Scheme, host and port; the path is `/`.
    pub url: Url,
    /// Audience of the minted token, or nothing for `audience: none`.
    pub audience: Option<String>,
    /// Header that carries the minted token.
    pub token_header: HeaderName,
    /// Versions of HTTP to speak.
    pub protocol: Protocol,
    /// Limits on waiting.
    pub timeouts: Timeouts,
}

/// Versions of HTTP to speak with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Over TLS what ALPN settles on, in the clear HTTP/1.1.
    Auto,
    /// Only HTTP/1.1.
    Http1,
    /// Only HTTP/2; in the clear with prior knowledge (h2c).
    Http2,
}

/// Limits on waiting for an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection, TLS included, is established.
    pub connect: Duration,
    /// Between two reads.
    pub read: Duration,
    /// Between two writes.
    pub write: Duration,
    /// How long an unused connection is kept.
    pub idle: Duration,
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
    /// The upstream's limits, with the location's own laid over them.
    pub timeouts: Timeouts,
    /// Largest request body in bytes; none when absent.
    pub max_body: Option<u64>,
    /// Forms of a path that are refused elsewhere.
    pub allow_encoded: AllowEncoded,
}

/// The path that a location takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocationPath {
    /// Only this path.
    Exact(String),
    /// This path, and all below it at a segment boundary.
    Prefix(String),
}

/// Who passes a location.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everybody.
    Public,
    /// Callers with a Google credential that this list admits.
    Google(Arc<Allow>),
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

/// A secret that the file refers to. Its value is never part of the file.
#[derive(Clone, Debug)]
pub struct SecretRef {
    /// Its name in the file.
    pub name: String,
    /// Where its value is.
    pub source: SecretSource,
    /// How long a value is used before it is read again.
    pub refresh: Duration,
}

/// Where the value of a secret is.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// A version in Google's Secret Manager: `projects/P/secrets/S/versions/V`, or with `locations/L` after the
    /// project for a regional secret.
    SecretManager(String),
    /// A file, read anew after `refresh`.
    File(PathBuf),
    /// An environment variable, read at start.
    Environment {
        /// Name of the variable.
        variable: String,
        /// What it held.
        value: Secret,
    },
}

/// A signed sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// How the sender signs.
    pub scheme: Scheme,
    /// Index into [`Config::secrets`] of the signing secret.
    pub secret: usize,
    /// That of another secret that is good as well while the sender changes from one to the other.
    pub previous_secret: Option<usize>,
}

/// How a sender signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Slack's `v0`.
    Slack,
    /// GitHub's `X-Hub-Signature-256`.
    Github,
    /// Stripe's `Stripe-Signature`.
    Stripe,
    /// Shopify's `X-Shopify-Hmac-SHA256`.
    Shopify,
    /// Zoom's `v0`.
    Zoom,
    /// <https://www.standardwebhooks.com>, symmetric.
    StandardWebhooks,
    /// As described in the file.
    Hmac(Box<HmacScheme>),
}

/// An HMAC signature, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HmacScheme {
    /// Header that carries the signature or several.
    pub header: HeaderName,
    /// The hash function.
    pub algorithm: HmacAlgorithm,
    /// How the signature is written.
    pub encoding: HmacEncoding,
    /// What stands before each signature, such as `sha256=` or `v1,`; elements that begin otherwise are ignored.
    pub prefix: String,
    /// What separates the elements of the header, such as `,`; without it, the whole header is one.
    pub separator: Option<char>,
    /// What is signed, in order.
    pub signed: Vec<SignedPart>,
    /// Where the time of signing stands; without one, old messages can be sent again for ever.
    pub timestamp: Option<TimestampPlace>,
    /// How far the time of signing may be from now, either way.
    pub tolerance: Duration,
    /// How the bytes of the key come from the secret.
    pub key: KeyForm,
    /// Header that identifies a delivery, constant over the sender's retries.
    pub id_header: Option<HeaderName>,
}

/// Hash function of an HMAC (RFC 2104).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HmacAlgorithm {
    /// SHA-1, for senders that know no better.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HmacEncoding {
    /// Hexadecimal digits in either case.
    Hex,
    /// Standard Base64 (RFC 4648, section 4), padded or not.
    Base64,
}

/// A piece of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedPart {
    /// These characters.
    Text(String),
    /// The time of signing as the sender wrote it.
    Timestamp,
    /// The value of a header as the sender wrote it.
    Header(HeaderName),
    /// The body's bytes.
    Body,
}

/// Where the time of signing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimestampPlace {
    /// In a header of its own.
    Header(HeaderName),
    /// In an element of the signature's header that begins with this, such as `t=`.
    Element(String),
}

/// How the bytes of the key come from the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// The secret's own bytes.
    Text,
    /// Base64 after this prefix, which may be missing, such as `whsec_`.
    Base64 {
        /// The prefix.
        prefix: String,
    },
}

/// A jq program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSource {
    /// The file it was read from, or the key of the file that holds it.
    pub name: String,
    /// The program.
    pub text: String,
}

/// The write-ahead log.
#[derive(Clone, Debug)]
pub struct Wal {
    /// Where entries are kept.
    pub store: WalStore,
    /// When delivery is tried again, and when it is given up.
    pub retry: Retry,
}

/// Where entries are kept until the upstream has accepted them.
#[derive(Clone, Debug)]
pub enum WalStore {
    /// A directory on this machine.
    Disk(DiskStore),
    /// Google Pub/Sub.
    PubSub(PubSubStore),
}

/// A log in a directory.
#[derive(Clone, Debug)]
pub struct DiskStore {
    /// The directory; made when it is missing.
    pub directory: PathBuf,
    /// Bytes of entries, dead letters included, above which nothing more is recorded.
    pub max_size: u64,
}

/// A log in Google Pub/Sub.
#[derive(Clone, Debug)]
pub struct PubSubStore {
    /// `projects/P/topics/T`.
    pub topic: String,
    /// How entries come back.
    pub delivery: PubSubDelivery,
    /// Where entries go that no upstream will take: `projects/P/topics/D`. Without one they are logged and dropped.
    pub dead_letter_topic: Option<String>,
}

/// How entries come back from Pub/Sub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PubSubDelivery {
    /// Pub/Sub calls the gateway's playback endpoint.
    Push {
        /// The only account whose tokens are accepted there.
        account: String,
        /// The only audience they may have.
        audience: String,
    },
    /// The gateway asks.
    Pull {
        /// `projects/P/subscriptions/S`.
        subscription: String,
    },
}

/// When delivery is tried again, and when it is given up. With Pub/Sub push, its subscription decides instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Wait after the first failure; it doubles with each further one.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
    /// Age at which an entry becomes a dead letter.
    pub max_age: Duration,
    /// Attempts after which an entry becomes a dead letter; no limit when absent.
    pub max_attempts: Option<u32>,
    /// Deliveries under way at once.
    pub concurrency: usize,
}
