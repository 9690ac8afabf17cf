//! Traces as a collector receives them, read with OpenTelemetry's own types.

use nix::sys::signal::Signal;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use serde_json::Value;

use crate::harness::answer::{Answer, Step};
use crate::harness::upstream::Upstream;
use crate::harness::world::{Plan, World};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

fn start(sample: &str) -> (World, Upstream) {
    let collector = Upstream::start();
    let further = format!("traces: {{ endpoint: \"{}/v1/traces\", sample: {sample} }}\n", collector.url());
    (Plan { further, ..Plan::default() }.start(), collector)
}

/// Ends the gateway and returns what the collector got.
fn spans(world: &World, collector: &Upstream) -> Vec<Span> {
    world.gateway.signal(Signal::SIGTERM);
    assert_eq!(world.gateway.wait().0, 0);
    let mut spans = Vec::new();
    for call in collector.requests() {
        assert_eq!(
            (call.line().as_str(), call.header("content-type").as_deref()),
            ("POST /v1/traces HTTP/1.1", Some("application/json"),)
        );
        let request: ExportTraceServiceRequest = serde_json::from_slice(call.body()).unwrap();
        for group in request.resource_spans {
            let resource = group.resource.unwrap();
            assert!(resource.attributes.iter().any(|attribute| attribute.key == "service.name"));
            spans.extend(group.scope_spans.into_iter().flat_map(|scope| scope.spans));
        }
    }
    spans
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An attribute as text.
fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    let value = found.value.as_ref()?.value.as_ref()?;
    if let any_value::Value::IntValue(number) = value {
        return Some(number.to_string());
    }
    let any_value::Value::StringValue(text) = value else { panic!("{name} is {value:?}") };
    Some(text.clone())
}

/// The only span of a kind for which a condition holds.
fn only(spans: &[Span], kind: SpanKind, condition: impl Fn(&Span) -> bool) -> &Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.kind() == kind && condition(span)).collect();
    assert_eq!(found.len(), 1, "{spans:#?}");
    found[0]
}

fn log_line(world: &World, path: &str) -> Value {
    let output = world.gateway.output();
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let url = |line: &Value| line["httpRequest"]["requestUrl"].as_str().unwrap_or_default().to_owned();
    lines.into_iter().find(|line| url(line).ends_with(path)).unwrap()
}

#[tokio::test]
async fn caller_gateway_upstream_and_log_are_joined_by_their_ids() {
    let (world, collector) = start("0");
    let call = world.client().get("/x?access_token=q").bearer(&world.access("ada@example.com"));
    let call = call
        .header("traceparent", &format!("00-{TRACE}-{PARENT}-01"))
        .header("tracestate", "vendor=1")
        .header("x-cloud-trace-context", &format!("{TRACE}/1;o=1"));
    assert_eq!(call.send().await.status, 200);
    let refused = world.client().get("/refused").header("traceparent", &format!("00-{TRACE}-{PARENT}-01"));
    assert_eq!(refused.send().await.status, 401);
    let seen = world.upstream.only();
    let spans = spans(&world, &collector);
    assert_eq!(spans.len(), 3, "{spans:#?}");

    let at = |path: &'static str| move |span: &Span| attribute(span, "url.path").as_deref() == Some(path);
    let server = only(&spans, SpanKind::Server, at("/x"));
    let client = only(&spans, SpanKind::Client, |span| span.parent_span_id == server.span_id);
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));
    assert_eq!(hex(&server.parent_span_id), PARENT);
    let child = hex(&client.span_id);
    assert_eq!(seen.header("traceparent").unwrap(), format!("00-{TRACE}-{child}-01"));
    let decimal = u64::from_str_radix(&child, 16).unwrap();
    assert_eq!(seen.header("x-cloud-trace-context").unwrap(), format!("{TRACE}/{decimal};o=1"));
    assert_eq!(seen.header("tracestate").as_deref(), Some("vendor=1"));
    let line = log_line(&world, "/x");
    assert!(line["logging.googleapis.com/trace"].as_str().unwrap().ends_with(TRACE));
    assert_eq!(line["logging.googleapis.com/spanId"], hex(&server.span_id));
    assert_eq!(line["request_id"].as_str(), attribute(server, "portcullis.request_id").as_deref());

    assert_eq!(server.name, "GET /");
    assert_eq!(attribute(server, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!(attribute(client, "server.address").as_deref(), Some("127.0.0.1"));
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano);
    assert_eq!(server.end_time_unix_nano, client.end_time_unix_nano);
    let denied = only(&spans, SpanKind::Server, at("/refused"));
    assert_eq!(attribute(denied, "portcullis.refusal").as_deref(), Some("unauthenticated"));
    assert_ne!(denied.status.clone().unwrap().code(), StatusCode::Error, "no error of ours");
    let sent: String =
        collector.requests().iter().map(|call| String::from_utf8_lossy(call.body()).into_owned()).collect();
    assert!(!sent.contains("access_token") && !sent.contains("ada@"), "{sent}");
}

#[tokio::test]
async fn what_is_not_recorded_passes_as_it_came() {
    let (world, collector) = start("0");
    let parent = format!("00-{TRACE}-{PARENT}-00");
    let call = world.client().get("/public/x").header("traceparent", &parent).header("tracestate", "a=1");
    assert_eq!(call.send().await.status, 200);
    let seen = world.upstream.only();
    assert_eq!(seen.header("traceparent").as_deref(), Some(parent.as_str()));
    assert_eq!(seen.header("tracestate").as_deref(), Some("a=1"));
    world.upstream.forget();
    // A state without a trace is nobody's.
    assert_eq!(world.client().get("/public/y").header("tracestate", "a=1").send().await.status, 200);
    let seen = world.upstream.only();
    assert!(seen.header("traceparent").unwrap().ends_with("-00") && seen.header("tracestate").is_none());
    let made = seen.header("traceparent").unwrap();
    assert!(spans(&world, &collector).is_empty());
    let span = |path: &str| log_line(&world, path)["logging.googleapis.com/spanId"].clone();
    assert_eq!((span("/public/x"), span("/public/y")), (PARENT.into(), made[36..52].into()));
}

#[tokio::test]
async fn who_has_no_caller_to_ask_is_sampled() {
    let (world, collector) = start("1");
    world.upstream.on("/public/broken", |_| Answer::raw("no HTTP\r\n\r\n"));
    assert_eq!(world.client().get("/public/x").send().await.status, 200);
    assert_eq!(world.client().get("/public/broken").send().await.status, 502);
    let seen = world.upstream.requests();
    let spans = spans(&world, &collector);
    assert_eq!(spans.len(), 4, "{spans:#?}");
    for request in seen {
        let parent = request.header("traceparent").unwrap();
        assert!(parent.ends_with("-01"), "{parent}");
        let client = only(&spans, SpanKind::Client, |span| hex(&span.span_id) == parent[36..52]);
        assert_eq!(hex(&client.trace_id), parent[3..35]);
        let server = only(&spans, SpanKind::Server, |span| span.span_id == client.parent_span_id);
        assert!(server.parent_span_id.is_empty(), "it is the root");
        let failed = server.status.clone().unwrap().code() == StatusCode::Error;
        assert_eq!(failed, request.path() == "/public/broken");
    }
}

#[tokio::test]
async fn a_collector_that_hangs_holds_nobody_up() {
    let (world, collector) = start("1");
    collector.on_head("/v1/traces", |_| Answer::Steps(vec![Step::Stall]));
    for _ in 0..3 {
        assert_eq!(world.client().get("/public/x").send().await.status, 200);
    }
    world.gateway.signal(Signal::SIGTERM);
    assert_eq!(world.gateway.wait().0, 0);
    assert!(collector.count() >= 1, "it was asked");
}
