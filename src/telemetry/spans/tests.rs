use std::time::Duration;

use http::{HeaderMap, Method};
use serde_json::Value;

use super::*;
use crate::trace::Ids;

fn line<'a>(method: &'a Method, status: u16) -> RequestLine<'a> {
    RequestLine {
        request_id: "id",
        trace_id: "",
        trace_sampled: true,
        span_id: "",
        method,
        path: "/app/\"x\"",
        host: "gw.example:8080",
        protocol: "HTTP/1.1",
        client: [192, 0, 2, 1].into(),
        user_agent: "agent",
        status,
        sent: 0,
        latency: Duration::from_millis(250),
        location: Some("/app"),
        identity: Some("ada@example.com"),
        step: "respond",
        refusal: None,
        cause: None,
        audit: None,
    }
}

fn trace(header: &str, id: HexId) -> Trace {
    let mut headers = HeaderMap::new();
    if !header.is_empty() {
        headers.insert("traceparent", header.parse().unwrap());
    }
    Trace::of(&headers, id)
}

/// The attributes of a span, by name.
fn attribute<'a>(span: &'a Value, name: &str) -> Option<&'a str> {
    let found = span["attributes"].as_array().unwrap().iter().find(|attribute| attribute["key"] == name)?;
    found["value"].as_object().unwrap().values().next().unwrap().as_str()
}

fn encoded(recorded: &Recorded<'_>) -> Vec<Value> {
    let request: Value = serde_json::from_str(&encode::request(&encode::spans(recorded))).unwrap();
    request["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone()
}

#[test]
fn a_forwarded_request_is_two_spans() {
    let id = Ids::default().next();
    let trace = trace("00-105445aa7843bc8bf206b12000100000-37aab46b1e5bd440-01", id);
    let line = line(&Method::GET, 200);
    let forwarding = Forwarding { host: "up.example", after: Duration::from_millis(50), status: Some(404) };
    let spans =
        encoded(&Recorded { line: &line, id, trace: &trace, https: true, forwarding: Some(forwarding) });
    let [server, client] = spans.as_slice() else { panic!("{spans:?}") };
    assert_eq!((&server["kind"], &client["kind"]), (&2.into(), &3.into()));
    assert_eq!(server["parentSpanId"], "37aab46b1e5bd440");
    assert_eq!(client["parentSpanId"], server["spanId"]);
    assert_ne!(client["spanId"], server["spanId"]);
    assert_eq!(client["traceId"], "105445aa7843bc8bf206b12000100000");
    assert_eq!(server["name"], "GET /app");
    assert_eq!(attribute(server, "url.path"), Some("/app/\"x\""));
    assert_eq!(attribute(server, "server.address"), Some("gw.example"));
    assert_eq!(attribute(server, "http.response.status_code"), Some("200"));
    assert_eq!((&server["status"], &client["status"]["code"]), (&serde_json::json!({}), &2.into()));
    assert_eq!(attribute(client, "error.type"), Some("404"));
    let time = |span: &Value, key: &str| span[key].as_str().unwrap().parse::<u64>().unwrap();
    assert_eq!(time(server, "endTimeUnixNano") - time(server, "startTimeUnixNano"), 250_000_000);
    assert_eq!(time(client, "startTimeUnixNano") - time(server, "startTimeUnixNano"), 50_000_000);
    assert!(!spans.iter().any(|span| span.to_string().contains("ada@")), "who called stays here");
}

#[test]
fn a_refused_request_is_one_span_and_its_method_is_a_known_one() {
    let id = Ids::default().next();
    let trace = trace("", id);
    let method = Method::from_bytes(b"BREW").unwrap();
    let line = RequestLine { location: None, refusal: Some("no_location"), ..line(&method, 404) };
    let spans = encoded(&Recorded { line: &line, id, trace: &trace, https: false, forwarding: None });
    assert_eq!(spans.len(), 1);
    assert_eq!((&spans[0]["name"], &spans[0]["parentSpanId"]), (&"HTTP".into(), &"".into()));
    assert_eq!(attribute(&spans[0], "http.request.method"), Some("_OTHER"));
    assert_eq!(attribute(&spans[0], "portcullis.refusal"), Some("no_location"));
    assert_eq!(attribute(&spans[0], "error.type"), None, "the caller's mistake is no error of ours");
}

fn to(endpoint: &str, sample: f64) -> (Spans, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::default());
    let outbound = Arc::new(Outbound::new(Arc::clone(&metrics)));
    (Spans::new(outbound, Url::parse(endpoint).unwrap(), sample), metrics)
}

#[test]
fn the_caller_decides_and_else_the_id() {
    let ids = Ids::default();
    let share = |sample: f64, header: &str| {
        let (spans, _) = to("http://127.0.0.1:9/", sample);
        (0..1000).filter(|_| spans.wants(&trace(header, ids.next()))).count()
    };
    assert_eq!((share(0.0, ""), share(1.0, "")), (0, 1000));
    assert!((350..650).contains(&share(0.5, "")), "{}", share(0.5, ""));
    let parent = "00-105445aa7843bc8bf206b12000100000-37aab46b1e5bd440-0";
    assert_eq!(share(0.0, &format!("{parent}1")), 1000);
    assert_eq!(share(1.0, &format!("{parent}0")), 0);
}

#[tokio::test]
async fn what_finds_no_room_or_no_collector_is_counted() {
    // Nobody listens there: the port is given back before anything is sent.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (spans, metrics) = to(&format!("http://{address}/v1/traces"), 1.0);
    let id = Ids::default().next();
    let (trace, method) = (trace("", id), Method::GET);
    let line = line(&method, 200);
    for _ in 0..CAPACITY + 3 {
        spans.record(&Recorded { line: &line, id, trace: &trace, https: true, forwarding: None });
    }
    spans.flush().await;
    let text = metrics.render();
    for (outcome, number) in [("sent", 0), ("dropped", 3), ("failed", CAPACITY)] {
        let series = format!("portcullis_spans_total{{outcome=\"{outcome}\"}} {number}\n");
        assert!(text.contains(&series), "{series} is not in {text}");
    }
    assert!(spans.shared.lock().spans.is_empty());
}
