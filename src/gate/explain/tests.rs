use super::*;
use crate::config::Environment;

const CONFIG: &str = "
version: 1
google: { client_id: 1-a.apps.googleusercontent.com }
allow: { domains: [example.com] }
upstreams: { up: { url: 'https://up.example', audience: 'https://aud.example' } }
locations:
  - { path: /public/, access: public, upstream: up }
  - { path: /hook, methods: [POST], access: google, rewrite: /engine, upstream: up }
  - { path: /, access: google, upstream: up }
";

const NARROW: &str = "
version: 1
upstreams: { up: { url: 'https://up.example', audience: none } }
locations:
  - { path: /app, methods: [GET], access: public, upstream: up }
  - { path: = /app/x, access: public, upstream: up }
";

fn said(method: &Method, target: &str, caller: Option<&str>) -> String {
    said_of(CONFIG, method, target, caller)
}

fn said_of(config: &str, method: &Method, target: &str, caller: Option<&str>) -> String {
    let config = crate::config::parse(config, "test.yaml", &Environment::empty()).unwrap();
    explain(&config, &Question { method, target, host: "", caller })
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in:\n{text}");
    }
}

#[test]
fn a_caller_who_passes_sees_what_the_upstream_gets() {
    let text = said(&Method::POST, "/hook/x?y=z", Some("Ada@example.com"));
    has(
        &text,
        &[
            "route         location /hook [POST]",
            "domains            [example.com] admits",
            "authorize     passes",
            "a token for https://aud.example",
            "https://up.example/engine/x?y=z",
            "X-Serverless-Authorization: Bearer <the minted token>",
            "accounts.google.com:ada@example.com",
        ],
    );
}

#[test]
fn limits_are_told_where_they_count() {
    let limited = CONFIG.replace("/public/, ", "/public/, limits: { total: 9/s burst 5 }, ")
        + "limits: { per_identity: 600/m, per_address: 1200/m }";
    let open = said_of(&limited, &Method::GET, "/public/x", None);
    has(&open, &["limits        1200/m for one address, everywhere, 1200 at once; then 429 rate_limited\n"]);
    has(&open, &["limits        9/s for everybody, here, 5 at once"]);
    assert!(!open.contains("one account"), "{open}");
    has(&said_of(&limited, &Method::GET, "/x", None), &["limits        600/m for one account, everywhere"]);
}

#[test]
fn each_refusal_is_explained() {
    has(&said(&Method::GET, "/x", None), &["no credential", "401", "domains example.com"]);
    has(
        &said(&Method::GET, "/x", Some("m@other.example")),
        &["does not admit", "refused with 403 forbidden"],
    );
    has(&said(&Method::GET, "/x", Some("nonsense")), &["is not an e-mail address"]);
    has(&said(&Method::GET, "/hook", None), &["another method", "405 method_not_allowed (Allow: POST)"]);
    has(&said(&Method::GET, "/public/../x", None), &["400 bad_request", "dot segment"]);
    has(&said(&Method::GET, "/x?a b", None), &["400 bad_request"]);
    has(&said(&Method::GET, "/x;y", None), &["400 bad_request", "semicolon"]);
    has(&said(&Method::TRACE, "/public/x", None), &["never passed on"]);
    has(&said(&Method::GET, "/hook", None), &["another method"]);
    has(&said(&Method::POST, "/hook", None), &["matches too; a longer or exact path comes first"]);
    has(&said(&Method::GET, "/.portcullis/health", None), &["one of the gateway's own endpoints"]);
    has(
        &said(&Method::GET, "/public/x", None),
        &["the location is public", "forward       https://up.example/public/x"],
    );
}

#[test]
fn routes_are_explained_as_the_gate_decides_them() {
    has(&said_of(NARROW, &Method::GET, "/elsewhere", None), &["refused with 404 no_location\n"]);
    // The gate says what is wrong with the path before it says that nothing is there.
    has(
        &said_of(NARROW, &Method::GET, "/else;where", None),
        &["refused with 400 bad_request: the path has a semicolon\n"],
    );
    let head = said_of(NARROW, &Method::HEAD, "/app/x", None);
    has(&head, &["a longer or exact path", "route         location = /app/x"]);
    assert!(!head.contains("another method"), "{head}");
}
