//! Which pages of other origins may call a location from a browser (the CORS protocol,
//! <https://fetch.spec.whatwg.org/#http-cors-protocol>).

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::Origin;

/// What browsers are told about a location.
#[derive(Clone, Debug)]
pub struct Cors {
    /// Whose pages may call.
    pub origins: Origins,
    /// The methods that they may use; all that the location takes when empty.
    pub methods: Vec<Method>,
    /// The headers that they may send; whatever they ask for when empty.
    pub headers: Vec<HeaderName>,
    /// The headers of answers that they may read besides the safe ones: a list, as it is sent.
    pub expose: HeaderValue,
    /// Whether they may have the browser send cookies, and open WebSockets with them.
    pub credentials: bool,
    /// How long browsers may remember the answer to a preflight.
    pub max_age: Duration,
    /// Who answers preflights.
    pub preflight: PreflightBy,
}

/// Whose pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's; never with credentials.
    Any,
    /// Those of these origins.
    Listed(Vec<Origin>),
}

/// Who answers preflights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreflightBy {
    /// The gateway; the upstream sees none.
    Gateway,
    /// The upstream, when their origin and method are allowed.
    Upstream,
}

impl Cors {
    /// Whether pages of an origin may call. Browsers write origins in one way only, so bytes are compared.
    pub fn admits(&self, origin: &HeaderValue) -> bool {
        match &self.origins {
            Origins::Any => true,
            Origins::Listed(list) => {
                list.iter().any(|listed| listed.as_str().as_bytes() == origin.as_bytes())
            }
        }
    }
}
