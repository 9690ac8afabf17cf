//! Pages of other origins: what browsers ask before a request, and what they may read afterwards
//! (<https://fetch.spec.whatwg.org/#http-cors-protocol>).

use super::world::{World, request};
use crate::harness::answer::Answer;
use crate::harness::frames::{Frames, Verdict};
use crate::harness::glue::{COOKIE, minted_for};
use crate::harness::raw::RawResponse;
use crate::harness::websocket::connect;

const APP: &str = "https://app.example.com";
const LOCATIONS: &str = "  - { path: /api, access: google, upstream: up, cors: { origins: [https://app.example.com], credentials: true } }
  - { path: /writes, methods: [POST], access: google, upstream: up, cors: { origins: [https://app.example.com] } }
  - { path: /passed, access: google, upstream: up, cors: { origins: [https://app.example.com], methods: [PUT], preflight: pass } }
  - { path: /everybody, access: public, upstream: up, cors: { origins: ['*'] } }
";
const CORS: [&str; 6] = [
    "access-control-allow-origin",
    "access-control-allow-credentials",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "access-control-expose-headers",
    "access-control-max-age",
];

fn world() -> World {
    World::with_locations(LOCATIONS)
}

/// A preflight with further lines; only one answer comes.
async fn asks(world: &World, path: &str, lines: &[&str]) -> RawResponse {
    let wire = request(&format!("OPTIONS {path} HTTP/1.1"), &[lines, &["Connection: close"]].concat(), "");
    let (mut responses, _) = world.exchange(&wire).await;
    assert_eq!(responses.len(), 1, "{path} {lines:?}");
    responses.remove(0)
}

#[track_caller]
fn assert_silent(response: &RawResponse, what: &str) {
    for name in CORS {
        assert_eq!(response.header(name), None, "{what}: {name}");
    }
}

#[tokio::test]
async fn preflights_of_allowed_origins_are_answered_here() {
    let world = world();
    let lines = [
        "Origin: https://app.example.com",
        "Access-Control-Request-Method: PUT",
        "Access-Control-Request-Headers: authorization,content-type",
    ];
    for path in ["/api", "/api/x?y=z"] {
        let response = asks(&world, path, &lines).await;
        assert_eq!(response.status, 204, "{path}");
        let says = |name: &str| response.header(name).unwrap_or_default();
        assert_eq!(says("access-control-allow-origin"), APP);
        assert_eq!(says("access-control-allow-credentials"), "true");
        assert_eq!(says("access-control-allow-methods"), "PUT");
        assert_eq!(says("access-control-allow-headers"), "authorization, content-type");
        assert_eq!(says("access-control-max-age"), "600");
        let vary = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        assert_eq!(response.message.headers.all("vary"), [vary]);
    }
    // The location of the request that is asked about decides, though it does not take OPTIONS itself.
    let lines = [lines[0], "Access-Control-Request-Method: POST"];
    let response = asks(&world, "/writes", &lines).await;
    assert_eq!(
        (response.status, response.header("access-control-allow-methods").as_deref()),
        (204, Some("POST"))
    );
    assert_eq!(response.header("access-control-allow-credentials"), None);
    let response = asks(&world, "/everybody", &["Origin: https://evil.test", lines[1]]).await;
    assert_eq!(
        (response.status, response.header("access-control-allow-origin").as_deref()),
        (204, Some("*"))
    );
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn what_is_no_preflight_of_an_allowed_origin_is_refused() {
    let world = world();
    let put = "Access-Control-Request-Method: PUT";
    let own = format!("Origin: {APP}");
    for origin in [
        "null",
        "",
        "*",
        "https://evil.test",
        "HTTPS://app.example.com",
        "https://APP.example.com",
        "https://app.example.com.",
        "https://app.example.com/",
        "https://app.example.com:443",
        "https://app.example.com:8443",
        "http://app.example.com",
        "https://app.example.com.evil.com",
        "https://evilapp.example.com",
        "https://x.app.example.com",
        "https://example.com",
        "https://app.example.com@evil.com",
        "https://app.example.com, https://evil.com",
        "https://evil.com, https://app.example.com",
        "https://app.example.com\u{e9}",
    ] {
        for path in ["/api", "/passed"] {
            let response = asks(&world, path, &[&format!("Origin: {origin}"), put]).await;
            let (status, code) = (response.status, response.code());
            assert_eq!((status, code.as_deref()), (403, Some("preflight_refused")), "{path} {origin:?}");
            assert_silent(&response, origin);
        }
    }
    // All of these are requests like others, for which somebody has to be signed in.
    for lines in [
        vec![own.as_str()],
        vec![put],
        vec![own.as_str(), own.as_str(), put],
        vec![own.as_str(), "Origin: https://evil.test", put],
        vec![own.as_str(), put, put],
        vec![own.as_str(), "Access-Control-Request-Method: "],
        vec![own.as_str(), "Access-Control-Request-Method: PUT DELETE"],
        vec![own.as_str(), "Access-Control-Request-Method: CONNECT"],
        vec![own.as_str(), "Access_Control_Request_Method: PUT"],
        vec![own.as_str(), put, "Content-Length: 5"],
        vec![own.as_str(), put, "Transfer-Encoding: chunked"],
    ] {
        for path in ["/api", "/passed"] {
            assert_eq!(asks(&world, path, &lines).await.status, 401, "{path} {lines:?}");
        }
    }
    // A location that says nothing of other origins does not begin to.
    let response = asks(&world, "/private", &[&own, put]).await;
    assert_eq!(response.status, 401);
    assert_silent(&response, "no cors");
    assert_eq!(asks(&world, "/api/%2e%2e/private", &[&own, put]).await.status, 400);
    world.upstream.assert_untouched();
    world.still_serves().await;
}

/// mod_auth_openidc 2.4.20.1: requests that passed without a credential kept what the caller had forged.
#[tokio::test]
async fn a_passed_preflight_carries_nothing_else() {
    let world = world();
    world.upstream.otherwise(|_| {
        Answer::new(204, "")
            .header("Access-Control-Allow-Origin", APP)
            .header("Access-Control-Allow-Methods", "PUT")
    });
    let lines = [
        "Origin: https://app.example.com",
        "Access-Control-Request-Method: PUT",
        "Access-Control-Request-Headers: x-a",
        "User-Agent: a browser",
        "Authorization: Bearer something-forged",
        "Cookie: service=1",
        "X-HTTP-Method-Override: DELETE",
        "X-Goog-Authenticated-User-Email: accounts.google.com:ada@example.com",
        "X_Goog_Authenticated_User_Id: 1",
        "X-Serverless-Authorization: Bearer forged",
        "X-Forwarded-Email: ada@example.com",
        "X-Api-Key: guessed",
    ];
    let response = asks(&world, "/passed/x?y=z", &lines).await;
    assert_eq!(response.status, 204);
    assert_eq!(response.message.headers.all("access-control-allow-origin"), [APP]);
    let seen = world.upstream.only();
    assert_eq!(seen.line(), "OPTIONS /passed/x?y=z HTTP/1.1");
    assert!(minted_for(&seen.header("x-serverless-authorization").unwrap()).is_some());
    let known = [
        "access-control-request-headers",
        "access-control-request-method",
        "host",
        "origin",
        "traceparent",
        "user-agent",
        "x-forwarded-for",
        "x-forwarded-host",
        "x-forwarded-proto",
        "x-real-ip",
        "x-request-id",
        "x-serverless-authorization",
    ];
    let names = seen.headers().folded_names();
    for name in &names {
        assert!(known.contains(&name.as_str()) || name == "connection", "{name} in {names:?}");
    }
    // A method that pages may not use is answered here.
    world.upstream.forget();
    let response = asks(&world, "/passed", &[lines[0], "Access-Control-Request-Method: DELETE"]).await;
    assert_eq!(
        (response.status, response.header("access-control-allow-methods").as_deref()),
        (204, Some("PUT"))
    );
    world.upstream.assert_untouched();
}

/// In HTTP/2, a body needs no announcement.
#[tokio::test]
async fn a_passed_preflight_has_no_body() {
    let world = world();
    let mut frames = Frames::connect(world.gateway.address()).await;
    let fields = [
        (":method", "OPTIONS"),
        (":scheme", "http"),
        (":path", "/passed"),
        (":authority", "gw.test"),
        ("origin", APP),
        ("access-control-request-method", "PUT"),
    ];
    let open = crate::harness::frames::frame(1, 4, 1, &crate::harness::frames::block(&fields));
    let data = crate::harness::frames::frame(0, 1, 1, b"smuggled");
    frames.send([open, data].concat()).await.unwrap();
    assert_eq!(frames.verdict(1).await, Verdict::Status(413));
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn answers_can_be_read_by_pages_of_allowed_origins() {
    let world = world();
    world.upstream.on("/api/own", |_| {
        let answer = Answer::new(200, "own").header("Access-Control-Allow-Origin", "https://other.example");
        answer.header("Vary", "Accept-Encoding, origin")
    });
    world
        .upstream
        .on("/api/half", |_| Answer::new(200, "half").header("Access-Control-Allow-Credentials", "no"));
    let member = world.member();
    let (app, evil) = (("origin", APP), ("origin", "https://app.example.com.evil.com"));
    let bearer = format!("Bearer {member}");
    let good = ("authorization", bearer.as_str());
    let bad = ("authorization", "Bearer ya29.not-good");
    for (path, lines, status) in [
        ("/api", vec![app, good], 200),
        ("/api/half", vec![app, good], 200),
        ("/api", vec![app], 401),
        ("/api", vec![app, bad], 401),
        ("/api", vec![app, ("x-requested-with", "XMLHttpRequest"), ("accept", "text/html")], 401),
        ("/api", vec![app, ("sec-fetch-mode", "cors"), ("accept", "text/html")], 401),
    ] {
        let call =
            lines.iter().fold(world.client().get(path), |call, (name, value)| call.header(name, value));
        let response = call.send().await;
        assert_eq!(response.status, status, "{path} {lines:?}");
        assert_eq!(response.header("access-control-allow-origin"), Some(APP), "{path} {lines:?}");
        assert_eq!(response.header("access-control-allow-credentials"), Some("true"));
        let exposed = response.header("access-control-expose-headers");
        assert_eq!(exposed, Some("X-Request-Id, WWW-Authenticate, Retry-After"));
        assert_eq!(response.header("vary"), Some("Origin"));
        let lines = lines.iter().filter(|(name, _)| *name != "origin");
        let call = world.client().get(path).header(evil.0, evil.1);
        let response = lines.fold(call, |call, (name, value)| call.header(name, value)).send().await;
        assert_eq!(response.status, status, "{path}");
        assert!(CORS.iter().all(|name| response.header(name).is_none_or(|it| it == "no")), "{path}");
        assert_eq!(response.header("vary"), Some("Origin"), "{path}");
    }
    // What the service says of its own stands alone.
    let response = world.client().get("/api/own").header(app.0, app.1).bearer(&member).send().await;
    assert_eq!(response.header("access-control-allow-origin"), Some("https://other.example"));
    assert_eq!(response.header("access-control-allow-credentials"), None);
    assert_eq!(response.header("vary"), Some("Accept-Encoding, origin"));
    let response = world.client().get("/private").header(app.0, app.1).send().await;
    assert_eq!((response.status.as_u16(), response.header("access-control-allow-origin")), (401, None));
}

#[tokio::test]
async fn failures_behind_the_gateway_can_be_read_too() {
    let world = world();
    let member = world.member();
    world.upstream.otherwise(|_| Answer::raw("no HTTP at all\r\n\r\n"));
    let response = world.client().get("/api").header("origin", APP).bearer(&member).send().await;
    assert_eq!((response.status.as_u16(), response.code().as_str()), (502, "upstream_invalid"));
    assert_eq!(response.header("access-control-allow-origin"), Some(APP));
}

#[tokio::test]
async fn a_session_opens_sockets_for_listed_pages_only() {
    let world = world();
    for path in ["/api/socket", "/writes/socket", "/everybody/socket", "/socket"] {
        world.upstream.on(path, |request| Answer::websocket(&request.header("sec-websocket-key").unwrap()));
    }
    let cookie = format!("{COOKIE}={}", world.member());
    let opens = async |path: &str, origins: &[&str]| {
        let mut headers = vec![("cookie", cookie.as_str())];
        headers.extend(origins.iter().map(|origin| ("origin", *origin)));
        connect(world.gateway.address(), path, &headers).await.err()
    };
    assert_eq!(opens("/api/socket", &[APP]).await, None);
    for (path, origins) in [
        ("/api/socket", vec!["https://app.example.com.evil.com"]),
        ("/api/socket", vec!["null"]),
        ("/api/socket", vec![APP, "https://evil.test"]),
        ("/socket", vec![APP]),
    ] {
        assert_eq!(opens(path, &origins).await, Some(403), "{path} {origins:?}");
    }
}
