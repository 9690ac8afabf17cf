//! Entries that the gateway fetches from Pub/Sub itself.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use portcullis::dev::google::{Endpoint, SubscriptionSpec};
use serde_json::json;

use super::forged::entry;
use super::kit::{DEAD, PULLED, SUBSCRIPTION, TOPIC, drained, github, hook, kept, status, subscribe, world};
use crate::harness::answer::Answer;
use crate::harness::background::eventually;
use crate::harness::world::World;

fn pulled(locations: &[String]) -> World {
    pulled_by(locations, PULLED, SubscriptionSpec::pull(TOPIC))
}

fn pulled_by(locations: &[String], log: &str, spec: SubscriptionSpec) -> World {
    let world = world(log, locations);
    world.google.create_topic(DEAD);
    subscribe(&world, SUBSCRIPTION, spec);
    world
}

#[tokio::test]
async fn messages_go_through_the_log_to_the_upstream() {
    let world = pulled(&[hook("/in", "")]);
    let mut ids = BTreeSet::new();
    for number in 0..30 {
        ids.insert(kept(github(&world, "/in?q=1", vec![number, 0, 255])).await);
    }
    drained(&world).await;
    let requests = world.upstream.requests();
    let seen: BTreeSet<_> = requests.iter().filter_map(|it| it.header("idempotency-key")).collect();
    assert_eq!(seen, ids);
    for request in requests {
        assert_eq!((request.target().as_str(), &request.body()[1..]), ("/in?q=1", [0, 255].as_slice()));
    }
}

#[tokio::test]
async fn what_fails_is_tried_again_and_what_is_hopeless_is_given_up() {
    let log = PULLED.replace("longest: 1s", "longest: 1s, max_attempts: 3");
    let world = pulled_by(&[hook("/in", "")], &log, SubscriptionSpec::pull(TOPIC));
    let seen = AtomicUsize::new(0);
    world.upstream.on("/in/later", move |_| {
        Answer::new(if seen.fetch_add(1, Ordering::SeqCst) == 0 { 503 } else { 200 }, "")
    });
    world.upstream.on("/in/never", |_| Answer::new(410, ""));
    world.upstream.on("/in/always", |_| Answer::new(500, ""));
    let mut ids = Vec::new();
    for path in ["/in/later", "/in/never", "/in/always"] {
        ids.push(kept(github(&world, path, "x")).await);
    }
    drained(&world).await;
    let count = |path: &str| world.upstream.requests().iter().filter(|it| it.path() == path).count();
    assert_eq!((count("/in/later"), count("/in/never"), count("/in/always")), (2, 1, 3));
    let letters = world.google.messages(DEAD);
    let dead: BTreeSet<_> = letters.iter().map(|it| it.attributes["portcullis-entry"].as_str()).collect();
    assert_eq!(dead, BTreeSet::from([ids[1].as_str(), ids[2].as_str()]));
}

#[tokio::test]
async fn poison_and_forged_entries_are_dead_letters() {
    let world = pulled(&[hook("/in", "")]);
    let rows = super::poison::poison();
    for (_, data) in &rows {
        world.google.publish(TOPIC, data, &[]);
    }
    for path in ["//evil.example/", "@evil.example", "/in/../public/", "/elsewhere"] {
        world.google.publish(TOPIC, &entry(|line| line["path"] = json!(path), b"x"), &[("uri", path)]);
    }
    drained(&world).await;
    assert_eq!(world.google.messages(DEAD).len(), rows.len() + 4);
    world.upstream.assert_untouched();
    kept(github(&world, "/in", "right")).await;
    drained(&world).await;
    assert_eq!(world.upstream.only().body(), b"right");
}

#[tokio::test]
async fn order_is_kept_where_it_is_asked_for() {
    let spec = SubscriptionSpec { ordered: true, ..SubscriptionSpec::pull(TOPIC) };
    let world = pulled_by(&[hook("/in", ", playback: { ordered: true }")], PULLED, spec);
    let failures = AtomicUsize::new(0);
    world.upstream.on("/in", move |request| {
        let fails = request.body() == b"1" && failures.fetch_add(1, Ordering::SeqCst) == 0;
        Answer::new(if fails { 503 } else { 200 }, "")
    });
    for number in 0..5 {
        kept(github(&world, "/in", number.to_string())).await;
    }
    drained(&world).await;
    let bodies: Vec<_> =
        world.upstream.requests().iter().map(|it| String::from_utf8_lossy(it.body()).into_owned()).collect();
    assert_eq!(bodies, ["0", "1", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn a_pub_sub_that_is_away_for_a_while_loses_nothing() {
    let world = pulled(&[hook("/in", "")]);
    world.google.fail(Endpoint::Pull, status(503));
    kept(github(&world, "/in", "x")).await;
    let before = world.google.calls(Endpoint::Pull);
    eventually("pulls in vain", || world.google.calls(Endpoint::Pull) > before).await;
    world.google.clear_switches();
    world.upstream.received(1).await;
    drained(&world).await;
    // An acknowledgement that fails once is repeated, and the message is not delivered a second time for it.
    world.google.fail_next(Endpoint::Acknowledge, 1, status(503));
    kept(github(&world, "/in", "y")).await;
    drained(&world).await;
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn what_is_not_delivered_at_the_end_is_delivered_by_the_next_process() {
    let spec = SubscriptionSpec {
        ack_deadline: std::time::Duration::from_secs(10),
        ..SubscriptionSpec::pull(TOPIC)
    };
    let mut world = pulled_by(&[hook("/in", "")], PULLED, spec);
    world.upstream.on("/in", |_| Answer::new(503, ""));
    let id = kept(github(&world, "/in", "x")).await;
    world.upstream.received(1).await;
    world.gateway.signal(Signal::SIGTERM);
    assert_eq!(world.gateway.wait().0, 0);
    assert_eq!(world.google.backlog(SUBSCRIPTION), 1);
    world.upstream.forget();
    world.upstream.on("/in", |_| Answer::new(200, ""));
    // As if the lease had run out.
    world.google.end_leases(SUBSCRIPTION);
    world.gateway = world.gateway.again().start();
    drained(&world).await;
    assert_eq!(world.upstream.last().header("idempotency-key"), Some(id));
}
