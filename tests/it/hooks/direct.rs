//! Messages that are not kept: delivered at once, and the sender gets the upstream's answer.

use super::kit::{assert_refused, github, hook, plan, slack};
use crate::harness::answer::{Answer, Step};
use crate::harness::glue::minted_for;
use crate::harness::http::Call;
use crate::harness::world::{World, closed};

/// A name, what the upstream does, and what the sender gets.
type Row = (&'static str, fn() -> Answer, u16, &'static str);

fn direct(path: &str, more: &str) -> String {
    hook(path, more).replace("wal: true, ", "")
}

fn world(locations: &[String]) -> World {
    plan("", &locations.iter().map(String::as_str).collect::<Vec<_>>()).start()
}

#[tokio::test]
async fn the_sender_gets_what_the_upstream_answers() {
    let world = world(&[direct("/in", "")]);
    for status in [200, 201, 204, 302, 400, 401, 403, 404, 409, 410, 422, 429, 500, 503] {
        world.upstream.forget();
        world.upstream.on("/in", move |_| {
            Answer::new(status, if status == 204 { "" } else { "{\"from\":\"upstream\"}" })
                .header("Content-Type", "application/vnd.up+json")
                .header("X-Slack-No-Retry", "1")
                .header("Location", "https://elsewhere.example/")
                .header("Retry-After", "7")
                .header("Set-Cookie", "tracker=1")
                .header("Connection", "keep-alive")
                .header("Keep-Alive", "timeout=5")
        });
        let response = github(&world, "/in?q=1", "{\"a\":1}").send().await;
        assert_eq!(response.status, status);
        assert_eq!(response.text(), if status == 204 { "" } else { "{\"from\":\"upstream\"}" }, "{status}");
        for (name, value) in [
            ("content-type", Some("application/vnd.up+json")),
            ("x-slack-no-retry", Some("1")),
            ("location", Some("https://elsewhere.example/")),
            ("retry-after", Some("7")),
            ("set-cookie", None),
            ("keep-alive", None),
            ("x-portcullis-entry", None),
        ] {
            assert_eq!(response.header(name), value, "{status} {name}");
        }
        let request = world.upstream.only();
        assert_eq!((request.target().as_str(), request.body()), ("/in?q=1", b"{\"a\":1}".as_slice()));
        let token = request.header("x-serverless-authorization").unwrap();
        assert_eq!(minted_for(&token), Some(world.upstream.url()));
        assert_eq!(request.header("x-hub-signature-256"), None, "a signature is of no use to the upstream");
    }
}

#[tokio::test]
async fn nothing_is_delivered_without_a_good_signature() {
    let world = world(&[direct("/in", "")]);
    let call =
        world.client().post("/in", "{}").header("x-hub-signature-256", &format!("sha256={}", "0".repeat(64)));
    assert_refused(&call.send().await, 403, "bad_signature");
    assert_refused(&world.client().post("/in", "{}").send().await, 403, "bad_signature");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn an_upstream_that_fails_is_asked_once_and_the_sender_knows() {
    let world = world(&[direct("/in", ", timeouts: { connect: 1s, read: 1s, write: 1s }")]);
    let rows: [Row; 5] = [
        ("reset", || Answer::Steps(vec![Step::Reset]), 502, "upstream_unreachable"),
        ("noise", || Answer::raw("220 mail\r\n"), 502, "upstream_unreachable"),
        (
            "half",
            || Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"),
            502,
            "upstream_unreachable",
        ),
        ("stall", || Answer::Steps(vec![Step::Stall]), 504, "upstream_timeout"),
        (
            "front door",
            || {
                let answer = Answer::new(403, "<html>").header("Content-Type", "text/html; charset=UTF-8");
                answer.header("Server", "Google Frontend")
            },
            502,
            "upstream_refused_token",
        ),
    ];
    for (name, answer, status, code) in rows {
        world.upstream.forget();
        world.upstream.on("/in", move |_| answer());
        let response = github(&world, "/in", "{}").send().await;
        assert_eq!((response.status.as_u16(), response.code()), (status, code.to_owned()), "{name}");
        assert_eq!(world.upstream.count(), 1, "{name}");
    }
}

#[tokio::test]
async fn an_upstream_that_is_away_is_said_to_be() {
    let mut plan = plan("", &[&direct("/in", "")]);
    plan.upstream_url = Some(format!("http://{}", closed()));
    let world = plan.start();
    let response = github(&world, "/in", "{}").send().await;
    assert_eq!((response.status.as_u16(), response.code()), (502, "upstream_unreachable".to_owned()));
}

#[tokio::test]
async fn slack_s_challenge_needs_no_upstream() {
    let mut plan = plan("", &[&direct("/in", "").replace("github", "slack")]);
    plan.upstream_url = Some(format!("http://{}", closed()));
    let world = plan.start();
    let body = r#"{"type":"url_verification","challenge":"3eZbrw1a","token":"t"}"#;
    let response = slack(&world, "/in", body).send().await;
    assert_eq!((response.status.as_u16(), response.text().as_str()), (200, "3eZbrw1a"));
}

#[tokio::test]
async fn an_adapter_stands_before_a_service_that_people_call() {
    let location = "{ path: /api, access: google, adapt: { jq: '{said: .json, by: .headers.\"x-goog-authenticated-user-email\"}' }, upstream: up }";
    let mut plan = plan("", &[]);
    plan.further.clear();
    plan.hooks = format!("  - {location}\n");
    let world = plan.start();
    let call = |token: &str| -> Call {
        let call = world.client().post("/api", "{\"a\":1}").header("content-type", "application/json");
        call.bearer(token).header("x-goog-authenticated-user-email", "accounts.google.com:ceo@example.com")
    };
    let mut table = world.table();
    table.refused("nobody", world.client().post("/api", "{}"), 401, "unauthenticated").await;
    table.refused("a stranger", call(&world.access("mallory@other.example")), 403, "forbidden").await;
    table.finish().await;
    world.upstream.forget();
    world.upstream.on("/api", |_| Answer::new(201, "made"));
    let response = call(&world.access("ada@example.com")).send().await;
    assert_eq!((response.status.as_u16(), response.text().as_str()), (201, "made"));
    let request = world.upstream.only();
    let body: serde_json::Value = serde_json::from_slice(request.body()).unwrap();
    assert_eq!(body["said"], serde_json::json!({"a": 1}));
    let email = request.headers().all("x-goog-authenticated-user-email");
    assert_eq!(email, ["accounts.google.com:ada@example.com"]);
    assert_eq!(request.headers().all("x-goog-authenticated-user-id").len(), 1);
}

#[tokio::test]
async fn answers_pass_as_they_came_up_to_a_limit() {
    let world = world(&[direct("/in", "")]);
    let packed = super::fidelity::gzip(b"{\"a\":1}");
    let answer = packed.clone();
    world.upstream.on("/in", move |_| Answer::new(200, answer.clone()).header("Content-Encoding", "gzip"));
    let response = github(&world, "/in", "{}").send().await;
    assert_eq!((&*response.body, response.header("content-encoding")), (&*packed, Some("gzip")));
    world.upstream.on("/in", |_| Answer::chunked("text/plain", &["one ", "two"], None));
    assert_eq!(github(&world, "/in", "{}").send().await.text(), "one two");
    world.upstream.on("/in", |_| Answer::new(200, vec![b'x'; 11 << 20]));
    let response = github(&world, "/in", "{}").send().await;
    assert_eq!((response.status.as_u16(), response.code()), (502, "upstream_unreachable".to_owned()));
}
