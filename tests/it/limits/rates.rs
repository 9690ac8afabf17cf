//! Rate limits by address, identity and location.

use std::net::SocketAddr;

use futures_util::future::join_all;

use super::{health, is_well, open, size};
use crate::harness::gateway::Setup;
use crate::harness::glue::{self, DOMAIN, StandIn};
use crate::harness::http::{Client, Response};
use crate::harness::raw::Raw;
use crate::harness::upstream::Upstream;

/// The answer is a 429 that says when to come again.
fn assert_limited(response: &Response, whose: &str) {
    assert_eq!((response.status.as_u16(), response.code().as_str()), (429, "rate_limited"));
    let seconds: u64 = response.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3600).contains(&seconds), "{seconds}");
    assert!(response.text().contains(whose), "{}", response.text());
}

#[tokio::test]
async fn an_address_is_limited_by_the_hop_that_is_believed() {
    let (up, gateway) = open("per_address: 1/h burst 3", "");
    let client = Client::new(gateway.address());
    let from = |address: &str| client.get("/x").header("x-forwarded-for", address).send();
    for claimed in ["203.0.113.1", "203.0.113.2", "203.0.113.3"] {
        assert_eq!(from(&format!("{claimed}, 192.0.2.1")).await.status, 200);
    }
    let limited = from("203.0.113.4, 192.0.2.1").await;
    assert_limited(&limited, "your address");
    assert!((3590..=3600).contains(&limited.header("retry-after").unwrap().parse::<u64>().unwrap()));
    assert_eq!(from("192.0.2.1, 192.0.2.2").await.status, 200, "another address");
    for host in 1..=3 {
        assert_eq!(from(&format!("2001:db8::{host}")).await.status, 200);
    }
    assert_limited(&from("2001:db8::ffff").await, "your address");
    assert_eq!(from("2001:db8:0:1::1").await.status, 200, "another network");
    assert_eq!(up.count(), 8, "what is refused does not reach the service");
    // The gateway's own endpoints count too, but health is always told.
    let own = |path: &str| client.get(path).header("x-forwarded-for", "192.0.2.1").send();
    assert_limited(&own("/.portcullis/login").await, "your address");
    for _ in 0..5 {
        assert_eq!(own(glue::HEALTH).await.status, 200);
    }
}

#[tokio::test]
async fn a_location_has_limits_of_its_own() {
    let (up, gateway) = open("per_address: 1/h burst 100", "per_address: 1/h burst 2, total: 1/h burst 3");
    let client = Client::new(gateway.address());
    let from = |address: &str| client.get("/at/x").header("x-forwarded-for", address).send();
    assert_eq!(from("192.0.2.1").await.status, 200);
    assert_eq!(from("192.0.2.1").await.status, 200);
    assert_limited(&from("192.0.2.1").await, "your address");
    assert_eq!(from("192.0.2.2").await.status, 200);
    assert_limited(&from("192.0.2.3").await, "this path");
    assert_eq!(client.get("/elsewhere").header("x-forwarded-for", "192.0.2.1").send().await.status, 200);
    assert_eq!((up.count(), health(&gateway).await), (4, 200));
}

#[tokio::test]
async fn an_identity_is_limited_wherever_it_calls_from() {
    let (up, standin) = (Upstream::start(), StandIn::start());
    let yaml = glue::configuration(&standin, &up, "  - { path: /more, access: google, upstream: up }\n");
    let gateway =
        Setup::new(&format!("trusted_hops: 1\nlimits: {{ per_identity: 1/h burst 3 }}\n{yaml}")).start();
    let client = Client::new(gateway.address());
    let (ada, bob) = (standin.issue(&format!("ada@{DOMAIN}")), standin.issue(&format!("bob@{DOMAIN}")));
    let call = |path: &str, token: &str, address: &str| {
        client.get(path).bearer(token).header("x-forwarded-for", address).send()
    };
    assert_eq!(call("/x", &ada, "192.0.2.1").await.status, 200);
    assert_eq!(call("/more", &ada, "192.0.2.2").await.status, 200);
    // A refused token is nobody's request.
    assert_eq!(call("/x", "ya29.wrong-one", "192.0.2.1").await.status, 401);
    let second = standin.issue(&format!("ada@{DOMAIN}"));
    assert_eq!(call("/x", &second, "192.0.2.3").await.status, 200, "another token of the same account");
    assert_limited(&call("/x", &second, "192.0.2.4").await, "your account");
    assert_eq!(call("/x", &bob, "192.0.2.1").await.status, 200, "another account");
    assert_eq!(client.get("/public/x").header("x-forwarded-for", "192.0.2.1").send().await.status, 200);
    let page = client.get("/x").bearer(&ada).navigation().send().await;
    assert!(
        page.status == 429 && page.header("retry-after").is_some() && page.text().contains("<!doctype html>")
    );
    let grpc = client.post("/x", "").bearer(&ada).header("content-type", "application/grpc").send().await;
    assert_eq!(grpc.header("grpc-status"), Some("8"));
}

#[tokio::test]
async fn addresses_without_number_take_no_memory_and_nothing_from_others() {
    let (_up, gateway) = open("per_address: 1/h burst 2", "");
    let client = Client::new(gateway.address());
    let busy = || client.get("/busy").header("x-forwarded-for", "192.0.2.1").send();
    for _ in 0..2 {
        assert_eq!(busy().await.status, 200);
    }
    let before = gateway.peak_memory();
    let count = size(100_000, 8_000);
    let callers = (0..8).map(|caller| ask_from_many(gateway.address(), (caller..count).step_by(8)));
    join_all(callers).await;
    let grown = gateway.peak_memory().saturating_sub(before) / 1024;
    assert!(grown < 64, "{count} addresses took {grown} MiB");
    assert_limited(&busy().await, "your address");
    is_well(&gateway, "many addresses").await;
}

/// Asks from one address after the other. None of them has called before, and none is refused. Something that is nowhere
/// counts like everything else, and needs no upstream.
async fn ask_from_many(gateway: SocketAddr, numbers: impl Iterator<Item = usize>) {
    let mut raw = Raw::connect(gateway).await;
    for number in numbers {
        let [_, b, c, d] = u32::try_from(number).unwrap().to_be_bytes();
        let head = "GET /.portcullis/none HTTP/1.1\r\nHost: gw\r\nX-Forwarded-For:";
        raw.send(format!("{head} 10.{b}.{c}.{d}\r\n\r\n")).await;
        assert_eq!(raw.response().await.status, 404);
    }
}
