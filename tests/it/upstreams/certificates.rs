//! Authorities and certificates of an upstream's own.

use super::setup;
use crate::harness::answer::Answer;
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::http::Client;
use crate::harness::tls::{Authority, Behind, Front, Identity};
use crate::harness::upstream::Upstream;
use crate::harness::websocket;
use crate::protocols::websocket::converse;

fn behind(upstream: &Upstream) -> Behind {
    Behind { http1: Some(upstream.address()), http2: None }
}

async fn status(gateway: &Gateway, path: &str) -> u16 {
    Client::new(gateway.address()).get(path).send().await.status.as_u16()
}

#[tokio::test]
async fn an_authority_takes_the_place_of_the_systems() {
    let (ours, theirs, up) = (Authority::new("Ours"), Authority::new("Theirs"), Upstream::start());
    let front = Front::start(ours.certify("localhost"), behind(&up));
    let settings = format!("url: '{}', tls: {{ ca: tls/ca.pem }}", front.url());
    let good = setup(&settings).file("tls/ca.pem", &ours.pem).start();
    assert_eq!(status(&good, "/x").await, 200);
    assert_eq!(up.count(), 1);
    up.forget();
    // The system's authorities would do, but they do not count any more.
    let other = setup(&settings).file("tls/ca.pem", &theirs.pem).file("system.pem", &ours.pem);
    let other = other.env("SSL_CERT_FILE", "system.pem").start();
    let response = Client::new(other.address()).get("/x").send().await;
    assert_eq!((response.status.as_u16(), response.code().as_str()), (502, "upstream_unreachable"));
    up.assert_untouched();
}

/// Pingora's pool does not look at authorities.
#[tokio::test]
async fn what_one_upstreams_authority_certified_is_nothing_to_another_upstream() {
    let (ours, theirs, up) = (Authority::new("Ours"), Authority::new("Theirs"), Upstream::start());
    let front = Front::start(ours.certify("localhost"), behind(&up));
    let url = front.url();
    let gateway = Setup::new(&format!(
        "upstreams:\n  good: {{ audience: none, url: '{url}', tls: {{ ca: ours.pem }} }}\n  \
         bad: {{ audience: none, url: '{url}', tls: {{ ca: theirs.pem }} }}\n\
         locations:\n  - {{ path: /good, access: public, upstream: good }}\n  \
         - {{ path: /bad, access: public, upstream: bad }}\n"
    ));
    let gateway = gateway.file("ours.pem", &ours.pem).file("theirs.pem", &theirs.pem).start();
    for _ in 0..3 {
        assert_eq!(status(&gateway, "/good").await, 200);
        assert_eq!(status(&gateway, "/bad").await, 502);
    }
    assert!(up.requests().iter().all(|request| request.path() == "/good"));
    assert_eq!(up.connections(), 1, "the good one keeps its connection");
}

#[tokio::test]
async fn another_name_can_be_certified() {
    let (ours, up) = (Authority::new("Ours"), Upstream::start());
    let front = Front::start(ours.certify("app.internal"), behind(&up));
    let tls = "tls: { ca: ca.pem, server_name: app.internal }";
    let gateway = setup(&format!("url: '{}', {tls}", front.url())).file("ca.pem", &ours.pem).start();
    assert_eq!(status(&gateway, "/x").await, 200);
    let host = front.url().trim_start_matches("https://").to_owned();
    assert_eq!(up.only().header("host"), Some(host));
    let plain = setup(&format!("url: '{}', tls: {{ ca: ca.pem }}", front.url())).file("ca.pem", &ours.pem);
    assert_eq!(status(&plain.start(), "/x").await, 502);
    assert_eq!(up.count(), 1);
}

/// A gateway that shows a certificate.
fn shows(front: &Front, ca: &Authority, identity: &Identity) -> Setup {
    let tls = "tls: { ca: ca.pem, certificate: own.pem, key: own.key }";
    setup(&format!("url: '{}', {tls}", front.url()))
        .file("ca.pem", &ca.pem)
        .file("own.pem", &identity.pem)
        .file("own.key", &identity.key_pem)
}

#[tokio::test]
async fn the_upstream_learns_who_the_gateway_is() {
    let (servers, clients, up) = (Authority::new("Servers"), Authority::new("Clients"), Upstream::start());
    up.on("/ws", |request| Answer::websocket(&request.header("sec-websocket-key").unwrap()));
    let front = Front::for_clients_of(&clients, servers.certify("localhost"), behind(&up));
    let good = shows(&front, &servers, &clients.certify("gateway")).start();
    for _ in 0..3 {
        assert_eq!(status(&good, "/x").await, 200);
    }
    assert_eq!(up.connections(), 1);
    converse(websocket::connect(good.address(), "/ws", &[]).await.unwrap()).await;
    up.forget();
    let stranger = shows(&front, &servers, &servers.certify("gateway")).start();
    assert_eq!(status(&stranger, "/x").await, 502);
    let nobody = setup(&format!("url: '{}', tls: {{ ca: ca.pem }}", front.url()));
    assert_eq!(status(&nobody.file("ca.pem", &servers.pem).start(), "/x").await, 502);
    up.assert_untouched();
}

#[tokio::test]
async fn a_key_of_another_certificate_starts_nothing() {
    let ours = Authority::new("Ours");
    let front = Front::start(ours.certify("localhost"), behind(&Upstream::start()));
    let wrong = shows(&front, &ours, &ours.certify("gateway"));
    let gateway = wrong.file("own.key", ours.certify("other").key_pem).launch();
    assert_eq!(gateway.wait().0, 2);
    gateway.says("upstreams.up.tls.key: the key is not that of `certificate`");
    assert!(!gateway.output().contains("PRIVATE KEY"));
}
