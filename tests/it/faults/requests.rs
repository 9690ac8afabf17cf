//! Requests that are too large, malformed, or merely unusual. Each refusal has its status and its code.

use crate::harness::raw::{Raw, RawResponse};
use crate::harness::world::{Plan, World};

const LOCATIONS: &str = "  - { path: /public/small, access: public, max_body: 1KiB, upstream: up }\n";

fn world() -> World {
    Plan { locations: LOCATIONS, ..Plan::default() }.start()
}

/// Sends bytes, to a peer that may answer before it has read them all, and reads the answer.
async fn answer(world: &World, wire: &[u8]) -> Option<RawResponse> {
    let mut raw = Raw::connect(world.gateway.address()).await;
    drop(raw.try_send(wire).await);
    raw.response_or_end("GET").await.ok()
}

/// A name, what is sent, and status and code of the answer.
type Row = (&'static str, Vec<u8>, u16, &'static str);

async fn judge(world: &World, rows: Vec<Row>) {
    let mut failures = Vec::new();
    for (name, wire, status, code) in rows {
        world.upstream.forget();
        let got =
            answer(world, &wire).await.map(|response| (response.status, response.code().unwrap_or_default()));
        if got.as_ref().is_none_or(|(got, said)| *got != status || said != code) {
            failures.push(format!("{name}: expected {status} {code}, got {got:?}"));
        }
        if world.upstream.bytes() > 0 {
            failures.push(format!("{name}: reached the upstream"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(world.client().get("/public/still").send().await.status, 200);
}

fn get(target: &str, lines: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: gw.test\r\n{lines}\r\n").into_bytes()
}

/// Requests that are too large in one way each.
fn large() -> Vec<Row> {
    let pad = "p".repeat(70 * 1024);
    let many: String = (0..150).map(|number| format!("X-{number}: {}\r\n", "p".repeat(500))).collect();
    let with_more = format!("X: {}\r\n", &pad[..10_000]);
    let big = "x".repeat(2000);
    let post = |path: &str, lines: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: gw.test\r\n{lines}\r\n{body}").into_bytes()
    };
    vec![
        ("one long header", get("/public/x", &format!("X: {pad}\r\n")), 431, "headers_too_large"),
        ("one long header, protected", get("/x", &format!("X: {pad}\r\n")), 431, "headers_too_large"),
        ("many headers", get("/public/x", &many), 431, "headers_too_large"),
        ("a long cookie", get("/x", &format!("Cookie: a={pad}\r\n")), 431, "headers_too_large"),
        ("a long token", get("/x", &format!("Authorization: Bearer {pad}\r\n")), 431, "headers_too_large"),
        ("a long path", get(&format!("/public/{}", &pad[..60_000]), &with_more), 431, "headers_too_large"),
        ("a long query", get(&format!("/public/x?{}", &pad[..60_000]), &with_more), 431, "headers_too_large"),
        // Pingora's own limit on a target, without a word.
        ("an endless path", get(&format!("/public/{pad}"), ""), 400, ""),
        ("an endless query", get(&format!("/public/x?{pad}"), ""), 400, ""),
        (
            "a token of 16 KiB",
            get("/x", &format!("Authorization: Bearer {}\r\n", &pad[..16 * 1024])),
            401,
            "invalid_credential",
        ),
        (
            "a cookie of 16 KiB",
            get("/x", &format!("Cookie: __Host-portcullis={}\r\n", &pad[..16 * 1024])),
            401,
            "invalid_credential",
        ),
        ("a declared body", post("/public/small", "Content-Length: 2000\r\n", &big), 413, "too_large"),
        ("one byte", post("/public/small", "Content-Length: 1025\r\n", ""), 413, "too_large"),
        (
            "an enormous body",
            post("/public/small", "Content-Length: 18446744073709551615\r\n", ""),
            413,
            "too_large",
        ),
        (
            "a body for ourselves",
            post("/.portcullis/session", "Content-Length: 70000\r\n", ""),
            413,
            "too_large",
        ),
        (
            "a body in chunks for ourselves",
            post(
                "/.portcullis/session",
                "Transfer-Encoding: chunked\r\n",
                &format!("11170\r\n{}\r\n0\r\n\r\n", "x".repeat(70_000)),
            ),
            413,
            "too_large",
        ),
        (
            "too large, but first of all without a token",
            post("/x", "Content-Length: 9999999\r\n", ""),
            401,
            "unauthenticated",
        ),
    ]
}

#[tokio::test]
async fn what_is_too_large_is_told_so() {
    let world = world();
    judge(&world, large()).await;
    let exact = "y".repeat(1024);
    let response = world.client().post("/public/small", exact.clone()).send().await;
    assert_eq!(response.status, 200, "exactly the limit passes");
    assert_eq!(world.upstream.last().body(), exact.as_bytes());
}

/// The limit holds also where the length is known only at the end; no whole request reaches the upstream.
#[tokio::test]
async fn a_body_in_chunks_is_counted() {
    let world = world();
    let mut raw = Raw::connect(world.gateway.address()).await;
    raw.send("POST /public/small HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..64 {
        if raw.try_send(format!("40\r\n{}\r\n", "x".repeat(64))).await.is_err() {
            break;
        }
    }
    drop(raw.try_send("0\r\n\r\n").await);
    let response = raw.response().await;
    assert_eq!((response.status, response.code().as_deref()), (413, Some("too_large")));
    assert!(world.upstream.requests().iter().all(|request| !request.message.complete));
    let response = world.client().post("/public/small", "within").send().await;
    assert_eq!(response.status, 200);
}

#[tokio::test]
async fn malformed_requests() {
    let world = world();
    // Pingora refuses some before it asks us, without a word.
    let (bad, without) = ("bad_request", "");
    let raw = |line: &[u8], rest: &str| [line, b"\r\n", rest.as_bytes(), b"\r\n\r\n"].concat();
    let host = "Host: gw.test";
    let rows = vec![
        ("several Host", get("/public/x", "Host: other.test\r\n"), 400, without),
        ("the same Host twice", get("/public/x", "Host: gw.test\r\n"), 400, without),
        ("a Host with a path", raw(b"GET /public/x HTTP/1.1", "Host: gw.test/x"), 400, bad),
        ("a Host with a user", raw(b"GET /public/x HTTP/1.1", "Host: a@gw.test"), 400, without),
        ("a Host with a blank", raw(b"GET /public/x HTTP/1.1", "Host: gw .test"), 400, bad),
        ("a Host with quotes", raw(b"GET /public/x HTTP/1.1", "Host: \"><svg onload=alert(1)>"), 400, bad),
        (
            "another host in absolute form",
            raw(b"GET http://other.test/public/x HTTP/1.1", host),
            400,
            without,
        ),
        (
            "a user in absolute form",
            raw(b"GET http://gw.test@other.test/public/x HTTP/1.1", host),
            400,
            without,
        ),
        ("another scheme", raw(b"GET ftp://gw.test/public/x HTTP/1.1", host), 400, bad),
        ("no slash", raw(b"GET public/x HTTP/1.1", host), 400, bad),
        ("invalid UTF-8 in the path", raw(b"GET /public/\xff\xfe HTTP/1.1", host), 400, without),
        ("invalid UTF-8, encoded", get("/public/%ff%fe", ""), 400, bad),
        ("invalid UTF-8 in the query", raw(b"GET /public/x?\xff HTTP/1.1", host), 400, without),
        ("half an escape", get("/public/%f", ""), 400, bad),
        ("TRACE", raw(b"TRACE /public/x HTTP/1.1", host), 405, "method_not_allowed"),
    ];
    judge(&world, rows).await;
    // What has no request line gets a status, or the end of the connection, and nothing else.
    for wire in [
        &b"\r\n\r\n\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"GET /public/x\r\n\r\n",
        b"/public/x HTTP/1.1\r\n\r\n",
        b"GET /public/x HTTP/9.9\r\nHost: gw.test\r\n\r\n",
        b"GET /public/x FTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"GET  /public/x  HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"G\x00T /public/x HTTP/1.1\r\nHost: gw.test\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ] {
        world.upstream.forget();
        let mut raw = Raw::connect(world.gateway.address()).await;
        raw.send(wire).await;
        raw.finish().await;
        if let Ok(response) = raw.response_or_end("GET").await {
            let name = String::from_utf8_lossy(wire);
            assert!((400..600).contains(&response.status), "{name}: {}", response.status);
        }
        world.upstream.assert_untouched();
    }
}

#[tokio::test]
async fn odd_bytes_that_are_legal_pass_untouched() {
    let world = world();
    let mut wire = b"GET /public/%C3%A9?q=%ff&x=%2f HTTP/1.1\r\nHost: gw.test\r\nX-Latin: caf\xe9\r\nCookie: a=\xff; b=2\r\n\r\n".to_vec();
    let response = answer(&world, &wire).await.unwrap();
    assert_eq!(response.status, 200);
    let seen = world.upstream.only();
    assert_eq!(seen.target(), "/public/%C3%A9?q=%ff&x=%2f");
    let head = seen.message.head.as_slice();
    for part in [&b"caf\xe9\r\n"[..], b"a=\xff; b=2\r\n"] {
        assert!(head.windows(part.len()).any(|window| window == part), "{}", String::from_utf8_lossy(head));
    }
    // Pingora escapes blanks; what was decided on is what is sent.
    let response = answer(&world, b"GET /public/a b HTTP/1.1\r\nHost: gw.test\r\n\r\n").await.unwrap();
    assert_eq!((response.status, world.upstream.last().target().as_str()), (200, "/public/a%20b"));
    let response = answer(&world, b"GET /x /public/ HTTP/1.1\r\nHost: gw.test\r\n\r\n").await.unwrap();
    assert_eq!(response.status, 401);
    // A session cookie that is no text is a bad credential, not a failure.
    wire = b"GET /x HTTP/1.1\r\nHost: gw.test\r\nCookie: __Host-portcullis=\xff\xfe\xfd\r\n\r\n".to_vec();
    let response = answer(&world, &wire).await.unwrap();
    assert_eq!((response.status, response.code().as_deref()), (401, Some("invalid_credential")));
    wire = b"GET /x HTTP/1.1\r\nHost: gw.test\r\nAuthorization: Bearer \xff\xfe\xfd\r\n\r\n".to_vec();
    let response = answer(&world, &wire).await.unwrap();
    assert_eq!((response.status, response.code().as_deref()), (401, Some("invalid_credential")));
    let response =
        answer(&world, b"GET http://gw.test/public/abs?q=1 HTTP/1.1\r\nHost: gw.test\r\n\r\n").await.unwrap();
    assert_eq!(response.status, 200, "absolute form of the same host");
    assert_eq!(world.upstream.last().target(), "/public/abs?q=1");
}

#[tokio::test]
async fn a_body_is_asked_for_only_when_it_is_wanted() {
    let world = world();
    let head = "HTTP/1.1\r\nHost: gw.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n";
    let mut raw = Raw::connect(world.gateway.address()).await;
    raw.send(format!("POST /public/x {head}\r\n")).await;
    let mut response = raw.response().await;
    assert_eq!(response.status, 100);
    raw.send("hello").await;
    while response.status < 200 {
        response = raw.response().await;
    }
    assert_eq!(response.status, 200);
    assert_eq!(world.upstream.only().body(), b"hello");
    world.upstream.forget();
    for (path, lines, status) in [
        ("/x", "", 401),
        ("/x", "Authorization: Bearer nothing-that-is-known\r\n", 401),
        ("/public/%2e%2e/x", "", 400),
    ] {
        let mut raw = Raw::connect(world.gateway.address()).await;
        raw.send(format!("POST {path} {head}{lines}\r\n")).await;
        assert_eq!(raw.response().await.status, status, "{path}: refused without asking for the body");
        world.upstream.assert_untouched();
    }
}

#[tokio::test]
async fn refusals_to_head_have_a_length_and_no_body() {
    let world = world();
    let mut raw = Raw::connect(world.gateway.address()).await;
    for (path, status) in
        [("/x", 401), ("/public/%2e%2e/x", 400), ("/.portcullis/nothing", 404), ("/.portcullis/health", 200)]
    {
        raw.send(format!("HEAD {path} HTTP/1.1\r\nHost: gw.test\r\n\r\n")).await;
        let response = raw.response_to("HEAD").await;
        assert_eq!(response.status, status, "{path}");
        assert!(response.header("content-length").is_some_and(|length| length != "0"), "{path}");
    }
    world.upstream.assert_untouched();
}
