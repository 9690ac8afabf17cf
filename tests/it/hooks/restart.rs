//! The process ends, in one way or another, while entries are pending.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use nix::sys::signal::Signal;
use tokio::sync::Semaphore;

use super::kit::{DISK, assert_refused, delivered, entries, github, hook, kept, world};
use crate::harness::answer::{Answer, Step};
use crate::harness::world::World;

/// An upstream that answers one status until it is told another.
fn moody(world: &World) -> Arc<AtomicU16> {
    let status = Arc::new(AtomicU16::new(503));
    let now = Arc::clone(&status);
    world.upstream.otherwise(move |_| Answer::new(now.load(Ordering::SeqCst), ""));
    status
}

async fn survives(signal: Signal) {
    let mut world = world(DISK, &[hook("/in", ""), hook("/ordered", ", playback: { ordered: true }")]);
    let mood = moody(&world);
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(kept(github(&world, "/in?n=1", number.to_string())).await);
        ids.push(kept(github(&world, "/ordered", number.to_string())).await);
    }
    world.upstream.received(6).await;
    world.gateway.signal(signal);
    let (code, _) = world.gateway.wait();
    assert_eq!(code, if signal == Signal::SIGTERM { 0 } else { -9 });
    // The log can be read while nobody serves.
    assert_eq!(entries(&world, &["--waiting"]).len(), 10);
    mood.store(200, Ordering::SeqCst);
    world.upstream.forget();
    world.gateway = world.gateway.again().start();
    delivered(&world).await;
    assert_eq!(entries(&world, &[]).len(), 0);
    let requests = world.upstream.requests();
    let mut seen: Vec<_> = requests.iter().filter_map(|it| it.header("idempotency-key")).collect();
    seen.sort();
    ids.sort();
    assert_eq!(seen, ids, "each once");
    let ordered: Vec<_> =
        requests.iter().filter(|it| it.path() == "/ordered").map(|it| it.body().to_vec()).collect();
    assert_eq!(ordered, [b"0", b"1", b"2", b"3", b"4"]);
}

#[tokio::test]
async fn what_is_pending_at_sigterm_is_delivered_by_the_next_process() {
    survives(Signal::SIGTERM).await;
}

#[tokio::test]
async fn what_is_pending_at_a_crash_is_delivered_by_the_next_process() {
    survives(Signal::SIGKILL).await;
}

#[tokio::test]
async fn a_delivery_under_way_at_sigterm_is_finished_and_not_repeated() {
    let mut world = world(DISK, &[hook("/in", "")]);
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    world.upstream.on("/in", move |_| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
        Answer::Steps(vec![Step::Gate(Arc::clone(&held)), Step::Bytes(answer)])
    });
    kept(github(&world, "/in", "once")).await;
    world.upstream.received(1).await;
    world.gateway.signal(Signal::SIGTERM);
    world.gateway.says("stopping");
    gate.add_permits(1);
    assert_eq!(world.gateway.wait().0, 0);
    assert_eq!(entries(&world, &[]).len(), 0, "it was settled before the end");
    world.gateway = world.gateway.again().start();
    kept(github(&world, "/in/other", "the next")).await;
    delivered(&world).await;
    let bodies: Vec<_> = world.upstream.requests().iter().map(|it| it.body().to_vec()).collect();
    assert_eq!(bodies, [b"once".to_vec(), b"the next".to_vec()]);
}

#[tokio::test]
async fn a_delivery_that_never_ends_does_not_keep_the_process_and_is_repeated() {
    let mut world = world(DISK, &[hook("/in", "")]);
    world.upstream.on("/in", |_| Answer::Steps(vec![Step::Stall]));
    let id = kept(github(&world, "/in", "stuck")).await;
    world.upstream.received(1).await;
    world.gateway.signal(Signal::SIGTERM);
    let (code, took) = world.gateway.wait();
    assert_eq!(code, 0);
    assert!(took < std::time::Duration::from_secs(10), "Cloud Run kills after ten seconds: {took:?}");
    assert_eq!(entries(&world, &["--waiting"]).len(), 1);
    world.upstream.on("/in", |_| Answer::new(200, ""));
    world.gateway = world.gateway.again().start();
    delivered(&world).await;
    assert_eq!(world.upstream.last().header("idempotency-key"), Some(id));
}

#[tokio::test]
async fn a_replay_is_known_after_a_restart() {
    let mut world = world(DISK, &[hook("/in", "")]);
    let call = |world: &World| github(world, "/in", "once").header("x-github-delivery", "72d3162e-cc78");
    let first = kept(call(&world)).await;
    delivered(&world).await;
    world.gateway.signal(Signal::SIGTERM);
    world.gateway.wait();
    world.gateway = world.gateway.again().start();
    assert_eq!(kept(call(&world)).await, first);
    kept(github(&world, "/in", "another")).await;
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn a_full_log_refuses_keeps_what_it_has_and_takes_more_when_there_is_room() {
    let log = DISK.replace("directory: wal", "directory: wal, max_size: 1MiB");
    let world = world(&log, &[hook("/in", ", max_body: 512KiB")]);
    let mood = moody(&world);
    let body = |number: u8| vec![number; 400 * 1024];
    kept(github(&world, "/in", body(0))).await;
    kept(github(&world, "/in", body(1))).await;
    let response = github(&world, "/in", body(2)).send().await;
    assert_refused(&response, 503, "wal_full");
    assert_eq!(entries(&world, &[]).len(), 2);
    // Something small still has its place.
    kept(github(&world, "/in", "small")).await;
    mood.store(200, Ordering::SeqCst);
    delivered(&world).await;
    kept(github(&world, "/in", body(3))).await;
    delivered(&world).await;
    let settled = world.upstream.requests();
    assert!(settled.iter().any(|it| it.body() == body(3)));
    assert!(settled.iter().all(|it| it.body() != body(2)), "what was refused is never delivered");
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_ends_the_start() {
    let first = world(DISK, &[hook("/in", "")]);
    kept(github(&first, "/in", "x")).await;
    delivered(&first).await;
    let second = first.gateway.run(&["run", "--config", "portcullis.yaml"]);
    let said =
        String::from_utf8_lossy(&second.stderr).into_owned() + &String::from_utf8_lossy(&second.stdout);
    assert_eq!(second.status.code(), Some(1), "{said}");
    assert!(said.contains("in use by another portcullis"), "{said}");
    // The first one does not mind.
    kept(github(&first, "/in", "y")).await;
    delivered(&first).await;
    first.gateway.signal(Signal::SIGTERM);
    first.gateway.wait();
    let log = first.gateway.directory().join("wal/wal.redb");
    std::fs::write(&log, b"not a database").unwrap();
    let damaged = first.gateway.run(&["run", "--config", "portcullis.yaml"]);
    let said =
        String::from_utf8_lossy(&damaged.stderr).into_owned() + &String::from_utf8_lossy(&damaged.stdout);
    assert_eq!(damaged.status.code(), Some(1), "{said}");
    assert!(said.contains("damaged"), "{said}");
    assert_eq!(std::fs::read(&log).unwrap(), b"not a database", "it is left as it is");
    std::fs::remove_dir_all(log.parent().unwrap()).unwrap();
    std::fs::write(first.gateway.directory().join("wal"), "a file").unwrap();
    let blocked = first.gateway.run(&["run", "--config", "portcullis.yaml"]);
    assert_eq!(blocked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&blocked.stderr).contains("cannot be opened"), "{blocked:?}");
}
