//! Requests in the words of OpenTelemetry: OTLP's JSON
//! (<https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding>), named by the semantic conventions for HTTP
//! (<https://opentelemetry.io/docs/specs/semconv/http/http-spans/>). Who called is left out, and so are queries.

use http::Method;
use serde_json::{Value, json};

use super::{Forwarding, Recorded};
use crate::time::unix_nanoseconds;
use crate::trace::SpanId;

/// `SPAN_KIND_SERVER` and `SPAN_KIND_CLIENT`; enums are numbers in this JSON.
const SERVER: u8 = 2;
const CLIENT: u8 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;
/// `flags` of a span: sampled, and that it is known whether its parent is elsewhere; then that it is.
const SAMPLED: u32 = 0x101;
const PARENT_ELSEWHERE: u32 = 0x200;

/// The spans of a request, each as JSON.
pub(super) fn spans(recorded: &Recorded<'_>) -> Vec<String> {
    let end = unix_nanoseconds();
    let took = u64::try_from(recorded.line.latency.as_nanos()).unwrap_or(u64::MAX);
    let start = end.saturating_sub(took);
    let client = recorded.forwarding.as_ref().map(|forwarding| {
        let after = u64::try_from(forwarding.after.as_nanos()).unwrap_or(u64::MAX);
        client_span(recorded, forwarding, start.saturating_add(after).min(end), end)
    });
    let mut spans = vec![server_span(recorded, start, end).to_string()];
    spans.extend(client.map(|span| span.to_string()));
    spans
}

/// A request to the collector (`ExportTraceServiceRequest`).
pub(super) fn request(spans: &[String]) -> String {
    let resource = json!({ "attributes": [
        text("service.name", "portcullis"),
        text("service.version", env!("CARGO_PKG_VERSION")),
    ] });
    let scope = json!({ "name": "portcullis", "version": env!("CARGO_PKG_VERSION") });
    let spans = spans.join(",");
    format!(
        "{{\"resourceSpans\":[{{\"resource\":{resource},\"scopeSpans\":[{{\"scope\":{scope},\"spans\":[{spans}]}}]}}]}}"
    )
}

fn server_span(recorded: &Recorded<'_>, start: u64, end: u64) -> Value {
    let line = recorded.line;
    let mut attributes = vec![
        text("http.request.method", method(line.method)),
        text("url.path", line.path),
        text("url.scheme", if recorded.https { "https" } else { "http" }),
        text("server.address", without_port(line.host)),
        text("network.protocol.version", line.protocol.trim_start_matches("HTTP/")),
        text("portcullis.request_id", line.request_id),
        text("portcullis.step", line.step),
    ];
    attributes.extend(line.location.map(|location| text("http.route", location)));
    attributes.extend(line.refusal.map(|refusal| text("portcullis.refusal", refusal)));
    attributes.extend(status_code(line.status));
    let failed = line.status >= 500 || line.status == 0;
    let error = line.refusal.map_or_else(|| line.status.to_string(), str::to_owned);
    attributes.extend(failed.then(|| text("error.type", &error)));
    let name = match line.location {
        Some(location) => format!("{} {location}", span_method(line.method)),
        None => span_method(line.method).to_owned(),
    };
    let (parent, flags) = match &recorded.trace.parent {
        Some(parent) => (parent.as_str(), SAMPLED | PARENT_ELSEWHERE),
        None => ("", SAMPLED),
    };
    json!({
        "traceId": recorded.trace.id.as_str(),
        "spanId": SpanId::of_request(recorded.id).as_str(),
        "parentSpanId": parent,
        "flags": flags,
        "name": name,
        "kind": SERVER,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes,
        "status": status(failed),
    })
}

fn client_span(recorded: &Recorded<'_>, forwarding: &Forwarding<'_>, start: u64, end: u64) -> Value {
    let line = recorded.line;
    let mut attributes =
        vec![text("http.request.method", method(line.method)), text("server.address", forwarding.host)];
    attributes.extend(forwarding.status.and_then(status_code));
    // For a client an answer of 400 or more is an error too.
    let failed = forwarding.status.is_none_or(|status| status >= 400);
    let error = forwarding
        .status
        .map_or_else(|| line.refusal.unwrap_or("connection_broken").to_owned(), |status| status.to_string());
    attributes.extend(failed.then(|| text("error.type", &error)));
    json!({
        "traceId": recorded.trace.id.as_str(),
        "spanId": SpanId::of_forwarding(recorded.id).as_str(),
        "parentSpanId": SpanId::of_request(recorded.id).as_str(),
        "flags": SAMPLED,
        "name": span_method(line.method),
        "kind": CLIENT,
        "startTimeUnixNano": start.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes,
        "status": status(failed),
    })
}

fn status(failed: bool) -> Value {
    if failed { json!({ "code": ERROR }) } else { json!({}) }
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// 64-bit numbers are strings in this JSON.
fn status_code(status: u16) -> Option<Value> {
    let attribute = |status: u16| json!({ "key": "http.response.status_code", "value": { "intValue": status.to_string() } });
    (status > 0).then(|| attribute(status))
}

/// One of the known methods, so that callers do not choose what spans are grouped by.
fn method(method: &Method) -> &str {
    let known = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::DELETE,
        Method::CONNECT,
        Method::OPTIONS,
        Method::TRACE,
        Method::PATCH,
    ];
    if known.contains(method) { method.as_str() } else { "_OTHER" }
}

/// The method in the name of a span.
fn span_method(given: &Method) -> &str {
    match method(given) {
        "_OTHER" => "HTTP",
        known => known,
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}
