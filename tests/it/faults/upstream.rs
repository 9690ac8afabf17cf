//! Upstreams that refuse, reset, stall, or answer with something else than HTTP.

use crate::harness::answer::{Answer, Step};
use crate::harness::raw::{End, Raw, exchange};
use crate::harness::world::{Plan, World, closed};

const TIMEOUTS: &str = ", timeouts: { connect: 1s, read: 1s, write: 1s, idle: 10s }";

fn world() -> World {
    Plan { upstream: TIMEOUTS, ..Plan::default() }.start()
}

fn bytes(text: impl Into<Vec<u8>>) -> Answer {
    Answer::raw(text)
}

#[tokio::test]
async fn nobody_there() {
    let url = format!("http://{}", closed());
    let world = Plan { upstream: TIMEOUTS, upstream_url: Some(url), ..Plan::default() }.start();
    let mut table = world.table();
    table.refused("GET", world.client().get("/public/x"), 502, "upstream_unreachable").await;
    table.refused("POST", world.client().post("/public/x", "body"), 502, "upstream_unreachable").await;
    let page = world.client().get("/public/x").navigation().send().await;
    assert_eq!(page.status, 502);
    assert!(page.header("content-type").unwrap().starts_with("text/html"));
    assert!(page.text().contains("upstream_unreachable"));
    world.gateway.says("upstream_unreachable");
}

/// What comes instead of an answer, and what the caller is told.
fn no_answers() -> Vec<(&'static str, Answer, u16, &'static str)> {
    let bomb = format!("HTTP/1.1 200 OK\r\n{}\r\n", format!("X-Pad: {}\r\n", "p".repeat(4000)).repeat(600));
    let crowd: String = (0..3000).map(|number| format!("X-{number}: 1\r\n")).collect();
    vec![
        ("a reset", Answer::Steps(vec![Step::Reset]), 502, "upstream_invalid"),
        ("the end", Answer::Steps(vec![Step::Close]), 502, "upstream_invalid"),
        (
            "half a status line and a reset",
            Answer::Steps(vec![Step::Bytes(b"HTTP/1.1 2".into()), Step::Reset]),
            502,
            "upstream_invalid",
        ),
        ("half a head and the end", bytes("HTTP/1.1 200 OK\r\nX: y\r\n"), 502, "upstream_invalid"),
        ("silence", Answer::Steps(vec![Step::Stall]), 504, "upstream_timeout"),
        (
            "half a head and silence",
            Answer::Steps(vec![Step::Bytes(b"HTTP/1.1 200 OK\r\n".into()), Step::Stall]),
            504,
            "upstream_timeout",
        ),
        ("no HTTP", bytes("SSH-2.0-OpenSSH_9.9\r\n\r\n"), 502, "upstream_invalid"),
        ("HTTP/0.9", bytes("<html>hello</html>\r\n\r\n"), 502, "upstream_invalid"),
        ("no status", bytes("HTTP/1.1\r\n\r\n"), 502, "upstream_invalid"),
        ("a status of letters", bytes("HTTP/1.1 abc OK\r\n\r\n"), 502, "upstream_invalid"),
        ("a status of one digit", bytes("HTTP/1.1 2 OK\r\n\r\n"), 502, "upstream_invalid"),
        (
            "a header without colon",
            bytes("HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n"),
            502,
            "upstream_invalid",
        ),
        (
            "a header with NUL",
            bytes("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n"),
            502,
            "upstream_invalid",
        ),
        ("megabytes of headers", bytes(bomb), 502, "upstream_invalid"),
        (
            "thousands of headers",
            bytes(format!("HTTP/1.1 200 OK\r\n{crowd}Content-Length: 0\r\n\r\n")),
            502,
            "upstream_invalid",
        ),
        (
            "binary noise",
            bytes(vec![0x16, 3, 1, 0, 0xff, 0xfe, b'\r', b'\n', b'\r', b'\n']),
            502,
            "upstream_invalid",
        ),
    ]
}

/// Failures before the answer has begun become an answer of ours.
#[tokio::test]
async fn what_is_no_answer_becomes_one_of_ours() {
    let world = world();
    let mut failures = Vec::new();
    for (name, answer, status, code) in no_answers() {
        world.upstream.on("/public/x", move |_| answer.clone());
        for method in ["GET", "POST"] {
            let response = world.client().call(method, "/public/x").send().await;
            let got = (response.status.as_u16(), response.text());
            if got.0 != status || !got.1.contains(&format!("\"code\":\"{code}\"")) {
                failures.push(format!("{method}, {name}: {got:?}"));
            }
        }
        assert_eq!(world.client().get("/public/y").send().await.status, 200, "after {name}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A body whose end is not known must never look like a whole one.
#[tokio::test]
async fn a_body_that_breaks_off_looks_broken() {
    let world = world();
    let head = "HTTP/1.1 200 OK\r\nX-Answered-By: upstream\r\n";
    let chunked = "Transfer-Encoding: chunked\r\n\r\n";
    let rows = vec![
        ("too short", bytes(format!("{head}Content-Length: 9\r\n\r\nabc"))),
        (
            "too short, reset",
            Answer::Steps(vec![
                Step::Bytes(format!("{head}Content-Length: 9\r\n\r\nabc").into()),
                Step::Reset,
            ]),
        ),
        (
            "too short, silence",
            Answer::Steps(vec![
                Step::Bytes(format!("{head}Content-Length: 9\r\n\r\nabc").into()),
                Step::Stall,
            ]),
        ),
        ("no last chunk", bytes(format!("{head}{chunked}3\r\nabc\r\n"))),
        ("half a chunk", bytes(format!("{head}{chunked}9\r\nabc"))),
        ("no end of the last chunk", bytes(format!("{head}{chunked}3\r\nabc\r\n0\r\n"))),
        ("a chunk size of letters", bytes(format!("{head}{chunked}3\r\nabc\r\nxyz\r\nabc\r\n0\r\n\r\n"))),
        ("a negative chunk size", bytes(format!("{head}{chunked}3\r\nabc\r\n-3\r\nabc\r\n0\r\n\r\n"))),
        ("an endless chunk size", bytes(format!("{head}{chunked}3\r\nabc\r\n{}\r\nabc", "f".repeat(40)))),
    ];
    let mut failures = Vec::new();
    for (name, answer) in rows {
        world.upstream.on("/public/x", move |_| answer.clone());
        let mut raw = Raw::connect(world.gateway.address()).await;
        raw.send("GET /public/x HTTP/1.1\r\nHost: gw\r\n\r\n").await;
        match raw.response_or_end("GET").await {
            Err(End::Broken | End::Closed) => {}
            Ok(response) if response.status == 502 || response.status == 504 => {}
            Ok(response) => failures.push(format!("{name}: {} {:?}", response.status, response.text())),
        }
        assert_eq!(world.client().get("/public/y").send().await.status, 200, "after {name}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Framing that two readers understand differently: one answer reaches the caller, or none, and what follows it
/// on the connection is never taken for the answer to somebody else.
#[tokio::test]
async fn ambiguous_framing_poisons_nobody() {
    let world = world();
    let evil = "HTTP/1.1 200 OK\r\nX-Answered-By: upstream\r\nContent-Length: 6\r\n\r\npoison";
    for framing in [
        "Content-Length: 3\r\nContent-Length: 4\r\n",
        "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n",
        "Content-Length: +3\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: 3, 4\r\n",
        "Content-Length: abc\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "Content-Length: 0\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nX-Answered-By: upstream\r\n{framing}\r\n0\r\n\r\n{evil}");
        let steps = Answer::Steps(vec![Step::Bytes(answer.into_bytes()), Step::Close]);
        world.upstream.on("/public/x", move |_| steps.clone());
        let (responses, _) =
            exchange(world.gateway.address(), "GET /public/x HTTP/1.1\r\nHost: gw\r\n\r\n").await;
        assert!(responses.len() <= 1, "{framing:?}: {} answers", responses.len());
        for _ in 0..3 {
            let response = world.client().get("/public/y").send().await;
            assert_eq!(response.status, 200, "{framing:?}");
            assert!(!response.text().contains("poison"), "{framing:?}");
        }
    }
}

#[tokio::test]
async fn answers_without_a_body_and_answers_before_the_answer() {
    let world = world();
    let early = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
    let last = "HTTP/1.1 200 OK\r\nX-Answered-By: upstream\r\nContent-Length: 2\r\n\r\nok";
    for prefix in [early.to_owned(), format!("{early}{early}"), "HTTP/1.1 100 Continue\r\n\r\n".to_owned()] {
        let answer = bytes(format!("{prefix}{last}"));
        world.upstream.on("/public/x", move |_| answer.clone());
        let mut raw = Raw::connect(world.gateway.address()).await;
        raw.send("GET /public/x HTTP/1.1\r\nHost: gw\r\n\r\n").await;
        let mut response = raw.response().await;
        while response.status < 200 {
            response = raw.response().await;
        }
        assert_eq!((response.status, response.text().as_str()), (200, "ok"), "{prefix}");
    }
    for (status, method) in [(204, "GET"), (304, "GET"), (200, "HEAD"), (404, "HEAD")] {
        world.upstream.on("/public/x", move |_| Answer::new(status, "seven77"));
        let mut raw = Raw::connect(world.gateway.address()).await;
        for _ in 0..2 {
            // Twice on one connection: nothing of a body may be left over.
            raw.send(format!("{method} /public/x HTTP/1.1\r\nHost: gw\r\n\r\n")).await;
            let response = raw.response_to(method).await;
            assert_eq!(response.status, status, "{method}");
        }
        assert_eq!(world.upstream.last().method(), method);
    }
    world.upstream.on("/public/x", |_| Answer::with_trailers("body", &[("checksum", "9")]));
    let response = world.client().get("/public/x").header("te", "trailers").send().await;
    assert_eq!((response.status.as_u16(), response.text().as_str()), (200, "body"));
}

/// An upgrade that nobody asked for is no answer.
#[tokio::test]
async fn switching_protocols_unasked_is_refused() {
    let world = world();
    world.upstream.on("/public/x", |_| Answer::upgrade_echo("test"));
    let mut raw = Raw::connect(world.gateway.address()).await;
    raw.send("GET /public/x HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    if let Ok(response) = raw.response_or_end("GET").await {
        assert_eq!(response.status, 502, "{}", response.text());
    }
    assert_eq!(world.client().get("/public/y").send().await.status, 200);
}
