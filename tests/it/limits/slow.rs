//! Callers that take their time. Each limit is a second here; nothing is measured but the order of events.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::{logged, much};
use crate::harness::answer::{Answer, Step};
use crate::harness::background::{spawn, within};
use crate::harness::frames::{Frames, RST_STREAM, SETTINGS, frame};
use crate::harness::gateway::Gateway;
use crate::harness::http::Client;
use crate::harness::raw::Raw;
use crate::harness::upstream::Upstream;

fn impatient() -> (Upstream, Gateway) {
    logged("refused", "idle: 1s, body: 1s, write: 1s", "")
}

/// Waits until the gateway closes a connection without having said anything.
async fn is_closed(mut raw: Raw) {
    let (responses, _) = raw.rest().await;
    assert!(responses.is_empty(), "{responses:?}");
}

#[tokio::test]
async fn who_asks_for_nothing_is_closed() {
    let (_up, gateway) = impatient();
    let address = gateway.address();
    is_closed(Raw::connect(address).await).await;
    // Fewer bytes than Pingora looks at first.
    let mut raw = Raw::connect(address).await;
    raw.send("GET /x").await;
    is_closed(raw).await;
    let mut raw = Raw::connect(address).await;
    raw.send("GET /x HTTP/1.1\r\nHost: gw.test.example\r\n").await;
    is_closed(raw).await;
    let mut raw = Raw::connect(address).await;
    raw.send("GET /x HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    assert_eq!(raw.response().await.status, 200);
    is_closed(raw).await;
}

#[tokio::test]
async fn a_head_that_drips_does_not_become_whole_in_time() {
    let (up, gateway) = impatient();
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("GET /x HTTP/1.1\r\nHost: gw.test.example\r\n").await;
    within("the end of a head without end", async {
        while raw.try_send("X: y\r\n").await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    up.assert_untouched();
}

#[tokio::test]
async fn a_request_under_way_is_not_idle() {
    let (up, gateway) = impatient();
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    up.on("/long", move |_| {
        let end = b"HTTP/1.1 200 OK\r\nX-Answered-By: upstream\r\nContent-Length: 0\r\n\r\n".to_vec();
        Answer::Steps(vec![Step::Gate(Arc::clone(&opened)), Step::Bytes(end)])
    });
    let client = Client::new(gateway.address());
    let long = spawn(async move { assert_eq!(client.get("/long").send().await.status, 200) });
    up.received(1).await;
    // Two others come and go in the meantime.
    for _ in 0..2 {
        is_closed(Raw::connect(gateway.address()).await).await;
    }
    gate.add_permits(1);
    long.ended().await;
}

#[tokio::test]
async fn a_body_that_stops_is_refused() {
    let (_up, gateway) = impatient();
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("POST /x HTTP/1.1\r\nHost: gw\r\nContent-Length: 100\r\n\r\nabc").await;
    let response = raw.response().await;
    assert_eq!((response.status, response.code().as_deref()), (408, Some("request_timeout")));
    assert_eq!(raw.rest().await.0.len(), 0);
}

#[tokio::test]
async fn who_does_not_read_is_left() {
    let (up, gateway) = impatient();
    up.on("/much", |_| much());
    let mut raw = Raw::connect(gateway.address()).await;
    raw.send("GET /much HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    gateway.says("WriteTimedout");
    assert!(raw.response_or_end("GET").await.is_err(), "the answer breaks off");
    // The same over HTTP/2, where the caller gives the stream no window at all (RFC 9113, section 6.9.2).
    let mut frames = Frames::connect(gateway.address()).await;
    frames.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/much"), (":authority", "gw")];
    frames.request(1, &fields).await.unwrap();
    within("a reset", async { while frames.next().await.is_some_and(|frame| frame.kind != RST_STREAM) {} })
        .await;
}
