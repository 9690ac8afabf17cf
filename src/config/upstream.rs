//! A service behind the gateway: where it is, and what is expected of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use url::Url;

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
    /// Where to connect: at least one, at most 64, none twice.
    pub addresses: Vec<Address>,
    /// Which of the addresses is next.
    pub balance: Balance,
    /// How each address is asked whether it is well, if it is.
    pub health_check: Option<HealthCheck>,
    /// Certificates and the name in TLS.
    pub tls: UpstreamTls,
    /// The bound on requests under way, if there is one.
    pub limit: Option<InFlightLimit>,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A name, or an IP address without brackets, with a port.
    Host(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

/// Which of several addresses is next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Balance {
    /// One after the other.
    RoundRobin,
    /// The one with the fewest requests under way.
    LeastConnections,
}

/// How an address is asked whether it is well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// Absolute path, percent-encoded.
    pub path: String,
    /// Between two checks.
    pub interval: Duration,
    /// Limit on one check.
    pub timeout: Duration,
    /// Good answers in a row after which an address is used again; at least one.
    pub healthy: u32,
    /// Failures in a row after which an address is not used; at least one.
    pub unhealthy: u32,
    /// The status of a good answer.
    pub expect: u16,
}

/// Certificates and the name in TLS. Everything in it was read with success at start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UpstreamTls {
    /// Authorities that may certify the upstream; the system's when empty.
    pub ca: Vec<CertificateDer<'static>>,
    /// What the gateway shows of itself.
    pub client: Option<ClientCertificate>,
    /// The name to ask for and to be certified, when it is not the host of the URL; never empty.
    pub server_name: Option<String>,
}

/// A certificate with its key, which `Debug` leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The certificate, then what leads to its authority; never empty.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its key.
    pub key: Arc<PrivateKeyDer<'static>>,
}

/// TLS on the public listener. Its certificate was read with success.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    /// What the gateway shows of itself.
    pub identity: ClientCertificate,
    /// The file of the certificate, and that of its key.
    pub files: [PathBuf; 2],
}

/// The bound on requests under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InFlightLimit {
    /// Requests under way at once.
    pub requests: usize,
    /// How many more may wait.
    pub queue: usize,
    /// How long one may wait.
    pub wait: Duration,
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
