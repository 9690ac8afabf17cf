//! Health checks take an address out, and bring it back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::setup;
use crate::harness::answer::Answer;
use crate::harness::background::{eventually, within};
use crate::harness::gateway::Gateway;
use crate::harness::h2_upstream::H2Upstream;
use crate::harness::http::Client;
use crate::harness::tls::{Authority, Behind, Front};
use crate::harness::upstream::Upstream;

/// Requests that are no checks.
fn served(upstream: &Upstream) -> usize {
    upstream.requests().iter().filter(|request| request.path() != "/health").count()
}

async fn gets(gateway: &Gateway, count: usize) {
    for _ in 0..count {
        assert_eq!(Client::new(gateway.address()).get("/x").send().await.status, 200);
    }
}

#[tokio::test]
async fn an_address_that_says_it_is_not_well_gets_no_requests_until_it_is() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let well = Arc::new(AtomicBool::new(false));
    let says = Arc::clone(&well);
    one.on("/health", |_| Answer::new(204, ""));
    two.on("/health", move |_| Answer::new(if says.load(Ordering::SeqCst) { 204 } else { 503 }, ""));
    let gateway = setup(&format!(
        "url: 'http://app.internal', addresses: ['{}', '{}'], \
         health_check: {{ path: /health, interval: 20ms, timeout: 10s, unhealthy: 2, expect: 204 }}",
        one.address(),
        two.address()
    ))
    .start();
    gateway.says(&format!("upstream up: {} is not used", two.address()));
    let (before_one, before_two) = (served(&one), served(&two));
    gets(&gateway, 20).await;
    assert_eq!((served(&one) - before_one, served(&two) - before_two), (20, 0));
    let check = two.requests().into_iter().next().unwrap();
    assert_eq!(check.line(), "GET /health HTTP/1.1");
    assert_eq!(check.header("host").as_deref(), Some("app.internal"));
    assert_eq!(check.header("x-serverless-authorization"), None);
    well.store(true, Ordering::SeqCst);
    gateway.says(&format!("upstream up: {} is well again", two.address()));
    gets(&gateway, 20).await;
    assert_eq!((served(&one) - before_one, served(&two) - before_two), (30, 10));
}

#[tokio::test]
async fn checks_use_what_the_upstream_uses() {
    let (ours, one, two) = (Authority::new("Ours"), Upstream::start(), H2Upstream::start());
    let behind = |http1, http2| Behind { http1, http2 };
    let check = "health_check: { path: /health, interval: 20ms, timeout: 10s, unhealthy: 1 }";
    let front = Front::start(ours.certify("localhost"), behind(Some(one.address()), Some(two.address())));
    let tls = setup(&format!("url: '{}', tls: {{ ca: ca.pem }}, {check}", front.url()));
    let tls = tls.file("ca.pem", &ours.pem).start();
    eventually("checks over TLS", || one.count() >= 2).await;
    let clear = setup(&format!("url: 'http://{}', protocol: http2, {check}", two.address())).start();
    eventually("checks over HTTP/2 in the clear", || two.seen().len() >= 2).await;
    let seen = two.seen();
    let secure = setup(&format!("url: '{}', protocol: http2, tls: {{ ca: ca.pem }}, {check}", front.url()));
    let secure = secure.file("ca.pem", &ours.pem).start();
    eventually("checks over HTTP/2 and TLS", || front.protocols().iter().any(|agreed| agreed == "h2")).await;
    assert_eq!(seen[0].uri().path(), "/health");
    for gateway in [tls, clear, secure] {
        assert!(!gateway.output().contains("is not used"), "{}", gateway.output());
    }
}

/// Refusing everything would turn a check that is wrong into an outage.
#[tokio::test]
async fn when_none_is_well_all_are_used() {
    let one = Upstream::start();
    one.on("/health", |_| Answer::new(500, ""));
    let check = "health_check: { path: /health, interval: 20ms, timeout: 10s, unhealthy: 1 }";
    let gateway = setup(&format!("url: '{}', {check}", one.url())).start();
    gateway.says("is not used");
    gets(&gateway, 3).await;
}

#[tokio::test]
async fn without_a_check_nothing_is_asked() {
    let one = Upstream::start();
    let gateway = setup(&format!("url: '{}'", one.url())).start();
    gets(&gateway, 2).await;
    assert_eq!(one.count(), 2);
}

#[tokio::test]
async fn checks_end_with_the_gateway() {
    let one = Upstream::start();
    let check = "health_check: { path: /health, interval: 20ms }";
    let gateway = setup(&format!("url: '{}', {check}", one.url())).start();
    eventually("checks", || one.count() >= 3).await;
    gateway.signal(nix::sys::signal::Signal::SIGTERM);
    let (code, _) = within("the end", async { gateway.wait() }).await;
    assert_eq!(code, 0);
}
