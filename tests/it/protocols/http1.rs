//! HTTP/1.1 as it is: trailers, answers without a body, interim answers, and connections that are kept.

use crate::harness::answer::{Answer, MARK};
use crate::harness::raw::Raw;
use crate::harness::site::{Flow, Site};

#[tokio::test]
async fn trailers_of_an_http1_upstream_are_left_out_and_the_answer_is_whole() {
    let site = Site::start(Flow::AccessToken).await;
    site.open.on("/open/trailers", |_| Answer::with_trailers("body", &[("x-sum", "9")]));
    let mut raw = Raw::connect(site.address()).await;
    // Pingora drops them, as RFC 9110, section 6.5.1, allows; what matters is that nothing is left over.
    for _ in 0..3 {
        raw.send("GET /open/trailers HTTP/1.1\r\nHost: gw\r\nTE: trailers\r\n\r\n").await;
        let response = raw.response().await;
        assert_eq!((response.status, response.text().as_str()), (200, "body"));
        assert!(response.message.complete);
        assert_eq!(response.message.trailers.get("x-sum"), None);
    }
    assert_eq!(site.open.count(), 3);
}

#[tokio::test]
async fn answers_without_a_body_stay_so_on_a_kept_connection() {
    let site = Site::start(Flow::AccessToken).await;
    site.open.on("/open/204", |_| Answer::new(204, ""));
    site.open.on("/open/304", |_| Answer::new(304, "").header("ETag", "\"7\""));
    site.open.on("/open/page", |_| Answer::new(200, "twelve bytes"));
    let mut raw = Raw::connect(site.address()).await;
    for (method, path, status) in [
        ("GET", "/open/204", 204),
        ("GET", "/open/304", 304),
        ("HEAD", "/open/page", 200),
        ("DELETE", "/open/204", 204),
        ("GET", "/open/page", 200),
    ] {
        raw.send(format!("{method} {path} HTTP/1.1\r\nHost: gw\r\n\r\n")).await;
        let response = raw.response_to(method).await;
        assert_eq!(response.status, status, "{method} {path}");
        assert_eq!(response.header(MARK).as_deref(), Some("upstream"));
        match (method, status) {
            ("HEAD", _) => assert_eq!(response.header("content-length").as_deref(), Some("12")),
            (_, 204) => assert_eq!(response.header("content-length"), None, "RFC 9110, section 8.6"),
            (_, 304) => assert_eq!(response.header("etag").as_deref(), Some("\"7\"")),
            _ => assert_eq!(response.text(), "twelve bytes"),
        }
    }
    let methods: Vec<_> = site.open.requests().iter().map(|request| request.method()).collect();
    assert_eq!(methods, ["GET", "GET", "HEAD", "DELETE", "GET"]);
}

#[tokio::test]
async fn a_caller_that_waits_for_100_gets_it() {
    let site = Site::start(Flow::AccessToken).await;
    for path in ["/open/upload", "/upload"] {
        let mut raw = Raw::connect(site.address()).await;
        let bearer = site.bearer();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: gw\r\nAuthorization: {bearer}\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
        );
        raw.send(head).await;
        assert_eq!(raw.response().await.status, 100, "{path}");
        raw.send("hello").await;
        assert_eq!(raw.response().await.status, 200, "{path}");
    }
    assert_eq!(site.open.only().body(), b"hello");
    assert_eq!(site.echo.requests().pop().unwrap().body, b"hello");
}

#[tokio::test]
async fn a_caller_that_waits_for_100_is_refused_before_its_body() {
    let site = Site::start(Flow::AccessToken).await;
    let mut raw = Raw::connect(site.address()).await;
    raw.send("POST /upload HTTP/1.1\r\nHost: gw\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
    assert_eq!(raw.response().await.status, 401);
    assert!(site.echoed().is_empty());
}

#[tokio::test]
async fn early_hints_pass() {
    let site = Site::start(Flow::AccessToken).await;
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n";
    site.open.on("/open/hints", move |_| {
        Answer::raw(format!("{hints}HTTP/1.1 200 OK\r\n{MARK}: upstream\r\nContent-Length: 4\r\n\r\npage"))
    });
    let mut raw = Raw::connect(site.address()).await;
    raw.send("GET /open/hints HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    let first = raw.response().await;
    assert_eq!(first.status, 103);
    assert_eq!(first.header("link").as_deref(), Some("</style.css>; rel=preload"));
    let last = raw.response().await;
    assert_eq!((last.status, last.text().as_str()), (200, "page"));
}

#[tokio::test]
async fn upstream_connections_are_kept() {
    let site = Site::start(Flow::AccessToken).await;
    for number in 0..20 {
        // Each request comes on a connection of its own.
        let response = site.client().get(&format!("/open/{number}")).send().await;
        assert_eq!(response.status, 200);
    }
    assert_eq!(site.open.count(), 20);
    // The caller has its answer a moment before the connection is back in the pool, so now and then a request
    // that follows at once finds none there.
    let opened = site.open.connections();
    assert!(opened <= 5, "{opened} connections for 20 requests");
}
