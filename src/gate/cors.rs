//! The CORS protocol (<https://fetch.spec.whatwg.org/#http-cors-protocol>): preflights, and the headers with which a
//! page of another origin may read an answer.
//!
//! None of this protects a service: a program sends what it likes. It tells browsers which pages may use the
//! credentials, and read the answers, of whoever looks at them.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_LENGTH, ORIGIN, TRANSFER_ENCODING,
    UPGRADE, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::access::Permit;
use super::location::takes;
use super::refusal::Refusal;
use super::request::RequestView;
use super::{Decision, Gate, Step, Trail, route};
use crate::config::{Cors, Location, Origins, PreflightBy};
use crate::reply::Reply;

/// What the answer to a preflight depends on.
const PREFLIGHT_VARY: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
/// How much of an origin that is not allowed the log shows, in characters.
const SHOWN: usize = 200;

/// A browser's question whether a page may send a request.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Preflight<'a> {
    origin: &'a HeaderValue,
    /// The method of the request in question.
    method: Method,
}

impl<'a> Preflight<'a> {
    /// The preflight that a request is, if it is one as browsers send them: with one origin and one method, and
    /// without a body.
    fn of(view: &RequestView<'a>) -> Option<Self> {
        if *view.method != Method::OPTIONS || has_body(view.headers) || view.headers.contains_key(UPGRADE) {
            return None;
        }
        let origin = origin(view.headers)?;
        let method = only(view.headers, &ACCESS_CONTROL_REQUEST_METHOD)?;
        let method = Method::from_bytes(method.as_bytes()).ok()?;
        let sent_by_browsers = method != Method::CONNECT && method != Method::TRACE;
        sent_by_browsers.then_some(Self { origin, method })
    }

    /// Whether the location lets pages use the method.
    fn method_is_allowed(&self, cors: &Cors) -> bool {
        takes(&cors.methods, &self.method)
    }

    /// What the log says of an origin that is not allowed.
    fn origin_for_log(&self) -> String {
        let text = String::from_utf8_lossy(self.origin.as_bytes());
        format!("cors.origins has no {}", text.chars().take(SHOWN).collect::<String>())
    }

    /// Says which methods and headers are allowed; the browser compares, and tells the page's author what is missing.
    fn answer(&self, cors: &Cors, location: &Location, request: &HeaderMap) -> Reply {
        let mut reply = Reply::new(StatusCode::NO_CONTENT)
            .header(VARY, HeaderValue::from_static(PREFLIGHT_VARY))
            .header(ACCESS_CONTROL_ALLOW_ORIGIN, allowed_origin(cors, self.origin))
            .header(ACCESS_CONTROL_MAX_AGE, HeaderValue::from(cors.max_age.as_secs()));
        if cors.credentials {
            reply = reply.header(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        let lists = [
            (ACCESS_CONTROL_ALLOW_METHODS, self.methods(cors, location)),
            (ACCESS_CONTROL_ALLOW_HEADERS, headers(cors, request)),
        ];
        for (name, list) in lists {
            if let Some(value) = list.and_then(|list| HeaderValue::try_from(list).ok()) {
                reply = reply.header(name, value);
            }
        }
        reply
    }

    fn methods(&self, cors: &Cors, location: &Location) -> Option<String> {
        let listed = if cors.methods.is_empty() { &location.methods } else { &cors.methods };
        if listed.is_empty() {
            return Some(self.method.to_string());
        }
        let mut names: Vec<&str> = listed.iter().map(Method::as_str).collect();
        if listed.contains(&Method::GET) && !listed.contains(&Method::HEAD) {
            names.push("HEAD");
        }
        Some(names.join(", "))
    }
}

impl Gate {
    /// Browsers ask without credentials whether a page may send a request. The location of that request decides, where
    /// it has something to say.
    pub(super) fn preflight(
        &self,
        view: &RequestView<'_>,
        trail: &mut Trail,
    ) -> Option<Result<Decision, Refusal>> {
        let preflight = Preflight::of(view)?;
        let locations = &self.config.locations;
        let id = route(&self.router, locations, view.host, &view.path, &preflight.method).ok()?;
        let location = self.location(id)?;
        let cors = location.cors.as_ref()?;
        (trail.location, trail.step) = (Some(id), Step::Authorize);
        if !cors.admits(preflight.origin) {
            return Some(Err(Refusal::PreflightRefused(preflight.origin_for_log())));
        }
        if cors.preflight == PreflightBy::Upstream && preflight.method_is_allowed(cors) {
            return Some(Ok(Decision::Forward(Permit::preflight(id))));
        }
        Some(Ok(Decision::Answer(preflight.answer(cors, location, view.headers))))
    }

    /// Browsers send cookies with WebSocket handshakes of any page, and no preflight. So the handshake must come from
    /// a page of ours, or of an origin that may use cookies here (RFC 6455, section 10.2).
    pub(super) fn check_origin(&self, location: &Location, view: &RequestView<'_>) -> Result<(), Refusal> {
        if !view.is_websocket() {
            return Ok(());
        }
        let ours = self.origin(view)?;
        if !view.headers.contains_key(ORIGIN) {
            return Ok(());
        }
        let page = origin(view.headers).ok_or(Refusal::CrossOrigin)?;
        let cors = location.cors.as_ref().filter(|cors| cors.credentials);
        let listed = cors.is_some_and(|cors| cors.admits(page));
        if listed || page.as_bytes() == ours.as_bytes() { Ok(()) } else { Err(Refusal::CrossOrigin) }
    }
}

/// The one origin that a request names.
fn origin(headers: &HeaderMap) -> Option<&HeaderValue> {
    only(headers, &ORIGIN)
}

/// What lets a page read an answer of the location: nothing but `Vary` where its origin is not allowed. The answer
/// depends on the origin even for requests that name none.
pub fn permission(cors: &Cors, request: &HeaderMap) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::new();
    if let Origins::Listed(_) = cors.origins {
        headers.push((VARY, HeaderValue::from_static("Origin")));
    }
    let any = HeaderValue::from_static("*");
    let page = match &cors.origins {
        Origins::Any => Some(&any),
        Origins::Listed(_) => origin(request).filter(|origin| cors.admits(origin)),
    };
    if let Some(page) = page {
        headers.push((ACCESS_CONTROL_ALLOW_ORIGIN, page.clone()));
        if cors.credentials {
            headers.push((ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
        headers.push((ACCESS_CONTROL_EXPOSE_HEADERS, cors.expose.clone()));
    }
    headers
}

/// An answer of the gateway's own with what lets the page read it.
pub(super) fn readable(cors: &Cors, request: &HeaderMap, mut reply: Reply) -> Reply {
    // The answer to a preflight has it, and so has an upstream's answer that came by way of the log.
    if reply.get(&ACCESS_CONTROL_ALLOW_ORIGIN).is_none() {
        reply.headers.retain(|(name, _)| *name != ACCESS_CONTROL_ALLOW_CREDENTIALS);
        reply.headers.extend(permission(cors, request));
    }
    reply
}

fn allowed_origin(cors: &Cors, origin: &HeaderValue) -> HeaderValue {
    match cors.origins {
        Origins::Any => HeaderValue::from_static("*"),
        Origins::Listed(_) => origin.clone(),
    }
}

/// The names that are allowed: those of the file, or those that the browser asks for, as long as they are names.
fn headers(cors: &Cors, request: &HeaderMap) -> Option<String> {
    if !cors.headers.is_empty() {
        return Some(cors.headers.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", "));
    }
    let mut names = Vec::new();
    for line in request.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
        for name in line.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            names.push(name.parse::<HeaderName>().ok()?.to_string());
        }
    }
    (!names.is_empty()).then(|| names.join(", "))
}

fn has_body(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
}

fn only<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests;
