//! The harness is tested as well: an instrument that misses things would make every other test worthless.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::HeaderMap;
use serde_json::json;
use tokio::sync::Semaphore;
use tonic_health::ServingStatus;

use super::answer::{Answer, Step};
use super::frames::{Frames, Verdict};
use super::http::Client;
use super::raw::{End, Raw, exchange, once};
use super::sse::Events;
use super::upstream::Upstream;
use super::{background, grpc, h2, websocket};

#[tokio::test]
async fn the_upstream_records_every_byte() {
    let upstream = Upstream::start();
    let head = "POST /a%2Fb?x=1 HTTP/1.1\r\nHost: up\r\nX_Odd-Name:  spaced \r\nx-twice: 1\r\nX-Twice: 2\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nChecksum: 9\r\n\r\n";
    let response = once(upstream.address(), format!("{head}{body}")).await;
    assert_eq!(response.status, 200);
    assert_eq!(response.text(), r#"{"upstream":true}"#);
    let seen = upstream.only();
    assert_eq!(seen.message.head, head.as_bytes());
    assert_eq!(seen.message.wire, body.as_bytes());
    assert_eq!(seen.line(), "POST /a%2Fb?x=1 HTTP/1.1");
    assert_eq!(seen.path(), "/a%2Fb");
    assert_eq!(seen.body(), b"abcde");
    assert_eq!(seen.message.chunks, [3, 2]);
    assert_eq!(seen.message.trailers.get("checksum").as_deref(), Some("9"));
    assert_eq!(seen.headers().all("x-twice"), ["1", "2"]);
    assert!(seen.headers().folded_names().contains(&"x-odd-name".to_owned()));
}

#[tokio::test]
#[should_panic(expected = "bytes reached the upstream")]
async fn half_a_request_counts_as_touched() {
    let upstream = Upstream::start();
    let mut raw = Raw::connect(upstream.address()).await;
    raw.send("GET / HT").await;
    background::eventually("bytes", || upstream.bytes() > 0).await;
    assert_eq!(upstream.count(), 0);
    upstream.assert_untouched();
}

#[tokio::test]
async fn a_body_that_breaks_off_is_recorded_as_incomplete() {
    let upstream = Upstream::start();
    upstream.assert_untouched();
    let mut raw = Raw::connect(upstream.address()).await;
    raw.send("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc").await;
    raw.finish().await;
    let (responses, end) = raw.rest().await;
    assert!(responses.is_empty());
    assert_eq!(end, End::Closed);
    let seen = upstream.received(1).await;
    assert_eq!(seen[0].body(), b"abc");
    assert!(!seen[0].message.complete);
}

#[tokio::test]
async fn answers_without_a_body_are_framed_as_such() {
    let upstream = Upstream::start();
    upstream.on("/empty", |_| Answer::new(204, "ignored"));
    upstream.on("/same", |_| Answer::new(304, "ignored"));
    let mut raw = Raw::connect(upstream.address()).await;
    for (method, path, status) in [("GET", "/empty", 204), ("GET", "/same", 304), ("HEAD", "/", 200)] {
        raw.send(format!("{method} {path} HTTP/1.1\r\nHost: up\r\n\r\n")).await;
        assert_eq!(raw.response_to(method).await.status, status, "{path}");
    }
    assert_eq!(upstream.connections(), 1, "the connection is kept");
}

#[tokio::test]
async fn misbehaviour_is_carried_out() {
    let upstream = Upstream::start();
    upstream.on("/reset", |_| Answer::Steps(vec![Step::Bytes(b"HTTP/1.1 200 OK\r\n".into()), Step::Reset]));
    upstream.on("/short", |_| Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"));
    upstream.on("/garbage", |_| Answer::raw("NOT HTTP\r\n\r\n"));
    for path in ["/reset", "/short", "/garbage"] {
        let (responses, end) =
            exchange(upstream.address(), format!("GET {path} HTTP/1.1\r\nHost: up\r\n\r\n")).await;
        assert!(responses.is_empty(), "{path}");
        assert_eq!(end, End::Broken, "{path}");
    }
    upstream.on("/upgrade", |_| Answer::upgrade_echo("test"));
    let mut raw = Raw::connect(upstream.address()).await;
    raw.send("GET /upgrade HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: test\r\n\r\nearly").await;
    assert_eq!(raw.response().await.status, 101);
    assert_eq!(raw.bytes().await, b"early");
    raw.send("late").await;
    assert_eq!(raw.bytes().await, b"late");
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_body() {
    let upstream = Upstream::start();
    upstream.on_head("/early", |_| Answer::new(413, "too much"));
    let mut raw = Raw::connect(upstream.address()).await;
    raw.send("POST /early HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n").await;
    assert_eq!(raw.response().await.status, 413);
    raw.send("").await;
    let mut raw = Raw::connect(upstream.address()).await;
    raw.send("POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n").await;
    assert_eq!(raw.response().await.status, 100);
    raw.send("ok").await;
    assert_eq!(raw.response().await.status, 200);
}

#[tokio::test]
async fn a_smuggled_request_shows_as_a_second_answer() {
    // The upstream keeps its connection open whatever is asked, so it is told to close on the last request.
    let upstream = Upstream::start();
    upstream.on(super::glue::HEALTH, |_| Answer::raw("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"));
    let one = "GET /one HTTP/1.1\r\nHost: up\r\n\r\n";
    let (responses, _) = exchange(upstream.address(), one).await;
    assert_eq!(responses.len(), 1);
    let (responses, end) = exchange(upstream.address(), format!("{one}{one}")).await;
    assert_eq!(responses.len(), 2);
    assert_eq!(end, End::Closed);
}

#[tokio::test]
async fn events_come_one_by_one() {
    let upstream = Upstream::start();
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    upstream.on("/events", move |_| {
        Answer::chunked(
            "text/event-stream",
            &["data: one\n\n", "event: e\nid: 7\ndata: two\ndata: lines\n\n"],
            Some(&held),
        )
    });
    let streaming = Client::new(upstream.address()).get("/events").stream().await;
    assert_eq!(streaming.status, 200);
    let mut events = Events::new(streaming);
    gate.add_permits(1);
    let first = events.next().await.unwrap();
    assert_eq!(first.data, "one");
    gate.add_permits(1);
    let second = events.next().await.unwrap();
    assert_eq!((second.name.as_deref(), second.id.as_deref()), (Some("e"), Some("7")));
    assert_eq!(second.data, "two\nlines");
    assert!(second.at >= first.at);
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn trailers_and_json_reach_the_friendly_client() {
    let upstream = Upstream::start();
    upstream.on("/trailers", |_| Answer::with_trailers("body", &[("checksum", "9")]));
    let client = Client::new(upstream.address());
    let response = client.get("/trailers").header("te", "trailers").send().await;
    assert_eq!(response.text(), "body");
    assert_eq!(response.trailers.unwrap()["checksum"], "9");
    let response = client.post("/x", "hello").bearer("t").host("elsewhere").send().await;
    assert_eq!(response.json(), json!({ "upstream": true }));
    let seen = upstream.last();
    assert_eq!(seen.body(), b"hello");
    assert_eq!(seen.header("host").as_deref(), Some("elsewhere"));
    assert_eq!(seen.header("authorization").as_deref(), Some("Bearer t"));
}

#[tokio::test]
async fn websockets_echo_and_refusals_are_told() {
    let upstream = Upstream::start();
    upstream.on("/socket", |request| Answer::websocket(&request.header("sec-websocket-key").unwrap()));
    let mut socket =
        websocket::connect(upstream.address(), "/socket", &[("origin", "https://a.example")]).await.unwrap();
    socket.send("hello".into()).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap().into_text().unwrap(), "hello");
    assert_eq!(upstream.only().header("origin").as_deref(), Some("https://a.example"));
    upstream.on("/no", |_| Answer::new(403, "no"));
    assert_eq!(websocket::connect(upstream.address(), "/no", &[]).await.err(), Some(403));
}

#[tokio::test]
async fn grpc_calls_streams_and_metadata_work() {
    let service = grpc::Service::start();
    let mut client = grpc::client(service.address()).await;
    let answer = client.check(grpc::question(&[("x-test", "1")])).await.unwrap();
    assert_eq!(answer.into_inner().status, ServingStatus::Serving as i32);
    assert_eq!(service.seen()[0].get("x-test").unwrap(), "1");
    let mut stream = client.watch(grpc::question(&[])).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().status, ServingStatus::Serving as i32);
    service.reporter.set_service_status("", ServingStatus::NotServing).await;
    assert_eq!(stream.message().await.unwrap().unwrap().status, ServingStatus::NotServing as i32);
}

#[tokio::test]
async fn both_http2_clients_see_statuses_trailers_and_resets() {
    // The health service speaks HTTP/2 only, and answers a wrong content type without gRPC.
    let service = grpc::Service::start();
    let connection = h2::Connection::open(service.address()).await;
    let url = format!("{}/grpc.health.v1.Health/Check", service.url());
    let request = h2::request("POST", &url, &[("content-type", "application/grpc"), ("te", "trailers")]);
    let outcome = connection.send(request, &[Bytes::from_static(&[0, 0, 0, 0, 0])], None).await;
    assert_eq!(outcome.status.unwrap(), 200);
    assert_eq!(outcome.body, [0, 0, 0, 0, 2, 8, 1]);
    assert_eq!(outcome.trailers.unwrap()["grpc-status"], "0");
    let mut trailers = HeaderMap::new();
    trailers.insert("x-trailer", "1".parse().unwrap());
    let request = h2::request("POST", &url, &[("content-type", "application/grpc")]);
    let outcome = connection.send(request, &[Bytes::from_static(&[0, 0, 0, 0, 0])], Some(trailers)).await;
    assert_eq!(outcome.status.unwrap(), 200);

    let mut frames = Frames::connect(service.address()).await;
    let good = [(":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "a")];
    frames.request(1, &good).await.unwrap();
    assert!(matches!(frames.verdict(1).await, Verdict::Status(200 | 404 | 415)));
    frames.request(3, &[(":method", "GET"), ("UPPER", "1")]).await.unwrap();
    assert!(matches!(frames.verdict(3).await, Verdict::Reset(_) | Verdict::Gone));
}
