//! The bound on requests under way, and the queue before it.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::setup;
use crate::harness::answer::{Answer, Step};
use crate::harness::background::{Task, eventually, spawn, within};
use crate::harness::gateway::Gateway;
use crate::harness::h2::{Connection, request};
use crate::harness::http::Client;
use crate::harness::raw::Raw;
use crate::harness::upstream::Upstream;
use crate::harness::websocket;

/// An upstream that answers one request for each permit, behind a gateway with a bound.
fn gated(bound: &str) -> (Upstream, Arc<Semaphore>, Gateway) {
    let (up, gate) = (Upstream::start(), Arc::new(Semaphore::new(0)));
    let opened = Arc::clone(&gate);
    up.otherwise(move |_| {
        let end = b"HTTP/1.1 200 OK\r\nX-Answered-By: upstream\r\nContent-Length: 0\r\n\r\n".to_vec();
        Answer::Steps(vec![Step::Gate(Arc::clone(&opened)), Step::Bytes(end)])
    });
    up.on("/ws", |request| Answer::websocket(&request.header("sec-websocket-key").unwrap()));
    let gateway = setup(&format!("url: '{}', {bound}", up.url())).start();
    (up, gate, gateway)
}

/// Sends a request and leaves it alone.
fn get(gateway: &Gateway, path: &'static str) -> Task {
    let client = Client::new(gateway.address());
    spawn(async move {
        client.get(path).send().await;
    })
}

/// Waits until so many requests have had to wait.
async fn waited(gateway: &Gateway, count: usize) {
    eventually("requests to wait", || gateway.output().matches(" waits: ").count() >= count).await;
}

#[tokio::test]
async fn never_more_than_the_bound_are_under_way() {
    let (up, gate, gateway) = gated("max_in_flight: 3");
    let client = Client::new(gateway.address());
    let calls = spawn(async move {
        let responses = join_all((0..20).map(|_| client.get("/x").send())).await;
        assert!(responses.iter().all(|response| response.status == 200));
    });
    waited(&gateway, 17).await;
    for released in 0..20 {
        eventually("the next request", || up.count() >= (released + 3).min(20)).await;
        assert!(up.count() <= released + 3, "{} were let through after {released}", up.count());
        gate.add_permits(1);
    }
    calls.ended().await;
    assert_eq!((up.count(), up.connections()), (20, 3));
}

#[tokio::test]
async fn beyond_the_queue_requests_are_refused_at_once() {
    let (up, gate, gateway) = gated("max_in_flight: 1, queue: { length: 1, wait: 1h }");
    let _first = get(&gateway, "/first");
    up.received(1).await;
    let second = get(&gateway, "/second");
    waited(&gateway, 1).await;
    let refused = Client::new(gateway.address()).get("/third").send().await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "upstream_busy"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    gate.add_permits(2);
    second.ended().await;
    let paths: Vec<_> = up.requests().iter().map(|request| request.path()).collect();
    assert_eq!(paths, ["/first", "/second"]);
    gateway.says("1 requests are under way and 1 wait");
}

#[tokio::test]
async fn who_has_waited_too_long_is_told() {
    let (up, _gate, gateway) = gated("max_in_flight: 1, queue: { wait: 50ms }");
    let _first = get(&gateway, "/first");
    up.received(1).await;
    let refused = Client::new(gateway.address()).get("/second").send().await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "upstream_busy"));
    assert_eq!(up.count(), 1);
}

#[tokio::test]
async fn the_queue_is_in_the_order_of_arrival() {
    let (up, gate, gateway) = gated("max_in_flight: 1");
    let paths = ["/0", "/1", "/2", "/3", "/4"];
    let mut calls = Vec::new();
    for (number, path) in paths.into_iter().enumerate() {
        calls.push(get(&gateway, path));
        if number == 0 { drop(up.received(1).await) } else { waited(&gateway, number).await }
    }
    gate.add_permits(5);
    for call in calls {
        call.ended().await;
    }
    let seen: Vec<_> = up.requests().iter().map(|request| request.path()).collect();
    assert_eq!(seen, paths);
}

/// Somebody waits and leaves, in some way; then there is room for another, and nothing of the first ever arrives.
async fn leaves(what: &str, leave: impl AsyncFnOnce(&Gateway)) {
    let (up, gate, gateway) = gated("max_in_flight: 1, queue: { length: 1, wait: 1h }");
    let first = get(&gateway, "/first");
    up.received(1).await;
    leave(&gateway).await;
    let client = Client::new(gateway.address());
    let next = spawn(async move { while client.get("/next").send().await.status == 503 {} });
    waited(&gateway, 2).await;
    gate.add_permits(2);
    first.ended().await;
    next.ended().await;
    let paths: Vec<_> = up.requests().iter().map(|request| request.path()).collect();
    assert_eq!(paths, ["/first", "/next"], "{what}");
}

#[tokio::test]
async fn who_leaves_makes_room() {
    leaves("a request without body", async |gateway| {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send("GET /gone HTTP/1.1\r\nHost: gw\r\n\r\n").await;
        waited(gateway, 1).await;
    })
    .await;
    leaves("a request whose body has begun", async |gateway| {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send("POST /gone HTTP/1.1\r\nHost: gw\r\nContent-Length: 9\r\n\r\nhalf").await;
        waited(gateway, 1).await;
    })
    .await;
    leaves("HTTP/2", async |gateway| {
        let connection = Connection::open(gateway.address()).await;
        let request = request("POST", &format!("{}/gone", gateway.url()), &[]);
        let body = [Bytes::from_static(b"hello")];
        tokio::select! {
            _ = connection.send(request, &body, None) => panic!("it was answered"),
            () = waited(gateway, 1) => {}
        }
    })
    .await;
}

/// What follows on the connection of a request that waits is not touched.
#[tokio::test]
async fn who_waits_may_send_the_body_later() {
    let (up, gate, gateway) = gated("max_in_flight: 1");
    let first = get(&gateway, "/first");
    up.received(1).await;
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("POST /second HTTP/1.1\r\nHost: gw\r\nContent-Length: 9\r\n\r\n1234").await;
    waited(&gateway, 1).await;
    raw.send("56789").await;
    gate.add_permits(2);
    assert_eq!(raw.response().await.status, 200);
    assert_eq!(up.last().body(), b"123456789");
    first.ended().await;
}

#[tokio::test]
async fn websockets_count_while_they_are_open() {
    let (up, gate, gateway) = gated("max_in_flight: 1, queue: { length: 0 }");
    let client = Client::new(gateway.address());
    let socket = websocket::connect(gateway.address(), "/ws", &[]).await.unwrap();
    for _ in 0..3 {
        let refused = client.get("/x").send().await;
        assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "upstream_busy"));
    }
    assert_eq!(websocket::connect(gateway.address(), "/ws", &[]).await.err(), Some(503));
    assert_eq!(up.count(), 1);
    gate.add_permits(1);
    drop(socket);
    within("its place", async { while client.get("/x").send().await.status != 200 {} }).await;
}
