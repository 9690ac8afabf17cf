//! Published messages and our own, for every scheme.

mod answers;
mod properties;
mod refusals;

#[path = "../../fuzz/harness.rs"]
mod harness;

use std::time::Duration;

use http::HeaderValue;

use super::*;
use crate::config::{HmacAlgorithm, HmacEncoding, KeyForm, SignedPart, TimestampPlace};

pub(super) const SLACK_SECRET: &str = "8f742231b10e8888abcd99yyyzzz85a5";
pub(super) const SLACK_BODY: &str = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
pub(super) const SLACK_SIGNATURE: &str = "a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503";
pub(super) const STRIPE_SIGNATURE: &str = "248a374f50f943a28b0f6ab50faf9a7e7e29b710fa26df9fb1618b9bf8ea9c9a";
const GITHUB_SIGNATURE: &str = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
const ZOOM_SIGNATURE: &str = "f40773e0418e739a2ae4e01ce95330dd79f06eca5fdd3d635eda6f8bcee4808a";

/// A message that its sender signed, and how it must be understood.
#[derive(Clone)]
pub(super) struct Message {
    pub(super) scheme: Scheme,
    pub(super) secret: &'static str,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
    pub(super) now: u64,
    pub(super) delivery: Option<&'static str>,
}

impl Message {
    fn new(
        (scheme, secret): (Scheme, &'static str),
        headers: &[(&'static str, &str)],
        (body, now): (&str, u64),
        delivery: Option<&'static str>,
    ) -> Self {
        let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Self { scheme, secret, headers, body: body.as_bytes().to_vec(), now, delivery }
    }

    /// The same with other values for a header; none removes it.
    pub(super) fn with(&self, name: &'static str, values: &[&str]) -> Self {
        let mut changed = self.clone();
        changed.headers.retain(|(present, _)| *present != name);
        changed.headers.extend(values.iter().map(|value| (name, (*value).to_owned())));
        changed
    }

    pub(super) fn at(&self, now: u64) -> Self {
        Self { now, ..self.clone() }
    }

    pub(super) fn header(&self, name: &str) -> String {
        self.headers.iter().find(|(present, _)| *present == name).map(|(_, value)| value.clone()).unwrap()
    }

    pub(super) fn verify(&self) -> Result<Verified, WebhookError> {
        self.verify_with(&[self.secret])
    }

    pub(super) fn verify_with(&self, secrets: &[&str]) -> Result<Verified, WebhookError> {
        let mut headers = HeaderMap::new();
        for (name, value) in &self.headers {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
        let secrets: Vec<&Secret> = secrets.iter().collect();
        verify(&self.scheme, &secrets, &Incoming { headers: &headers, body: &self.body }, UnixTime(self.now))
    }

    pub(super) fn delivery(&self) -> Option<String> {
        match self.verify().unwrap() {
            Verified::Message { delivery } => delivery,
            Verified::Answer(reply) => panic!("answered with {reply:?}"),
        }
    }
}

pub(super) fn slack() -> Message {
    Message::new(
        (Scheme::Slack, SLACK_SECRET),
        &[
            ("x-slack-request-timestamp", "1531420618"),
            ("x-slack-signature", &format!("v0={SLACK_SIGNATURE}")),
        ],
        (SLACK_BODY, 1_531_420_618),
        Some(SLACK_SIGNATURE),
    )
}

pub(super) fn github() -> Message {
    Message::new(
        (Scheme::Github, "It's a Secret to Everybody"),
        &[
            ("x-hub-signature-256", GITHUB_SIGNATURE),
            ("x-github-event", "ping"),
            ("x-github-delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958"),
        ],
        ("Hello, World!", 1_700_000_000),
        Some("72d3162e-cc78-11e3-81ab-4c9367dc0958"),
    )
}

pub(super) fn stripe() -> Message {
    Message::new(
        (Scheme::Stripe, "whsec_test_secret"),
        &[("stripe-signature", &format!("t=1700000000,v1={STRIPE_SIGNATURE}"))],
        (r#"{"id":"evt_1"}"#, 1_700_000_000),
        Some("evt_1"),
    )
}

pub(super) fn shopify() -> Message {
    Message::new(
        (Scheme::Shopify, "hush"),
        &[
            ("x-shopify-hmac-sha256", "VnKUjZsLuN5iZWjn5EntcBVCF9kMN43LglzCE1/GSeY="),
            ("x-shopify-event-id", "98880550-7158-44d4-b7cd-2c97c8a091b5"),
            ("x-shopify-webhook-id", "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"),
        ],
        (r#"{"id":1}"#, 1_700_000_000),
        Some("b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"),
    )
}

pub(super) fn zoom() -> Message {
    Message::new(
        (Scheme::Zoom, "xxxxxxxx"),
        &[("x-zm-request-timestamp", "1700000000"), ("x-zm-signature", &format!("v0={ZOOM_SIGNATURE}"))],
        (r#"{"event":"x"}"#, 1_700_000_000),
        Some(ZOOM_SIGNATURE),
    )
}

pub(super) fn standard() -> Message {
    Message::new(
        (Scheme::StandardWebhooks, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        &[
            ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
            ("webhook-timestamp", "1614265330"),
            ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
        ],
        (r#"{"test": 2432232314}"#, 1_614_265_330),
        Some("msg_p5jXN8AQM9LWM0D4loKWxJek"),
    )
}

fn other_standard() -> Message {
    Message::new(
        (Scheme::StandardWebhooks, "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"),
        &[
            ("webhook-id", "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
            ("webhook-timestamp", "1649367553"),
            ("webhook-signature", "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="),
        ],
        (r#"{"email":"test@example.com","username":"test_user"}"#, 1_649_367_553),
        Some("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk"),
    )
}

/// All messages of schemes with a name.
pub(super) fn messages() -> Vec<Message> {
    vec![slack(), github(), stripe(), shopify(), zoom(), standard(), other_standard()]
}

fn only_the_body() -> HmacScheme {
    let name = |text: &'static str| HeaderName::from_static(text);
    HmacScheme {
        header: name("x-hub-signature-256"),
        algorithm: HmacAlgorithm::Sha256,
        encoding: HmacEncoding::Hex,
        prefix: "sha256=".to_owned(),
        separator: None,
        signed: vec![SignedPart::Body],
        timestamp: None,
        tolerance: Duration::from_secs(300),
        key: KeyForm::Text,
        id_header: Some(name("x-github-delivery")),
    }
}

/// What somebody would write who has read the senders' pages and not our code.
fn hand_written(scheme: &Scheme) -> HmacScheme {
    let name = |text: &'static str| HeaderName::from_static(text);
    let text = |text: &str| SignedPart::Text(text.to_owned());
    let body_only = only_the_body();
    let dashed = |signature, timestamp| HmacScheme {
        header: name(signature),
        prefix: "v0=".to_owned(),
        signed: vec![text("v0:"), SignedPart::Timestamp, text(":"), SignedPart::Body],
        timestamp: Some(TimestampPlace::Header(name(timestamp))),
        id_header: None,
        ..body_only.clone()
    };
    match scheme {
        Scheme::Github => body_only,
        Scheme::Slack => dashed("x-slack-signature", "x-slack-request-timestamp"),
        Scheme::Zoom => dashed("x-zm-signature", "x-zm-request-timestamp"),
        Scheme::Shopify => HmacScheme {
            header: name("x-shopify-hmac-sha256"),
            encoding: HmacEncoding::Base64,
            prefix: String::new(),
            id_header: Some(name("x-shopify-webhook-id")),
            ..body_only
        },
        Scheme::Stripe => HmacScheme {
            header: name("stripe-signature"),
            prefix: "v1=".to_owned(),
            separator: Some(','),
            signed: vec![SignedPart::Timestamp, text("."), SignedPart::Body],
            timestamp: Some(TimestampPlace::Element("t=".to_owned())),
            id_header: None,
            ..body_only
        },
        // The time as a header that is signed, which is another way to say the same.
        Scheme::StandardWebhooks => HmacScheme {
            header: name("webhook-signature"),
            encoding: HmacEncoding::Base64,
            prefix: "v1,".to_owned(),
            separator: Some(' '),
            signed: vec![
                SignedPart::Header(name("webhook-id")),
                text("."),
                SignedPart::Header(name("webhook-timestamp")),
                text("."),
                SignedPart::Body,
            ],
            timestamp: Some(TimestampPlace::Header(name("webhook-timestamp"))),
            key: KeyForm::Base64 { prefix: "whsec_".to_owned() },
            id_header: Some(name("webhook-id")),
            ..body_only
        },
        Scheme::Hmac(described) => *described.clone(),
    }
}

#[test]
fn what_senders_publish_is_believed() {
    for message in messages() {
        assert_eq!(message.delivery().as_deref(), message.delivery, "{:?}", message.scheme);
    }
}

#[test]
fn a_described_scheme_expresses_those_with_a_name() {
    for message in messages() {
        let described =
            Message { scheme: Scheme::Hmac(hand_written(&message.scheme).into()), ..message.clone() };
        // Only the id that stands in Stripe's body is Stripe's own.
        let expected =
            if message.scheme == Scheme::Stripe { Some(STRIPE_SIGNATURE) } else { message.delivery };
        assert_eq!(described.delivery().as_deref(), expected, "{:?}", message.scheme);
        let mut changed = described.clone();
        changed.body.push(b' ');
        assert_eq!(changed.verify().unwrap_err(), WebhookError::NoMatch, "{:?}", message.scheme);
    }
}

/// Test case 2 of RFC 2202 and of RFC 4231: the key `Jefe`.
#[test]
fn each_hash_function_is_the_one_it_is_called() {
    let known = [
        (HmacAlgorithm::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
        (HmacAlgorithm::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
        (
            HmacAlgorithm::Sha512,
            "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
        ),
    ];
    for (algorithm, signature) in known {
        let scheme = HmacScheme { algorithm, prefix: String::new(), ..hand_written(&Scheme::Github) };
        let message = Message::new(
            (Scheme::Hmac(scheme.into()), "Jefe"),
            &[("x-hub-signature-256", signature)],
            ("what do ya want for nothing?", 0),
            None,
        );
        assert_eq!(message.delivery(), None, "without a time or an id, nothing tells deliveries apart");
    }
}
