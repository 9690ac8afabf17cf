//! Any bytes as a signed request, to every scheme: `verify` must neither panic nor believe what nobody signed.
//!
//! Included by the fuzz target and by the unit tests of `src/webhook/`, each of which brings the names into scope.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use ring::hmac;

use super::{
    HmacAlgorithm, HmacEncoding, HmacScheme, Incoming, KeyForm, Scheme, Secret, SignedPart, TimestampPlace,
    UnixTime, Verified, needs, verify,
};

const NOW: UnixTime = UnixTime(1_700_000_000);
/// Base64 as well, so that every scheme can use it.
const SECRET: &str = "c2VjcmV0IG9mIHRoZSBmdXp6IHRhcmdldA==";

/// All schemes, the described one with everything that the others leave out.
fn schemes() -> [Scheme; 7] {
    let described = HmacScheme {
        header: HeaderName::from_static("x-signature"),
        algorithm: HmacAlgorithm::Sha1,
        encoding: HmacEncoding::Base64,
        prefix: "s=".to_owned(),
        separator: Some(';'),
        signed: vec![
            SignedPart::Header(HeaderName::from_static("x-id")),
            SignedPart::Timestamp,
            SignedPart::Body,
        ],
        timestamp: Some(TimestampPlace::Element("t=".to_owned())),
        tolerance: Duration::from_secs(60),
        key: KeyForm::Base64 { prefix: "p_".to_owned() },
        id_header: Some(HeaderName::from_static("x-id")),
    };
    [
        Scheme::Slack,
        Scheme::Github,
        Scheme::Stripe,
        Scheme::Shopify,
        Scheme::Zoom,
        Scheme::StandardWebhooks,
        Scheme::Hmac(Box::new(described)),
    ]
}

/// Headers of the same meaning in all schemes.
const SIGNATURES: [&str; 7] = [
    "x-slack-signature",
    "x-hub-signature-256",
    "stripe-signature",
    "x-shopify-hmac-sha256",
    "x-zm-signature",
    "webhook-signature",
    "x-signature",
];
const TIMES: [&str; 3] = ["x-slack-request-timestamp", "x-zm-request-timestamp", "webhook-timestamp"];
const IDS: [&str; 4] = ["x-github-delivery", "x-shopify-webhook-id", "webhook-id", "x-id"];

/// `data` is the headers' values, a line each (signature, time, id, another signature), and then the body. Returns how
/// many schemes believed it.
pub(crate) fn unsigned(data: &[u8]) -> usize {
    let mut lines = data.splitn(5, |byte| *byte == b'\n');
    let mut headers = HeaderMap::new();
    for names in [&SIGNATURES[..], &TIMES[..], &IDS[..], &SIGNATURES[..]] {
        let line = lines.next().filter(|line| !line.is_empty());
        let Some(value) = line.and_then(|line| HeaderValue::from_bytes(line).ok()) else { continue };
        for name in names {
            headers.append(*name, value.clone());
        }
    }
    let incoming = Incoming { headers: &headers, body: lines.next().unwrap_or_default() };
    let secret = Secret::new(SECRET);
    let mut believed = 0;
    for scheme in &schemes() {
        let needed = needs(scheme).is_none_or(|name| headers.contains_key(name));
        match verify(scheme, &[&secret], &incoming, NOW) {
            Ok(verified) => {
                assert!(needed, "{scheme:?} was believed without the header that it needs");
                believed += usize::from(matches!(verified, Verified::Message { .. }));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    believed
}

/// `body` as Slack, Zoom and Stripe would sign it: what reads a body after its signature must not panic either.
/// Returns how many of the three were refused.
pub(crate) fn signed(body: &[u8]) -> usize {
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let sign = |start: &str| {
        let tag = hmac::sign(&key, &[start.as_bytes(), body].concat());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let now = NOW.0.to_string();
    let dashed = format!("v0={}", sign(&format!("v0:{now}:")));
    let dotted = format!("t={now},v1={}", sign(&format!("{now}.")));
    let requests = [
        (Scheme::Slack, vec![(SIGNATURES[0], &dashed), (TIMES[0], &now)]),
        (Scheme::Zoom, vec![(SIGNATURES[4], &dashed), (TIMES[1], &now)]),
        (Scheme::Stripe, vec![(SIGNATURES[2], &dotted)]),
    ];
    let secret = Secret::new(SECRET);
    let mut refused = 0;
    for (scheme, lines) in requests {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.insert(name, HeaderValue::from_str(value).expect("digits and letters"));
        }
        refused +=
            usize::from(verify(&scheme, &[&secret], &Incoming { headers: &headers, body }, NOW).is_err());
    }
    refused
}
