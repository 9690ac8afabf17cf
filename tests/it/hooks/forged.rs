//! Whoever may publish to the topic, or finds the playback endpoint, chooses neither where anything goes nor who sent it.

use std::time::Duration;

use portcullis::dev::google::{PushSpec, ROBOT, SubscriptionSpec};
use serde_json::{Value, json};

use super::kit::{
    DEAD, PLAYBACK, PUSHED, SUBSCRIPTION, TOPIC, drained, hook, plan, push, push_of, push_subscription,
    push_token, pushed_world, subscribe,
};
use crate::harness::background::eventually;
use crate::harness::http::Call;
use crate::harness::upstream::Upstream;
use crate::harness::world::{PUBLIC_URL, World};

/// An entry as the gateway writes it, with something else in its description.
pub(super) fn entry(change: impl FnOnce(&mut Value), body: &[u8]) -> Vec<u8> {
    let mut line = json!({
        "version": 1, "id": "00112233445566778899aabbccddeeff", "location": "/in", "method": "POST",
        "path": "/in/x", "headers": [["content-type", "text/plain"]], "received": 1_700_000_000,
        "body": body.len(),
    });
    change(&mut line);
    [line.to_string().as_bytes(), b"\n", body].concat()
}

fn post(world: &World, token: &str) -> Call {
    let body = push_of(&entry(|_| {}, b"forged")).to_string();
    world.client().post(PLAYBACK, body).header("content-type", "application/json").bearer(token)
}

/// Entries that lead out of their location, or to somebody else.
fn elsewhere(host: std::net::SocketAddr) -> Vec<(String, Value)> {
    let mut rows: Vec<(String, Value)> = Vec::new();
    for path in [
        ".evil.com/x".to_owned(),
        format!("@{host}/"),
        format!(":80@{host}/"),
        format!("//{host}/in"),
        format!("/\\{host}"),
        format!("http://{host}"),
        format!("http://{host}/in"),
        format!("\\\\{host}/in"),
        "".to_owned(),
        "in".to_owned(),
        "*".to_owned(),
        "/".to_owned(),
        "/inner".to_owned(),
        "/IN".to_owned(),
        "/other/in".to_owned(),
        "/in b".to_owned(),
        "/in/a b".to_owned(),
        "/in\r\nHost: evil".to_owned(),
        "/in/\r\nHost: evil".to_owned(),
        "/in HTTP/1.1\r\nHost: evil\r\n\r\nGET /public/".to_owned(),
        "/in/../public/".to_owned(),
        "/in/..".to_owned(),
        "/in/./x".to_owned(),
        "/in/%2e%2e/public".to_owned(),
        "/in/%2E./public".to_owned(),
        "/in/..%2fpublic".to_owned(),
        "/in/..%5cpublic".to_owned(),
        "/in/..;/public".to_owned(),
        "/in\\..\\public".to_owned(),
        "/in/\0".to_owned(),
        "/in/x?y=1".to_owned(),
        "/in/x#y".to_owned(),
        "/in/ü".to_owned(),
    ] {
        rows.push((format!("path {path:?}"), json!({ "path": path })));
    }
    for query in ["a b", "a\r\nX: y", "a#b", "\0", "ü"] {
        rows.push((format!("query {query:?}"), json!({ "query": query })));
    }
    for location in ["", "/", "/nowhere", "/public/", "/in/", "up", "/in\0", "http://127.0.0.1/", "/from"] {
        rows.push((format!("location {location:?}"), json!({ "location": location })));
    }
    rows.push(("before the rewrite".to_owned(), json!({"location": "/from/", "path": "/from/x"})));
    rows.push(("beside the rewrite".to_owned(), json!({"location": "/from/", "path": "/too"})));
    rows.push(("below an exact one".to_owned(), json!({"location": "= /one", "path": "/one/x"})));
    rows
}

#[tokio::test]
async fn an_entry_chooses_neither_host_nor_a_path_outside_of_its_location() {
    let evil = Upstream::start();
    let world = pushed_world(&[hook("/in", ""), hook("/from/", ", rewrite: /to/"), hook("'= /one'", "")]);
    let host = evil.address();
    let rows = elsewhere(host);
    for (number, (name, change)) in rows.iter().enumerate() {
        let data = entry(
            |line| {
                for (key, value) in change.as_object().unwrap() {
                    line[key] = value.clone();
                }
            },
            b"forged",
        );
        let uri = format!("http://{host}/");
        world.google.publish(TOPIC, &data, &[("uri", uri.as_str()), ("portcullis-location", "/public/")]);
        drained(&world).await;
        assert_eq!(world.google.messages(DEAD).len(), number + 1, "{name} is no dead letter");
        assert_eq!(world.upstream.connections(), 0, "{name} reached the upstream");
    }
    assert_eq!(evil.connections(), 0, "somebody else was asked");
    assert_eq!(world.google.push_counters(SUBSCRIPTION).sent, rows.len(), "none came twice");
    // The entry that is right arrives, so the rows fail for what they change.
    world.google.publish(TOPIC, &entry(|_| {}, b"right"), &[]);
    drained(&world).await;
    assert_eq!(world.upstream.only().target(), "/in/x");
}

#[tokio::test]
async fn an_entry_says_nothing_in_the_gateway_s_name() {
    let world = pushed_world(&[hook("/in", ", playback: { keep: [X-Kept] }")]);
    let names = [
        "authorization",
        "x-serverless-authorization",
        "host",
        "cookie",
        "x-goog-authenticated-user-email",
        "x_goog_authenticated_user_email",
        "x-goog-iap-jwt-assertion",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-portcullis-attempt",
        "idempotency-key",
        "x-request-id",
        "connection",
        "upgrade",
        "te",
        "expect",
        "x-odd",
    ];
    let mut headers: Vec<Value> = names.iter().map(|name| json!([name, "forged"])).collect();
    headers.push(json!(["x-kept", "kept"]));
    headers.push(json!(["content-type", "text/plain"]));
    let sender = json!({"email": "ceo@example.com", "subject": "1"});
    let data = entry(
        |line| {
            line["headers"] = json!(headers);
            line["sender"] = sender;
        },
        b"x",
    );
    world.google.publish(TOPIC, &data, &[]);
    drained(&world).await;
    let request = world.upstream.only();
    let head = String::from_utf8_lossy(&request.message.head).into_owned();
    assert!(!head.contains("forged") && !head.contains("ceo@"), "{head}");
    assert_eq!(request.header("x-kept").as_deref(), Some("kept"));
}

#[tokio::test]
async fn lengths_and_framing_are_those_of_the_body() {
    let world = pushed_world(&[hook("/in", "")]);
    for name in ["content-length", "transfer-encoding"] {
        let data = entry(|line| line["headers"] = json!([[name, "chunked"], [name, "3"]]), b"whole");
        world.google.publish(TOPIC, &data, &[]);
    }
    drained(&world).await;
    for request in world.upstream.requests() {
        assert_eq!(request.body(), b"whole");
        assert_eq!(request.headers().all("content-length"), ["5"]);
        assert!(request.headers().all("transfer-encoding").is_empty());
    }
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn a_location_that_changed_its_methods_takes_no_old_ones() {
    let world = pushed_world(&[hook("/in", ", methods: [POST]")]);
    for method in ["GET", "DELETE", "CONNECT", "post", "TRACE"] {
        world.google.publish(TOPIC, &entry(|line| line["method"] = json!(method), b""), &[]);
    }
    drained(&world).await;
    world.upstream.assert_untouched();
    assert_eq!(world.google.messages(DEAD).len(), 5);
}

/// Tokens of Google that say something else than the subscription's.
fn wrong_claims(world: &World) -> Vec<(&'static str, String)> {
    let now = super::kit::unix_now();
    vec![
        ("another service", push_token(world, |claims| claims["aud"] = json!("https://other.example"))),
        (
            "the endpoint's URL",
            push_token(world, |claims| claims["aud"] = json!(format!("{PUBLIC_URL}{PLAYBACK}"))),
        ),
        ("our client", push_token(world, |claims| claims["aud"] = json!(portcullis::dev::google::CLIENT_ID))),
        ("a list", push_token(world, |claims| claims["aud"] = json!([PUBLIC_URL, "https://other.example"]))),
        ("no audience", push_token(world, |claims| claims["aud"] = Value::Null)),
        (
            "a longer audience",
            push_token(world, |claims| claims["aud"] = json!(format!("{PUBLIC_URL}.evil.example"))),
        ),
        ("no e-mail", push_token(world, |claims| claims["email"] = Value::Null)),
        (
            "a similar e-mail",
            push_token(world, |claims| {
                claims["email"] = json!("gateway@example-project.iam.gserviceaccount.com.evil.example");
            }),
        ),
        ("an unverified e-mail", push_token(world, |claims| claims["email_verified"] = json!(false))),
        ("nothing about the e-mail", push_token(world, |claims| claims["email_verified"] = Value::Null)),
        ("verified in words", push_token(world, |claims| claims["email_verified"] = json!("false"))),
        (
            "expired",
            push_token(world, |claims| {
                (claims["iat"], claims["exp"]) = (json!(now - 7200), json!(now - 3600));
            }),
        ),
        (
            "from the future",
            push_token(world, |claims| {
                (claims["iat"], claims["exp"]) = (json!(now + 7200), json!(now + 9000));
            }),
        ),
        ("no expiry", push_token(world, |claims| claims["exp"] = Value::Null)),
        ("another issuer", push_token(world, |claims| claims["iss"] = json!("https://evil.example"))),
    ]
}

/// Tokens of somebody else, and of nobody.
fn wrong_tokens(world: &World) -> Vec<(&'static str, String)> {
    let robot = || world.google.claims(world.google.account(ROBOT).unwrap(), PUBLIC_URL);
    vec![
        ("another account", world.google.issue_id_token(&robot(), None)),
        ("a person", world.id_token("ada@example.com", |_| {})),
        ("an access token", world.access("ada@example.com")),
        ("the robot's access token", world.access(ROBOT)),
        ("no signature", {
            let token = push_token(world, |_| {});
            format!("{}.", token.rsplit_once('.').unwrap().0)
        }),
        ("another's signature", {
            let (token, other) = (push_token(world, |_| {}), world.google.issue_id_token(&robot(), None));
            let (head, tail) = (token.rsplit_once('.').unwrap().0, other.rsplit_once('.').unwrap().1);
            format!("{head}.{tail}")
        }),
        ("alg none", {
            use base64::Engine as _;
            let part =
                |value: &Value| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(value.to_string());
            let claims = world
                .google
                .claims(world.google.account(portcullis::dev::google::GATEWAY).unwrap(), PUBLIC_URL);
            format!("{}.{}.", part(&json!({"alg": "none", "typ": "JWT"})), part(&claims))
        }),
        ("nonsense", "x".to_owned()),
    ]
}

#[tokio::test]
async fn only_the_push_subscription_calls_the_playback_endpoint() {
    let world = plan(PUSHED, &[&hook("/in", "")]).start();
    world.google.create_topic(DEAD);
    let rows = [wrong_claims(&world), wrong_tokens(&world)].concat();
    let mut table = world.table();
    for (name, token) in &rows {
        table.refused(name, post(&world, token), 403, "push_refused").await;
    }
    let bare = || {
        let body = push_of(&entry(|_| {}, b"forged")).to_string();
        world.client().post(PLAYBACK, body).header("content-type", "application/json")
    };
    table.refused("nothing", bare(), 403, "push_refused").await;
    let good = push_token(&world, |_| {});
    table.refused("in a cookie", bare().session(&good), 403, "push_refused").await;
    table
        .refused("as basic", bare().header("authorization", &format!("Basic {good}")), 403, "push_refused")
        .await;
    let aside = bare().header("x-serverless-authorization", &format!("Bearer {good}"));
    table.refused("in the other header", aside, 403, "push_refused").await;
    table.refused("GET", world.client().get(PLAYBACK).bearer(&good), 405, "method_not_allowed").await;
    table.finish().await;
    assert_eq!(world.google.messages(DEAD), []);
    let two = post(&world, &good).bearer(&good).send().await;
    assert!(two.status.is_client_error(), "{}", two.status);
    world.upstream.forget();
    assert_eq!(post(&world, &good).send().await.status, 204);
    assert_eq!(world.upstream.count(), 1, "the rows fail for what they change");
}

#[tokio::test]
async fn another_project_s_subscription_is_refused_for_its_token() {
    let world = plan(PUSHED, &[&hook("/in", "")]).start();
    world.google.create_topic(DEAD);
    let endpoint: url::Url = format!("{}{PLAYBACK}", world.gateway.url()).parse().unwrap();
    for (number, (account, audience)) in [
        ("pusher@evil-project.iam.gserviceaccount.com", PUBLIC_URL),
        (portcullis::dev::google::GATEWAY, endpoint.as_str()),
    ]
    .into_iter()
    .enumerate()
    {
        let (topic, name) = (
            format!("projects/evil-project/topics/t{number}"),
            format!("projects/evil-project/subscriptions/s{number}"),
        );
        let push = PushSpec {
            endpoint: endpoint.clone(),
            account: account.to_owned(),
            audience: audience.to_owned(),
        };
        let backoff = Some((Duration::from_millis(10), Duration::from_millis(10)));
        subscribe(&world, &name, SubscriptionSpec { backoff, ..SubscriptionSpec::push(&topic, push) });
        world.google.publish(&topic, &entry(|_| {}, b"forged"), &[]);
        eventually("two refusals", || world.google.push_counters(&name).refused >= 2).await;
        assert_eq!(world.google.push_counters(&name).last_status, Some(403));
    }
    world.upstream.assert_untouched();
    let spec = push_subscription(&world);
    subscribe(&world, SUBSCRIPTION, spec);
    world.google.publish(TOPIC, &entry(|_| {}, b"right"), &[]);
    drained(&world).await;
    assert_eq!(world.upstream.only().body(), b"right");
}

#[tokio::test]
async fn without_push_there_is_no_playback_endpoint() {
    for log in [super::kit::DISK, super::kit::PULLED] {
        let world = plan(log, &[&hook("/in", "")]).start();
        let response = push(&world, push_of(&entry(|_| {}, b"x"))).await;
        assert_eq!((response.status.as_u16(), response.code()), (404, "no_location".to_owned()));
        world.upstream.assert_untouched();
    }
}
