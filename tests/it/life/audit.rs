//! What is told of sign-in, sign-out and denial, whichever requests have a line; and that every line has the types that
//! Cloud Logging reads.

use nix::sys::signal::Signal;
use portcullis::dev::google::{Endpoint, Fault};
use serde_json::Value;

use crate::harness::answer::Answer;
use crate::harness::world::{Plan, World};

const ADA: &str = "ada@example.com";
const QUIET: &str = "{ format: json, level: info, requests: none }";

/// Ends the gateway, so that every line is there, and parses them all.
fn lines(world: &World) -> Vec<Value> {
    world.gateway.signal(Signal::SIGTERM);
    assert_eq!(world.gateway.wait().0, 0);
    let output = world.gateway.output();
    output.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The cookies of an answer as a browser sends them back.
fn cookies(headers: &hyper::HeaderMap) -> String {
    let set = headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap());
    set.map(|cookie| cookie.split(';').next().unwrap()).collect::<Vec<_>>().join("; ")
}

/// Signs in as the callback page does: the request's id.
async fn signs_in(world: &World, token: &str) -> String {
    let begun = world.client().get("/.portcullis/login?return=/x").navigation().send().await;
    let location = begun.headers["location"].to_str().unwrap();
    let state = location.split("state=").nth(1).unwrap().split('&').next().unwrap();
    let form = format!("access_token={token}&state={state}");
    let call = world.client().post("/.portcullis/session", form).header("cookie", &cookies(&begun.headers));
    let call = call.header("content-type", "application/x-www-form-urlencoded");
    let done = call.header("x-forwarded-for", "192.0.2.7").send().await;
    assert_eq!(done.status, 303, "{}", done.text());
    done.headers["x-request-id"].to_str().unwrap().to_owned()
}

/// Signs out: the request's id.
async fn signs_out(world: &World, token: &str, form: &'static str) -> String {
    let call = world.client().post("/.portcullis/logout", form).session(token);
    let done = call.header("content-type", "application/x-www-form-urlencoded").send().await;
    assert_eq!(done.status, 200, "{}", done.text());
    done.headers["x-request-id"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn sign_in_sign_out_and_denial_have_a_line_though_requests_have_none() {
    let world = Plan { log: QUIET, ..Plan::default() }.start();
    let (first, second, third) = (world.access(ADA), world.access(ADA), world.access(ADA));
    let signed_in = signs_in(&world, &first).await;
    assert_eq!(world.client().get("/x").session(&first).send().await.status, 200);
    let plain = signs_out(&world, &first, "").await;
    let withdrawn = signs_out(&world, &second, "revoke=1").await;
    world.google.fail(Endpoint::Revocation, Fault::Close);
    let failed = signs_out(&world, &third, "revoke=1").await;
    // Nothing ends here, and nobody is kept out who is known.
    signs_out(&world, &first, "").await;
    assert_eq!(world.client().get("/x").send().await.status, 401);
    let mallory = world.access("mallory@other.example");
    let denied = world.client().get("/x").bearer(&mallory).send().await;
    assert_eq!(denied.status, 403);
    let denied = denied.headers["x-request-id"].to_str().unwrap().to_owned();

    let lines = lines(&world);
    let audit: Vec<&Value> = lines.iter().filter(|line| line.get("audit").is_some()).collect();
    let told: Vec<_> = audit
        .iter()
        .map(|line| {
            let text = |key: &str| line[key].as_str().unwrap();
            (text("audit"), text("identity"), text("request_id").to_owned(), line["revoked"].as_bool())
        })
        .collect();
    let expected = [
        ("sign_in", ADA, signed_in, None),
        ("sign_out", ADA, plain, None),
        ("sign_out", ADA, withdrawn, Some(true)),
        ("sign_out", ADA, failed.clone(), Some(false)),
        ("denied", "mallory@other.example", denied, None),
    ];
    assert_eq!(told, expected);
    assert!(audit.iter().all(|line| line["severity"] == "NOTICE"));
    assert_eq!(audit[0]["httpRequest"]["remoteIp"], "192.0.2.7");
    assert_eq!((&audit[4]["location"], &audit[4]["refusal"]), (&"/".into(), &"forbidden".into()));
    let requests = lines.iter().filter(|line| line.get("httpRequest").is_some()).count();
    assert_eq!(requests, audit.len(), "no other request has a line");
    let warning = lines.iter().find(|line| line["severity"] == "WARNING").unwrap();
    assert_eq!(
        warning["request_id"].as_str(),
        Some(failed.as_str()),
        "a warning says whose it is: {warning}"
    );
}

#[tokio::test]
async fn a_level_above_info_hides_them() {
    let log = "{ format: json, level: warn, requests: none }";
    // Without level info nothing announces the listener, so the gateway is asked until it answers.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (google, _task) = crate::harness::world::stand_in(portcullis::dev::google::Options::default());
    let upstream = crate::harness::upstream::Upstream::start();
    let yaml =
        Plan { log, further: format!("listen: {address}\n"), ..Plan::default() }.yaml(&google, &upstream);
    let gateway = crate::harness::gateway::Setup::new(&yaml).launch();
    let listens = || std::net::TcpStream::connect(address).is_ok();
    crate::harness::background::eventually("the listener", listens).await;
    let spec = portcullis::dev::google::AccessTokenSpec::person(
        google.account("mallory@other.example").unwrap(),
        portcullis::dev::google::CLIENT_ID,
    );
    let token = google.issue_access_token(&spec);
    let call = crate::harness::http::Client::new(address).get("/x").bearer(&token);
    assert_eq!(call.send().await.status, 403);
    gateway.signal(Signal::SIGTERM);
    assert_eq!(gateway.wait().0, 0);
    assert!(!gateway.output().contains("denied"), "{}", gateway.output());
}

/// Whether a value has the form that Cloud Logging wants of a field
/// (<https://docs.cloud.google.com/logging/docs/structured-logging>). Fields that are not listed do not fit.
fn fits(name: &str, value: &Value) -> bool {
    let text = value.as_str();
    let hex = |length: usize| {
        text.is_some_and(|it| {
            it.len() == length && it.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    match name {
        "severity" => text.is_some_and(|it| ["DEBUG", "INFO", "NOTICE", "WARNING", "ERROR"].contains(&it)),
        "time" => text.is_some_and(|it| humantime::parse_rfc3339(it).is_ok()),
        "message" | "target" | "location" | "refusal" | "cause" => text.is_some_and(|it| !it.is_empty()),
        "identity" => text.is_some_and(|it| it.contains('@')),
        "step" => text.is_some_and(|it| it.bytes().all(|byte| byte.is_ascii_lowercase())),
        "audit" => text.is_some_and(|it| ["sign_in", "sign_out", "denied"].contains(&it)),
        "revoked" | "logging.googleapis.com/trace_sampled" => value.is_boolean(),
        "request_id" => hex(32),
        "logging.googleapis.com/spanId" => hex(16),
        "logging.googleapis.com/trace" => text
            .and_then(|it| it.strip_prefix("projects/example-project/traces/"))
            .is_some_and(|id| id.len() == 32),
        "httpRequest" => value.as_object().is_some_and(|request| {
            request.len() == 8 && request.iter().all(|(name, value)| fits_request(name, value))
        }),
        _ => false,
    }
}

/// The same for the fields of `httpRequest`: 64-bit numbers and durations are strings.
fn fits_request(name: &str, value: &Value) -> bool {
    match name {
        "requestMethod" | "requestUrl" | "userAgent" | "remoteIp" | "protocol" => value.is_string(),
        "status" => value.as_u64().is_some_and(|status| status == 0 || (100..600).contains(&status)),
        "responseSize" => value.as_str().is_some_and(|it| it.parse::<u64>().is_ok()),
        "latency" => value.as_str().and_then(|it| it.strip_suffix('s')).is_some_and(|it| {
            it.split_once('.').is_some_and(|(whole, part)| {
                whole.parse::<u64>().is_ok() && part.len() <= 9 && part.parse::<u64>().is_ok()
            })
        }),
        _ => false,
    }
}

#[tokio::test]
async fn every_line_has_the_types_that_cloud_logging_reads() {
    let plan = Plan { log: "{ format: json, level: debug, requests: all }", ..Plan::default() };
    let world = World::with(&plan, |setup| setup.env("GOOGLE_CLOUD_PROJECT", "example-project"));
    let client = world.client();
    // The project's name is there before anything else is asked for.
    assert_eq!(client.get("/public/x").send().await.status, 200);
    world.upstream.on("/public/broken", |_| Answer::raw("no HTTP\r\n\r\n"));
    let token = world.access(ADA);
    signs_in(&world, &token).await;
    let agent = "a\u{e9}\"\\ agent";
    for (call, status) in [
        (client.get("/x?q=1").session(&token).header("user-agent", agent), 200),
        (client.get("/x").session(&token).header("x-cloud-trace-context", &format!("{:032x}/7;o=1", 5)), 200),
        (client.get("/x").header("traceparent", &format!("00-{:032x}-{:016x}-01", 5, 6)), 401),
        (client.get("/x").bearer("ya29.nobody-knows-this-token"), 401),
        (client.get("/x").bearer(&world.access("mallory@other.example")), 403),
        (client.call("TRACE", "/x"), 405),
        (client.get("/public/broken"), 502),
        (client.get("/%2e%2e/x"), 400),
        (client.get("/.portcullis/health"), 200),
    ] {
        assert_eq!(call.send().await.status, status);
    }
    world.google.fail(Endpoint::Revocation, Fault::Close);
    signs_out(&world, &token, "revoke=1").await;
    let lines = lines(&world);
    assert!(lines.len() >= 14, "only {}", lines.len());
    for line in &lines {
        let fields = line.as_object().unwrap();
        for (name, value) in fields {
            assert!(fits(name, value), "{name} is {value} in {line}");
        }
        let request = fields.contains_key("httpRequest");
        for name in ["severity", "time", "message"] {
            assert!(fields.contains_key(name), "no {name} in {line}");
        }
        for name in ["request_id", "step", "logging.googleapis.com/trace", "logging.googleapis.com/spanId"] {
            assert!(!request || fields.contains_key(name), "no {name} in {line}");
        }
    }
}
