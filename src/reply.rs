//! A complete answer that the gateway writes itself, as opposed to a `response` of the upstream.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, SET_COOKIE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use crate::telemetry::Audit;

/// Status, headers and the whole body. `Content-Length` is added by the writer, which also leaves
/// the body out of answers to `HEAD`.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code of the answer.
    pub status: StatusCode,
    /// Headers in the order they are written; a name may occur more than once.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The whole body.
    pub body: Bytes,
    /// Close the connection after the answer (HTTP/1), because the rest of the request is not read.
    pub close: bool,
    /// What the log says of it in any case.
    pub audit: Option<Audit>,
}

/// What a refusal says, as a problem document (RFC 9457, with two members of our own) or as a page.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// What happened, in a few words that are the same each time.
    pub title: &'a str,
    /// What happened this time, and what to do.
    pub detail: &'a str,
    /// Stable name of the reason, for programs.
    pub code: &'a str,
    /// Id of the request in the log.
    pub request_id: &'a str,
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
}

impl Reply {
    /// An empty answer. Nothing that the gateway says itself may be stored by a cache.
    pub fn new(status: StatusCode) -> Self {
        let headers = vec![
            (CACHE_CONTROL, HeaderValue::from_static("no-store")),
            (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        Self { status, headers, body: Bytes::new(), close: false, audit: None }
    }

    /// A redirect to `location`, which must be an absolute URL or an absolute path, percent-encoded.
    /// What cannot stand in a header falls back to `/`.
    pub fn redirect(status: StatusCode, location: &str) -> Self {
        let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/"));
        Self::new(status).header(LOCATION, location)
    }

    /// A JSON answer (RFC 8259).
    pub fn json(status: StatusCode, value: &impl Serialize) -> Self {
        Self::json_as(status, value, HeaderValue::from_static("application/json"))
    }

    /// A problem document for programs (RFC 9457).
    pub fn problem(status: StatusCode, problem: &Problem<'_>) -> Self {
        let Problem { title, detail, code, request_id } = *problem;
        let document =
            Document { kind: "about:blank", title, status: status.as_u16(), detail, code, request_id };
        Self::json_as(status, &document, HeaderValue::from_static("application/problem+json"))
    }

    fn json_as(status: StatusCode, value: &impl Serialize, content_type: HeaderValue) -> Self {
        // Serialising our own plain structs fails only for maps with non-string keys, of which there are none.
        let mut body = serde_json::to_vec(value).unwrap_or_default();
        body.push(b'\n');
        Self::new(status).header(CONTENT_TYPE, content_type).body(body)
    }

    /// Adds a header, keeping others of the same name.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds a `Set-Cookie` header. A cookie that cannot stand in a header is left out.
    #[must_use]
    pub fn cookie(mut self, cookie: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(cookie) {
            self.headers.push((SET_COOKIE, value));
        }
        self
    }

    /// Sets what the log says of it in any case.
    #[must_use]
    pub fn audit(mut self, audit: Audit) -> Self {
        self.audit = Some(audit);
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// The first value of a header, for tests and for the log.
    pub fn get(&self, name: &HeaderName) -> Option<&HeaderValue> {
        self.headers.iter().find(|(candidate, _)| candidate == name).map(|(_, value)| value)
    }
}
