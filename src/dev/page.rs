//! What the HTML pages of this folder share: the style sheet, a strict content security policy, no third party.

use askama::Template;
use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};
use ring::digest::{SHA256, digest};

/// The style sheet, put into each page: nothing else has to be fetched, through whatever gateway.
pub(super) const STYLE: &str = include_str!("../pages/dev/style.css");
/// Submits the only form of a page. The page keeps a button for browsers without scripts.
pub(super) const SUBMIT: &str = "document.forms[0].submit();";

/// An answer of a type that browsers must not guess at or keep.
pub(super) fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A line of text.
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Response {
    answer(status, "text/plain; charset=utf-8", text.into())
}

/// JSON, laid out for people to read.
pub(super) fn json(status: StatusCode, value: &serde_json::Value) -> Response {
    answer(status, "application/json; charset=utf-8", format!("{value:#}\n"))
}

/// An HTML page. `form_action` is the origin, besides the page's own, that its forms may lead to: browsers
/// compare it also with where the answer to a form redirects.
pub(super) fn html(status: StatusCode, page: &impl Template, form_action: Option<&str>) -> Response {
    let Ok(body) = page.render() else {
        return text(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be written\n");
    };
    let mut response = answer(status, "text/html; charset=utf-8", body);
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
        hash(STYLE),
        hash(SUBMIT),
        form_action.unwrap_or_default()
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    // Not `no-referrer`: that would turn the `Origin` of a form post into `null`, which Google's never is.
    response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("origin"));
    response
}

/// Sends the browser elsewhere with a GET.
pub(super) fn see_other(location: &str) -> Response {
    let mut response = text(StatusCode::SEE_OTHER, "");
    set(&mut response, http::header::LOCATION, location);
    response
}

/// Sets a header; a value that cannot stand in one is left out.
pub(super) fn set(response: &mut Response, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_is_what_browsers_compute() {
        // The vector of CSP Level 3, section 8.4: alert('Hello, world.');
        assert_eq!(hash("alert('Hello, world.');"), "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng=");
    }
}
