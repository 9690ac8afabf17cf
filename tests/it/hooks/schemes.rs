//! Senders of every scheme, with published vectors where there are some.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::kit::{
    DISK, assert_nothing_kept, assert_refused, delivered, hex, kept, plan, slack, tag, unix_now,
};
use crate::harness::canary;
use crate::harness::http::Call;
use crate::harness::world::World;

fn location(path: &str, webhook: &str) -> String {
    format!("{{ path: {path}, access: webhook, webhook: {webhook}, wal: true, upstream: up }}")
}

/// A world with one location of this scheme and a secret of its own.
fn with_secret(scheme: &str, secret: &str) -> World {
    let mut plan = plan(DISK, &[&location("/in", scheme)]);
    plan.environment = vec![("SIGNING", secret.to_owned())];
    plan.start()
}

#[tokio::test]
async fn github_s_published_vector_is_good_and_a_changed_one_is_not() {
    let world = with_secret("{ github: { secret: s } }", "It's a Secret to Everybody");
    let vector = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let call = |body: &str, signature: &str| {
        world.client().post("/in", body.to_owned()).header("x-hub-signature-256", signature)
    };
    let mut table = world.table();
    let zeros = "0".repeat(64);
    for (name, body, signature) in [
        ("another body", "Hello, World", vector.to_owned()),
        ("nothing", "", vector.to_owned()),
        ("another signature", "Hello, World!", format!("sha256={zeros}")),
        ("no prefix", "Hello, World!", vector.replace("sha256=", "")),
        ("another prefix", "Hello, World!", vector.replace("sha256=", "sha1=")),
        ("cut", "Hello, World!", vector[..vector.len() - 2].to_owned()),
        ("empty", "Hello, World!", "sha256=".to_owned()),
        ("two", "Hello, World!", format!("{vector},{vector}")),
        ("no hexadecimal digits", "Hello, World!", format!("sha256={}", "g".repeat(64))),
    ] {
        table.refused(name, call(body, &signature), 403, "bad_signature").await;
    }
    let twice = call("Hello, World!", vector).header("x-hub-signature-256", vector);
    table.refused("sent twice", twice, 403, "bad_signature").await;
    table.refused("none", world.client().post("/in", "Hello, World!"), 403, "bad_signature").await;
    let old = world.client().post("/in", "Hello, World!").header("x-hub-signature", vector);
    table.refused("in another header", old, 403, "bad_signature").await;
    table.finish().await;
    world.upstream.forget();
    assert_nothing_kept(&world);
    kept(call("Hello, World!", vector)).await;
    delivered(&world).await;
    assert_eq!(world.upstream.only().body(), b"Hello, World!");
}

#[tokio::test]
async fn slack_asks_for_its_challenge_and_gets_it_only_when_it_has_signed() {
    let world = plan(DISK, &[&location("/in", "{ slack: { secret: s } }")]).start();
    let challenge =
        |text: &str| json!({"type": "url_verification", "challenge": text, "token": "t"}).to_string();
    let html = "<script>alert(1)</script>";
    let mut table = world.table();
    for (name, text) in [("plain", "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"), ("HTML", html)] {
        let call = world.client().post("/in", challenge(text)).header("content-type", "application/json");
        table.refused(name, call, 403, "bad_signature").await;
        let now = unix_now().to_string();
        let call = world.client().post("/in", challenge(text)).header("x-slack-request-timestamp", &now);
        let call = call.header("x-slack-signature", &format!("v0={}", "0".repeat(64)));
        table.refused(name, call, 403, "bad_signature").await;
    }
    table.refused("line ends", slack(&world, "/in", &challenge("a\r\nb")), 403, "bad_signature").await;
    table.refused("long", slack(&world, "/in", &challenge(&"x".repeat(5000))), 403, "bad_signature").await;
    let number = json!({"type": "url_verification", "challenge": 7}).to_string();
    table.refused("a number", slack(&world, "/in", &number), 403, "bad_signature").await;
    table.finish().await;
    world.upstream.forget();
    for text in ["3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P", html] {
        let response = slack(&world, "/in", &challenge(text)).send().await;
        assert_eq!((response.status.as_u16(), response.text().as_str()), (200, text));
        assert!(response.header("content-type").unwrap().starts_with("text/plain"));
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
    }
    // A check of the certificate comes without a signature, gets nothing and does nothing.
    let form = "application/x-www-form-urlencoded";
    let response =
        world.client().post("/in", "ssl_check=1&token=x").header("content-type", form).send().await;
    assert_eq!((response.status.as_u16(), response.text().as_str()), (200, ""));
    let call = world.client().post("/in", "ssl_check=1&token=x").header("content-type", form);
    let call = call.header("x-slack-request-timestamp", &unix_now().to_string());
    assert_refused(&call.header("x-slack-signature", "v0=00").send().await, 403, "bad_signature");
    assert_nothing_kept(&world);
}

#[tokio::test]
async fn zoom_s_validation_is_answered_with_the_token_signed() {
    let world = with_secret("{ zoom: { secret: s } }", "xxxxxxxx");
    let call = |secret: &str, body: &str| {
        let now = unix_now().to_string();
        let signature = tag(secret, &[b"v0:", now.as_bytes(), b":", body.as_bytes()]);
        let call = world.client().post("/in", body.to_owned()).header("x-zm-request-timestamp", &now);
        call.header("content-type", "application/json")
            .header("x-zm-signature", &format!("v0={}", hex(&signature)))
    };
    let body = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"},"event_ts":1}"#;
    let response = call("xxxxxxxx", body).send().await;
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(
        response.json(),
        json!({"plainToken": "qgg8vlvZRS6UYooatFL8Aw",
            "encryptedToken": "2cf4c3272b49688683ecd66d71b967000800475b4f9878f581518b740a557830"})
    );
    assert_refused(&call("yyyyyyyy", body).send().await, 403, "bad_signature");
    // It does not sign what could be a message's signature.
    for token in ["v0:1700000000:{}", "", "a b"] {
        let body = json!({"event": "endpoint.url_validation", "payload": {"plainToken": token}}).to_string();
        assert_refused(&call("xxxxxxxx", &body).send().await, 403, "bad_signature");
    }
    assert_nothing_kept(&world);
    let event = r#"{"event":"meeting.started","payload":{}}"#;
    kept(call("xxxxxxxx", event)).await;
    delivered(&world).await;
    assert_eq!(world.upstream.only().body(), event.as_bytes());
}

#[tokio::test]
async fn shopify_signs_in_base64_and_names_its_deliveries() {
    let world = with_secret("{ shopify: { secret: s } }", "hush");
    let call = |body: &str, signature: &str| {
        world.client().post("/in", body.to_owned()).header("x-shopify-hmac-sha256", signature)
    };
    let good = "VnKUjZsLuN5iZWjn5EntcBVCF9kMN43LglzCE1/GSeY=";
    assert_eq!(STANDARD.encode(tag("hush", &[b"{\"id\":1}"])), good);
    let hexadecimal = hex(&tag("hush", &[b"{\"id\":1}"]));
    for (body, signature) in [("{\"id\":2}", good), ("{\"id\":1}", "AAAA"), ("{\"id\":1}", &hexadecimal)] {
        assert_refused(&call(body, signature).send().await, 403, "bad_signature");
    }
    let id = "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043";
    let first = kept(call("{\"id\":1}", good).header("x-shopify-webhook-id", id)).await;
    assert_eq!(kept(call("{\"id\":1}", good).header("x-shopify-webhook-id", id)).await, first);
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn any_other_hmac_is_described_in_the_file() {
    let scheme = "{ hmac: { secret: s, header: X-Sig, algorithm: sha512, encoding: base64, prefix: 'v=', \
        separator: ';', timestamp_element: 't=', signed: '{timestamp}|{header:x-event}|{body}', tolerance: 1m, \
        id_header: X-Delivery } }";
    let world = plan(DISK, &[&location("/in", scheme)]).start();
    let call = |time: u64, event: &str, signed_event: &str| -> Call {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA512, canary::secret().as_bytes());
        let text = format!("{time}|{signed_event}|body");
        let signature = STANDARD.encode(ring::hmac::sign(&key, text.as_bytes()));
        let call = world.client().post("/in", "body").header("x-event", event);
        call.header("x-sig", &format!("t={time}; v={signature};other=1"))
    };
    let now = unix_now();
    let mut table = world.table();
    table.refused("another event", call(now, "deleted", "made"), 403, "bad_signature").await;
    table.refused("old", call(now - 61, "made", "made"), 403, "bad_signature").await;
    table.refused("too new", call(now + 75, "made", "made"), 403, "bad_signature").await;
    let without = world.client().post("/in", "body").header("x-sig", &format!("t={now};v=AAAA"));
    table.refused("without a header that is signed", without, 403, "bad_signature").await;
    table.finish().await;
    world.upstream.forget();
    assert_nothing_kept(&world);
    let first = kept(call(now, "made", "made").header("x-delivery", "1")).await;
    assert_eq!(kept(call(now + 1, "made", "made").header("x-delivery", "1")).await, first);
    assert_ne!(kept(call(now + 1, "made", "made").header("x-delivery", "2")).await, first);
}

#[tokio::test]
async fn two_secrets_are_good_while_a_sender_changes_from_one_to_the_other() {
    let mut plan = plan(DISK, &[&location("/in", "{ github: { secret: s, previous_secret: old } }")]);
    plan.further = plan.further.replace("env: SIGNING }", "env: SIGNING }, old: { env: OLD }");
    plan.environment.push(("OLD", format!("{}-old", canary::secret())));
    let world = plan.start();
    let call = |secret: &str| {
        let signature = format!("sha256={}", hex(&tag(secret, &[b"{}"])));
        world.client().post("/in", "{}").header("x-hub-signature-256", &signature)
    };
    kept(call(canary::secret())).await;
    kept(call(&format!("{}-old", canary::secret()))).await;
    assert_refused(&call(&format!("{}-older", canary::secret())).send().await, 403, "bad_signature");
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn what_the_sender_gets_is_what_the_file_says() {
    let reply = ", reply: { status: 202, headers: { Vary: X-Any }, json: { response_type: in_channel } }";
    let text = ", reply: { status: 200, text: 'thank you' }";
    let nothing = ", reply: { status: 204 }";
    let of = |path: &str, more: &str| super::kit::hook(path, more);
    let world = plan(DISK, &[&of("/json", reply), &of("/text", text), &of("/nothing", nothing)]).start();
    for (path, status, kind, body) in [
        ("/json", 202, Some("application/json"), "{\"response_type\":\"in_channel\"}"),
        ("/text", 200, Some("text/plain; charset=utf-8"), "thank you"),
        ("/nothing", 204, None, ""),
    ] {
        let response = super::kit::github(&world, path, "{}").send().await;
        assert_eq!((response.status.as_u16(), response.text().as_str()), (status, body), "{path}");
        assert_eq!(response.header("content-type"), kind, "{path}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(response.header("vary").is_some(), path == "/json", "{path}");
        assert_eq!(response.header("x-portcullis-entry").unwrap().len(), 32);
    }
}
