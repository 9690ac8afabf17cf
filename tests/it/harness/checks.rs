//! What must hold for every answer that a client sees, whatever the test is about.

use hyper::{HeaderMap, StatusCode};

use super::{answer, canary};

/// Headers that the gateway's replies to programs may carry.
const FOR_PROGRAMS: &[&str] = &[
    "allow",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "date",
    "location",
    "retry-after",
    "traceparent",
    "vary",
    "www-authenticate",
    "x-content-type-options",
    "x-portcullis-entry",
    "x-request-id",
];

/// Headers of its answers where a location has `cors`.
const FOR_PAGES_ELSEWHERE: &[&str] = &[
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
];

/// Headers that its pages for people may carry as well.
const FOR_PEOPLE: &[&str] = &[
    "content-language",
    "content-security-policy",
    "cross-origin-opener-policy",
    "cross-origin-resource-policy",
    "permissions-policy",
    "referrer-policy",
    "set-cookie",
    "strict-transport-security",
    "x-frame-options",
];

/// Headers of its answers to gRPC callers.
const FOR_GRPC: &[&str] = &["grpc-message", "grpc-status"];

/// Fails when a reply breaks a rule that all replies keep.
pub(crate) fn check(status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    for (name, value) in headers {
        if name != "set-cookie" {
            canary::assert_clean("a response header", &format!("{name}: {}", show(value.as_bytes())));
        }
    }
    canary::assert_clean("a response body", &text);
    if headers.contains_key(answer::MARK) {
        return;
    }
    let kind = headers.get("content-type").map_or_else(String::new, |value| show(value.as_bytes()));
    let shared = headers.get("access-control-allow-origin");
    if let Some(origin) = shared.filter(|origin| *origin != "*") {
        let vary = headers.get("vary").map(|value| show(value.as_bytes())).unwrap_or_default();
        assert!(vary.starts_with("Origin"), "a cache would give the answer for {origin:?} to others: {vary}");
    }
    let grpc = kind.starts_with("application/grpc");
    let page = kind.starts_with("text/html") || status.is_redirection();
    for name in headers.keys() {
        let known = FOR_PROGRAMS.contains(&name.as_str())
            || shared.is_some() && FOR_PAGES_ELSEWHERE.contains(&name.as_str())
            || page && FOR_PEOPLE.contains(&name.as_str())
            || grpc && FOR_GRPC.contains(&name.as_str())
            || name == "set-cookie";
        assert!(known, "a reply of our own carries an unexpected header: {name}");
    }
    if status.is_client_error() || status.is_server_error() {
        check_refusal(status, headers, &kind, &text);
    }
}

fn check_refusal(status: StatusCode, headers: &HeaderMap, kind: &str, body: &str) {
    let cache = headers.get("cache-control").map(|value| show(value.as_bytes()));
    assert_eq!(cache.as_deref(), Some("no-store"), "a refusal ({status}) must not be stored");
    if kind.starts_with("application/problem+json") && !body.is_empty() {
        let problem: serde_json::Value = serde_json::from_str(body).unwrap();
        for member in ["code", "request_id"] {
            let filled = problem[member].as_str().is_some_and(|value| !value.is_empty());
            assert!(filled, "a refusal ({status}) without {member}: {body}");
        }
    } else {
        let known = kind.starts_with("text/html") || kind.starts_with("application/grpc") || body.is_empty();
        assert!(known, "a refusal ({status}) of an unknown kind: {kind}: {body}");
    }
}

fn show(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(body: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", "application/problem+json".parse().unwrap());
        headers.insert("cache-control", "no-store".parse().unwrap());
        (StatusCode::UNAUTHORIZED, headers, body.as_bytes().to_vec())
    }

    #[test]
    fn a_proper_refusal_passes() {
        let (status, headers, body) = refusal(r#"{"code":"unauthenticated","request_id":"1"}"#);
        check(status, &headers, &body);
    }

    #[test]
    #[should_panic(expected = "without request_id")]
    fn a_refusal_needs_a_request_id() {
        let (status, headers, body) = refusal(r#"{"code":"unauthenticated"}"#);
        check(status, &headers, &body);
    }

    #[test]
    #[should_panic(expected = "unexpected header: x-internal")]
    fn unknown_headers_are_noticed() {
        let (status, mut headers, body) = refusal(r#"{"code":"c","request_id":"1"}"#);
        headers.insert("x-internal", "1".parse().unwrap());
        check(status, &headers, &body);
    }

    #[test]
    #[should_panic(expected = "holds a canary")]
    fn a_token_in_an_answer_is_noticed() {
        let leak = format!(r#"{{"code":"c","request_id":"{}"}}"#, canary::token("leak"));
        let (status, headers, body) = refusal(&leak);
        check(status, &headers, &body);
    }
}
