//! Reading the configuration again: what was begun is finished by the old rules, all else goes by the new ones, and what
//! the gateway has learnt is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nix::sys::signal::Signal;
use portcullis::dev::google::Endpoint;
use ring::hmac;
use tokio::sync::Semaphore;

use crate::harness::answer::Answer;
use crate::harness::background::{eventually, within};
use crate::harness::http::Client;
use crate::harness::raw::{Raw, once};
use crate::harness::upstream::Upstream;
use crate::harness::world::{Plan, World, closed};

const QUIET: &str = "{ format: text, level: info, requests: none }";

/// The plan of all these tests, with another list of those who pass.
fn plan(allow: &'static str) -> Plan {
    Plan { log: QUIET, allow, ..Plan::default() }
}

const EXAMPLE: &str = "{ domains: [example.com] }";
const BOB_ONLY: &str = "{ emails: [bob@example.com] }";

impl World {
    /// Another configuration, read at once; whether it was good.
    fn reload(&self, plan: &Plan) -> bool {
        self.gateway.configure(&plan.yaml(&self.google, &self.upstream));
        self.gateway.reload()
    }
}

#[tokio::test]
async fn what_is_under_way_ends_by_the_old_rules_and_what_begins_goes_by_the_new() {
    let plan_before = plan(EXAMPLE);
    let world = World::with(&plan_before, |setup| setup);
    world.warm().await;
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    world
        .upstream
        .on("/public/slow", move |_| Answer::chunked("text/plain", &["first ", "second"], Some(&held)));
    let mut slow = Raw::connect(world.gateway.address()).await;
    slow.send("GET /public/slow HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    gate.add_permits(1);
    world.upstream.received(1).await;
    // `/public/` is gone.
    let yaml = plan_before.yaml(&world.google, &world.upstream);
    world.gateway.configure(&yaml.replace("  - { path: /public/, access: public, upstream: up }\n", ""));
    assert!(world.gateway.reload());
    world.gateway.says("configuration reloaded: 1 location (1 gone), 1 upstream");
    assert_eq!(world.client().get("/public/x").send().await.status, 401);
    gate.add_permits(1);
    let response = slow.response().await;
    assert_eq!((response.status, response.text().as_str()), (200, "first second"));
    // The same connection goes by the new rules as well.
    slow.send("GET /public/slow HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    assert_eq!(slow.response().await.status, 401);
    assert!(world.reload(&plan_before));
    world.gateway.says("configuration reloaded: 2 locations (1 new), 1 upstream");
    assert_eq!(world.client().get("/public/x").send().await.status, 200);
}

#[tokio::test]
async fn a_changed_list_counts_at_once_for_callers_who_are_known() {
    let world = World::with(&plan(EXAMPLE), |setup| setup);
    let (ada, bob) = (world.access("ada@example.com"), world.access("bob@example.com"));
    let status = async |token: &str| world.client().get("/x").bearer(token).send().await.status.as_u16();
    assert_eq!((status(&ada).await, status(&bob).await), (200, 200));
    let asked = world.google.calls(Endpoint::Tokeninfo);
    assert!(world.reload(&plan(BOB_ONLY)));
    assert_eq!((status(&ada).await, status(&bob).await), (403, 200));
    assert!(world.reload(&plan(EXAMPLE)));
    assert_eq!((status(&ada).await, status(&bob).await), (200, 200));
    assert_eq!(world.google.calls(Endpoint::Tokeninfo), asked, "what was verified is kept");
    let minted = world.google.calls(Endpoint::Metadata);
    assert!(world.reload(&plan(EXAMPLE)));
    assert_eq!(status(&ada).await, 200);
    assert_eq!(world.google.calls(Endpoint::Metadata), minted, "and so is what was minted");
}

/// Which clients' tokens are accepted is part of what was verified.
#[tokio::test]
async fn a_client_that_is_no_longer_accepted_is_refused_at_once_and_a_sign_out_stands() {
    let world = World::with(&plan(EXAMPLE), |setup| setup);
    let partner = world.access_with("ada@example.com", |spec| {
        crate::harness::world::PARTNER.clone_into(&mut spec.aud);
        spec.azp = Some(crate::harness::world::PARTNER.to_owned());
    });
    let signed_out = world.access("bob@example.com");
    let status = async |token: &str| world.client().get("/x").bearer(token).send().await.status.as_u16();
    assert_eq!((status(&partner).await, status(&signed_out).await), (200, 200));
    let cookie = format!("__Host-portcullis={signed_out}");
    let origin = crate::harness::world::PUBLIC_URL;
    let out =
        world.client().post("/.portcullis/logout", "").header("cookie", &cookie).header("origin", origin);
    let response = out.send().await;
    assert!(response.status.is_success() || response.status.is_redirection(), "{}", response.text());
    assert_eq!(status(&signed_out).await, 401);
    let yaml = plan(EXAMPLE).yaml(&world.google, &world.upstream);
    world.gateway.configure(&yaml.replace(&format!("[{}]", crate::harness::world::PARTNER), "[]"));
    assert!(world.gateway.reload());
    assert_eq!((status(&partner).await, status(&signed_out).await), (401, 401));
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_explained() {
    let world = World::with(&plan(EXAMPLE), |setup| setup);
    let yaml = plan(EXAMPLE).yaml(&world.google, &world.upstream);
    for (bad, says) in [
        (yaml.replace("access: public", "access: pubic"), "not \"pubic\""),
        (yaml.replace("public_url:", "public_ulr:"), "public_ulr"),
        (yaml.replace("locations:", "locations: ["), "portcullis.yaml:"),
        (String::new(), "portcullis.yaml"),
        (format!("listen: {}\n{yaml}", closed()), "`listen` changed; restart to change that"),
        (format!("admin: {}\n{yaml}", closed()), "`admin` changed"),
        (yaml.replace("format: text", "format: json"), "`log.format` changed"),
        (
            format!("limits: {{ streams: 7, buffered: 1MiB }}\n{yaml}"),
            "`limits.streams`, `limits.buffered` changed",
        ),
        (
            yaml.replace("/, access: google", "/, adapt: { jq: '.json |' }, access: google"),
            "locations[1].adapt",
        ),
    ] {
        world.gateway.configure(&bad);
        assert!(!world.gateway.reload(), "{says}");
        world.gateway.says(says);
        assert_eq!(world.client().get("/public/x").send().await.status, 200, "{says}");
    }
    let output = world.gateway.output();
    // Line and column of the word that is wrong.
    let line = 1 + yaml.lines().position(|line| line.contains("access: public")).unwrap() + 2;
    assert!(output.contains(&format!("portcullis.yaml:{line}:")), "line {line} in:\n{output}");
    assert!(world.reload(&plan(EXAMPLE)), "a good one is taken again");
}

#[tokio::test]
async fn connections_to_an_upstream_that_stays_are_kept() {
    let world = World::with(&plan(EXAMPLE), |setup| setup);
    world.warm().await;
    let before = world.upstream.connections();
    for round in 0..5 {
        let further = format!("# round {round}\n");
        assert!(world.reload(&Plan { further, ..plan(EXAMPLE) }));
        assert_eq!(world.client().get("/public/x").send().await.status, 200);
    }
    assert_eq!(world.upstream.connections(), before, "one connection served all");
}

#[tokio::test]
async fn upstreams_come_and_go() {
    let world = World::with(&plan(EXAMPLE), |setup| setup);
    let other = Upstream::start();
    let yaml = plan(EXAMPLE).yaml(&world.google, &world.upstream);
    let added = yaml
        .replace("upstreams:\n", &format!("upstreams:\n  other: {{ url: \"{}\" }}\n", other.url()))
        + "  - { path: /other, access: public, upstream: other }\n";
    assert_eq!(world.client().get("/other").send().await.status, 401);
    world.gateway.configure(&added);
    assert!(world.gateway.reload());
    world.gateway.says("3 locations (1 new), 2 upstreams (1 new)");
    assert_eq!(world.client().get("/other").send().await.status, 200);
    assert_eq!(world.client().get("/public/x").send().await.status, 200);
    assert_eq!((other.count(), world.upstream.last().path().as_str()), (1, "/public/x"));
    world.gateway.configure(&yaml);
    assert!(world.gateway.reload());
    assert_eq!(world.client().get("/other").send().await.status, 401);
}

/// With `--watch`, nobody has to send a signal, and files that the configuration names count as well.
#[tokio::test]
async fn a_watched_file_is_read_when_it_changes() {
    let plan = Plan {
        locations: "  - { path: /shaped, access: public, adapt: shape.jq, upstream: up }\n",
        ..plan(EXAMPLE)
    };
    let arguments = ["run", "--watch", "--config", "portcullis.yaml"];
    let world = World::with(&plan, |setup| setup.file("shape.jq", "{ old: .json }").arguments(&arguments));
    let shaped = async || {
        let response = world.client().post("/shaped", "1").header("content-type", "application/json").send();
        assert_eq!(response.await.status, 200);
        String::from_utf8(world.upstream.last().message.body).unwrap()
    };
    assert_eq!(shaped().await, r#"{"old":1}"#);
    world.gateway.write("shape.jq", "{ new: .json }");
    world.gateway.says("configuration reloaded");
    assert_eq!(shaped().await, r#"{"new":1}"#);
    world.gateway.write("shape.jq", "{ new: ");
    world.gateway.says("configuration is not reloaded");
    world.gateway.says("shape.jq:1:");
    assert_eq!(shaped().await, r#"{"new":1}"#);
    world.gateway.write("shape.jq", "{ newest: .json }");
    eventually("the newest", || world.gateway.output().matches("configuration reloaded").count() == 2).await;
    assert_eq!(shaped().await, r#"{"newest":1}"#);
}

#[tokio::test]
async fn a_secret_s_file_is_read_again() {
    let plan = Plan {
        further: "secrets:\n  sender: { file: secret.txt, refresh: 1h }\n".to_owned(),
        locations: "  - { path: /hook, access: webhook, webhook: { github: { secret: sender } }, upstream: up }\n",
        ..plan(EXAMPLE)
    };
    let world = World::with(&plan, |setup| setup.file("secret.txt", "first-secret"));
    let sent = async |secret: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let mut signature = String::from("sha256=");
        for byte in hmac::sign(&key, b"{}").as_ref() {
            signature.push_str(&format!("{byte:02x}"));
        }
        let call = world.client().post("/hook", "{}").header("x-hub-signature-256", &signature);
        call.header("content-type", "application/json").send().await.status.as_u16()
    };
    assert_eq!((sent("first-secret").await, sent("second-secret").await), (200, 403));
    world.gateway.write("secret.txt", "second-secret");
    assert!(world.gateway.reload());
    assert_eq!((sent("first-secret").await, sent("second-secret").await), (403, 200));
}

/// The sums of all counters, by name.
fn counters(text: &str) -> BTreeMap<String, f64> {
    let mut sums = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let name = series.split('{').next().unwrap();
        if name.ends_with("_total") || name.ends_with("_count") || name.ends_with("_bucket") {
            *sums.entry(name.to_owned()).or_default() += value.parse::<f64>().unwrap();
        }
    }
    sums
}

/// The log and what is told of it stay as they are, and the figures are there once.
#[tokio::test]
async fn deliveries_count_on_and_the_log_is_still_told_of() {
    let (admin, log) = (closed(), tempfile::tempdir().unwrap());
    let plan = Plan {
        further: format!("admin: {admin}\nwal: {{ disk: {{ directory: '{}' }} }}\n", log.path().display()),
        locations: "  - { path: /kept/, access: google, wal: true, upstream: up }\n",
        ..plan(EXAMPLE)
    };
    let world = World::with(&plan, |setup| setup);
    eventually("the operators' listener", || std::net::TcpStream::connect(admin).is_ok()).await;
    let metrics = async || {
        once(admin, "GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").await.text()
    };
    let ada = world.access("ada@example.com");
    for delivered in 1..=3 {
        let message = world.client().post("/kept/x", "a message").bearer(&ada);
        assert_eq!(message.send().await.status, 200);
        let counted = format!("portcullis_deliveries_total{{outcome=\"settled\"}} {delivered}\n");
        within("a delivery", async { while !metrics().await.contains(&counted) {} }).await;
        assert!(world.reload(&plan));
        let text = metrics().await;
        assert!(text.contains(&counted), "{text}");
        for series in ["portcullis_wal_entries{state=\"waiting\"}", "portcullis_wal_limit_bytes "] {
            assert_eq!(text.matches(&format!("\n{series}")).count(), 1, "{series} in:\n{text}");
        }
    }
}

/// Two hundred reloads under load: every answer is right by one of the two configurations, and nothing piles up.
#[tokio::test]
async fn reloads_under_load_lose_nothing_and_leave_nothing_behind() {
    let admin = closed();
    let plans = [EXAMPLE, BOB_ONLY].map(|allow| Plan { further: format!("admin: {admin}\n"), ..plan(allow) });
    let world = World::with(&plans[0], |setup| setup);
    world.warm().await;
    let tokens = [world.access("ada@example.com"), world.access("bob@example.com")];
    let stop = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = tokens
        .into_iter()
        .enumerate()
        .map(|(index, token)| {
            let (stop, done, address) = (Arc::clone(&stop), Arc::clone(&done), world.gateway.address());
            tokio::spawn(async move {
                let client = Client::new(address);
                while !stop.load(Ordering::Relaxed) {
                    let status = client.get("/x").bearer(&token).send().await.status.as_u16();
                    assert!(status == 200 || (status == 403 && index == 0), "{status}");
                    assert_eq!(client.get("/public/x").send().await.status, 200);
                    done.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let metrics = async || {
        once(admin, "GET /metrics HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n").await.text()
    };
    let mut sums = counters(&metrics().await);
    let mut settled = None;
    for round in 0..200 {
        assert!(world.reload(&plans[round % 2]));
        let now = counters(&metrics().await);
        for (name, before) in &sums {
            assert!(now.get(name).is_some_and(|now| now >= before), "{name} went down from {before}");
        }
        sums = now;
        if round == 50 {
            settled =
                Some((world.gateway.open_files(), world.gateway.threads(), world.gateway.peak_memory()));
        }
    }
    let (files, threads, memory) = settled.unwrap();
    stop.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await.unwrap();
    }
    assert!(done.load(Ordering::Relaxed) > 0);
    assert!(world.gateway.open_files() <= files + 8, "{} files after {files}", world.gateway.open_files());
    assert!(world.gateway.threads() <= threads + 8, "{} threads after {threads}", world.gateway.threads());
    let grown = world.gateway.peak_memory().saturating_sub(memory);
    assert!(grown < 16 * 1024, "{grown} KiB more than after 50 reloads");
    let text = metrics().await;
    assert!(text.contains("portcullis_config_reloads_total{result=\"ok\"} 200\n"), "{text}");
    assert!(text.contains("portcullis_config_reloads_total{result=\"failed\"} 0\n"), "{text}");
    let read =
        text.lines().find_map(|line| line.strip_prefix("portcullis_config_last_reload_timestamp_seconds "));
    assert!(read.unwrap().parse::<f64>().unwrap() > 1.7e9);
}

#[tokio::test]
async fn two_signals_in_a_row_are_fine_and_one_while_it_ends_is_ignored() {
    let world = World::with(&plan(EXAMPLE), |setup| setup);
    world.warm().await;
    world.gateway.signal(Signal::SIGHUP);
    world.gateway.signal(Signal::SIGHUP);
    world.gateway.says("configuration reloaded");
    world.upstream.on("/public/endless", |_| Answer::Steps(vec![crate::harness::answer::Step::Stall]));
    let mut caller = Raw::connect(world.gateway.address()).await;
    caller.send("GET /public/endless HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    world.upstream.received(1).await;
    world.gateway.signal(Signal::SIGTERM);
    world.gateway.says("stopping");
    let before = world.gateway.output().matches("reloaded").count();
    world.gateway.signal(Signal::SIGHUP);
    drop(caller);
    let (code, _) = world.gateway.wait();
    assert_eq!((code, world.gateway.output().matches("reloaded").count()), (0, before));
}

/// Whether requests are bounded is known across reloads: those under way count on.
#[tokio::test]
async fn places_at_an_upstream_are_counted_across_reloads() {
    let bounded = || Plan { upstream: ", max_in_flight: 1, queue: { length: 0 }", ..plan(EXAMPLE) };
    let world = World::with(&bounded(), |setup| setup);
    let gate = Arc::new(Semaphore::new(0));
    let held = Arc::clone(&gate);
    world
        .upstream
        .on("/public/slow", move |_| Answer::chunked("text/plain", &["first ", "second"], Some(&held)));
    let mut slow = Raw::connect(world.gateway.address()).await;
    slow.send("GET /public/slow HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    world.upstream.received(1).await;
    assert!(world.reload(&bounded()));
    assert_eq!(world.client().get("/public/x").send().await.status, 503);
    gate.add_permits(2);
    assert_eq!(slow.response().await.status, 200);
    within("a place", async { while world.client().get("/public/x").send().await.status != 200 {} }).await;
}
