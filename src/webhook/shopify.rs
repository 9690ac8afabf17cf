//! Shopify: signatures (shopify.dev/docs/apps/build/webhooks/subscribe/https). Only the body is signed.
//!
//! Of the two ids, `X-Shopify-Webhook-Id` is the one of a delivery: Shopify's own library calls it the idempotency key
//! (shopify.dev/docs/api/shopify-app-remix, `webhookId`; Shopify/shopify-app-js#3129). `X-Shopify-Event-Id` marks
//! duplicates too (shopify.dev/docs/apps/build/webhooks/ignore-duplicates), but the same page has it shared by all
//! subscriptions that one event sets off: to go by it would drop messages that were never delivered.

use std::sync::LazyLock;
use std::time::Duration;

use http::HeaderName;

use crate::config::{HmacAlgorithm, HmacEncoding, HmacScheme, KeyForm, SignedPart};

pub(super) static SCHEME: LazyLock<HmacScheme> = LazyLock::new(|| HmacScheme {
    header: HeaderName::from_static("x-shopify-hmac-sha256"),
    algorithm: HmacAlgorithm::Sha256,
    encoding: HmacEncoding::Base64,
    prefix: String::new(),
    separator: None,
    signed: vec![SignedPart::Body],
    timestamp: None,
    tolerance: Duration::ZERO,
    key: KeyForm::Text,
    id_header: Some(HeaderName::from_static("x-shopify-webhook-id")),
});
