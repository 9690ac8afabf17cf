use bytes::Bytes;

use super::super::request::Path;
use super::*;
use crate::config::Environment;

const METHOD: &str = "access-control-request-method";
const NAMES: &str = "access-control-request-headers";
const PAGE: &str = "https://app.example.com";

fn location(cors: &str) -> Location {
    let text = format!(
        "version: 1\nupstreams: {{ up: {{ url: 'http://127.0.0.1:9' }} }}\n\
         locations: [{{ path: /, access: public, upstream: up, methods: [GET, POST], cors: {{ {cors} }} }}]\n"
    );
    let config = crate::config::parse(&text, "test.yaml", &Environment::empty());
    config.unwrap_or_else(|problems| panic!("{problems}")).locations.remove(0)
}

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
}

fn view<'a>(method: &'a Method, headers: &'a HeaderMap) -> RequestView<'a> {
    RequestView {
        method,
        path: Path::root(),
        query: None,
        host: "gw.example.com",
        headers,
        client: [192, 0, 2, 1].into(),
        https: true,
        request_id: "id",
        body: Bytes::new(),
    }
}

fn is_preflight(method: &Method, lines: &[(&'static str, &str)]) -> bool {
    Preflight::of(&view(method, &headers(lines))).is_some()
}

#[test]
fn a_preflight_is_what_browsers_send() {
    let usual = [("origin", PAGE), (METHOD, "PUT")];
    let with = |line| [usual.as_slice(), &[line]].concat();
    assert!(is_preflight(&Method::OPTIONS, &usual));
    assert!(is_preflight(&Method::OPTIONS, &with(("content-length", "0"))));
    for lines in [
        vec![("origin", PAGE)],
        vec![(METHOD, "PUT")],
        vec![("origin", PAGE), (METHOD, "")],
        vec![("origin", PAGE), (METHOD, "P UT")],
        vec![("origin", PAGE), (METHOD, "PUT, GET")],
        vec![("origin", PAGE), (METHOD, "CONNECT")],
        vec![("origin", PAGE), (METHOD, "TRACE")],
        with((METHOD, "PUT")),
        with(("origin", PAGE)),
        with(("content-length", "1")),
        with(("content-length", "00")),
        with(("transfer-encoding", "chunked")),
        with(("upgrade", "websocket")),
    ] {
        assert!(!is_preflight(&Method::OPTIONS, &lines), "{lines:?}");
    }
    for method in [Method::GET, Method::POST, Method::from_bytes(b"options").unwrap()] {
        assert!(!is_preflight(&method, &usual), "{method}");
    }
}

#[test]
fn origins_are_compared_byte_by_byte() {
    let location =
        location("origins: ['HTTPS://App.example.com:443/', http://localhost:3000], credentials: true");
    let cors = location.cors.unwrap();
    for good in [PAGE, "http://localhost:3000"] {
        assert!(cors.admits(&good.parse().unwrap()), "{good}");
    }
    for bad in [
        "",
        "*",
        "null",
        "https://APP.example.com",
        "HTTPS://app.example.com",
        "https://app.example.com.",
        "https://app.example.com:443",
        "https://app.example.com:8443",
        "https://app.example.com/",
        "http://app.example.com",
        "https://app.example.com.evil.com",
        "https://evil-app.example.com",
        "https://evil.com/https://app.example.com",
        "https://user@app.example.com",
        "https://app.example.com https://evil.com",
        "https://app.example.com,https://evil.com",
        "app.example.com",
        "http://localhost",
        "http://localhost:30000",
        "http://127.0.0.1:3000",
    ] {
        assert!(!cors.admits(&bad.parse().unwrap()), "{bad}");
        let sent = permission(&cors, &headers(&[("origin", bad)]));
        assert_eq!(sent, [(VARY, HeaderValue::from_static("Origin"))], "{bad}");
    }
    let several = headers(&[("origin", PAGE), ("origin", PAGE)]);
    assert_eq!(permission(&cors, &several).len(), 1, "several origins are none");
}

fn answer(cors: &str, lines: &[(&'static str, &str)]) -> Reply {
    let (location, method) = (location(cors), Method::OPTIONS);
    let headers = headers(&[&[("origin", PAGE)], lines].concat());
    let view = view(&method, &headers);
    Preflight::of(&view).unwrap().answer(location.cors.as_ref().unwrap(), &location, &headers)
}

fn text(reply: &Reply, name: &HeaderName) -> Option<String> {
    assert!(reply.headers.iter().filter(|(known, _)| known == name).count() < 2, "{name} twice");
    reply.get(name).map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn the_answer_lists_what_is_allowed() {
    let reply = answer(
        "origins: [https://app.example.com], methods: [POST], headers: [Authorization, X-A], credentials: true, max_age: 1m",
        &[(METHOD, "DELETE"), (NAMES, "x-b")],
    );
    assert_eq!(reply.status, StatusCode::NO_CONTENT);
    let says = |name| text(&reply, &name);
    assert_eq!(says(ACCESS_CONTROL_ALLOW_ORIGIN).as_deref(), Some(PAGE));
    assert_eq!(says(ACCESS_CONTROL_ALLOW_CREDENTIALS).as_deref(), Some("true"));
    assert_eq!(says(ACCESS_CONTROL_ALLOW_METHODS).as_deref(), Some("POST"));
    assert_eq!(says(ACCESS_CONTROL_ALLOW_HEADERS).as_deref(), Some("authorization, x-a"));
    assert_eq!(says(ACCESS_CONTROL_MAX_AGE).as_deref(), Some("60"));
    assert_eq!(says(VARY).as_deref(), Some(PREFLIGHT_VARY));
    let readable = readable(
        location("origins: [https://app.example.com]").cors.as_ref().unwrap(),
        &headers(&[("origin", PAGE)]),
        reply.clone(),
    );
    assert_eq!(readable.headers, reply.headers, "nothing is said twice");
}

#[test]
fn without_lists_the_location_and_the_browser_decide() {
    let reply = answer("origins: ['*']", &[(METHOD, "GET"), (NAMES, "authorization,x-a")]);
    let says = |name| text(&reply, &name);
    assert_eq!(says(ACCESS_CONTROL_ALLOW_ORIGIN).as_deref(), Some("*"));
    assert_eq!(says(ACCESS_CONTROL_ALLOW_CREDENTIALS), None);
    assert_eq!(says(ACCESS_CONTROL_ALLOW_METHODS).as_deref(), Some("GET, POST, HEAD"));
    assert_eq!(says(ACCESS_CONTROL_ALLOW_HEADERS).as_deref(), Some("authorization, x-a"));
    assert_eq!(says(ACCESS_CONTROL_MAX_AGE).as_deref(), Some("600"));
    for odd in ["x a", "x-a, (b)", "x-a;q=1", "x-a\tb"] {
        let reply = answer("origins: ['*']", &[(METHOD, "GET"), (NAMES, odd)]);
        assert_eq!(text(&reply, &ACCESS_CONTROL_ALLOW_HEADERS), None, "{odd:?} is no list of names");
    }
}

#[test]
fn answers_say_who_may_read_them() {
    let cors = location("origins: [https://app.example.com], expose: [ETag]").cors.unwrap();
    let reply = readable(&cors, &headers(&[("origin", PAGE)]), Reply::new(StatusCode::UNAUTHORIZED));
    assert_eq!(text(&reply, &ACCESS_CONTROL_ALLOW_ORIGIN).as_deref(), Some(PAGE));
    assert_eq!(text(&reply, &ACCESS_CONTROL_ALLOW_CREDENTIALS), None);
    let exposed = text(&reply, &ACCESS_CONTROL_EXPOSE_HEADERS).unwrap();
    assert_eq!(exposed, "X-Request-Id, WWW-Authenticate, Retry-After, etag");
    assert_eq!(text(&reply, &VARY).as_deref(), Some("Origin"));
    let everybody = location("origins: ['*']").cors.unwrap();
    let reply = readable(&everybody, &HeaderMap::new(), Reply::new(StatusCode::OK));
    assert_eq!(text(&reply, &ACCESS_CONTROL_ALLOW_ORIGIN).as_deref(), Some("*"));
    assert_eq!(text(&reply, &VARY), None, "the same for everybody");
}
