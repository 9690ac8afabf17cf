//! What these tests share: configurations, signed requests, and a look into the log.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use portcullis::dev::google::{Fault, GATEWAY, PushSpec, SubscriptionSpec};
use portcullis::time::UnixTime;
use ring::hmac;
use serde_json::Value;

use crate::harness::background::{self, entered, eventually};
use crate::harness::canary;
use crate::harness::http::{Call, Response};
use crate::harness::world::{PUBLIC_URL, Plan, World};

/// A log on disk that tries again quickly.
pub(crate) const DISK: &str = "wal: { disk: { directory: wal }, retry: { first: 1s, longest: 1s } }\n";
/// A log in Pub/Sub that is pushed.
pub(crate) const PUSHED: &str = "wal: { pubsub: { topic: projects/example-project/topics/wal, \
     push_account: gateway@example-project.iam.gserviceaccount.com, push_audience: 'https://gw.example.test', \
     dead_letter_topic: projects/example-project/topics/dead } }\n";
/// A log in Pub/Sub that the gateway pulls.
pub(crate) const PULLED: &str = "wal: { pubsub: { topic: projects/example-project/topics/wal, \
     subscription: projects/example-project/subscriptions/wal, \
     dead_letter_topic: projects/example-project/topics/dead }, retry: { first: 1s, longest: 1s } }\n";
pub(crate) const TOPIC: &str = "projects/example-project/topics/wal";
pub(crate) const DEAD: &str = "projects/example-project/topics/dead";
pub(crate) const SUBSCRIPTION: &str = "projects/example-project/subscriptions/wal";
pub(crate) const PLAYBACK: &str = "/.portcullis/playback";

/// Locations whose sender signs with a canary, `s`, and a log.
pub(crate) fn plan(log: &str, locations: &[&str]) -> Plan {
    let hooks = locations.iter().fold(String::new(), |mut text, line| {
        writeln!(text, "  - {line}").unwrap();
        text
    });
    Plan {
        further: format!("secrets: {{ s: {{ env: SIGNING }} }}\n{log}"),
        hooks,
        environment: vec![("SIGNING", canary::secret().to_owned())],
        ..Plan::default()
    }
}

/// A location that GitHub would sign for: the simplest scheme. `more` begins with a comma.
pub(crate) fn hook(path: &str, more: &str) -> String {
    format!(
        "{{ path: {path}, access: webhook, webhook: {{ github: {{ secret: s }} }}, wal: true, upstream: up{more} }}"
    )
}

/// A world with such locations and a log.
pub(crate) fn world(log: &str, locations: &[String]) -> World {
    let locations: Vec<&str> = locations.iter().map(String::as_str).collect();
    plan(log, &locations).start()
}

/// HMAC-SHA-256.
pub(crate) fn tag(secret: &str, pieces: &[&[u8]]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    hmac::sign(&key, &pieces.concat()).as_ref().to_vec()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

pub(crate) fn unix_now() -> u64 {
    UnixTime::now().0
}

/// Signs as GitHub does, with the canary.
pub(crate) fn github(world: &World, path: &str, body: impl Into<Bytes>) -> Call {
    let body = body.into();
    let signature = format!("sha256={}", hex(&tag(canary::secret(), &[&body])));
    world.client().post(path, body).header("x-hub-signature-256", &signature)
}

/// Signs as Slack does, at a time.
pub(crate) fn slack_at(world: &World, path: &str, body: &str, time: &str) -> Call {
    let base = format!("v0:{time}:");
    let signature = format!("v0={}", hex(&tag(canary::secret(), &[base.as_bytes(), body.as_bytes()])));
    world
        .client()
        .post(path, body.to_owned())
        .header("x-slack-request-timestamp", time)
        .header("x-slack-signature", &signature)
}

/// Signs as Slack does, now.
pub(crate) fn slack(world: &World, path: &str, body: &str) -> Call {
    slack_at(world, path, body, &unix_now().to_string())
}

/// Sends it, and expects that it was kept. Returns the id of the entry.
pub(crate) async fn kept(call: Call) -> String {
    let response = call.send().await;
    assert!(response.status.is_success(), "{}: {}", response.status, response.text());
    response.header("x-portcullis-entry").expect("the entry's id").to_owned()
}

/// The answer is this refusal.
#[track_caller]
pub(crate) fn assert_refused(response: &Response, status: u16, code: &str) {
    let got = (response.status.as_u16(), response.code());
    assert_eq!(got, (status, code.to_owned()), "{}", response.text());
    let later = status == 503;
    assert_eq!(response.header("retry-after").is_some(), later, "{code}: Retry-After");
}

/// `portcullis wal list --json` of the running gateway.
pub(crate) fn entries(world: &World, which: &[&str]) -> Vec<Value> {
    let fixed = ["wal", "list", "--json", "--config", "portcullis.yaml"];
    let output = world.gateway.run(&[&fixed, which].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Waits until so many entries are dead letters, and returns them.
pub(crate) async fn dead(world: &World, count: usize) -> Vec<Value> {
    eventually(&format!("{count} dead letters"), || entries(world, &["--dead"]).len() >= count).await;
    let found = entries(world, &["--dead"]);
    assert_eq!(found.len(), count, "{found:?}");
    found
}

/// Waits until nothing waits for its delivery.
pub(crate) async fn delivered(world: &World) {
    eventually("an empty log", || entries(world, &["--waiting"]).is_empty()).await;
}

/// Nothing was recorded and nothing was passed on.
#[track_caller]
pub(crate) fn assert_nothing_kept(world: &World) {
    assert_eq!(entries(world, &[]), Vec::<Value>::new());
    world.upstream.assert_untouched();
}

/// Nothing was published and nothing was passed on.
#[track_caller]
pub(crate) fn assert_nothing_published(world: &World) {
    assert_eq!(world.google.messages(TOPIC), []);
    world.upstream.assert_untouched();
}

/// A push subscription of the gateway's own account, quick to try again.
pub(crate) fn push_subscription(world: &World) -> SubscriptionSpec {
    let endpoint = format!("{}{PLAYBACK}", world.gateway.url()).parse().unwrap();
    let push = PushSpec { endpoint, account: GATEWAY.to_owned(), audience: PUBLIC_URL.to_owned() };
    let backoff = Some((Duration::from_millis(10), Duration::from_millis(50)));
    SubscriptionSpec { backoff, ..SubscriptionSpec::push(TOPIC, push) }
}

/// Makes a subscription whose pushes come from the fixtures' runtime.
pub(crate) fn subscribe(world: &World, name: &str, spec: SubscriptionSpec) {
    entered(|| world.google.create_subscription(name, spec));
}

/// A world whose log is pushed back.
pub(crate) fn pushed_world(locations: &[String]) -> World {
    let world = world(PUSHED, locations);
    world.google.create_topic(DEAD);
    subscribe(&world, SUBSCRIPTION, push_subscription(&world));
    world
}

/// Waits until Pub/Sub has nothing left to deliver.
pub(crate) async fn drained(world: &World) {
    eventually("an empty backlog", || world.google.backlog(SUBSCRIPTION) == 0).await;
}

/// An answer of one of Google's APIs.
pub(crate) fn status(status: u16) -> Fault {
    let body = format!("{{\"error\":{{\"code\":{status},\"message\":\"no\",\"status\":\"SCRIPTED\"}}}}");
    Fault::Answer { status, content_type: "application/json".to_owned(), body }
}

/// The ID token that the gateway expects from Pub/Sub, with other claims where wanted.
pub(crate) fn push_token(world: &World, change: impl FnOnce(&mut Value)) -> String {
    let mut claims = world.google.claims(world.google.account(GATEWAY).unwrap(), PUBLIC_URL);
    change(&mut claims);
    world.keep_secret(&world.google.issue_id_token(&claims, None))
}

/// A push as Pub/Sub sends it, whose data are these bytes.
pub(crate) fn push_of(data: &[u8]) -> Value {
    serde_json::json!({
        "message": { "data": STANDARD.encode(data), "messageId": "1", "message_id": "1",
            "publishTime": "2026-01-01T00:00:00Z", "publish_time": "2026-01-01T00:00:00Z" },
        "subscription": SUBSCRIPTION,
    })
}

/// Sends a push.
pub(crate) async fn push(world: &World, body: impl ToString) -> Response {
    let token = push_token(world, |_| {});
    let call = world.client().post(PLAYBACK, body.to_string());
    call.bearer(&token).header("content-type", "application/json").send().await
}

/// Looks again and again, on the test's own thread, until the answer to a call is good.
pub(crate) async fn accepted(call: impl Fn() -> Call) -> Response {
    background::within("a good answer", async {
        loop {
            let response = call().send().await;
            if response.status.is_success() {
                return response;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
}
