//! Standard Webhooks 1.0.0 (github.com/standard-webhooks/standard-webhooks, `spec/standard-webhooks.md`), symmetric.
//!
//! The key is what the Base64 after `whsec_` stands for. Asymmetric signatures (`v1a`) beside ours are ignored.

use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderName;

use crate::config::{HmacAlgorithm, HmacEncoding, HmacScheme, KeyForm, SignedPart, TimestampPlace};

const ID: HeaderName = HeaderName::from_static("webhook-id");

pub(super) static SCHEME: LazyLock<HmacScheme> = LazyLock::new(|| HmacScheme {
    header: HeaderName::from_static("webhook-signature"),
    algorithm: HmacAlgorithm::Sha256,
    encoding: HmacEncoding::Base64,
    prefix: "v1,".to_owned(),
    separator: Some(' '),
    signed: vec![
        SignedPart::Header(ID),
        SignedPart::Text(".".to_owned()),
        SignedPart::Timestamp,
        SignedPart::Text(".".to_owned()),
        SignedPart::Body,
    ],
    timestamp: Some(TimestampPlace::Header(HeaderName::from_static("webhook-timestamp"))),
    tolerance: Duration::from_secs(300),
    key: KeyForm::Base64 { prefix: "whsec_".to_owned() },
    id_header: Some(ID),
});
