//! Server-sent events come one by one.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::harness::answer::Answer;
use crate::harness::http::Client;
use crate::harness::site::{Flow, Site};
use crate::harness::sse::Events;

const EVENTS: [&str; 4] =
    ["data: one\n\n", "event: e\nid: 7\ndata: two\n\n", "data: three\n\n", "data: four\n\n"];

/// The upstream sends an event only when the one before has been read here: whoever holds one back waits for ever.
async fn come_one_by_one(client: impl Fn(&Site) -> Client) {
    let site = Site::start(Flow::AccessToken).await;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    site.open.on("/open/events", move |_| Answer::chunked("text/event-stream", &EVENTS, Some(&held)));
    let streaming = client(&site).get("/open/events").header("accept", "text/event-stream").stream().await;
    assert_eq!(streaming.status, 200);
    assert_eq!(streaming.headers["content-type"], "text/event-stream");
    let mut events = Events::new(streaming);
    for expected in ["one", "two", "three", "four"] {
        gate.add_permits(1);
        assert_eq!(events.next().await.unwrap().data, expected);
    }
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn over_http1() {
    come_one_by_one(Site::client).await;
}

#[tokio::test]
async fn over_http2() {
    come_one_by_one(|site| Client::h2(site.address())).await;
}
