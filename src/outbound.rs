//! Calls to other services. Every call has a time-out, a cap on the size of the answer and metrics; none
//! follows redirects or uses a proxy of the environment.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use reqwest::ClientBuilder;
use thiserror::Error;
use url::Url;

use crate::telemetry::metrics::{CallOutcome, Metrics};

/// Whom a call is for; the label of its metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Google's tokeninfo.
    TokenInfo,
    /// Google's public keys.
    Certs,
    /// Google's token revocation.
    Revocation,
    /// The metadata server.
    Metadata,
    /// Google's Secret Manager.
    SecretManager,
    /// Google Pub/Sub.
    PubSub,
    /// A service behind the gateway, called from the write-ahead log.
    Upstream,
    /// The collector of traces.
    Traces,
}

impl Service {
    /// All services, in the order of their counters.
    pub const ALL: [Self; 8] = [
        Self::TokenInfo,
        Self::Certs,
        Self::Revocation,
        Self::Metadata,
        Self::SecretManager,
        Self::PubSub,
        Self::Upstream,
        Self::Traces,
    ];

    /// Name in metrics and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::TokenInfo => "tokeninfo",
            Self::Certs => "certs",
            Self::Revocation => "revocation",
            Self::Metadata => "metadata",
            Self::SecretManager => "secret_manager",
            Self::PubSub => "pubsub",
            Self::Upstream => "upstream",
            Self::Traces => "traces",
        }
    }
}

/// Versions of HTTP to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Over TLS what ALPN settles on, in the clear HTTP/1.1.
    Auto,
    /// Only HTTP/1.1.
    Http1,
    /// Only HTTP/2; in the clear with prior knowledge.
    Http2,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// Whom it is for.
    pub service: Service,
    /// Request method.
    pub method: Method,
    /// Where to. Never carries a credential, because URLs end up in logs.
    pub url: Url,
    /// Request headers.
    pub headers: HeaderMap,
    /// Request body.
    pub body: Bytes,
    /// Limit on the whole call, from connecting to the last byte of the answer.
    pub timeout: Duration,
    /// Largest answer in bytes.
    pub max_answer: usize,
}

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: StatusCode,
    /// Response headers.
    pub headers: HeaderMap,
    /// The whole body, not decompressed.
    pub body: Bytes,
}

/// Why there is no complete answer.
#[derive(Debug, Error)]
pub enum OutboundError {
    /// Nothing, or not everything, came in time.
    #[error("{0} did not answer within {1:?}")]
    Timeout(&'static str, Duration),
    /// The answer is larger than is sensible.
    #[error("the answer of {0} is larger than {1} bytes")]
    TooLarge(&'static str, usize),
    /// No connection, or it broke.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(&'static str, String),
    /// The HTTP client could not be set up, for want of CA certificates.
    #[error("no HTTP client: {0}")]
    NoClient(String),
}

/// The HTTP clients for all outbound calls.
///
/// Each is built when it is first needed, because reading the system's CA certificates takes longer than
/// all the rest of the start-up: the metadata server, which is asked first, speaks plain HTTP.
#[derive(Debug, Default)]
pub struct Outbound {
    plain: OnceLock<Result<reqwest::Client, String>>,
    plain_http2: OnceLock<Result<reqwest::Client, String>>,
    tls: OnceLock<Result<reqwest::Client, String>>,
    tls_http1: OnceLock<Result<reqwest::Client, String>>,
    metrics: Arc<Metrics>,
}

impl Outbound {
    /// Clients that count into `metrics`.
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// What the calls are counted into.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Makes a call and reads the whole answer, whatever its status.
    pub async fn call(&self, call: Call) -> Result<Answer, OutboundError> {
        self.call_speaking(call, Speaks::Auto).await
    }

    /// The same in a version of HTTP that the other side wants.
    pub async fn call_speaking(&self, call: Call, speaks: Speaks) -> Result<Answer, OutboundError> {
        let (service, limit, began) = (call.service, call.timeout, Instant::now());
        let result = match tokio::time::timeout(limit, self.send(call, speaks)).await {
            Ok(result) => result,
            Err(_) => Err(OutboundError::Timeout(service.name(), limit)),
        };
        let outcome = match &result {
            Ok(answer) if answer.status.is_server_error() => CallOutcome::ServerError,
            Ok(answer) if answer.status.is_client_error() => CallOutcome::ClientError,
            Ok(_) => CallOutcome::Ok,
            Err(_) => CallOutcome::Failed,
        };
        self.metrics.count_call(service, outcome, began.elapsed());
        result
    }

    fn client(&self, url: &Url, speaks: Speaks) -> Result<&reqwest::Client, &String> {
        let plain = || ClientBuilder::new().tls_certs_only(None);
        let client = match (url.scheme(), speaks) {
            ("http", Speaks::Auto | Speaks::Http1) => self.plain.get_or_init(|| build(plain())),
            ("http", Speaks::Http2) => {
                self.plain_http2.get_or_init(|| build(plain().http2_prior_knowledge()))
            }
            // HTTP/2 alone would need an own client for a service that fails without: ALPN prefers it already.
            (_, Speaks::Auto | Speaks::Http2) => self.tls.get_or_init(|| build(ClientBuilder::new())),
            (_, Speaks::Http1) => self.tls_http1.get_or_init(|| build(ClientBuilder::new().http1_only())),
        };
        client.as_ref()
    }

    async fn send(&self, call: Call, speaks: Speaks) -> Result<Answer, OutboundError> {
        let name = call.service.name();
        let client = self.client(&call.url, speaks).map_err(|why| OutboundError::NoClient(why.clone()))?;
        let mut headers = call.headers;
        // An empty body has a length as well (RFC 9110, section 8.6); without it, Google's front end answers 411.
        if call.body.is_empty() && [Method::POST, Method::PUT, Method::PATCH].contains(&call.method) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let request = client.request(call.method, call.url).headers(headers).body(call.body);
        let unreachable = |error: reqwest::Error| OutboundError::Unreachable(name, describe(error));
        let mut response = request.send().await.map_err(unreachable)?;
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > call.max_answer {
                return Err(OutboundError::TooLarge(name, call.max_answer));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer {
            status: response.status(),
            headers: std::mem::take(response.headers_mut()),
            body: body.freeze(),
        })
    }
}

fn build(builder: ClientBuilder) -> Result<reqwest::Client, String> {
    // Fails only when a provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    builder
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(Duration::from_secs(3))
        .pool_idle_timeout(Duration::from_secs(60))
        .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(describe)
}

/// The chain of causes without the URL.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
