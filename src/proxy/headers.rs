//! Headers in both directions: what an upstream sees of a request, and a caller of a response.
//!
//! Names are compared in a normalised form, `_` and all other punctuation read as `-`, because upstreams with
//! CGI-like environments do not tell them apart.

use std::borrow::Cow;

use http::header::{ALT_SVC, AUTHORIZATION, COOKIE, HOST, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::{ErrorType, OrErr, Result};
use pingora_proxy::Session;

use super::cors::keep_preflight;
use super::{Context, Proxy};
use crate::config::Location;
use crate::cookies;
use crate::gate::location::rewrite;
use crate::gate::request::split_target;
use crate::login::CookieNames;
use crate::trace::{CLOUD_TRACE, REQUEST_ID, TRACEPARENT, TRACESTATE};

/// Names, or beginnings of names when they end in `-`, that only the gateway may say to an upstream.
const RESERVED: [&str; 22] = [
    "forwarded",
    "proxy", // read as HTTP_PROXY by CGI programs (CVE-2016-5385)
    "proxy-authorization",
    "true-client-ip",
    "x-auth-request-",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-envoy-",
    "x-forwarded-",
    "x-goog-authenticated-user-",
    "x-goog-iap-",
    "x-host",
    "x-original-",
    "x-portcullis-",
    "x-real-ip",
    "x-request-id",
    "x-rewrite-url",
    "x-script-name",
    "x-serverless-authorization",
    "x-forwarded",
    "x-url-scheme",
    "x-proxy-user",
];
/// Names that change the method after the location's list of methods was applied.
const METHOD_OVERRIDES: [&str; 3] = ["x-http-method", "x-http-method-override", "x-method-override"];

/// Headers that the gateway adds at the most, so that the map grows once.
const ADDED: usize = 12;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const USER_EMAIL: HeaderName = HeaderName::from_static("x-goog-authenticated-user-email");
const USER_ID: HeaderName = HeaderName::from_static("x-goog-authenticated-user-id");

impl Proxy {
    /// Removes what is not the caller's to say, then adds what the gateway says.
    pub(super) fn prepare_request(
        session: &Session,
        request: &mut RequestHeader,
        ctx: &Context,
    ) -> Result<()> {
        let (permit, location, upstream) = ctx.target()?;
        // As plain parts, because Pingora's type keeps a second map with the spelling of the names, which would have
        // to follow each change. Names go out in lower case, as in HTTP/2.
        let mut parts = take_parts(request);
        strip(&mut parts.headers, &upstream.token_header, !location.methods.is_empty());
        if permit.is_preflight() {
            keep_preflight(&mut parts.headers);
        }
        if permit.consumed_authorization() {
            parts.headers.remove(AUTHORIZATION);
        }
        strip_own_cookies(&mut parts.headers, &ctx.edition.cookies);
        parts.headers.reserve(ADDED);
        parts.headers.insert(HOST, ctx.edition.peers.authority(location)?);
        add_forwarding(session, &mut parts.headers, ctx)?;
        if let Some(identity) = permit.identity() {
            parts.headers.insert(USER_EMAIL, identity.email_header.clone());
            if let Some(subject) = &identity.subject_header {
                parts.headers.insert(USER_ID, subject.clone());
            }
        }
        if let Some(token) = &ctx.token {
            parts.headers.insert(upstream.token_header.clone(), token.clone());
        }
        *request = parts.into();
        set_target(session, request, location)
    }
}

fn take_parts(request: &mut RequestHeader) -> Parts {
    let (empty, ()) = http::Request::new(()).into_parts();
    std::mem::replace(request, RequestHeader::from(empty)).into()
}

fn add_forwarding(session: &Session, headers: &mut HeaderMap, ctx: &Context) -> Result<()> {
    let client =
        HeaderValue::try_from(ctx.client.to_string()).or_err(ErrorType::InternalError, "client address")?;
    headers.insert(X_FORWARDED_FOR, client.clone());
    headers.insert(X_REAL_IP, client);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(if ctx.https { "https" } else { "http" }));
    if let Some(host) = host_value(session.req_header()) {
        headers.insert(X_FORWARDED_HOST, host);
    }
    headers.insert(REQUEST_ID, ctx.id_header.clone());
    add_trace(headers, ctx)
}

/// The trace as the upstream sees it: the caller's, or ours in between.
fn add_trace(headers: &mut HeaderMap, ctx: &Context) -> Result<()> {
    let Some(trace) = &ctx.trace else { return Ok(()) };
    let value = |text: String| HeaderValue::try_from(text).or_err(ErrorType::InternalError, "trace");
    if let Some(parent) = trace.traceparent(ctx.id) {
        headers.insert(TRACEPARENT, value(parent)?);
    }
    if !trace.received {
        // It belongs to a trace that this is not part of (W3C Trace Context, section 4.3).
        headers.remove(TRACESTATE);
    }
    if let Some(cloud) = trace.cloud_trace(ctx.id).filter(|_| headers.contains_key(CLOUD_TRACE)) {
        headers.insert(CLOUD_TRACE, value(cloud)?);
    }
    Ok(())
}

/// `Host`, or `:authority` of HTTP/2.
fn host_value(request: &RequestHeader) -> Option<HeaderValue> {
    match request.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => request.headers.get(HOST).cloned(),
    }
}

/// The target in origin-form, rewritten where the location says so; otherwise byte for byte.
fn set_target(session: &Session, request: &mut RequestHeader, location: &Location) -> Result<()> {
    if location.rewrite.is_none() {
        return Ok(());
    }
    let host = host_value(session.req_header());
    let host = host.as_ref().and_then(|host| host.to_str().ok()).unwrap_or_default();
    let raw = session.req_header().raw_path();
    let (path, query) =
        split_target(raw, host).or_err(ErrorType::InternalError, "BUG: the target was admitted before")?;
    match rewrite(location, path, query) {
        Some(target) => request.set_raw_path(target.as_bytes()),
        None => Ok(()),
    }
}

fn strip(headers: &mut HeaderMap, token_header: &HeaderName, methods_matter: bool) {
    let reserved = |name: &HeaderName| {
        let name = normalised(name.as_str());
        // The caller's own Authorization passes, unless it was consumed or is replaced by the token.
        is_reserved(&name)
            || (name == token_header.as_str() && *token_header != AUTHORIZATION)
            || (methods_matter && METHOD_OVERRIDES.contains(&name.as_ref()))
    };
    let doomed: Vec<HeaderName> = headers.keys().filter(|name| reserved(name)).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}

fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|entry| if entry.ends_with('-') { name.starts_with(entry) } else { name == *entry })
}

fn normalised(name: &str) -> Cow<'_, str> {
    let odd = |c: char| !c.is_ascii_alphanumeric() && c != '-';
    if name.contains(odd) { Cow::Owned(name.replace(odd, "-")) } else { Cow::Borrowed(name) }
}

fn strip_own_cookies(headers: &mut HeaderMap, names: &CookieNames) {
    if !headers.contains_key(COOKIE) {
        return;
    }
    let rest = cookies::without(headers, |name| names.own(name));
    headers.remove(COOKIE);
    if let Some(rest) = rest {
        headers.insert(COOKIE, rest);
    }
}

/// What a response may not do to the caller: set our cookies, or move the caller to the upstream's own
/// endpoints by `Alt-Svc`.
pub(super) fn prepare_response(
    response: &mut ResponseHeader,
    names: &CookieNames,
    id: &HeaderValue,
) -> Result<()> {
    response.remove_header(&ALT_SVC);
    let ours = |value: &HeaderValue| {
        // Of a cookie without a name, browsers send the value alone, so that it can pass for name and value
        // (RFC 6265bis, section 5.8.3).
        let mut words = value.as_bytes().split(|&byte| byte == b'=').map(<[u8]>::trim_ascii);
        words.find(|word| !word.is_empty()).is_some_and(|name| names.own(name))
    };
    if response.headers.get_all(SET_COOKIE).iter().any(ours) {
        let kept: Vec<HeaderValue> =
            response.headers.get_all(SET_COOKIE).iter().filter(|value| !ours(value)).cloned().collect();
        response.remove_header(&SET_COOKIE);
        for value in kept {
            response.append_header(SET_COOKIE, value)?;
        }
    }
    response.insert_header("X-Request-Id", id.clone())
}

#[cfg(test)]
mod tests;
