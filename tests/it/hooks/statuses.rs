//! What each status of the upstream means for an entry on disk, and who is asked again.

use serde_json::Value;

use super::kit::{DISK, dead, delivered, entries, github, hook, kept, world};
use crate::harness::answer::{Answer, Step};
use crate::harness::background::eventually;
use crate::harness::glue::minted_for;
use crate::harness::upstream::Upstream;
use crate::harness::world::World;

/// Everything that an upstream may say.
const SETTLED: [u16; 6] = [200, 201, 202, 204, 206, 226];
const RETRIED: [u16; 9] = [408, 425, 429, 500, 501, 502, 503, 504, 599];
const DEAD: [u16; 19] =
    [300, 301, 302, 303, 304, 305, 307, 308, 400, 401, 402, 403, 404, 405, 409, 410, 413, 422, 451];

/// A path, and what the upstream does there.
type Broken = (&'static str, fn() -> Answer);

/// Answers `/in/STATUS` with that status the first time, and with 200 after it.
fn scripted(world: &World, statuses: &[u16]) {
    for status in statuses.iter().copied() {
        world.upstream.on(&format!("/in/{status}"), move |request| {
            let first = request.header("x-portcullis-attempt").as_deref() == Some("1");
            let answer = Answer::new(if first { status } else { 200 }, "");
            answer.header("Location", "/elsewhere")
        });
    }
}

fn seen(world: &World, status: u16) -> usize {
    let path = format!("/in/{status}");
    world.upstream.requests().iter().filter(|request| request.path() == path).count()
}

/// Sends a message for each status, waits, and compares: how often it was delivered and whether it is dead.
async fn judge(world: &World, expected: &[(u16, usize, bool)]) {
    let statuses: Vec<u16> = expected.iter().map(|(status, ..)| *status).collect();
    scripted(world, &statuses);
    for status in &statuses {
        kept(github(world, &format!("/in/{status}"), "{}")).await;
    }
    delivered(world).await;
    let dead: Vec<Value> = entries(world, &["--dead"]);
    for (status, times, is_dead) in expected {
        let path = format!("/in/{status}");
        let found = dead.iter().find(|entry| entry["path"] == path.as_str());
        assert_eq!((seen(world, *status), found.is_some()), (*times, *is_dead), "{status}");
        if let Some(entry) = found {
            let why = entry["reason"].as_str().unwrap();
            assert!(why.contains(&status.to_string()), "{status}: {why}");
        }
    }
    assert!(world.upstream.requests().iter().all(|request| request.path() != "/elsewhere"));
}

#[tokio::test]
async fn each_status_settles_is_tried_again_or_ends_as_a_dead_letter() {
    let world = world(DISK, &[hook("/in", "")]);
    let expected: Vec<_> = SETTLED
        .map(|status| (status, 1, false))
        .into_iter()
        .chain(RETRIED.map(|status| (status, 2, false)))
        .chain(DEAD.map(|status| (status, 1, true)))
        .collect();
    judge(&world, &expected).await;
}

#[tokio::test]
async fn a_location_says_otherwise_and_a_number_goes_before_its_class() {
    let more = ", playback: { settle: [409, 302], retry: [4xx, 201, 304], dead_letter: [5xx, 429, 202] }";
    let world = world(DISK, &[hook("/in", more)]);
    judge(
        &world,
        &[
            (200, 1, false),
            (201, 2, false),
            (202, 1, true),
            (302, 1, false),
            (304, 2, false),
            (307, 1, true),
            (400, 2, false),
            (404, 2, false),
            (408, 2, false),
            (409, 1, false),
            (429, 1, true),
            (500, 1, true),
            (503, 1, true),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_no_token_goes_elsewhere() {
    let other = Upstream::start();
    let world = world(DISK, &[hook("/in", ""), hook("/again", ", playback: { retry: [307] }")]);
    for (path, status) in [("/in/301", 301), ("/in/302", 302), ("/in/303", 303), ("/in/308", 308)] {
        let target = format!("{}/stolen", other.url());
        world.upstream.on(path, move |_| Answer::new(status, "").header("Location", &target));
        kept(github(&world, path, "{}")).await;
    }
    let target = format!("{}/stolen", other.url());
    world.upstream.on("/again", move |request| {
        let first = request.header("x-portcullis-attempt").as_deref() == Some("1");
        Answer::new(if first { 307 } else { 200 }, "").header("Location", &target)
    });
    kept(github(&world, "/again", "{}")).await;
    delivered(&world).await;
    dead(&world, 4).await;
    assert_eq!(world.upstream.count(), 6);
    for request in world.upstream.requests() {
        let token = request.header("x-serverless-authorization").unwrap();
        assert_eq!(minted_for(&token), Some(world.upstream.url()), "{}", request.line());
    }
    assert_eq!(other.connections(), 0, "the redirect was followed");
}

#[tokio::test]
async fn an_upstream_that_asks_for_patience_gets_it_and_the_others_do_not_wait() {
    let world = world(DISK, &[hook("/in", "")]);
    // Nobody waits an hour for this test: the entry is left where it is.
    world.upstream.on("/in/busy", |_| Answer::new(429, "").header("Retry-After", "3000"));
    world.upstream.on("/in/odd", |request| {
        let first = request.header("x-portcullis-attempt").as_deref() == Some("1");
        Answer::new(if first { 503 } else { 200 }, "").header("Retry-After", "soon")
    });
    kept(github(&world, "/in/busy", "{}")).await;
    kept(github(&world, "/in/odd", "{}")).await;
    eventually("the others", || world.upstream.count() >= 3).await;
    eventually("the end of the second", || entries(&world, &[]).len() == 1).await;
    let left = entries(&world, &["--waiting"]).remove(0);
    assert_eq!((&left["path"], &left["attempts"]), (&"/in/busy".into(), &1.into()));
    let (due, received) = (left["due"].as_u64().unwrap(), left["received"].as_u64().unwrap());
    assert!(due >= received + 3000, "{left}");
}

#[tokio::test]
async fn a_broken_upstream_is_tried_again() {
    let world = world(DISK, &[hook("/in", ", timeouts: { connect: 1s, read: 1s, write: 1s }")]);
    let broken: [Broken; 5] = [
        ("/in/reset", || Answer::Steps(vec![Step::Reset])),
        ("/in/close", || Answer::Steps(vec![Step::Close])),
        ("/in/half", || Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")),
        ("/in/noise", || Answer::raw("220 ready for mail\r\n")),
        ("/in/stall", || Answer::Steps(vec![Step::Stall])),
    ];
    for (path, answer) in broken {
        world.upstream.on(path, move |request| {
            let first = request.header("x-portcullis-attempt").as_deref() == Some("1");
            if first { answer() } else { Answer::new(204, "") }
        });
        kept(github(&world, path, "{}")).await;
    }
    delivered(&world).await;
    assert_eq!(entries(&world, &[]).len(), 0);
    for (path, _) in broken {
        let requests = world.upstream.requests().into_iter().filter(|request| request.path() == path);
        let attempts: Vec<_> = requests.filter_map(|it| it.header("x-portcullis-attempt")).collect();
        assert_eq!(attempts, ["1", "2"], "{path}");
    }
}

#[tokio::test]
async fn the_front_door_s_refusal_is_no_verdict_on_the_message() {
    let world = world(DISK, &[hook("/in", "")]);
    world.upstream.on("/in", |request| match request.header("x-portcullis-attempt").as_deref() {
        Some("1") => Answer::new(403, "<html>Your client does not have permission</html>")
            .header("Content-Type", "text/html; charset=UTF-8")
            .header("Server", "Google Frontend"),
        _ => Answer::new(204, ""),
    });
    kept(github(&world, "/in", "{}")).await;
    world.upstream.received(1).await;
    eventually("a decision", || {
        let all = entries(&world, &[]);
        all.is_empty() || all[0]["attempts"] == 1 || all[0]["state"] == "dead"
    })
    .await;
    world.gateway.says("it is tried again");
    delivered(&world).await;
    assert_eq!(entries(&world, &[]).len(), 0);
}

#[tokio::test]
async fn no_token_no_delivery_and_no_loss() {
    let mut plan = super::kit::plan(DISK, &[&hook("/in", "")]);
    plan.faults = vec![(portcullis::dev::google::Endpoint::Metadata, super::kit::status(503))];
    let world = plan.start();
    let id = kept(github(&world, "/in", "{}")).await;
    world.gateway.says("it is tried again");
    world.upstream.assert_untouched();
    world.google.clear_switches();
    let request = world.upstream.received(1).await.remove(0);
    assert_eq!(request.header("idempotency-key"), Some(id));
    assert!(minted_for(&request.header("x-serverless-authorization").unwrap()).is_some());
    delivered(&world).await;
}

#[tokio::test]
async fn attempts_have_a_last_one() {
    let log = DISK.replace("longest: 1s", "longest: 1s, max_attempts: 2");
    let world = world(&log, &[hook("/in", "")]);
    world.upstream.otherwise(|_| Answer::new(503, ""));
    let id = kept(github(&world, "/in", "{}")).await;
    let letter = dead(&world, 1).await.remove(0);
    assert_eq!(letter["id"], id.as_str());
    assert!(letter["reason"].as_str().unwrap().contains("attempt 2, the last"), "{letter}");
    assert_eq!(world.upstream.count(), 2);
}
