//! The operators' listener, and that it is not the public one (CVE-2022-24797).

use std::net::{SocketAddr, TcpListener};

use portcullis::dev::google::{Endpoint, Fault};

use crate::harness::background::{eventually, within};
use crate::harness::raw::{RawResponse, once};
use crate::harness::world::{Plan, World};

fn with_admin(faults: Vec<(Endpoint, Fault)>) -> (World, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = Plan { further: format!("admin: {address}\n"), faults, ..Plan::default() }.start();
    (world, address)
}

async fn get(address: SocketAddr, path: &str) -> RawResponse {
    once(address, format!("GET {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n")).await
}

fn value(text: &str, line: &str) -> u64 {
    let found = text.lines().find_map(|candidate| candidate.strip_prefix(line)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("{line} is not in:\n{text}")).parse().unwrap()
}

fn requests(outcome: &str) -> String {
    format!("portcullis_requests_total{{outcome=\"{outcome}\"}}")
}

/// The metrics once so many requests have ended in this way.
async fn counted(admin: SocketAddr, outcome: &str, wanted: u64) -> RawResponse {
    within("the counter", async {
        loop {
            let metrics = get(admin, "/metrics").await;
            if value(&metrics.text(), &requests(outcome)) >= wanted {
                return metrics;
            }
        }
    })
    .await
}

#[tokio::test]
async fn the_counters_count() {
    let (world, admin) = with_admin(Vec::new());
    world.warm().await;
    // The two listeners are opened independently of each other.
    eventually("the operators' listener", || std::net::TcpStream::connect(admin).is_ok()).await;
    // A request is counted when it has ended, which is a moment after its answer.
    let before = counted(admin, "forwarded", 1).await;
    assert_eq!(before.header("content-type").as_deref(), Some("text/plain; version=0.0.4; charset=utf-8"));
    let token = world.access("ada@example.com");
    assert_eq!(world.client().get("/x").bearer(&token).send().await.status, 200);
    assert_eq!(world.client().get("/x").send().await.status, 401);
    assert_eq!(world.client().get("/.portcullis/health").send().await.status, 200);
    world.upstream.on("/public/broken", |_| crate::harness::answer::Answer::raw("no HTTP\r\n\r\n"));
    assert_eq!(world.client().get("/public/broken").send().await.status, 502);
    world.google.fail(Endpoint::Tokeninfo, Fault::Close);
    let other = world.access("ada@example.com");
    assert_eq!(world.client().get("/x").bearer(&other).send().await.status, 503);
    let before = before.text();
    let mut after = String::new();
    for outcome in ["forwarded", "refused", "answered", "failed"] {
        let wanted = value(&before, &requests(outcome)) + if outcome == "failed" { 2 } else { 1 };
        after = counted(admin, outcome, wanted).await.text();
    }
    let grown = |line: &str| value(&after, line) - value(&before, line);
    for (outcome, by) in [("forwarded", 1), ("refused", 1), ("answered", 1), ("failed", 2)] {
        assert_eq!(grown(&requests(outcome)), by, "{outcome}:\n{after}");
    }
    for (labels, by) in
        [("service=\"tokeninfo\",outcome=\"ok\"", 1), ("service=\"tokeninfo\",outcome=\"failed\"", 1)]
    {
        assert_eq!(grown(&format!("portcullis_outbound_calls_total{{{labels}}}")), by, "{labels}:\n{after}");
    }
    assert_eq!(value(&after, "portcullis_outbound_calls_total{service=\"metadata\",outcome=\"ok\"}"), 1);
    assert_eq!(
        value(&after, &format!("portcullis_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"))),
        1
    );
    assert!(!after.contains(&token) && !after.contains("ada@"), "no identity is a label");
    for line in after.lines().filter(|line| !line.starts_with('#')) {
        assert!(
            line.starts_with("portcullis_") && line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn each_listener_has_its_own_paths() {
    let (world, admin) = with_admin(Vec::new());
    world.warm().await;
    eventually("the operators' listener", || std::net::TcpStream::connect(admin).is_ok()).await;
    assert_eq!(get(admin, "/health").await.status, 200);
    for path in
        ["/", "/x", "/public/x", "/debug/pprof/", "/metrics/", "/.portcullis/health", "/.portcullis/whoami"]
    {
        assert_eq!(get(admin, path).await.status, 404, "{path}");
    }
    world.upstream.forget();
    let mut table = world.table();
    for path in ["/metrics", "/health", "/debug/pprof/", "/config", "/admin", "/status"] {
        table.refused(path, world.client().get(path), 401, "unauthenticated").await;
    }
    for path in ["/.portcullis/metrics", "/.portcullis", "/.portcullis/config", "/.portcullis/debug"] {
        table.refused(path, world.client().get(path), 404, "no_location").await;
    }
    table.finish().await;
}
