//! Identity and control headers that the caller made up.

use super::world::World;
use crate::harness::glue::minted_for;
use crate::harness::http::Client;
use crate::harness::upstream::Recorded;

/// Names that only the gateway may set, in the spellings that servers behind it fold into one
/// (CVE-2025-64484, CVE-2023-27487, CVE-2017-6062, CVE-2017-6413).
const FORGED: &[&str] = &[
    "X-Goog-Authenticated-User-Email",
    "X_Goog_Authenticated_User_Email",
    "X-Goog_Authenticated-User_Email",
    "x_goog_authenticated_user_id",
    "X-GOOG-AUTHENTICATED-USER-ID",
    "X-Goog-Authenticated-User-Hd",
    "X-Goog-Authenticated-User-Anything",
    "X-Goog-IAP-JWT-Assertion",
    "x_goog-iap_jwt_assertion",
    "X_GOOG_IAP_JWT_ASSERTION",
    "X-Goog-Iap-Other",
    "X-Serverless-Authorization",
    "X_Serverless_Authorization",
    "x-serverless_authorization",
    "X-Forwarded-Email",
    "X-Forwarded_Email",
    "X_FORWARDED_EMAIL",
    "X-Forwarded-User",
    "x_forwarded_user",
    "X-Portcullis-Identity",
    "X-Portcullis-Attempt",
    "X_Portcullis_Anything",
    "X-Original-URL",
    "X_Original_URL",
    "X-Original-URI",
    "X-Rewrite-URL",
    "X_Rewrite_Url",
    "X-Forwarded-Host",
    "X_Forwarded_Host",
    "X-Forwarded-Proto",
    "X_Forwarded_Proto",
    "X_Real_IP",
];

const LIE: &str = "forged.by-the-caller.test";

fn lies(names: &[(Vec<u8>, Vec<u8>)]) -> Vec<String> {
    let lying = |(_, value): &&(Vec<u8>, Vec<u8>)| String::from_utf8_lossy(value).contains(LIE);
    names.iter().filter(lying).map(|(name, _)| String::from_utf8_lossy(name).into_owned()).collect()
}

fn assert_no_lie(request: &Recorded, what: &str) {
    let kept = lies(&request.headers().0);
    assert!(kept.is_empty(), "{what}: the upstream believes {kept:?}");
}

/// What the gateway says of itself to the upstream, once and truthfully.
fn assert_own_token(world: &World, request: &Recorded, what: &str) {
    let tokens = request.headers().all("x-serverless-authorization");
    assert_eq!(tokens.len(), 1, "{what}: one token of ours");
    assert_eq!(minted_for(&tokens[0]), Some(world.upstream.url()), "{what}: not minted by us");
}

async fn forge(client: Client, path: &str, names: &[&str], token: Option<&str>) -> u16 {
    let mut call = client.get(path);
    if let Some(token) = token {
        call = call.bearer(token);
    }
    for name in names {
        call = call.header(name, LIE);
    }
    call.send().await.status.as_u16()
}

#[tokio::test]
async fn forged_headers_reach_no_upstream_on_public_locations() {
    let world = World::start();
    for client in [world.client(), Client::h2(world.gateway.address())] {
        for name in FORGED {
            world.upstream.forget();
            assert_eq!(forge(client, "/public/x", &[name], None).await, 200, "{name}");
            let seen = world.upstream.only();
            assert_no_lie(&seen, name);
            assert_own_token(&world, &seen, name);
            let nobody = seen.headers().folded_names();
            assert!(
                !nobody.iter().any(|name| name.starts_with("x-goog-authenticated-user")),
                "{name}: {nobody:?}"
            );
        }
        world.upstream.forget();
        assert_eq!(forge(client, "/public/x", FORGED, None).await, 200);
        assert_no_lie(&world.upstream.only(), "all at once");
    }
}

#[tokio::test]
async fn forged_headers_are_replaced_by_the_truth_on_protected_locations() {
    let world = World::start();
    let token = world.member();
    for client in [world.client(), Client::h2(world.gateway.address())] {
        for name in FORGED.iter().copied().map(|name| vec![name]).chain([FORGED.to_vec()]) {
            world.upstream.forget();
            assert_eq!(forge(client, "/admin", &name, Some(&token)).await, 200, "{name:?}");
            let seen = world.upstream.only();
            let what = format!("{name:?}");
            assert_no_lie(&seen, &what);
            assert_own_token(&world, &seen, &what);
            let email = seen.headers().all("x-goog-authenticated-user-email");
            assert_eq!(email, ["accounts.google.com:ada@example.com"], "{what}");
            assert_eq!(seen.header("authorization"), None, "{what}: the caller's token was consumed");
        }
    }
}

/// Requests that need no identity are where such headers were forgotten: preflights, and other methods.
#[tokio::test]
async fn every_method_is_scrubbed() {
    let world = World::start();
    for method in ["OPTIONS", "POST", "PUT", "DELETE", "PATCH"] {
        world.upstream.forget();
        let mut call = world.client().call(method, "/public/x").header("origin", "https://app.test");
        call = call.header("access-control-request-method", "GET");
        for name in FORGED {
            call = call.header(name, LIE);
        }
        call.send().await;
        for request in world.upstream.requests() {
            assert_no_lie(&request, method);
        }
        assert!(method == "OPTIONS" || world.upstream.count() == 1, "{method}");
    }
}

/// Where the minted token travels in another header, the usual one must not become a way in.
#[tokio::test]
async fn the_callers_token_is_removed_also_where_ours_travels_elsewhere() {
    let upstream = crate::harness::upstream::Upstream::start();
    let standin = crate::harness::glue::StandIn::start();
    let yaml = format!(
        "{}\nallow: {{ domains: [example.com] }}\nupstreams:\n  up: {{ url: \"{}\", token_header: Authorization }}\n\
         locations:\n  - {{ path: /public/, access: public, upstream: up }}\n  - {{ path: /, access: google, upstream: up }}\n",
        standin.yaml(),
        upstream.url(),
    );
    let gateway = crate::harness::gateway::Gateway::start(&yaml);
    let token = standin.issue("ada@example.com");
    for path in ["/public/x", "/admin"] {
        upstream.forget();
        let call = Client::new(gateway.address()).get(path).session(&token);
        let response = call.header("x-serverless-authorization", &format!("Bearer {LIE}")).send().await;
        assert_eq!(response.status, 200);
        let seen = upstream.only();
        assert_no_lie(&seen, path);
        assert_eq!(seen.header("x-serverless-authorization"), None, "{path}");
        let authorization = seen.headers().all("authorization");
        assert_eq!(authorization.len(), 1, "{path}");
        assert_eq!(minted_for(&authorization[0]), Some(upstream.url()), "{path}");
        assert!(!seen.headers().all("cookie").iter().any(|cookie| cookie.contains(&token)), "{path}");
    }
}

/// CVE-2026-33495, CVE-2026-35051, CVE-2026-39858, CVE-2026-54764: forwarded headers choose a decision, a
/// redirect or the strength of a cookie.
#[tokio::test]
async fn forwarded_headers_change_neither_decision_nor_redirect() {
    let world = World::start();
    let hostile = [
        ("X-Forwarded-Proto", "ftp"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Proto", "https,http"),
        ("X-Forwarded-Proto", "javascript"),
        ("X-Forwarded-Scheme", "ftp"),
        ("X-Forwarded-Ssl", "off"),
        ("X-Forwarded-Host", "evil.test"),
        ("X-Forwarded-Server", "evil.test"),
        ("X-Forwarded-Port", "6666"),
        ("X-Forwarded-Prefix", "//evil.test"),
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-Uri", "//evil.test/"),
        ("X-Forwarded-Path", "/public/"),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("Forwarded", "for=127.0.0.1;host=evil.test;proto=ftp"),
        ("X-Host", "evil.test"),
        ("Front-End-Https", "off"),
        ("X-Original-Host", "evil.test"),
        ("X-Url-Scheme", "ftp"),
        ("X-Forwarded-Client-Cert", "By=evil.test"),
    ];
    for (name, value) in hostile {
        let what = format!("{name}: {value}");
        let program = world.client().get("/admin").header(name, value).send().await;
        assert_eq!(program.status, 401, "{what}");
        let page = world.client().get("/admin?page=1").navigation().header(name, value).send().await;
        assert_eq!(page.status, 302, "{what}");
        let location = page.header("location").unwrap();
        for word in ["evil", "ftp%3A", "ftp:", "6666", "javascript"] {
            assert!(!location.contains(word), "{what} changed the redirect: {location}");
        }
        for cookie in page.cookies() {
            assert!(cookie.contains("; Secure"), "{what}: {cookie}");
        }
    }
    world.upstream.assert_untouched();
}
