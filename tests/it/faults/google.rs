//! Google slow, failing, or answering with something else. That says nothing about a credential, so it is
//! never a 401.

use std::time::Duration;

use portcullis::dev::google::{Endpoint, Fault};

use crate::harness::grpc;
use crate::harness::http::Response;
use crate::harness::world::{Plan, World, closed};

const ADA: &str = "ada@example.com";

fn failures() -> Vec<(&'static str, Fault)> {
    let answer =
        |status| Fault::Answer { status, content_type: "text/html".to_owned(), body: "<p>no</p>".to_owned() };
    vec![
        ("500", answer(500)),
        ("503", answer(503)),
        ("429", answer(429)),
        ("403", answer(403)),
        ("a redirect", answer(302)),
        ("HTML", Fault::Html),
        ("nothing", Fault::Empty),
        ("half", Fault::Truncated { body: "{\"aud\":".to_owned() }),
        ("no answer", Fault::Close),
        ("too much", Fault::Flood { bytes: 20_000_000 }),
        ("a bomb", Fault::Gzip { bytes: 100_000_000 }),
    ]
}

fn assert_unavailable(name: &str, response: &Response, kind: &str) {
    assert_eq!(response.status, 503, "{name}: {}", response.text());
    assert!(response.header("content-type").unwrap().starts_with(kind), "{name}: {:?}", response.headers);
    let wait: u32 = response.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!(wait > 0, "{name}");
    assert!(response.text().contains("provider_unavailable"), "{name}: {}", response.text());
    assert!(response.header("www-authenticate").is_none(), "{name}: nothing is wrong with the credential");
    assert!(response.cookies().is_empty(), "{name}: and the session stays");
}

#[tokio::test]
async fn without_tokeninfo_programs_and_people_are_asked_to_wait() {
    let world = World::start();
    for (name, fault) in failures() {
        let token = world.access(ADA);
        world.google.fail(Endpoint::Tokeninfo, fault);
        world.upstream.forget();
        let client = world.client();
        assert_unavailable(name, &client.get("/x").bearer(&token).send().await, "application/problem+json");
        assert_unavailable(
            name,
            &client.post("/x", "body").session(&token).send().await,
            "application/problem+json",
        );
        assert_unavailable(name, &client.get("/x").session(&token).navigation().send().await, "text/html");
        world.upstream.assert_untouched();
        // What is known already, and what is public, is served all the while.
        assert_eq!(client.get("/public/x").bearer(&token).send().await.status, 200, "{name}");
        world.google.clear_switches();
        assert_eq!(client.get("/x").session(&token).send().await.status, 200, "{name}: afterwards");
        world.google.fail(Endpoint::Tokeninfo, Fault::Close);
        assert_eq!(client.get("/x").bearer(&token).send().await.status, 200, "{name}: known");
        world.google.clear_switches();
    }
}

#[tokio::test]
async fn without_keys_an_id_token_is_not_judged() {
    let answer = Fault::Answer { status: 503, content_type: String::new(), body: String::new() };
    for fault in [answer, Fault::Html, Fault::Close] {
        let world = Plan { faults: vec![(Endpoint::Certs, fault.clone())], ..Plan::default() }.start();
        let token = world.id_token(ADA, |_| {});
        let name = format!("{fault:?}");
        let client = world.client();
        assert_unavailable(&name, &client.get("/x").bearer(&token).send().await, "application/problem+json");
        assert_unavailable(&name, &client.get("/x").session(&token).navigation().send().await, "text/html");
        world.upstream.assert_untouched();
    }
}

/// A failure on one credential outweighs a verdict on the other.
#[tokio::test]
async fn one_unjudged_credential_is_enough_to_wait() {
    let world = World::start();
    world.google.fail(Endpoint::Tokeninfo, Fault::Close);
    let (access, expired) = (world.access(ADA), world.id_token(ADA, |claims| claims["exp"] = 1.into()));
    let client = world.client();
    for call in [
        client.get("/x").session(&access).bearer(&expired),
        client.get("/x").session(&expired).bearer(&access),
    ] {
        assert_unavailable("both", &call.send().await, "application/problem+json");
    }
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn grpc_callers_are_told_in_their_own_way() {
    let world = World::start();
    world.google.fail(Endpoint::Tokeninfo, Fault::Close);
    let token = world.access(ADA);
    let mut client = grpc::client(world.gateway.address()).await;
    let bearer = format!("Bearer {token}");
    let status = client.check(grpc::question(&[("authorization", &bearer)])).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let status = client.check(grpc::question(&[])).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unauthenticated);
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn a_port_where_nobody_listens() {
    let endpoint = Some(("tokeninfo", format!("http://{}/tokeninfo", closed())));
    let world = Plan { endpoint, ..Plan::default() }.start();
    let response = world.client().get("/x").bearer(&world.access(ADA)).send().await;
    assert_unavailable("closed", &response, "application/problem+json");
    world.upstream.assert_untouched();
    // The log says why, and the caller is not told.
    world.gateway.says("tokeninfo cannot be reached");
    assert!(!response.text().contains("127.0.0.1"), "{}", response.text());
}

/// An answer that does not come is given up, and no slower one is waited for.
#[tokio::test]
async fn a_google_that_never_answers_is_given_up() {
    let world = World::start();
    world.google.delay(Endpoint::Tokeninfo, Duration::from_secs(3600));
    let response = world.client().get("/x").bearer(&world.access(ADA)).send().await;
    assert_unavailable("slow", &response, "application/problem+json");
    world.upstream.assert_untouched();
    world.google.clear_switches();
    assert_eq!(world.client().get("/x").bearer(&world.access(ADA)).send().await.status, 200);
}

/// CVE-2026-26998 and its class: what is read of an answer has a bound, packed or not.
#[tokio::test]
async fn huge_answers_do_not_fill_the_memory() {
    let world = World::start();
    world.warm().await;
    for fault in [Fault::Flood { bytes: 1 << 30 }, Fault::Gzip { bytes: 1 << 30 }] {
        let before = world.gateway.peak_memory();
        world.google.fail(Endpoint::Tokeninfo, fault.clone());
        for _ in 0..8 {
            let response = world.client().get("/x").bearer(&world.access(ADA)).send().await;
            assert_eq!(response.status, 503);
        }
        let grown = world.gateway.peak_memory() - before;
        assert!(grown < 64 * 1024, "{fault:?}: {grown} KiB more");
    }
    let faults = vec![
        (Endpoint::Certs, Fault::Flood { bytes: 1 << 30 }),
        (Endpoint::Metadata, Fault::Gzip { bytes: 1 << 30 }),
    ];
    let world = Plan { faults, ..Plan::default() }.start();
    let response = world.client().get("/x").bearer(&world.id_token(ADA, |_| {})).send().await;
    assert_eq!(response.status, 503);
    assert_eq!(world.client().get("/public/x").send().await.status, 503);
    let peak = world.gateway.peak_memory();
    assert!(peak < 256 * 1024, "{peak} KiB");
    world.upstream.assert_untouched();
}
