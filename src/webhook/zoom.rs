//! Zoom: signatures and the validation of our URL (developers.zoom.us/docs/api/webhooks).

use std::sync::LazyLock;

use http::{HeaderName, StatusCode};
use serde::{Deserialize, Serialize};

use super::hmac::{Proof, v0};
use super::{Verified, WebhookError};
use crate::config::HmacScheme;
use crate::reply::Reply;

/// Longest token that is signed, in bytes. Zoom's have 22.
const MAX_TOKEN: usize = 256;

pub(super) static SCHEME: LazyLock<HmacScheme> = LazyLock::new(|| {
    v0(HeaderName::from_static("x-zm-signature"), HeaderName::from_static("x-zm-request-timestamp"))
});

#[derive(Deserialize)]
struct Event {
    event: Option<String>,
    payload: Option<serde_json::Value>,
}

/// The answer to `endpoint.url_validation`.
#[derive(Serialize)]
struct Answer<'a> {
    #[serde(rename = "plainToken")]
    plain: &'a str,
    #[serde(rename = "encryptedToken")]
    encrypted: String,
}

/// What a signed body is. Zoom's events have no id, so the signature stands for it.
pub(super) fn outcome(proof: Proof, body: &[u8]) -> Result<Verified, WebhookError> {
    let event = serde_json::from_slice::<Event>(body).ok();
    let Some(event) = event.filter(|event| event.event.as_deref() == Some("endpoint.url_validation")) else {
        return Ok(Verified::Message { delivery: proof.delivery });
    };
    let token = event.payload.as_ref().and_then(|payload| payload.get("plainToken")?.as_str());
    let plain = token.filter(|token| is_token(token)).ok_or(WebhookError::Challenge("plainToken"))?;
    let answer = Answer { plain, encrypted: proof.sign(plain.as_bytes()) };
    Ok(Verified::Answer(Reply::json(StatusCode::OK, &answer)))
}

/// Base64 of either alphabet. What is answered is a signature with the secret: without a colon it is none of a message.
fn is_token(text: &str) -> bool {
    (1..=MAX_TOKEN).contains(&text.len())
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'/' | b'-' | b'_' | b'='))
}
