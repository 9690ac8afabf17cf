//! Garbage in great numbers: Google is not asked for each piece, and nobody else notices.

use std::time::Duration;

use portcullis::dev::google::{CLIENT_ID, Endpoint};
use serde_json::json;

use super::ADA;
use crate::harness::background::{spawn, within};
use crate::harness::raw::Raw;
use crate::harness::world::World;

/// Rejections from one address before it has to wait, and checks under way at once: what the gateway promises.
const BUDGET: usize = 60;
const AT_ONCE: usize = 64;

fn request(token: &str, from: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: gw\r\nX-Forwarded-For: {from}\r\nAuthorization: Bearer {token}\r\n\r\n")
}

fn garbage(number: usize) -> String {
    format!("ya29.garbage-{number:08}-{}", "z".repeat(40))
}

#[tokio::test]
async fn ten_thousand_tokens_cost_a_bounded_number_of_questions() {
    let world = World::start();
    let good = world.access(ADA);
    assert_eq!(world.client().get("/x").bearer(&good).send().await.status, 200);
    let before = world.google.calls(Endpoint::Tokeninfo);
    let address = world.gateway.address();
    let (sender, mut statuses) = tokio::sync::mpsc::unbounded_channel();
    let tasks: Vec<_> = (0..8)
        .map(|lane| {
            let sender = sender.clone();
            spawn(async move {
                let mut raw = Raw::connect(address).await;
                for number in 0..1250 {
                    raw.send(request(&garbage(lane * 1250 + number), "192.0.2.7")).await;
                    sender.send(raw.response().await.status).unwrap();
                }
            })
        })
        .collect();
    drop(sender);
    let mut counts = std::collections::BTreeMap::new();
    let mut seen = 0;
    while let Some(status) = within("answers", statuses.recv()).await {
        *counts.entry(status).or_insert(0_usize) += 1;
        seen += 1;
        if seen % 1000 == 0 {
            let response =
                world.client().get("/x").bearer(&good).header("x-forwarded-for", "192.0.2.7").send().await;
            assert_eq!(response.status, 200, "a good token that is known, from the same address");
        }
    }
    drop(tasks);
    assert_eq!(seen, 10_000);
    assert!(counts.keys().all(|status| [400, 401, 429, 503].contains(status)), "{counts:?}");
    // More than one window may have begun while the flood lasted, on a slow machine.
    let asked = world.google.calls(Endpoint::Tokeninfo) - before;
    assert!(asked <= 4 * (BUDGET + 8), "{asked} questions for 10000 tokens: {counts:?}");
    // Somebody else, from another address, is served as ever.
    let other = world.access("grace@example.com");
    let response =
        world.client().get("/x").bearer(&other).header("x-forwarded-for", "192.0.2.8").send().await;
    assert_eq!(response.status, 200, "{}", response.text());
}

/// Those who wait for their turn while the budget is spent by others do not ask any more.
#[tokio::test]
async fn a_burst_while_google_is_slow_is_bounded_as_well() {
    let world = World::start();
    world.google.delay(Endpoint::Tokeninfo, Duration::from_millis(700));
    let mut connections = Vec::new();
    for _ in 0..400 {
        connections.push(Raw::connect(world.gateway.address()).await);
    }
    for (number, connection) in connections.iter_mut().enumerate() {
        connection.send(request(&garbage(number), "192.0.2.9")).await;
    }
    for connection in &mut connections {
        let status = connection.response().await.status;
        assert!([401, 429, 503].contains(&status), "{status}");
    }
    let asked = world.google.calls(Endpoint::Tokeninfo);
    assert!(asked <= BUDGET + AT_ONCE, "{asked} questions");
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn unknown_keys_do_not_make_us_fetch() {
    let world = World::start();
    world.warm().await;
    let good = world.id_token(ADA, |_| {});
    assert_eq!(world.client().get("/x").bearer(&good).send().await.status, 200);
    let before = world.google.calls(Endpoint::Certs);
    let claims = json!({"iss": "https://accounts.google.com", "aud": CLIENT_ID, "exp": 4_102_444_800_u64});
    let mut raw = Raw::connect(world.gateway.address()).await;
    for number in 0..1000 {
        let header = json!({"alg": "RS256", "kid": format!("{number:040x}"), "typ": "JWT"});
        // From many addresses, so that the budget of one does not answer for the keys.
        let from = format!("192.0.{}.{}", number / 250, number % 250);
        raw.send(request(&world.google.issue_id_token(&claims, Some(&header)), &from)).await;
        let status = raw.response().await.status;
        assert!([401, 429].contains(&status), "{status}");
        if number % 100 == 0 {
            // Unknown to the cache, so it is really verified.
            let fresh = world.id_token(ADA, |claims| claims["jti"] = number.into());
            assert_eq!(world.client().get("/x").bearer(&fresh).send().await.status, 200);
        }
    }
    let fetched = world.google.calls(Endpoint::Certs) - before;
    assert!(fetched <= 2, "{fetched} fetches for 1000 unknown keys");
}
