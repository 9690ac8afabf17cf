//! GitHub: signatures (docs.github.com/webhooks/using-webhooks/validating-webhook-deliveries).
//!
//! The time is not signed, so a message can be sent again for ever. `X-GitHub-Delivery` is the same when GitHub
//! delivers again, but it is not signed either. A `ping` is a message like any other.

use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderName;

use crate::config::{HmacAlgorithm, HmacEncoding, HmacScheme, KeyForm, SignedPart};

pub(super) static SCHEME: LazyLock<HmacScheme> = LazyLock::new(|| HmacScheme {
    header: HeaderName::from_static("x-hub-signature-256"),
    algorithm: HmacAlgorithm::Sha256,
    encoding: HmacEncoding::Hex,
    prefix: "sha256=".to_owned(),
    separator: None,
    signed: vec![SignedPart::Body],
    timestamp: None,
    tolerance: Duration::ZERO,
    key: KeyForm::Text,
    id_header: Some(HeaderName::from_static("x-github-delivery")),
});
