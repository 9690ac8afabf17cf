//! An upstream that is away for a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::kit::{DISK, delivered, entries, github, hook, kept, plan};
use crate::harness::answer::{Answer, Step};
use crate::harness::background::eventually;
use crate::harness::site::free_port;
use crate::harness::upstream::Upstream;

#[tokio::test]
async fn what_came_while_the_upstream_was_down_is_delivered_when_it_is_up() {
    let port = free_port();
    let mut plan = plan(DISK, &[&hook("/in", "")]);
    plan.upstream_url = Some(format!("http://127.0.0.1:{port}"));
    let world = plan.start();
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(kept(github(&world, "/in", number.to_string())).await);
    }
    // Each was tried in vain at least once.
    eventually("an attempt of each", || {
        entries(&world, &["--waiting"]).iter().all(|entry| entry["attempts"].as_u64() >= Some(1))
    })
    .await;
    let upstream = Upstream::at(SocketAddr::from(([127, 0, 0, 1], port)));
    upstream.received(10).await;
    delivered(&world).await;
    let requests = upstream.requests();
    let mut seen: Vec<_> = requests.iter().filter_map(|it| it.header("idempotency-key")).collect();
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids, "each once");
    for request in requests {
        let attempt: u32 = request.header("x-portcullis-attempt").unwrap().parse().unwrap();
        assert!(attempt >= 2, "attempts that reached nobody count as well");
    }
}

#[tokio::test]
async fn an_upstream_that_comes_and_goes_gets_everything_with_the_same_keys() {
    let world = plan(DISK, &[&hook("/in", "")]).start();
    let calls = AtomicUsize::new(0);
    // Three of four fail, each in another way.
    world.upstream.on("/in", move |_| match calls.fetch_add(1, Ordering::SeqCst) % 4 {
        0 => Answer::new(503, ""),
        1 => Answer::Steps(vec![Step::Reset]),
        2 => Answer::Steps(vec![Step::Close]),
        _ => Answer::new(204, ""),
    });
    let mut bodies = std::collections::BTreeMap::new();
    for number in 0..4 {
        let body = format!("message {number}");
        bodies.insert(kept(github(&world, "/in", body.clone())).await, body);
    }
    delivered(&world).await;
    assert_eq!(entries(&world, &[]).len(), 0, "none is dead");
    let requests = world.upstream.requests();
    for (id, body) in &bodies {
        let attempts: Vec<_> = requests
            .iter()
            .filter(|it| it.header("idempotency-key").as_ref() == Some(id))
            .map(|it| {
                assert_eq!(it.body(), body.as_bytes());
                it.header("x-portcullis-attempt").unwrap().parse::<usize>().unwrap()
            })
            .collect();
        assert_eq!(attempts, (1..=attempts.len()).collect::<Vec<_>>(), "{id}");
    }
}

#[tokio::test]
async fn senders_are_answered_while_the_upstream_is_silent() {
    let locations = hook("/in", ", timeouts: { connect: 1s, read: 1s, write: 1s }");
    let world = plan(DISK, &[&locations]).start();
    let silent = Arc::new(AtomicBool::new(true));
    let still = Arc::clone(&silent);
    world.upstream.on("/in", move |_| {
        if still.load(Ordering::SeqCst) { Answer::Steps(vec![Step::Stall]) } else { Answer::new(200, "") }
    });
    for number in 0..40 {
        kept(github(&world, "/in", number.to_string())).await;
    }
    world.upstream.received(16).await;
    silent.store(false, Ordering::SeqCst);
    delivered(&world).await;
    assert_eq!(entries(&world, &[]).len(), 0);
    let keys: std::collections::BTreeSet<_> =
        world.upstream.requests().iter().filter_map(|it| it.header("idempotency-key")).collect();
    assert_eq!(keys.len(), 40);
}
