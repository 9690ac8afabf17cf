//! Requests for proof, and the ids of deliveries that stand in bodies.

use http::StatusCode;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use ring::hmac;

use super::*;

/// A signature of ours, in hexadecimal digits.
pub(super) fn signature(secret: &[u8], pieces: &[&[u8]]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, &pieces.concat());
    tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A message of Slack's or Zoom's with this body, signed.
fn dashed(message: &Message, names: [&'static str; 2], body: &str) -> Message {
    let time = message.now.to_string();
    let signature = signature(message.secret.as_bytes(), &[b"v0:", time.as_bytes(), b":", body.as_bytes()]);
    let signed = message.with(names[0], &[&time]).with(names[1], &[&format!("v0={signature}")]);
    Message { body: body.into(), ..signed }
}

fn from_slack(body: &str) -> Message {
    dashed(&slack(), ["x-slack-request-timestamp", "x-slack-signature"], body)
}

fn from_zoom(body: &str) -> Message {
    dashed(&zoom(), ["x-zm-request-timestamp", "x-zm-signature"], body)
}

fn unsigned(message: &Message) -> Message {
    Message { headers: Vec::new(), ..message.clone() }
}

fn answer(message: &Message) -> Reply {
    match message.verify().unwrap() {
        Verified::Answer(reply) => reply,
        Verified::Message { delivery } => panic!("taken for a message: {delivery:?}"),
    }
}

fn challenge(challenge: &str) -> String {
    format!(r#"{{"token":"x","challenge":{challenge},"type":"url_verification"}}"#)
}

#[test]
fn slack_gets_its_challenge_back_as_text() {
    let published = "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P";
    for text in [published, "<script>alert(1)</script>", "\u{e9}", &"a".repeat(512)] {
        let reply = answer(&from_slack(&challenge(&format!("{text:?}"))));
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(reply.body, text);
        assert_eq!(reply.get(&CONTENT_TYPE).unwrap(), "text/plain; charset=utf-8");
        assert_eq!(reply.get(&X_CONTENT_TYPE_OPTIONS).unwrap(), "nosniff");
    }
}

#[test]
fn a_challenge_is_answered_only_after_its_signature_was_good() {
    let body = challenge(r#""<script>""#);
    let needed = HeaderName::from_static("x-slack-signature");
    assert_eq!(unsigned(&from_slack(&body)).verify().unwrap_err(), WebhookError::Missing(needed));
    let forged = Message { body: body.clone().into(), ..slack() };
    assert_eq!(forged.verify().unwrap_err(), WebhookError::NoMatch);
    let old = from_slack(&body);
    assert!(matches!(old.at(old.now + 301).verify().unwrap_err(), WebhookError::TooOld { .. }));
    assert_eq!(from_slack(&body).verify_with(&["other"]).unwrap_err(), WebhookError::NoMatch);

    let body = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    assert!(unsigned(&from_zoom(body)).verify().is_err());
    assert_eq!(from_zoom(body).verify_with(&["other"]).unwrap_err(), WebhookError::NoMatch);
}

#[test]
fn an_absurd_challenge_is_refused() {
    for absurd in
        [&format!("{:?}", "a".repeat(513)), "\"\"", "5", "null", "[\"a\"]", "{}", r#""a\nb""#, r#""\u0000""#]
    {
        let error = from_slack(&challenge(absurd)).verify().unwrap_err();
        assert_eq!(error, WebhookError::Challenge("challenge"), "{absurd}");
        assert!(!error.may_be_the_secret());
    }
    let none = from_slack(r#"{"type":"url_verification"}"#).verify().unwrap_err();
    assert_eq!(none, WebhookError::Challenge("challenge"));
}

#[test]
fn slacks_events_go_by_their_id() {
    let event =
        |id: &str| format!(r#"{{"type":"event_callback","event_id":{id},"event":{{"type":"message"}}}}"#);
    let first = from_slack(&event(r#""Ev08MFMKH6""#));
    let mut again = first.clone();
    again.headers.push(("x-slack-retry-num", "1".to_owned()));
    assert_eq!(first.delivery().as_deref(), Some("Ev08MFMKH6"));
    assert_eq!(again.delivery(), first.delivery());

    let long = format!("{:?}", "E".repeat(257));
    for other in [
        event("\"\""),
        event("null"),
        event("7"),
        event(&long),
        r#"{"type":"app_rate_limited","event_id":"Ev1"}"#.to_owned(),
        r#"{"event_id":"Ev1"}"#.to_owned(),
        r#"{"type":"event_callback","event_id":"Ev1","event_id":"Ev2"}"#.to_owned(),
        r#"["event_callback"]"#.to_owned(),
        "payload=%7B%22type%22%3A%22block_actions%22%7D".to_owned(),
        String::new(),
    ] {
        let message = from_slack(&other);
        let signature = message.header("x-slack-signature").replace("v0=", "");
        assert_eq!(message.delivery(), Some(signature), "{other}");
    }
}

#[test]
fn slacks_check_of_the_certificate_gets_an_empty_answer() {
    for body in ["ssl_check=1&token=x", "token=x&ssl_check=1"] {
        for message in [from_slack(body), unsigned(&from_slack(body))] {
            let reply = answer(&message);
            assert_eq!((reply.status, reply.body.len()), (StatusCode::OK, 0));
        }
        // Who claims to have signed is held to it.
        assert_eq!(from_slack(body).verify_with(&["other"]).unwrap_err(), WebhookError::NoMatch);
        let half = unsigned(&from_slack(body)).with("x-slack-request-timestamp", &["1531420618"]);
        assert!(matches!(half.verify().unwrap_err(), WebhookError::Missing(_)));
        assert!(Message { scheme: Scheme::Zoom, ..unsigned(&from_slack(body)) }.verify().is_err());
    }
    let long = format!("ssl_check=1&token={}", "x".repeat(1024));
    for body in ["ssl_check=0", "ssl_check=", "ssl_check=11", "xssl_check=1", "text=ssl_check%3D1", "", &long]
    {
        assert!(unsigned(&from_slack(body)).verify().is_err(), "{body}");
        assert!(from_slack(body).delivery().is_some(), "{body}");
    }
    // What somebody writes in a channel is no form.
    for text in [r#"{"text":"&ssl_check=1&"}"#, " \n{\"text\":\"&ssl_check=1&\"}"] {
        assert!(from_slack(text).delivery().is_some());
        assert!(unsigned(&from_slack(text)).verify().is_err());
    }
}

#[test]
fn zoom_gets_its_token_signed() {
    let body = |token: &str| {
        format!(
            r#"{{"payload":{{"plainToken":{token}}},"event_ts":1654503849680,"event":"endpoint.url_validation"}}"#
        )
    };
    let message = from_zoom(&body(r#""qgg8vlvZRS6UYooatFL8Aw""#));
    let reply = answer(&message);
    let expected = serde_json::json!({
        "plainToken": "qgg8vlvZRS6UYooatFL8Aw",
        "encryptedToken": "2cf4c3272b49688683ecd66d71b967000800475b4f9878f581518b740a557830",
    });
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&reply.body).unwrap(), expected);
    assert_eq!(reply.get(&CONTENT_TYPE).unwrap(), "application/json");

    // With the secret that signed the request, whichever of two that is.
    let Ok(Verified::Answer(second)) = message.verify_with(&["other", message.secret]) else { panic!() };
    assert_eq!(second.body, reply.body);

    let long = format!("{:?}", "a".repeat(257));
    for absurd in ["\"\"", "5", "null", "{}", &long, "\"v0:1700000000:e30\"", "\"<a>\"", "\"a b\""] {
        let error = from_zoom(&body(absurd)).verify().unwrap_err();
        assert_eq!(error, WebhookError::Challenge("plainToken"), "{absurd}");
    }
    assert!(from_zoom(r#"{"event":"endpoint.url_validation"}"#).verify().is_err());
    assert!(from_zoom(r#"{"event":"endpoint.url_validations"}"#).delivery().is_some());
    assert!(from_zoom("no json").delivery().is_some());
}

#[test]
fn stripes_events_go_by_their_id() {
    let long = format!(r#"{{"id":"evt_{}"}}"#, "1".repeat(253));
    for body in
        [r#"{"id":"pi_1"}"#, r#"{"id":1}"#, "{}", "no json", "", r#"{"id":"evt_1","id":"evt_2"}"#, &long]
    {
        let signature = signature(stripe().secret.as_bytes(), &[b"1700000000.", body.as_bytes()]);
        let header = format!("t=1700000000,v1={signature}");
        let message = Message { body: body.into(), ..stripe().with("stripe-signature", &[&header]) };
        assert_eq!(message.delivery(), Some(signature), "{body}");
    }
}
