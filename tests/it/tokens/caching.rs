//! What is remembered of a token, for how long, and how often Google is asked.

use std::time::Duration;

use portcullis::dev::google::{Endpoint, Fault, Switch};
use portcullis::time::UnixTime;

use super::ADA;
use crate::harness::raw::Raw;
use crate::harness::world::{Plan, World};

fn asked(world: &World) -> usize {
    world.google.calls(Endpoint::Tokeninfo)
}

#[tokio::test]
async fn one_question_serves_many_requests() {
    let world = World::start();
    let token = world.access(ADA);
    for _ in 0..20 {
        assert_eq!(world.client().get("/x").bearer(&token).send().await.status, 200);
        assert_eq!(world.client().get("/y").session(&token).send().await.status, 200);
    }
    assert_eq!(asked(&world), 1);
    // A rejection is remembered as well, for a shorter time.
    let unknown = "ya29.never-issued-by-anybody-at-all";
    for _ in 0..5 {
        assert_eq!(world.client().get("/x").bearer(unknown).send().await.status, 401);
    }
    assert_eq!(asked(&world), 2);
    let call =
        world.google.recent_calls().into_iter().rfind(|call| call.endpoint == Some(Endpoint::Tokeninfo));
    let call = call.unwrap();
    assert_eq!((call.method.as_str(), call.query.len()), ("POST", 0), "the token is not in the URL");
    assert!(call.headers.contains(&"authorization".to_owned()));
}

/// Opens connections first, so that the requests themselves arrive together.
async fn together(world: &World, token: &str, count: usize) -> Vec<u16> {
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(Raw::connect(world.gateway.address()).await);
    }
    let request =
        format!("GET /x HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n");
    for connection in &mut connections {
        connection.send(&request).await;
    }
    let mut statuses = Vec::new();
    for connection in &mut connections {
        statuses.push(connection.response().await.status);
    }
    statuses
}

#[tokio::test]
async fn one_question_serves_all_who_wait() {
    let world = World::start();
    let token = world.access(ADA);
    world.google.delay(Endpoint::Tokeninfo, Duration::from_millis(1500));
    assert_eq!(together(&world, &token, 40).await, vec![200; 40]);
    assert_eq!(asked(&world), 1);
    assert_eq!(world.upstream.count(), 40);
}

#[tokio::test]
async fn a_failure_serves_all_who_wait_and_nobody_after() {
    let world = World::start();
    let token = world.access(ADA);
    let fault = Some(Fault::Answer { status: 500, content_type: String::new(), body: String::new() });
    world.google.set_switch(Endpoint::Tokeninfo, Switch { delay_ms: 3000, fault, next: Some(1) });
    assert_eq!(together(&world, &token, 30).await, vec![503; 30]);
    assert_eq!(asked(&world), 1);
    world.upstream.assert_untouched();
    assert_eq!(world.client().get("/x").bearer(&token).send().await.status, 200);
    assert_eq!(asked(&world), 2);
}

/// Whoever started the question may leave; the others get their answer all the same.
#[tokio::test]
async fn the_first_who_asks_may_leave() {
    let world = World::start();
    let token = world.access(ADA);
    world.google.delay(Endpoint::Tokeninfo, Duration::from_millis(1500));
    let mut first = Raw::connect(world.gateway.address()).await;
    first.send(format!("GET /x HTTP/1.1\r\nHost: gw\r\nAuthorization: Bearer {token}\r\n\r\n")).await;
    crate::harness::background::eventually("the question", || asked(&world) == 1).await;
    drop(first);
    assert_eq!(together(&world, &token, 5).await, vec![200; 5]);
    assert!(asked(&world) <= 2, "{} questions", asked(&world));
}

#[tokio::test]
async fn nothing_is_believed_past_its_own_end() {
    let world = World::start();
    for access in [true, false] {
        let token = if access {
            world.access_with(ADA, |spec| spec.lifetime = Duration::from_secs(3))
        } else {
            world.id_token(ADA, |claims| claims["exp"] = (UnixTime::now().0 + 3).into())
        };
        let end = UnixTime::now().0 + 3;
        let mut good = 0;
        loop {
            let before = UnixTime::now().0;
            let response = world.client().get("/x").bearer(&token).send().await;
            if response.status == 401 {
                assert_eq!(response.code(), "invalid_credential");
                break;
            }
            // The gateway reads its clock after this test did, so this holds on the slowest machine.
            assert_eq!(response.status, 200);
            assert!(before < end, "believed {} seconds too long", before - end);
            good += 1;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(good > 0, "it was good at first");
        world.upstream.forget();
        assert_eq!(world.client().get("/x").bearer(&token).send().await.status, 401);
        world.upstream.assert_untouched();
    }
}

#[tokio::test]
async fn a_revoked_token_is_refused_once_it_is_asked_about_again() {
    let world = Plan { cache: "{ verified: 1s, rejected: 1s }", ..Plan::default() }.start();
    let token = world.access(ADA);
    assert_eq!(world.client().get("/x").bearer(&token).send().await.status, 200);
    assert!(world.google.revoke(&token));
    world.until(401, || world.client().get("/x").bearer(&token)).await;
    assert_eq!(world.client().get("/x").bearer(&token).send().await.status, 401);
    // And a rejection does not last either: Google may know the token a moment later.
    let other = world.access(ADA);
    let fault = Fault::Answer { status: 400, content_type: String::new(), body: "{}".to_owned() };
    world.google.fail_next(Endpoint::Tokeninfo, 1, fault);
    assert_eq!(world.client().get("/x").bearer(&other).send().await.status, 401);
    world.until(200, || world.client().get("/x").bearer(&other)).await;
}
