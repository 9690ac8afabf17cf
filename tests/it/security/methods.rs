//! Requests without a path, and methods that are not for proxies of this kind.

use super::world::{Expect, Row, World, request};
use crate::harness::answer::Answer;
use crate::harness::frames::{Frames, Verdict};
use crate::harness::raw::Raw;

#[tokio::test]
async fn requests_without_a_path_and_tunnels_are_refused() {
    let world = World::start();
    let name = "GHSA-8vc2-jrm4-835w, CVE-2026-73547";
    let own = world.upstream.address();
    let mut rows = Vec::new();
    for line in [
        "CONNECT internal:443 HTTP/1.1".to_owned(),
        format!("CONNECT {own} HTTP/1.1"),
        format!("CONNECT {own} HTTP/1.0"),
        "CONNECT /public/ HTTP/1.1".to_owned(),
        "CONNECT http://gw.test/public/ HTTP/1.1".to_owned(),
        "CONNECT * HTTP/1.1".to_owned(),
        "connect internal:443 HTTP/1.1".to_owned(),
        "OPTIONS * HTTP/1.1".to_owned(),
        "OPTIONS /admin HTTP/1.1".to_owned(),
        "OPTIONS http://gw.test HTTP/1.1".to_owned(),
        "GET * HTTP/1.1".to_owned(),
        "TRACE /admin HTTP/1.1".to_owned(),
        "TRACE /public/x HTTP/1.1".to_owned(),
        "TRACK /admin HTTP/1.1".to_owned(),
        "DEBUG /admin HTTP/1.1".to_owned(),
        "get /admin HTTP/1.1".to_owned(),
        "GET/admin HTTP/1.1".to_owned(),
        "GET  HTTP/1.1".to_owned(),
        "PRI * HTTP/1.1".to_owned(),
        "GET /admin HTTP/1.2".to_owned(),
        "GET /admin HTTP/9.9".to_owned(),
        "GET /admin http/1.1".to_owned(),
        "GET /admin".to_owned(),
    ] {
        rows.push(Row::new(
            &format!("{name}: {line}"),
            request(&line, &["Max-Forwards: 0"], ""),
            Expect::Unframed,
        ));
    }
    world.refuses(rows).await;
}

#[tokio::test]
async fn a_preflight_is_no_way_around() {
    let world = World::start();
    let lines = ["Origin: https://evil.test", "Access-Control-Request-Method: GET"];
    let mut rows = Vec::new();
    for line in ["OPTIONS /admin HTTP/1.1", "OPTIONS / HTTP/1.1", "OPTIONS /private HTTP/1.1"] {
        rows.push(Row::new(line, request(line, &lines, ""), Expect::Denied));
    }
    for line in ["POST /admin HTTP/1.1", "DELETE /admin HTTP/1.1", "PROPFIND /admin HTTP/1.1"] {
        let further = ["X-HTTP-Method-Override: OPTIONS", "Content-Length: 0", "Connection: close"];
        rows.push(Row::new(line, request(line, &further, ""), Expect::Denied));
    }
    world.refuses(rows).await;
    let mut raw = Raw::connect(world.gateway.address()).await;
    world.upstream.forget();
    raw.send(request("HEAD /admin HTTP/1.1", &["Range: bytes=0-1"], "")).await;
    assert_eq!(raw.response_to("HEAD").await.status, 401);
    world.upstream.assert_untouched();
}

/// CVE-2026-71324: a tunnel that was proxied poisons a connection that others use.
#[tokio::test]
async fn a_refused_tunnel_leaves_nothing_behind_for_others() {
    let world = World::start();
    world.upstream.otherwise(|request| Answer::new(200, request.target()));
    for round in 0..5 {
        let mut attacker = Raw::connect(world.gateway.address()).await;
        let smuggled = "GET /admin HTTP/1.1\r\nHost: gw.test\r\n\r\n";
        let tunnel =
            format!("CONNECT {} HTTP/1.1\r\nHost: gw.test\r\n\r\n{smuggled}", world.upstream.address());
        drop(attacker.try_send(tunnel).await);
        if let Ok(response) = attacker.response_or_end("GET").await {
            assert!((400..500).contains(&response.status), "{}", response.status);
        }
        let path = format!("/public/round-{round}");
        let response = world.client().get(&path).send().await;
        assert_eq!(response.text(), path);
    }
    world.assert_only_public("after CONNECT");
    assert_eq!(world.upstream.count(), 5);
}

#[tokio::test]
async fn http2_requests_without_a_path_are_refused() {
    let world = World::start();
    let rows: [&[(&str, &str)]; 5] = [
        &[(":method", "CONNECT"), (":authority", "internal:443")],
        &[(":method", "CONNECT"), (":scheme", "http"), (":path", "/public/"), (":authority", "gw.test")],
        &[
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", "/public/"),
            (":authority", "gw.test"),
        ],
        &[(":method", "OPTIONS"), (":scheme", "http"), (":path", "*"), (":authority", "gw.test")],
        &[(":method", "TRACE"), (":scheme", "http"), (":path", "/public/"), (":authority", "gw.test")],
    ];
    for fields in rows {
        let mut frames = Frames::connect(world.gateway.address()).await;
        frames.request(1, fields).await.unwrap();
        let verdict = frames.verdict(1).await;
        let refused = matches!(verdict, Verdict::Reset(_) | Verdict::Gone | Verdict::Status(400..=499 | 501));
        assert!(refused, "{fields:?}: {verdict:?}");
        world.upstream.assert_untouched();
    }
    world.still_serves().await;
}
