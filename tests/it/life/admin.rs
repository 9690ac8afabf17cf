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

/// The sum of the series of this name that have all these labels.
fn value(text: &str, name: &str, labels: &[&str]) -> u64 {
    let series = text.lines().filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
            && labels.iter().all(|label| line.contains(label))
    });
    let values: Vec<u64> = series.map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(!values.is_empty(), "{name} {labels:?} is not in:\n{text}");
    values.iter().sum()
}

fn requests(text: &str, outcome: &str) -> u64 {
    value(text, "portcullis_requests_total", &[&format!("outcome=\"{outcome}\"")])
}

/// The metrics once so many requests have ended in this way.
async fn counted(admin: SocketAddr, outcome: &str, wanted: u64) -> RawResponse {
    within("the counter", async {
        loop {
            let metrics = get(admin, "/metrics").await;
            if requests(&metrics.text(), outcome) >= wanted {
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
        let wanted = requests(&before, outcome) + if outcome == "failed" { 2 } else { 1 };
        after = counted(admin, outcome, wanted).await.text();
    }
    for (outcome, by) in [("forwarded", 1), ("refused", 1), ("answered", 1), ("failed", 2)] {
        assert_eq!(requests(&after, outcome) - requests(&before, outcome), by, "{outcome}:\n{after}");
    }
    let calls = |text: &str, service: &str, outcome: &str| {
        let labels = [format!("service=\"{service}\""), format!("outcome=\"{outcome}\"")];
        value(text, "portcullis_outbound_calls_total", &labels.each_ref().map(String::as_str))
    };
    for outcome in ["ok", "failed"] {
        let grown = calls(&after, "tokeninfo", outcome) - calls(&before, "tokeninfo", outcome);
        assert_eq!(grown, 1, "{outcome}:\n{after}");
    }
    assert_eq!(calls(&after, "metadata", "ok"), 1);
    let version = format!("version=\"{}\"", env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&after, "portcullis_build_info", &[&version]), 1);
    // Ada's token, and the one that Google could not judge.
    for (result, by) in [("miss", 2), ("hit", 0), ("rejected", 0), ("coalesced", 0), ("throttled", 0)] {
        let label = format!("result=\"{result}\"");
        let looks = |text: &str| value(text, "portcullis_token_cache_total", &[&label]);
        assert_eq!(looks(&after) - looks(&before), by, "{result}:\n{after}");
    }
    assert_eq!(
        value(&after, "portcullis_refusals_total", &["code=\"unauthenticated\"", "location=\"/\""]),
        1
    );
    assert!(!after.contains(&token) && !after.contains("ada@"), "no identity is a label");
    for line in after.lines().filter(|line| !line.starts_with('#')) {
        assert!(
            (line.starts_with("portcullis_") || line.starts_with("process_"))
                && line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn open_connections_are_counted() {
    let (world, admin) = with_admin(Vec::new());
    world.warm().await;
    eventually("the operators' listener", || std::net::TcpStream::connect(admin).is_ok()).await;
    let open = |wanted: u64| async move {
        within(&format!("{wanted} connections"), async {
            while value(&get(admin, "/metrics").await.text(), "portcullis_connections", &[]) != wanted {}
        })
        .await;
    };
    open(0).await;
    let connect = || std::net::TcpStream::connect(world.gateway.address()).unwrap();
    let (one, two) = (connect(), connect());
    open(2).await;
    drop(one);
    open(1).await;
    drop(two);
    open(0).await;
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
