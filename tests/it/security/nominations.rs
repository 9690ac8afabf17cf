//! Hop-by-hop headers, and what `Connection` nominates (CVE-2026-105299, CVE-2024-45410, CVE-2026-29054,
//! CVE-2025-48865, GHSA-w9mr-28mw-j8hg).

use super::world::{Expect, Row, World};
use crate::harness::raw::{Raw, once};
use crate::harness::upstream::Recorded;

/// What the gateway adds, and what no nomination may take away.
const ADDED: &[&str] = &[
    "x-goog-authenticated-user-email",
    "x-serverless-authorization",
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-request-id",
    "x-real-ip",
];

/// What belongs to one connection only.
const HOP_BY_HOP: &[&str] = &[
    "keep-alive",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "x-nominated",
    "http2-settings",
];

fn assert_sound(request: &Recorded, what: &str) {
    for name in ADDED {
        assert_eq!(request.headers().all(name).len(), 1, "{what}: the upstream misses {name}");
    }
    for name in HOP_BY_HOP {
        assert!(request.header(name).is_none(), "{what}: {name} went through");
    }
    for value in request.headers().all("connection") {
        let own = matches!(value.to_ascii_lowercase().as_str(), "keep-alive" | "close");
        assert!(own, "{what}: the caller's list went through: {value}");
    }
}

/// A request with these `Connection` lines, further hop-by-hop headers, and a good token.
fn nominating(list: &[String], token: &str) -> String {
    let mut lines: String = list.iter().map(|value| format!("Connection: {value}\r\n")).collect();
    for name in
        HOP_BY_HOP.iter().filter(|name| !matches!(**name, "upgrade" | "x-nominated" | "http2-settings"))
    {
        lines.push_str(&format!("{name}: trailers\r\n"));
    }
    if list.iter().any(|value| value.contains("x-nominated")) {
        lines.push_str("X-Nominated: secret\r\n");
    }
    format!("GET /admin HTTP/1.1\r\nHost: gw.test\r\nAuthorization: Bearer {token}\r\n{lines}\r\n")
}

#[tokio::test]
async fn no_nomination_removes_what_the_gateway_adds() {
    let world = World::start();
    let token = world.member();
    let ours: Vec<_> = ADDED.iter().copied().filter(|name| !name.starts_with("x-forwarded-")).collect();
    let ours = ours.join(", ");
    let lists: Vec<Vec<String>> = vec![
        vec!["close, X-Goog-IAP-JWT-Assertion, X-Serverless-Authorization".to_owned()],
        vec!["X-Goog-Authenticated-User-Email".to_owned()],
        vec!["x-ReQuEsT-iD, X-rEaL-iP".to_owned()],
        vec![ours.clone()],
        vec![ours.to_ascii_uppercase()],
        vec![format!(" ,,\t{} ,\t, close", ours.replace(", ", "\t ,,  "))],
        vec!["close".to_owned(), ours.clone()],
        vec![ours.clone(), ours.clone()],
        vec!["keep-alive, x-nominated, te, upgrade, proxy-authorization".to_owned()],
        vec!["x_serverless_authorization, x_goog_authenticated_user_email".to_owned()],
        vec!["content-length, authorization, cookie".to_owned()],
        vec!["*".to_owned()],
        vec!["".to_owned()],
    ];
    for list in lists {
        world.upstream.forget();
        let what = format!("{list:?}");
        let response = once(world.gateway.address(), nominating(&list, &token)).await;
        assert_eq!(response.status, 200, "{what}: {}", response.text());
        let seen = world.upstream.only();
        assert_sound(&seen, &what);
        let host = world.upstream.address().to_string();
        assert_eq!(seen.header("host"), Some(host), "{what}");
    }
}

/// Lists that nobody with good intentions sends are refused, before anything goes on.
#[tokio::test]
async fn nominations_of_what_identifies_the_request_are_refused() {
    let world = World::start();
    let token = world.member();
    let many: Vec<String> = (0..200).map(|number| format!("x-token-{number}")).collect();
    let mut rows = Vec::new();
    for list in [
        vec!["x-forwarded-for".to_owned()],
        vec!["X-fOrWaRdEd-FoR, x-ReQuEsT-iD".to_owned()],
        vec!["close".to_owned(), "\tx-forwarded-proto\t,,".to_owned()],
        vec!["keep-alive,X-Forwarded-Host".to_owned()],
        vec![ADDED.join(", ")],
        vec![ADDED.join(",").to_ascii_uppercase()],
        vec!["host".to_owned()],
        vec![":authority".to_owned()],
        vec!["\"x-serverless-authorization\"".to_owned()],
        vec!["x serverless".to_owned()],
        vec![format!("{}, X-Goog-Authenticated-User-Email", many.join(", "))],
        many,
    ] {
        rows.push(Row::new(
            &format!("CVE-2024-45410: {list:?}"),
            nominating(&list, &token),
            Expect::BadRequest,
        ));
    }
    world.refuses(rows).await;
}

/// A credential that is nominated away must not be judged as if it were there, nor travel on.
#[tokio::test]
async fn nominating_the_credential_does_not_let_it_through() {
    let world = World::start();
    let token = world.member();
    for header in ["Authorization: Bearer ", "Cookie: __Host-portcullis="] {
        world.upstream.forget();
        let mut raw = Raw::connect(world.gateway.address()).await;
        let list = "Connection: Authorization, Cookie";
        raw.send(format!("GET /admin HTTP/1.1\r\nHost: gw.test\r\n{list}\r\n{header}{token}\r\n\r\n")).await;
        let status = raw.response().await.status;
        assert!(matches!(status, 200 | 400 | 401), "{status}");
        for request in world.upstream.requests() {
            assert!(
                !String::from_utf8_lossy(&request.message.head).contains(&token),
                "the caller's token went through"
            );
        }
        assert_eq!(status == 200, world.upstream.count() == 1);
    }
    world.still_serves().await;
}
