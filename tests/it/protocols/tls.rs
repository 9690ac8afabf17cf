//! Upstreams behind TLS, certified by a CA of the test's own.

use super::websocket::converse;
use crate::harness::answer::Answer;
use crate::harness::grpc::{self, Service, question};
use crate::harness::h2_upstream::H2Upstream;
use crate::harness::site::{Flow, Plan, Site};
use crate::harness::tls::{Authority, Behind, Front, Identity};
use crate::harness::upstream::Upstream;
use crate::harness::websocket;

/// A gateway that trusts the authority, with the front behind `/tls`.
async fn site(authority: &Authority, front: &Front, more: &str) -> Site {
    let settings = format!("url: \"{}\"{more}", front.url());
    let plan = Plan::new(Flow::AccessToken).upstream("tls", &settings, "");
    plan.file("ca.pem", &authority.pem).env("SSL_CERT_FILE", "ca.pem").start().await
}

fn behind(http1: Option<&Upstream>, http2: Option<&H2Upstream>) -> Behind {
    Behind { http1: http1.map(Upstream::address), http2: http2.map(H2Upstream::address) }
}

#[tokio::test]
async fn http1_works() {
    let (authority, upstream) = (Authority::new("Test CA"), Upstream::start());
    let front = Front::start(authority.certify("localhost"), behind(Some(&upstream), None));
    let site = site(&authority, &front, "").await;
    for number in 0..3 {
        let path = format!("/tls/{number}");
        let response = site.client().post(&path, "hello").bearer(&site.member()).send().await;
        assert_eq!(response.status, 200, "{}", response.text());
        let seen = upstream.last();
        assert_eq!((seen.path(), seen.body()), (path, &b"hello"[..]));
        let host = front.url().trim_start_matches("https://").to_owned();
        assert_eq!(seen.header("host"), Some(host));
    }
    assert!(front.protocols().iter().all(|protocol| protocol == "http/1.1"), "{:?}", front.protocols());
}

#[tokio::test]
async fn http2_is_agreed_upon_where_it_is_offered() {
    let (authority, one, two) = (Authority::new("Test CA"), Upstream::start(), H2Upstream::start());
    let front = Front::start(authority.certify("localhost"), behind(Some(&one), Some(&two)));
    let site = site(&authority, &front, "").await;
    for number in 0..3 {
        let path = format!("/tls/{number}");
        let response = site.client().post(&path, "hello").bearer(&site.member()).send().await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(response.text(), "hello");
    }
    assert_eq!(two.seen().len(), 3);
    assert_eq!(front.protocols(), ["h2"], "one connection for all of them");
    one.assert_untouched();
}

#[tokio::test]
async fn the_configuration_can_insist_on_http1() {
    let (authority, one, two) = (Authority::new("Test CA"), Upstream::start(), H2Upstream::start());
    let front = Front::start(authority.certify("localhost"), behind(Some(&one), Some(&two)));
    let site = site(&authority, &front, ", protocol: http1").await;
    let response = site.client().get("/tls/x").bearer(&site.member()).send().await;
    assert_eq!(response.status, 200);
    assert_eq!(one.only().path(), "/tls/x");
    assert_eq!(front.protocols(), ["http/1.1"]);
}

#[tokio::test]
async fn a_websocket_uses_http1_although_the_upstream_offers_http2() {
    let (authority, one, two) = (Authority::new("Test CA"), Upstream::start(), H2Upstream::start());
    one.on("/tls/ws", |request| Answer::websocket(&request.header("sec-websocket-key").unwrap()));
    let front = Front::start(authority.certify("localhost"), behind(Some(&one), Some(&two)));
    let site = site(&authority, &front, "").await;
    let bearer = site.bearer();
    // A connection that speaks HTTP/2 is at hand already, and must not be taken.
    let response = site.client().post("/tls/x", "first").bearer(&site.member()).send().await;
    assert_eq!(response.text(), "first");
    let socket = websocket::connect(site.address(), "/tls/ws", &[("authorization", &bearer)]).await.unwrap();
    converse(socket).await;
    assert_eq!(front.protocols(), ["h2", "http/1.1"]);
    let response = site.client().post("/tls/y", "again").bearer(&site.member()).send().await;
    assert_eq!(response.text(), "again");
    assert_eq!(two.seen().len(), 2);
}

#[tokio::test]
async fn grpc_works() {
    let (authority, service) = (Authority::new("Test CA"), Service::start());
    let behind = Behind { http1: None, http2: Some(service.address()) };
    let front = Front::start(authority.certify("localhost"), behind);
    let settings = format!("url: \"{}\", protocol: http2", front.url());
    let plan = Plan::new(Flow::AccessToken).upstream("tls", &settings, "");
    let plan = plan.location("{ path: /grpc.health.v1.Health, access: google, upstream: tls }");
    let site = plan.file("ca.pem", &authority.pem).env("SSL_CERT_FILE", "ca.pem").start().await;
    let mut client = grpc::client(site.address()).await;
    let answer = client.check(question(&[("authorization", &site.bearer())])).await.unwrap();
    assert_eq!(answer.into_inner().status, tonic_health::ServingStatus::Serving as i32);
    assert_eq!(front.protocols(), ["h2"]);
}

/// Nothing may reach an upstream that does not prove who it is.
async fn is_refused(authority: &Authority, identity: Identity, what: &str) {
    let (one, two) = (Upstream::start(), H2Upstream::start());
    let front = Front::start(identity, behind(Some(&one), Some(&two)));
    let site = site(authority, &front, "").await;
    let response = site.client().post("/tls/x", "hello").bearer(&site.member()).send().await;
    assert_eq!((response.status.as_u16(), response.code().as_str()), (502, "upstream_unreachable"), "{what}");
    let refused = websocket::connect(site.address(), "/tls/ws", &[("authorization", &site.bearer())]).await;
    assert_eq!(refused.err(), Some(502), "{what}");
    one.assert_untouched();
    assert!(two.seen().is_empty(), "{what}");
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new("Test CA");
    is_refused(&authority, authority.certify("other.example"), "another name").await;
    is_refused(&authority, authority.certify("localhost.other.example"), "a longer name").await;
}

#[tokio::test]
async fn a_certificate_that_has_run_out_is_refused() {
    let authority = Authority::new("Test CA");
    is_refused(&authority, authority.certify_until_2021("localhost"), "run out").await;
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused() {
    let (known, unknown) = (Authority::new("Test CA"), Authority::new("Test CA"));
    is_refused(&known, unknown.certify("localhost"), "unknown authority").await;
}
