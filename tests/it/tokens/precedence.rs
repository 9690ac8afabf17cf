//! Which of several credentials counts, and what becomes of those that do not.

use super::{ADA, ROBOT};
use crate::harness::glue::COOKIE;
use crate::harness::world::World;

/// A well-formed token that nobody issued.
const UNKNOWN: &str = "ya29.nobody-has-ever-issued-this-token";

#[tokio::test]
async fn with_a_good_cookie_the_authorization_is_the_upstreams() {
    let world = World::start();
    let (ada, robot) = (world.access(ADA), world.access(ROBOT));
    let bearer = format!("Bearer {robot}");
    for value in
        [bearer.as_str(), "Basic dXNlcjpwYXNz", "Bearer not-for-us", "bearer  spaced", "Custom a=b, c=d"]
    {
        world.upstream.forget();
        let call = world.client().get("/x").header("authorization", value);
        let response = call.header("cookie", &format!("a=1; {COOKIE}={ada}; b=2")).send().await;
        assert_eq!(response.status, 200, "{value}: {}", response.text());
        let seen = world.upstream.only();
        assert_eq!(seen.headers().all("authorization"), [value]);
        assert_eq!(seen.headers().all("cookie"), ["a=1; b=2"]);
        let email = seen.header("x-goog-authenticated-user-email").unwrap();
        assert_eq!(email, format!("accounts.google.com:{ADA}"), "the cookie's account, not the bearer's");
    }
}

#[tokio::test]
async fn without_a_good_cookie_the_bearer_counts_and_ends_here() {
    let world = World::start();
    let robot = world.access(ROBOT);
    let expired = world.id_token(ADA, |claims| claims["exp"] = 1.into());
    let rows = [
        Some(UNKNOWN.to_owned()),
        Some("short".to_owned()),
        Some(String::new()),
        Some(expired),
        Some("\"quoted\"".to_owned()),
        None,
    ];
    for cookie in rows {
        world.upstream.forget();
        let mut call = world.client().get("/x").bearer(&robot);
        if let Some(cookie) = &cookie {
            call = call.session(cookie);
        }
        let response = call.send().await;
        assert_eq!(response.status, 200, "{cookie:?}: {}", response.text());
        let seen = world.upstream.only();
        assert!(seen.header("authorization").is_none(), "{cookie:?}: the bearer was consumed");
        assert!(seen.header("cookie").is_none(), "{cookie:?}: our cookie was not passed on");
        let head = String::from_utf8_lossy(&seen.message.head).into_owned();
        assert!(!head.contains(&robot), "{cookie:?}");
        assert_eq!(
            seen.header("x-goog-authenticated-user-email").unwrap(),
            format!("accounts.google.com:{ROBOT}")
        );
    }
}

#[tokio::test]
async fn of_two_of_a_kind_none_counts() {
    let world = World::start();
    let (ada, robot) = (world.access(ADA), world.access(ROBOT));
    let client = world.client();
    let mut table = world.table();
    let code = "ambiguous_credential";
    for (one, two) in [(&ada, &robot), (&ada, &ada), (&ada, &UNKNOWN.to_owned()), (&UNKNOWN.to_owned(), &ada)]
    {
        let call = client.get("/x").bearer(one).bearer(two);
        table.refused("two Authorization headers", call, 400, code).await;
        let call = client.get("/x").session(one).session(two);
        table.refused("two Cookie headers", call, 400, code).await;
        let call = client.get("/x").header("cookie", &format!("{COOKIE}={one}; {COOKIE}={two}"));
        table.refused("two cookies in one header", call, 400, code).await;
        let call = client.get("/x").header("cookie", &format!("{COOKIE}={one};{COOKIE}={two}; z=1"));
        table.refused("two cookies without a blank", call, 400, code).await;
    }
    let call = client.get("/x").bearer(&ada).header("authorization", "Basic dXNlcjpwYXNz");
    table.refused("a bearer and something else", call, 400, code).await;
    let call = client.get("/x").session(&robot).bearer(&ada).bearer(&ada);
    table.refused("a good cookie and two bearers", call, 400, code).await;
    let call = client.get("/x").session(&ada).navigation().session(&ada);
    let response = call.send().await;
    assert_eq!(response.status, 400, "no redirect loop for a browser either");
    table.finish().await;
}

#[tokio::test]
async fn both_kinds_of_token_are_good_in_both_places() {
    let world = World::start();
    for token in
        [world.access(ADA), world.id_token(ADA, |_| {}), world.access(ROBOT), world.id_token(ROBOT, |_| {})]
    {
        for _ in 0..2 {
            let response = world.client().get("/x").bearer(&token).send().await;
            assert_eq!(response.status, 200, "{}", response.text());
            let response = world.client().get("/x").session(&token).send().await;
            assert_eq!(response.status, 200, "{}", response.text());
        }
    }
}

#[tokio::test]
async fn a_token_in_the_query_or_elsewhere_is_none() {
    let world = World::start();
    let ada = world.access(ADA);
    let client = world.client();
    let mut table = world.table();
    for (name, call) in [
        ("query", client.get(&format!("/x?access_token={ada}"))),
        ("another cookie", client.get("/x").header("cookie", &format!("{}={ada}", COOKIE.to_lowercase()))),
        ("no prefix", client.get("/x").header("cookie", &format!("portcullis={ada}"))),
        ("X-Authorization", client.get("/x").header("x-authorization", &format!("Bearer {ada}"))),
        ("Proxy-Authorization", client.get("/x").header("proxy-authorization", &format!("Bearer {ada}"))),
        (
            "X-Serverless-Authorization",
            client.get("/x").header("x-serverless-authorization", &format!("Bearer {ada}")),
        ),
        ("an assertion of IAP", client.get("/x").header("x-goog-iap-jwt-assertion", &ada)),
        ("the body", client.post("/x", format!("access_token={ada}"))),
    ] {
        table.refused(name, call, 401, "unauthenticated").await;
    }
    table.finish().await;
}
