//! Making the stand-in slow, wrong or silent, endpoint by endpoint.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use super::gzip;
use super::metadata::FLAVOR;
use crate::dev::loopback::{Wire, flood};
use crate::dev::page::set;

/// One thing that Google offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Endpoint {
    /// Where browsers sign in.
    Authorization,
    /// Tells whom a token belongs to.
    Tokeninfo,
    /// Tells about the person behind an access token.
    Userinfo,
    /// The public keys, in both forms.
    Certs,
    /// Revokes tokens.
    Revocation,
    /// `/.well-known/openid-configuration`.
    Discovery,
    /// The metadata server.
    Metadata,
    /// Secret Manager.
    SecretManager,
    /// Pub/Sub: publishing.
    Publish,
    /// Pub/Sub: pulling.
    Pull,
    /// Pub/Sub: acknowledging.
    Acknowledge,
    /// Pub/Sub: longer or shorter leases.
    ModifyAckDeadline,
    /// Pub/Sub: topics and subscriptions themselves.
    Topics,
}

impl Endpoint {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Authorization,
        Self::Tokeninfo,
        Self::Userinfo,
        Self::Certs,
        Self::Revocation,
        Self::Discovery,
        Self::Metadata,
        Self::SecretManager,
        Self::Publish,
        Self::Pull,
        Self::Acknowledge,
        Self::ModifyAckDeadline,
        Self::Topics,
    ];

    /// Its name in JSON and in the form on the index page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Tokeninfo => "tokeninfo",
            Self::Userinfo => "userinfo",
            Self::Certs => "certs",
            Self::Revocation => "revocation",
            Self::Discovery => "discovery",
            Self::Metadata => "metadata",
            Self::SecretManager => "secret_manager",
            Self::Publish => "publish",
            Self::Pull => "pull",
            Self::Acknowledge => "acknowledge",
            Self::ModifyAckDeadline => "modify_ack_deadline",
            Self::Topics => "topics",
        }
    }

    pub(super) fn of_path(path: &str) -> Option<Self> {
        Some(match path {
            "/o/oauth2/v2/auth" => Self::Authorization,
            "/tokeninfo" | "/oauth2/v3/tokeninfo" => Self::Tokeninfo,
            "/v1/userinfo" | "/oauth2/v3/userinfo" => Self::Userinfo,
            "/oauth2/v3/certs" | "/oauth2/v1/certs" => Self::Certs,
            "/revoke" => Self::Revocation,
            "/.well-known/openid-configuration" => Self::Discovery,
            _ if path.starts_with("/computeMetadata/") => Self::Metadata,
            _ => return Self::of_resource(path.strip_prefix("/v1/projects/")?),
        })
    }

    fn of_resource(path: &str) -> Option<Self> {
        Some(match path.rsplit_once(':').map(|(_, verb)| verb) {
            Some("access") => Self::SecretManager,
            Some("publish") => Self::Publish,
            Some("pull") => Self::Pull,
            Some("acknowledge") => Self::Acknowledge,
            Some("modifyAckDeadline") => Self::ModifyAckDeadline,
            None if path.contains("/topics/") || path.contains("/subscriptions/") => Self::Topics,
            Some(_) | None => return None,
        })
    }

    /// Whether a call changes something, which it must not when a fault says that it failed.
    fn changes(self) -> bool {
        matches!(
            self,
            Self::Publish | Self::Pull | Self::Acknowledge | Self::ModifyAckDeadline | Self::Topics
        )
    }
}

/// How an endpoint misbehaves. The default is to behave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Switch {
    /// How long each answer is held back.
    pub delay_ms: u64,
    /// What comes instead of the right answer.
    pub fault: Option<Fault>,
    /// Delay and fault end after this many calls; without a number they stay.
    pub next: Option<u32>,
}

/// What comes instead of the right answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// This answer. The flavor header of the metadata server is set, as if the real one had failed.
    Answer {
        /// Status code; what is no status code counts as 500.
        status: u16,
        /// Value of `Content-Type`.
        #[serde(default)]
        content_type: String,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// 200 without a body.
    Empty,
    /// 200 with a page of HTML, as a captive portal gives.
    Html,
    /// 200 with the given start of a body, a `Content-Length` that promises more, and the end.
    Truncated {
        /// What arrives.
        body: String,
    },
    /// 200 with a body of this many bytes.
    Flood {
        /// Its size.
        bytes: u64,
    },
    /// 200 with a gzip body that unpacks to about this many bytes.
    Gzip {
        /// Size when unpacked; capped at 1 GiB.
        bytes: u64,
    },
    /// The connection is closed without an answer.
    Close,
    /// The right answer with `Metadata-Flavor: Other`.
    WrongFlavor,
    /// The right answer without `Metadata-Flavor`.
    NoFlavor,
    /// 200 with two lines of text.
    SeveralLines,
}

#[derive(Default)]
pub(super) struct Switches(Mutex<HashMap<Endpoint, Switch>>);

impl Switches {
    pub(super) fn set(&self, endpoint: Endpoint, switch: Switch) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(endpoint, switch);
    }

    pub(super) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    pub(super) fn get(&self, endpoint: Endpoint) -> Switch {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&endpoint).cloned().unwrap_or_default()
    }

    /// The switch for one call, which counts.
    pub(super) fn take(&self, endpoint: Endpoint) -> Switch {
        let mut switches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(switch) = switches.get_mut(&endpoint) else { return Switch::default() };
        match &mut switch.next {
            Some(0) => Switch::default(),
            Some(left) => {
                *left -= 1;
                switch.clone()
            }
            None => switch.clone(),
        }
    }
}

impl Switch {
    pub(super) fn delay(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }
}

impl Fault {
    /// Whether it strikes before anything is done. A connection that breaks does so afterwards, so that the caller cannot
    /// know.
    pub(super) fn prevents(&self, endpoint: Endpoint) -> bool {
        let after = matches!(self, Self::Truncated { .. } | Self::Close | Self::WrongFlavor | Self::NoFlavor);
        endpoint.changes() && !after
    }

    /// `right` is the answer that the endpoint would have given.
    pub(super) fn apply(self, endpoint: Endpoint, right: Response, wire: &Wire) -> Response {
        let mut response = match self {
            Self::Answer { status, content_type, body } => {
                let status = StatusCode::from_u16(status).ok().filter(|status| status.as_u16() >= 200);
                plain(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &content_type, body)
            }
            Self::Empty => plain(StatusCode::OK, "", Body::empty()),
            Self::Html => {
                plain(StatusCode::OK, "text/html", "<!doctype html><title>Sign in to the Wi-Fi</title>")
            }
            Self::Flood { bytes } => plain(StatusCode::OK, "application/json", flood(bytes)),
            Self::Gzip { bytes } => {
                let mut response = plain(StatusCode::OK, "application/json", gzip::zeros(bytes));
                response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                response
            }
            Self::SeveralLines => plain(StatusCode::OK, "text/plain", "the first line\nthe second line\n"),
            Self::Truncated { body } => {
                wire.take_over(truncated(endpoint, &body));
                right
            }
            Self::Close => {
                wire.take_over(Vec::new());
                right
            }
            Self::WrongFlavor => return with_flavor(right, Some("Other")),
            Self::NoFlavor => return with_flavor(right, None),
        };
        if endpoint == Endpoint::Metadata {
            response = with_flavor(response, Some("Google"));
        }
        response
    }
}

fn plain(status: StatusCode, content_type: &str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    if !content_type.is_empty() {
        set(&mut response, CONTENT_TYPE, content_type);
    }
    response
}

fn with_flavor(mut response: Response, flavor: Option<&'static str>) -> Response {
    response.headers_mut().remove(&FLAVOR);
    if let Some(flavor) = flavor {
        response.headers_mut().insert(FLAVOR, HeaderValue::from_static(flavor));
    }
    response
}

fn truncated(endpoint: Endpoint, body: &str) -> Vec<u8> {
    let flavor = if endpoint == Endpoint::Metadata { "Metadata-Flavor: Google\r\n" } else { "" };
    let promised = body.len().saturating_add(100);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{flavor}Content-Length: {promised}\r\n\r\n"
    );
    format!("{head}{body}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_switch_ends() {
        let switches = Switches::default();
        let switch = Switch { delay_ms: 0, fault: Some(Fault::Close), next: Some(2) };
        switches.set(Endpoint::Certs, switch);
        let faults: Vec<_> = (0..4).map(|_| switches.take(Endpoint::Certs).fault.is_some()).collect();
        assert_eq!(faults, [true, true, false, false]);
        assert_eq!(switches.take(Endpoint::Tokeninfo), Switch::default());
    }

    #[test]
    fn names_are_those_of_json() {
        for endpoint in Endpoint::ALL {
            assert_eq!(serde_json::to_value(endpoint).unwrap(), endpoint.name());
        }
    }

    #[test]
    fn faults_are_read_as_they_are_written() {
        for json in [
            r#"{"kind":"answer","status":500,"content_type":"text/plain","body":"x"}"#,
            r#"{"kind":"empty"}"#,
            r#"{"kind":"truncated","body":"{"}"#,
            r#"{"kind":"flood","bytes":1}"#,
            r#"{"kind":"close"}"#,
            r#"{"kind":"several_lines"}"#,
        ] {
            let fault: Fault = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&fault).unwrap(), json);
        }
        assert!(serde_json::from_str::<Fault>(r#"{"kind":"flood","bytes":1,"more":1}"#).is_err());
    }
}
