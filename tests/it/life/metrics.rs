//! The metrics as a scraper reads them: with Prometheus' own Python library, after traffic of every kind. And that the
//! dashboard asks for nothing else.

#[path = "../../python/interpreter.rs"]
mod interpreter;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};

use portcullis::dev::google::{Endpoint, Fault};
use serde::Deserialize;
use serde_json::Value;

use self::interpreter::python;
use crate::harness::answer::Answer;
use crate::harness::background::{eventually, within};
use crate::harness::http::Client;
use crate::harness::raw::once;
use crate::harness::upstream::Upstream;
use crate::harness::world::{Plan, World};

/// One value of a scrape.
#[derive(Debug, Deserialize)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// The sum of all series of this name that have these labels.
fn sum(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
    let fits = |sample: &&Sample| {
        let has = |(label, value): &(&str, &str)| sample.labels.get(*label).is_some_and(|it| it == value);
        sample.name == name && labels.iter().all(has)
    };
    let values: Vec<f64> = samples.iter().filter(fits).map(|sample| sample.value).collect();
    assert!(!values.is_empty(), "there is no {name} with {labels:?}");
    values.iter().sum()
}

async fn scrape(admin: SocketAddr) -> String {
    once(admin, "GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").await.text()
}

/// The metrics once so many requests have ended.
async fn after(admin: SocketAddr, requests: u64) -> String {
    let number = |text: &str| -> u64 {
        let lines = text.lines().filter(|line| line.starts_with("portcullis_requests_total{"));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    within("the requests to be counted", async {
        loop {
            let text = scrape(admin).await;
            // A request is counted a moment before it is over.
            if number(&text) >= requests && text.contains("\nportcullis_requests_in_flight 0\n") {
                return text;
            }
        }
    })
    .await
}

/// What the library makes of two scrapes.
async fn examined(before: String, after: String) -> Vec<Sample> {
    let output = tokio::task::spawn_blocking(move || {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        std::fs::write(path("before"), before).unwrap();
        std::fs::write(path("after"), after).unwrap();
        python("scrape.py", &[&path("before"), &path("after")])
    });
    let output = output.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn start() -> (World, SocketAddr, (Upstream, tempfile::TempDir)) {
    let log = tempfile::tempdir().unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let collector = Upstream::start();
    let traces = format!("traces: {{ endpoint: \"{}/v1/traces\", sample: 1 }}\n", collector.url());
    let world = Plan {
        further: format!(
            "admin: {admin}\n{traces}wal: {{ disk: {{ directory: '{}' }} }}\n",
            log.path().display()
        ),
        locations: "  - { path: /posts/, methods: [POST], access: google, upstream: up, max_body: 4 }\n  - { path: /kept/, access: google, wal: true, upstream: up }\n",
        ..Plan::default()
    };
    (world.start(), admin, (collector, log))
}

/// Traffic of every kind: each request with the status it is answered with.
async fn traffic(world: &World) -> u64 {
    let (client, h2) = (world.client(), Client::h2(world.gateway.address()));
    world.upstream.on("/public/bad", |_| Answer::new(500, "oh")).on("/public/gone", |_| Answer::new(404, ""));
    world.upstream.on("/public/broken", |_| Answer::raw("no HTTP\r\n\r\n"));
    let (ada, eve) = (world.access("ada@example.com"), world.access("mallory@other.example"));
    let calls = [
        (client.get("/x").bearer(&ada), 200),
        (client.get("/x").bearer(&ada), 200),
        (h2.get("/x").bearer(&ada), 200),
        (client.call("HEAD", "/public/x"), 200),
        (client.get("/public/bad"), 500),
        (client.get("/public/gone"), 404),
        (client.get("/public/broken"), 502),
        (client.get("/x"), 401),
        (client.get("/x").bearer("ya29.nobody-knows-this-token"), 401),
        (client.get("/x").bearer("ya29.nobody-knows-this-token"), 401),
        (client.get("/x").bearer(&eve), 403),
        (client.get("/x").navigation(), 302),
        (client.get("/posts/x"), 405),
        (client.post("/posts/x", "more than four").bearer(&ada), 413),
        (client.post("/kept/x", "a message").bearer(&ada), 200),
        (client.get("/%2e%2e/x"), 400),
        (client.get("/.portcullis/health"), 200),
        (client.get("/.portcullis/whoami").bearer(&ada), 200),
        (client.get("/.portcullis/nothing"), 404),
    ];
    let mut sent = 0;
    for (call, status) in calls {
        assert_eq!(call.send().await.status, status, "request {sent}");
        sent += 1;
    }
    world.google.fail(Endpoint::Tokeninfo, Fault::Close);
    let unknown = world.access("grace@example.com");
    assert_eq!(client.get("/x").bearer(&unknown).send().await.status, 503);
    sent + 1
}

#[tokio::test]
async fn a_scrapers_own_library_reads_them_and_the_sums_are_right() {
    let (world, admin, _collector) = start();
    world.warm().await;
    eventually("the operators' listener", || std::net::TcpStream::connect(admin).is_ok()).await;
    let before = after(admin, 1).await;
    let sent = traffic(&world).await;
    // With the one that warmed up.
    let total = sent + 1;
    let samples = examined(before, after(admin, total).await).await;
    let all = |name: &str| sum(&samples, name, &[]);
    assert_eq!(all("portcullis_requests_total"), total as f64);
    for (outcome, number) in [("forwarded", 7.0), ("answered", 4.0), ("refused", 8.0), ("failed", 2.0)] {
        let counted = sum(&samples, "portcullis_requests_total", &[("outcome", outcome)]);
        assert_eq!(counted, number, "{outcome}: {samples:#?}");
    }
    assert_eq!(all("portcullis_refusals_total"), 10.0, "refused and failed");
    for (location, step, code, number) in [
        ("/", "authenticate", "unauthenticated", 1.0),
        ("/", "authenticate", "invalid_credential", 2.0),
        ("/", "authenticate", "provider_unavailable", 1.0),
        ("/", "authorize", "forbidden", 1.0),
        ("/posts/", "authorize", "too_large", 1.0),
        ("/public/", "forward", "upstream_invalid", 1.0),
        ("none", "admit", "bad_request", 1.0),
        ("none", "route", "no_location", 1.0),
        ("none", "route", "method_not_allowed", 1.0),
    ] {
        let labels = [("location", location), ("step", step), ("code", code)];
        assert_eq!(sum(&samples, "portcullis_refusals_total", &labels), number, "{labels:?}");
    }
    assert_eq!(all("portcullis_request_duration_seconds_count"), total as f64);
    assert_eq!(all("portcullis_gateway_duration_seconds_count"), total as f64);
    assert_eq!(all("portcullis_upstream_duration_seconds_count"), 7.0, "a response with a head each");
    assert_eq!(all("portcullis_upstream_connections_total"), 8.0, "and the one that was no HTTP");
    for (result, number) in [("hit", 5.0), ("miss", 4.0), ("rejected", 1.0), ("throttled", 0.0)] {
        let counted = sum(&samples, "portcullis_token_cache_total", &[("result", result)]);
        assert_eq!(counted, number, "{result}");
    }
    let calls = sum(&samples, "portcullis_outbound_calls_total", &[("service", "tokeninfo")]);
    let timed = sum(&samples, "portcullis_outbound_duration_seconds_count", &[("service", "tokeninfo")]);
    assert_eq!((calls, timed), (4.0, 4.0));
    assert_eq!(all("portcullis_requests_in_flight"), 0.0);
    assert_eq!(all("portcullis_log_lines_dropped_total"), 0.0);
    assert!(all("process_resident_memory_bytes") > 1e6 && all("process_open_fds") > 5.0);
    for sample in &samples {
        let values: Vec<&String> = sample.labels.values().collect();
        assert!(!values.iter().any(|value| value.contains('@')), "nobody is a label: {sample:?}");
    }
    the_readme_lists_them(&samples);
    the_dashboard_fits(&samples);
}

/// Labels that Prometheus itself adds.
const TARGET: [&str; 2] = ["job", "instance"];

/// The README's table has all metrics with their labels, and no others.
fn the_readme_lists_them(samples: &[Sample]) {
    let readme = include_str!("../../../README.md");
    let rows = readme.split_once("| metric | type | labels | what |\n").unwrap().1.lines().skip(1);
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<_>>();
    let said: BTreeMap<String, BTreeSet<String>> = rows
        .take_while(|row| row.starts_with('|'))
        .map(|row| row.split('|').collect::<Vec<_>>())
        .map(|cells| (quoted(cells[1]).pop_first().unwrap(), quoted(cells[3])))
        .collect();
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sample in samples {
        let labels = sample.labels.keys().filter(|label| *label != "le").cloned();
        known.entry(family(&sample.name).to_owned()).or_default().extend(labels);
    }
    assert_eq!(said, known);
}

/// Every query of the dashboard names only metrics and labels that there are.
fn the_dashboard_fits(samples: &[Sample]) {
    let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for sample in samples {
        let labels = known.entry(sample.name.as_str()).or_default();
        labels.extend(sample.labels.keys().map(String::as_str).chain(TARGET));
    }
    let board: Value = serde_json::from_str(include_str!("../../../deploy/grafana/portcullis.json")).unwrap();
    assert!(board["schemaVersion"].as_u64().unwrap() >= 36 && board["title"] == "Portcullis");
    let mut queries = Vec::new();
    collect(&board, &mut queries);
    assert!(queries.len() >= 20, "only {queries:?}");
    let mut used = BTreeSet::new();
    for query in &queries {
        let words = words(query);
        let metrics: Vec<&str> = words.iter().copied().filter(|word| is_metric(word)).collect();
        assert!(!metrics.is_empty(), "no metric in {query}");
        for metric in &metrics {
            assert!(known.contains_key(metric), "{metric} does not exist: {query}");
        }
        for label in labels(query) {
            let fits = metrics.iter().any(|metric| known[metric].contains(label));
            assert!(fits, "no metric of {query} has the label {label}");
        }
        used.extend(metrics.iter().map(|metric| family(metric)));
    }
    let ours: BTreeSet<&str> =
        known.keys().filter(|name| name.starts_with("portcullis_")).map(|name| family(name)).collect();
    let missing: Vec<_> = ours.iter().filter(|name| !used.contains(*name)).collect();
    assert!(missing.is_empty(), "not on the dashboard: {missing:?}");
}

/// The name without what a histogram adds.
fn family(name: &str) -> &str {
    let ends = ["_bucket", "_sum", "_count"];
    ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

fn is_metric(word: &str) -> bool {
    word.starts_with("portcullis_") || word.starts_with("process_")
}

fn words(query: &str) -> Vec<&str> {
    query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| !word.is_empty()).collect()
}

/// The labels in `{…}` and in `by (…)`.
fn labels(query: &str) -> Vec<&str> {
    let selectors = query.split('{').skip(1).filter_map(|rest| rest.split('}').next());
    let selected = selectors
        .flat_map(|inside| inside.split(',').filter_map(|pair| pair.split(['=', '!']).next()).map(str::trim));
    let groups = query.split("by (").skip(1).filter_map(|rest| rest.split(')').next());
    selected.chain(groups.flat_map(|inside| inside.split(',').map(str::trim))).collect()
}

/// All texts under `expr`, and the queries of variables.
fn collect<'a>(value: &'a Value, queries: &mut Vec<&'a str>) {
    match value {
        Value::Object(entries) => {
            for (key, inner) in entries {
                let query = inner.as_str().filter(|_| key == "expr" || key == "definition");
                queries.extend(query);
                collect(inner, queries);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, queries)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
