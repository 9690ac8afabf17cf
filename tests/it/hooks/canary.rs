//! Secrets and tokens stay where they belong, whatever happens to the messages that they come with.

use std::path::Path;

use serde_json::json;

use super::kit::{
    DISK, PUSHED, TOPIC, dead, drained, entries, github, hook, kept, plan, push, push_of, push_subscription,
    slack_at, subscribe, unix_now,
};
use crate::harness::answer::{Answer, Step};
use crate::harness::background::eventually;
use crate::harness::raw::once;
use crate::harness::world::{World, closed};
use crate::harness::{canary, glue};

/// The metrics, which are looked through as they come.
async fn metrics(admin: std::net::SocketAddr) -> String {
    eventually("the operators' listener", || std::net::TcpStream::connect(admin).is_ok()).await;
    let request = "GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n";
    let text = once(admin, request).await.text();
    for token in glue::TOKENS {
        assert!(!text.contains(token), "{text}");
    }
    text
}

/// No file below a directory holds any of these.
fn assert_absent(directory: &Path, secrets: &[&str]) -> usize {
    let mut files = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        files += 1;
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        canary::assert_clean(&path.display().to_string(), &text);
        for secret in secrets {
            assert!(!text.contains(secret), "{} holds a secret", path.display());
        }
    }
    files
}

/// Everything that can go wrong with a message, once.
async fn trouble(world: &World) {
    let token = world.access("ada@example.com");
    let now = unix_now();
    drop(slack_at(world, "/slack", "a=1", &(now - 4000).to_string()).send().await);
    drop(world.client().post("/in", "x").header("x-hub-signature-256", canary::secret()).send().await);
    drop(github(world, "/in", vec![b'x'; 2 << 20]).send().await);
    drop(github(world, "/fails", "{\"a\":1}").header("content-type", "application/json").send().await);
    drop(github(world, "/rejects", "{\"a\":1}").header("content-type", "application/json").send().await);
    // A page of the same refusals, for people.
    for path in ["/in", "/slack"] {
        let call = world.client().post(path, "x").header("accept", "text/html");
        drop(call.header("authorization", &format!("Bearer {token}")).send().await);
    }
    let api = |body: &'static str| {
        let call = world.client().post("/api", body).bearer(&token);
        call.header("cookie", &format!("other={}", canary::cookie()))
            .header("proxy-authorization", &format!("Basic {}", canary::code()))
    };
    kept(api("kept")).await;
    kept(github(world, "/in", "kept").bearer(&token)).await;
    kept(slack_at(world, "/slack", "text=kept", &now.to_string())).await;
}

fn locations() -> Vec<String> {
    vec![
        hook("/in", ", playback: { keep: [X-Kept] }"),
        hook("/fails", ", adapt: { jq: '.json.a.b' }"),
        hook("/rejects", ", adapt: { jq: 'error(\"no\")' }"),
        "{ path: /slack, access: webhook, webhook: { slack: { secret: s } }, wal: true, upstream: up }"
            .to_owned(),
        "{ path: /api, access: google, wal: true, upstream: up, playback: { keep: [Accept] } }".to_owned(),
    ]
}

fn with_admin(log: &str) -> (World, std::net::SocketAddr) {
    let admin = closed();
    let locations = locations();
    let mut plan = plan(log, &locations.iter().map(String::as_str).collect::<Vec<_>>());
    plan.further.push_str(&format!("admin: {admin}\n"));
    (plan.start(), admin)
}

#[tokio::test]
async fn neither_log_nor_metrics_nor_the_files_of_the_log_hold_secrets() {
    let (world, admin) = with_admin(DISK);
    world.upstream.otherwise(|request| match request.header("x-portcullis-attempt").as_deref() {
        Some("1") => Answer::Steps(vec![Step::Reset]),
        _ => Answer::new(410, ""),
    });
    trouble(&world).await;
    dead(&world, 3).await;
    assert!(metrics(admin).await.contains("portcullis"));
    let token = world.access("ada@example.com");
    let tail = &token[token.len() - 24..];
    for entry in entries(&world, &[]) {
        // `run` looks through what it prints.
        let id = entry["id"].as_str().unwrap();
        let shown = world.gateway.run(&["wal", "show", id, "--config", "portcullis.yaml"]);
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        assert!(shown.contains("kept"), "the bodies are there: {shown}");
        for secret in ["ya29.", "eyJ", tail] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    world.gateway.signal(nix::sys::signal::Signal::SIGTERM);
    world.gateway.wait();
    let files = assert_absent(&world.gateway.directory().join("wal"), &["ya29.", "eyJ"]);
    assert!(files >= 1);
    // And what the upstream got: the minted token alone.
    for request in world.upstream.requests() {
        canary::assert_clean("a delivery", &String::from_utf8_lossy(&request.message.head));
        assert!(!String::from_utf8_lossy(&request.message.head).contains("ya29."));
    }
}

#[tokio::test]
async fn neither_do_the_messages_of_pub_sub() {
    let (world, admin) = with_admin(PUSHED);
    world.google.create_topic(super::kit::DEAD);
    subscribe(&world, super::kit::SUBSCRIPTION, push_subscription(&world));
    world.upstream.otherwise(|_| Answer::new(410, ""));
    trouble(&world).await;
    let forged = json!({"message": {"messageId": "1", "data": "e30K"}});
    drop(push(&world, forged).await);
    drop(push(&world, push_of(b"poison")).await);
    drop(world.client().post(super::kit::PLAYBACK, "x").bearer(&canary::token("push")).send().await);
    drained(&world).await;
    metrics(admin).await;
    for topic in [TOPIC, super::kit::DEAD] {
        let messages = world.google.messages(topic);
        assert!(messages.len() >= 3, "{topic}");
        for message in messages {
            let text = format!("{}{:?}", String::from_utf8_lossy(&message.data), message.attributes);
            canary::assert_clean("a message", &text);
            assert!(!text.contains("ya29.") && !text.contains("eyJ"), "{text}");
        }
    }
}

#[tokio::test]
async fn nor_do_the_errors_of_a_start_that_fails() {
    // A key that is not in the form that its scheme wants is refused when it is needed, and not shown.
    let standard = "{ path: /in, access: webhook, webhook: { standard_webhooks: { secret: s } }, wal: true, upstream: up }";
    let world = plan(DISK, &[standard]).start();
    let call = world.client().post("/in", "{}").header("webhook-id", "msg_1");
    let call = call.header("webhook-timestamp", &unix_now().to_string());
    let response = call.header("webhook-signature", &format!("v1,{}", "A".repeat(43))).send().await;
    assert_eq!((response.status.as_u16(), response.code()), (403, "bad_signature".to_owned()));
    world.gateway.says("the signing secret cannot be used");
    let mut wrong = plan(DISK, &[standard]);
    wrong.hooks.push_str("  - { path: /x, access: webhook, upstream: up }\n");
    let world = wrong.launch();
    assert_eq!(world.gateway.wait().0, 2);
    world.upstream.assert_untouched();
}
