//! Messages whose length two readers compute differently, and requests hidden in other requests
//! (CVE-2025-4366, CVE-2026-2833, CVE-2026-2835).

use super::world::{Expect, Row, World, request};
use crate::harness::raw::{End, Raw};

const HIDDEN: &str = "GET /public/hidden HTTP/1.1\r\nHost: gw.test\r\n\r\n";

/// Header lines with which nobody can say how long the body is.
const AMBIGUOUS: &[&[&str]] = &[
    &["Transfer-Encoding: gzip, chunked"],
    &["Transfer-Encoding: chunked, identity"],
    &["Transfer-Encoding: chunked, chunked"],
    &["Transfer-Encoding: identity"],
    &["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"],
    &["Transfer-Encoding: chunked", "Transfer-Encoding: identity"],
    &["Transfer-Encoding: identity", "Transfer-Encoding: chunked"],
    &["Transfer-Encoding: gzip, chunked", "Content-Length: 4"],
    &["Transfer_Encoding: chunked"],
    &["Content_Length: 5"],
    &["content_length: 5", "Content-Length: 50"],
    &["Content-Length: 5", "Content-Length: 5"],
    &["Content-Length: 5, 5"],
    &["Transfer-Encoding: xchunked"],
    &["Transfer-Encoding: chunked;x=1"],
    &["Transfer-Encoding: \"chunked\""],
    &["Transfer-Encoding: chunked\u{b}"],
    &["Transfer-Encoding : chunked"],
    &["Transfer-Encoding:\u{b}chunked"],
    &["Transfer-Encoding: chunked\0"],
    &["Transfer-Encoding:\r\n chunked"],
    &["Transfer-Encoding:"],
    &["X: y\r\n Transfer-Encoding: chunked"],
    &[" Transfer-Encoding: chunked"],
    &["Content-Length: +5"],
    &["Content-Length: -5"],
    &["Content-Length: 5,5"],
    &["Content-Length: 5, 6"],
    &["Content-Length: 0x5"],
    &["Content-Length: 5 5"],
    &["Content-Length: 5a"],
    &["Content-Length: 5.0"],
    &["Content-Length:"],
    &["Content-Length: ٥"],
    &["Content-Length: 5", "Content-Length: 6"],
    &["Content-Length: 0", "content-length: 50"],
    &["Content-Length: 99999999999999999999999"],
    &["Content-Length: 18446744073709551616"],
    &["Content-Length : 5"],
    &["Content-Length\t: 5"],
    &["Content\0-Length: 5"],
    &["Bad Name: x"],
    &["no colon at all"],
    &[": no name"],
    &["X: a\rb"],
    &["X: a\0b"],
];

#[tokio::test]
async fn ambiguous_framing_is_refused() {
    let world = World::start();
    let mut rows = Vec::new();
    for lines in AMBIGUOUS {
        for path in ["/public/x", "/admin"] {
            for version in ["1.1", "1.0"] {
                let line = format!("POST {path} HTTP/{version}");
                let name = format!("CVE-2026-2835: {line}: {lines:?}");
                rows.push(Row::new(
                    &name,
                    request(&line, lines, &format!("0\r\n\r\n{HIDDEN}")),
                    Expect::Closed,
                ));
            }
        }
    }
    for path in ["/public/x", "/admin"] {
        let old = format!("POST {path} HTTP/1.0");
        let wire = request(&old, &["Transfer-Encoding: chunked"], &format!("0\r\n\r\n{HIDDEN}"));
        rows.push(Row::new(&format!("CVE-2026-2835: {old}, chunked"), wire, Expect::Closed));
    }
    world.refuses(rows).await;
}

/// Pingora drops `Content-Length` before we see it where there is a `Transfer-Encoding` as well, and closes the
/// connection after the answer, as RFC 9112, section 6.3, allows. So one request goes on, with the body that
/// the chunks make and without the length, and what follows them is not even read as a request.
#[tokio::test]
async fn a_length_beside_chunks_is_dropped_and_ends_the_connection() {
    let world = World::start();
    for lines in [
        ["Transfer-Encoding: chunked", "Content-Length: 4"],
        ["Content-Length: 4", "Transfer-Encoding: chunked"],
        ["Content-Length: 400", "transfer-encoding: CHUNKED"],
        ["Content-Length: 0", "Transfer-Encoding: chunked"],
        ["Content-Length: 5x", "Transfer-Encoding: chunked"],
    ] {
        for (path, status, reached) in [("/public/x", 200, 1), ("/admin", 401, 0)] {
            world.upstream.forget();
            let what = format!("{path} {lines:?}");
            let body = format!("3\r\nabc\r\n0\r\n\r\n{HIDDEN}");
            let wire = request(&format!("POST {path} HTTP/1.1"), &lines, &body);
            let (responses, _) = world.exchange(&wire).await;
            assert_eq!(
                responses.iter().map(|response| response.status).collect::<Vec<_>>(),
                [status],
                "{what}"
            );
            assert_eq!(responses[0].header("connection").as_deref(), Some("close"), "{what}");
            assert_eq!(world.upstream.count(), reached, "{what}");
            for seen in world.upstream.requests() {
                assert_eq!((seen.path().as_str(), seen.body()), ("/public/x", b"abc".as_slice()), "{what}");
                assert_eq!(seen.header("content-length"), None, "{what}");
                let coding = seen.headers().all("transfer-encoding");
                assert!(coding.len() == 1 && coding[0].eq_ignore_ascii_case("chunked"), "{what}: {coding:?}");
            }
        }
    }
    world.still_serves().await;
}

const BROKEN_CHUNKS: &[&str] = &[
    "5;\n\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    "-1\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "FFFFFFFFFFFFFFFFF\r\n",
    "10000000000000005\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloXX0\r\n\r\n",
    "5\nhello\n0\n\n",
    "g\r\n\r\n",
    "\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5;a=\"\r\nhello\r\n0\r\n\r\n",
    "2;\nxx\r\n4c\r\n0\r\n\r\n",
    "0\r\nContent-Length: 90\r\n\r\n",
    "0\r\n: x\r\n\r\n",
];

/// Broken chunks may be noticed only after the head has gone on, but nothing behind them may become a request.
#[tokio::test]
async fn broken_chunks_hide_nothing() {
    let world = World::start();
    // What follows is protected: were it taken for a request, it would get an answer, but no upstream.
    let hidden = "GET /admin HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n\r\n";
    let send = |path: &str, body: &str| {
        request(&format!("POST {path} HTTP/1.1"), &["Transfer-Encoding: chunked"], &format!("{body}{hidden}"))
    };
    for body in BROKEN_CHUNKS {
        let (responses, _) = world.exchange(&send("/admin", body)).await;
        assert!(responses.len() <= 2, "{body:?}");
        world.upstream.assert_untouched();
    }
    for (number, body) in BROKEN_CHUNKS.iter().enumerate() {
        // A path of its own: the upstream may hear of a request that broke off later than we do.
        let path = format!("/public/chunks-{number}");
        let (responses, _) = world.exchange(&send(&path, body)).await;
        assert!(responses.len() <= 2, "{body:?}");
        let arrived = world.upstream.requests().iter().filter(|request| request.path() == path).count();
        assert!(arrived <= 1, "{body:?}");
    }
    world.assert_only_public("broken chunks");
    // Not `still_serves`, which counts what the upstream sees.
    assert_eq!(world.client().get("/public/still").send().await.status, 200);
}

/// A refused request is answered before its body is read; the body must not be taken for the next request.
#[tokio::test]
async fn a_request_in_the_body_of_a_refused_one_is_never_answered() {
    let world = World::start();
    let length = format!("Content-Length: {}", HIDDEN.len());
    let chunks = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
    let mut rows = Vec::new();
    for method in ["GET", "POST", "PUT", "OPTIONS", "DELETE"] {
        for (path, expect) in [("/admin", Expect::Denied), ("/public/../admin", Expect::BadRequest)] {
            let line = format!("{method} {path} HTTP/1.1");
            let name = format!("CVE-2025-4366: {line}");
            rows.push(Row::new(&name, request(&line, &[&length], HIDDEN), expect));
            rows.push(Row::new(&name, request(&line, &["Transfer-Encoding: chunked"], &chunks), expect));
            let large = format!("{}{}", HIDDEN.repeat(2000), HIDDEN);
            let much = format!("Content-Length: {}", large.len());
            rows.push(Row::new(
                &format!("{name}, large"),
                request(&line, &[&much], &large),
                Expect::Unframed,
            ));
        }
    }
    world.refuses(rows).await;
}

/// The same with what we answer ourselves.
#[tokio::test]
async fn a_request_in_the_body_of_an_answered_one_is_never_answered() {
    let world = World::start();
    let length = format!("Content-Length: {}", HIDDEN.len());
    let chunks = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
    for endpoint in ["health", "whoami", "login", "logout", "session", "callback", "unknown"] {
        for method in ["GET", "POST", "HEAD"] {
            let line = format!("{method} /.portcullis/{endpoint} HTTP/1.1");
            for wire in
                [request(&line, &[&length], HIDDEN), request(&line, &["Transfer-Encoding: chunked"], &chunks)]
            {
                let mut raw = Raw::connect(world.gateway.address()).await;
                raw.send(wire).await;
                raw.response_to(method).await;
                drop(raw.try_send(request("GET /admin HTTP/1.1", &["Connection: close"], "")).await);
                // Either the connection ends, or the next request is the one that was really sent.
                let (further, _) = raw.rest().await;
                let statuses: Vec<_> = further.iter().map(|response| response.status).collect();
                assert!(matches!(statuses[..], [] | [401]), "{line}: {statuses:?}");
                world.upstream.assert_untouched();
            }
        }
    }
    world.still_serves().await;
}

/// On a public location the hidden request is body, and arrives as body.
#[tokio::test]
async fn a_request_in_the_body_of_a_forwarded_one_stays_body() {
    let world = World::start();
    for method in ["GET", "POST", "DELETE", "OPTIONS"] {
        world.upstream.forget();
        let line = format!("{method} /public/x HTTP/1.1");
        let length = format!("Content-Length: {}", HIDDEN.len());
        let (responses, _) = world.exchange(&request(&line, &[&length], HIDDEN)).await;
        assert_eq!(responses.len(), 1, "{method}");
        for seen in world.upstream.requests() {
            assert_eq!(seen.path(), "/public/x", "{method}");
            assert_eq!(seen.body(), HIDDEN.as_bytes(), "{method}");
        }
        assert_eq!(world.upstream.count(), usize::from(responses[0].status == 200), "{method}");
        assert!(method != "POST" || responses[0].status == 200, "an ordinary request goes through");
    }
}

/// CVE-2026-2833: what follows a request for an upgrade goes through before the upgrade is granted.
#[tokio::test]
async fn bytes_after_an_upgrade_do_not_go_through_before_it_is_granted() {
    let world = World::start();
    let early = "GET /admin HTTP/1.1\r\nHost: gw.test\r\nX-Early: 1\r\n\r\n";
    let upgrades: &[&[&str]] = &[
        &["Connection: Upgrade", "Upgrade: foo"],
        &[
            "Connection: upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGVzdA==",
        ],
        &["Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"],
        &["Connection: keep-alive, UPGRADE", "Upgrade: h2c, websocket"],
        &["Connection: Upgrade", "Upgrade: foo", "Content-Length: 0"],
        &["Upgrade: foo"],
    ];
    for lines in upgrades {
        for path in ["/public/upgrade", "/admin"] {
            world.upstream.forget();
            let wire = request(&format!("GET {path} HTTP/1.1"), lines, early);
            let (responses, end) = world.exchange(&wire).await;
            let statuses: Vec<_> = responses.iter().map(|response| response.status).collect();
            assert!(end == End::Broken || !statuses.is_empty(), "{path} {lines:?}");
            assert!(!statuses.contains(&101), "{path} {lines:?}: the upstream never agreed");
            // The second request is judged by itself or dropped with the connection.
            assert!(
                statuses.iter().skip(1).all(|status| (400..500).contains(status)),
                "{path}: {statuses:?}"
            );
            for seen in world.upstream.requests() {
                assert_eq!(seen.path(), "/public/upgrade");
                assert!(!seen.message.wire.windows(7).any(|window| window == b"X-Early"), "{lines:?}");
            }
            let expected = usize::from(path != "/admin" && statuses.first() == Some(&200));
            assert_eq!(world.upstream.count(), expected, "{path} {lines:?}");
        }
    }
    world.still_serves().await;
}
