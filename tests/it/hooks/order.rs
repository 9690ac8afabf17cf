//! Entries of an ordered location: one after the other, whatever the upstream does meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::kit::{DISK, dead, delivered, github, hook, kept, world};
use crate::harness::answer::{Answer, Step};
use crate::harness::upstream::Recorded;

const ORDERED: &str = ", playback: { ordered: true }";

fn body(request: &Recorded) -> String {
    String::from_utf8_lossy(request.body()).into_owned()
}

#[tokio::test]
async fn the_next_one_waits_until_the_first_is_taken() {
    let world = world(DISK, &[hook("/in", ORDERED)]);
    let refusals = AtomicUsize::new(0);
    world.upstream.on("/in", move |request| {
        let fails = body(request) == "2" && refusals.fetch_add(1, Ordering::SeqCst) < 2;
        Answer::new(if fails { 503 } else { 200 }, "")
    });
    for number in 0..6 {
        kept(github(&world, "/in", number.to_string())).await;
    }
    delivered(&world).await;
    let bodies: Vec<_> = world.upstream.requests().iter().map(body).collect();
    assert_eq!(bodies, ["0", "1", "2", "2", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn one_is_under_way_at_a_time_and_other_locations_do_not_wait() {
    let world = world(DISK, &[hook("/in", ORDERED), hook("/other", "")]);
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    world.upstream.on_head("/in", move |_| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec();
        Answer::Steps(vec![Step::Gate(Arc::clone(&held)), Step::Bytes(answer), Step::Close])
    });
    for number in 0..4 {
        kept(github(&world, "/in", number.to_string())).await;
    }
    for number in 0..4 {
        kept(github(&world, "/other", number.to_string())).await;
    }
    let requests = world.upstream.received(5).await;
    let held = requests.iter().filter(|request| request.path() == "/in").count();
    assert_eq!(held, 1, "only the first of the ordered ones is under way");
    gate.add_permits(4);
    delivered(&world).await;
    let requests = world.upstream.requests();
    assert_eq!(requests.iter().filter(|request| request.path() == "/in").count(), 4);
}

#[tokio::test]
async fn a_dead_letter_makes_way() {
    let world = world(DISK, &[hook("/in", ORDERED)]);
    world.upstream.on("/in", |request| Answer::new(if body(request) == "1" { 422 } else { 200 }, ""));
    for number in 0..4 {
        kept(github(&world, "/in", number.to_string())).await;
    }
    delivered(&world).await;
    let bodies: Vec<_> = world.upstream.requests().iter().map(body).collect();
    assert_eq!(bodies, ["0", "1", "2", "3"]);
    dead(&world, 1).await;
}

#[tokio::test]
async fn without_order_a_slow_one_holds_up_nobody() {
    let world = world(DISK, &[hook("/in", "")]);
    world.upstream.on("/in/slow", |_| Answer::Steps(vec![Step::Stall]));
    kept(github(&world, "/in/slow", "x")).await;
    for number in 0..20 {
        kept(github(&world, "/in", number.to_string())).await;
    }
    world.upstream.received(21).await;
    let left = super::kit::entries(&world, &["--waiting"]);
    assert!(left.iter().any(|entry| entry["path"] == "/in/slow"), "{left:?}");
}
