//! Stripe: signatures (docs.stripe.com/webhooks/signature). The key is the secret as it stands, `whsec_` included.
//!
//! Stripe's libraries refuse only what is too old; a time that is ahead is refused here as well.

use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderName;
use serde::Deserialize;

use super::Verified;
use super::hmac::{MAX_ID, Proof};
use crate::config::{HmacAlgorithm, HmacEncoding, HmacScheme, KeyForm, SignedPart, TimestampPlace};

pub(super) static SCHEME: LazyLock<HmacScheme> = LazyLock::new(|| HmacScheme {
    header: HeaderName::from_static("stripe-signature"),
    algorithm: HmacAlgorithm::Sha256,
    encoding: HmacEncoding::Hex,
    prefix: "v1=".to_owned(),
    separator: Some(','),
    signed: vec![SignedPart::Timestamp, SignedPart::Text(".".to_owned()), SignedPart::Body],
    timestamp: Some(TimestampPlace::Element("t=".to_owned())),
    tolerance: Duration::from_secs(300),
    key: KeyForm::Text,
    id_header: None,
});

#[derive(Deserialize)]
struct Event {
    id: String,
}

/// The id of the event, which is the same when Stripe delivers again. What is no event goes by its signature.
pub(super) fn outcome(proof: Proof, body: &[u8]) -> Verified {
    let event = serde_json::from_slice::<Event>(body).ok();
    let id = event.map(|event| event.id).filter(|id| id.starts_with("evt_") && id.len() <= MAX_ID);
    Verified::Message { delivery: id.or(proof.delivery) }
}
