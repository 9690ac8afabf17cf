//! Slack: signatures (docs.slack.dev/authentication/verifying-requests-from-slack), the proof of the request URL
//! (docs.slack.dev/reference/events/url_verification) and the check of our certificate.

use std::sync::LazyLock;

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Deserialize;

use super::hmac::{MAX_ID, Proof, v0};
use super::{Incoming, Verified, WebhookError};
use crate::config::HmacScheme;
use crate::reply::Reply;

const SIGNATURE: HeaderName = HeaderName::from_static("x-slack-signature");
const TIMESTAMP: HeaderName = HeaderName::from_static("x-slack-request-timestamp");
/// Longest challenge that is repeated, in bytes. Slack's have about 60.
const MAX_CHALLENGE: usize = 512;
/// Longest form that can be a check of the certificate, in bytes. It holds little more than a token.
const MAX_CHECK: usize = 1024;

pub(super) static SCHEME: LazyLock<HmacScheme> = LazyLock::new(|| v0(SIGNATURE, TIMESTAMP));

/// What we need of the outer JSON object of the Events API.
#[derive(Deserialize)]
struct Envelope {
    #[serde(rename = "type")]
    kind: Option<String>,
    event_id: Option<String>,
    /// Of any type, so that one that is no string is a bad challenge and not a message.
    challenge: Option<serde_json::Value>,
}

/// What a signed body is. Commands and interactions are forms without an id; there the signature stands for it.
pub(super) fn outcome(proof: Proof, body: &[u8]) -> Result<Verified, WebhookError> {
    if is_check(body) {
        return Ok(Verified::Answer(check_answer()));
    }
    let signature = Verified::Message { delivery: proof.delivery };
    let Ok(envelope) = serde_json::from_slice::<Envelope>(body) else { return Ok(signature) };
    match envelope.kind.as_deref() {
        Some("url_verification") => {
            let challenge = envelope.challenge.as_ref().and_then(serde_json::Value::as_str);
            let challenge =
                challenge.filter(|text| is_challenge(text)).ok_or(WebhookError::Challenge("challenge"))?;
            Ok(Verified::Answer(repeat(challenge)))
        }
        Some("event_callback") => match envelope.event_id.filter(|id| (1..=MAX_ID).contains(&id.len())) {
            Some(id) => Ok(Verified::Message { delivery: Some(id) }),
            None => Ok(signature),
        },
        Some(_) | None => Ok(signature),
    }
}

/// Whether this is Slack's check of our certificate, sent without a signature. Slack's own library (Bolt) takes such
/// forms before it looks for one, so we must expect them; what they get is the same for everybody and does nothing.
/// A request that claims to be signed is held to it.
pub(super) fn is_unsigned_check(incoming: &Incoming<'_>) -> bool {
    let claims = [&SIGNATURE, &TIMESTAMP].into_iter().any(|name| incoming.headers.contains_key(name));
    !claims && is_check(incoming.body)
}

pub(super) fn check_answer() -> Reply {
    Reply::new(StatusCode::OK)
}

/// A form with `ssl_check=1`. A JSON object is never one, whatever its strings hold.
fn is_check(body: &[u8]) -> bool {
    body.len() <= MAX_CHECK
        && !body.trim_ascii_start().starts_with(b"{")
        && form_urlencoded::parse(body).any(|(name, value)| name == "ssl_check" && value == "1")
}

fn is_challenge(text: &str) -> bool {
    (1..=MAX_CHALLENGE).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// Text that no browser takes for a page: [`Reply::new`] adds `nosniff`.
fn repeat(challenge: &str) -> Reply {
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    Reply::new(StatusCode::OK).header(CONTENT_TYPE, plain).body(challenge.to_owned())
}
