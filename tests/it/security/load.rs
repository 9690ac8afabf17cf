//! Callers that take their time: they must not keep others waiting.

use crate::harness::answer::Answer;
use crate::harness::gateway::Setup;
use crate::harness::glue;
use crate::harness::raw::Raw;

use super::world::World;

#[tokio::test]
async fn slow_callers_do_not_starve_others() {
    let world = World::start();
    let address = world.gateway.address();
    world.upstream.on("/public/much", |_| Answer::new(200, vec![b'x'; 8 * 1024 * 1024]));
    let mut held = Vec::new();
    for number in 0..200 {
        let mut raw = Raw::connect(address).await;
        match number % 4 {
            0 => {}
            1 => raw.send("GET /admin HTTP/1.1\r\nHost: gw.te").await,
            2 => raw.send("POST /admin HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 100\r\n\r\nabc").await,
            _ => raw.send("GET /public/much HTTP/1.1\r\nHost: gw.test\r\n\r\n").await,
        }
        held.push(raw);
    }
    for _ in 0..20 {
        let response = world.client().get("/public/quick").send().await;
        assert_eq!(response.status, 200);
    }
    world.assert_only_public("half a request");
    // A reader that waited gets all of it nevertheless.
    let response = held[3].response().await;
    assert_eq!(response.message.body.len(), 8 * 1024 * 1024);
    drop(held);
    world.still_serves().await;
}

/// One byte at a time is slow, but a good request all the same.
#[tokio::test]
async fn a_request_in_single_bytes_is_understood() {
    let world = World::start();
    let mut raw = Raw::connect(world.gateway.address()).await;
    for byte in b"POST /public/slow HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 3\r\n\r\nabc" {
        raw.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(raw.response().await.status, 200);
    assert_eq!(world.upstream.only().body(), b"abc");
}

/// Heads without an end are refused, whatever they would have asked for.
#[tokio::test]
async fn endless_heads_are_refused() {
    let world = World::start();
    for path in ["/public/x", "/admin"] {
        let mut raw = Raw::connect(world.gateway.address()).await;
        drop(raw.try_send(format!("GET {path} HTTP/1.1\r\nHost: gw.test\r\n")).await);
        for number in 0..600 {
            let line = format!("X-{number}: {}\r\n", "y".repeat(4000));
            if raw.try_send(line).await.is_err() {
                break;
            }
        }
        if let Ok(response) = raw.response_or_end("GET").await {
            assert!((400..500).contains(&response.status), "{path}: {}", response.status);
        }
    }
    world.upstream.assert_untouched();
    world.still_serves().await;
}

/// RUSTSEC-2025-0068 and its class: a small file that means a large one.
#[tokio::test]
async fn an_alias_bomb_in_the_configuration_is_an_error() {
    let mut yaml = String::from("bomb:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let list = vec![format!("*a{}", level - 1); 10].join(", ");
        yaml.push_str(&format!("  a{level}: &a{level} [{list}]\n"));
    }
    let gateway = Setup::new(&yaml).launch();
    let (code, _) = gateway.wait();
    assert_eq!(code, 2, "{}", gateway.output());
    assert!(gateway.output().contains("portcullis.yaml"), "the file is named: {}", gateway.output());
    assert!(glue::announced(&gateway.output()).is_none());
}
