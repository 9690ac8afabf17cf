//! Ending: no new work, what is under way is finished, and the process is gone before it is killed.

use std::sync::Arc;

use nix::sys::signal::Signal;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::harness::answer::{Answer, Step};
use crate::harness::background::{eventually, within};
use crate::harness::glue::HEALTH;
use crate::harness::raw::Raw;
use crate::harness::world::{Plan, World};

/// Cloud Run's patience after SIGTERM. Only a deadline: how long it takes is not what is tested.
const DEADLINE: std::time::Duration = std::time::Duration::from_secs(10);
/// Said when no request is left, and not when the grace period ran out.
const NOTHING_LEFT: &str = "stopped";

#[tokio::test]
async fn requests_under_way_are_finished_and_new_ones_are_not_begun() {
    let world = World::start();
    world.warm().await;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    world.upstream.on("/public/slow", move |_| {
        Answer::chunked("text/plain", &["first ", "second ", "third"], Some(&held))
    });
    let mut slow = Raw::connect(world.gateway.address()).await;
    let mut idle = Raw::connect(world.gateway.address()).await;
    idle.send(format!("GET {HEALTH} HTTP/1.1\r\nHost: gw\r\n\r\n")).await;
    assert_eq!(idle.response().await.status, 200);
    slow.send("GET /public/slow HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    gate.add_permits(1);
    world.upstream.received(1).await;
    world.gateway.signal(Signal::SIGTERM);
    world.gateway.says("stopping: waiting for the requests under way");
    // Health turns red, or the connection is gone; a new one is not accepted.
    drop(idle.try_send(format!("GET {HEALTH} HTTP/1.1\r\nHost: gw\r\n\r\n")).await);
    if let Ok(response) = idle.response_or_end("GET").await {
        assert_eq!(response.status, 503);
        assert_eq!(response.header("connection").as_deref(), Some("close"));
    }
    let address = world.gateway.address();
    within("the listener to close", async { while TcpStream::connect(address).await.is_ok() {} }).await;
    assert!(world.gateway.alive(), "it waits for the request under way");
    gate.add_permits(2);
    let response = slow.response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "first second third"));
    assert!(response.message.complete);
    let (code, took) = world.gateway.wait();
    assert_eq!(code, 0);
    assert!(took < DEADLINE);
    assert_eq!(world.upstream.count(), 1);
    world.gateway.says(NOTHING_LEFT);
}

/// A caller whose request is under way and never ends.
async fn endless(world: &World) -> Raw {
    world.upstream.on("/public/endless", |_| Answer::Steps(vec![Step::Stall]));
    let mut caller = Raw::connect(world.gateway.address()).await;
    caller.send("GET /public/endless HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    world.upstream.received(1).await;
    caller
}

/// A request that never ends does not keep the process: it is ended by itself, before somebody kills it.
#[tokio::test]
async fn a_request_without_an_end_does_not_hold_the_process_for_ever() {
    let world = World::start();
    world.warm().await;
    let _endless = endless(&world).await;
    world.gateway.signal(Signal::SIGTERM);
    let (code, took) = world.gateway.wait();
    assert_eq!(code, 0);
    assert!(took < DEADLINE, "{took:?}");
    assert!(!world.gateway.output().contains(NOTHING_LEFT), "{}", world.gateway.output());
}

#[tokio::test]
async fn without_requests_it_ends_at_once() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let world = World::start();
        world.warm().await;
        let _open = Raw::connect(world.gateway.address()).await;
        world.gateway.signal(signal);
        let (code, took) = world.gateway.wait();
        assert_eq!(code, 0, "{signal}: {}", world.gateway.output());
        assert!(took < DEADLINE, "{signal}: {took:?}");
        if signal == Signal::SIGTERM {
            world.gateway.says(NOTHING_LEFT);
        }
    }
}

/// SIGINT waits for nobody.
#[tokio::test]
async fn an_interrupt_ends_it_with_requests_under_way() {
    let world = World::start();
    world.warm().await;
    let _endless = endless(&world).await;
    world.gateway.signal(Signal::SIGINT);
    let (code, took) = world.gateway.wait();
    assert_eq!(code, 0);
    assert!(took < DEADLINE, "{took:?}");
}

#[tokio::test]
async fn other_signals_are_noted_and_ignored() {
    let world = Plan { log: "{ format: text, level: info, requests: none }", ..Plan::default() }.start();
    world.warm().await;
    world.gateway.signal(Signal::SIGQUIT);
    world.gateway.says("SIGQUIT ignored");
    assert_eq!(world.client().get("/public/x").send().await.status, 200);
    assert_eq!(world.client().get(HEALTH).send().await.status, 200);
    assert!(world.gateway.alive());
}

/// The caller's leaving ends the request, so that it is not waited for.
#[tokio::test]
async fn callers_who_left_are_not_waited_for() {
    let world = World::start();
    world.warm().await;
    let gone = endless(&world).await;
    drop(gone);
    eventually("the line of the request", || world.gateway.output().contains("/public/endless")).await;
    world.gateway.signal(Signal::SIGTERM);
    let (code, _) = world.gateway.wait();
    assert_eq!(code, 0);
    world.gateway.says(NOTHING_LEFT);
}
