//! Where traces go.

use url::Url;

/// A collector of traces.
#[derive(Clone, Debug, PartialEq)]
pub struct Traces {
    /// Takes OTLP over HTTP. `https`, or `http` to loopback.
    pub endpoint: Url,
    /// The share of requests that are recorded, of those whose callers do not say; from 0 to 1.
    pub sample: f64,
}
