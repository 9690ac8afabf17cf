//! Log lines: Cloud Logging's types, who gets one, and what is never in one (CVE-2022-23469).

use nix::sys::signal::Signal;
use portcullis::dev::google::{Endpoint, Fault};
use serde_json::Value;

use crate::harness::canary;
use crate::harness::raw::once;
use crate::harness::world::{Plan, World};

const ADA: &str = "ada@example.com";

/// Ends the gateway, so that every line is there, and parses them all.
fn lines(world: &World) -> Vec<Value> {
    world.gateway.signal(Signal::SIGTERM);
    assert_eq!(world.gateway.wait().0, 0);
    let output = world.gateway.output();
    output
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn requests(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line.get("httpRequest").is_some()).collect()
}

#[tokio::test]
async fn json_lines_have_the_types_of_cloud_logging() {
    let world = World::start();
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let parent = format!("00-{trace}-b7ad6b7169203331-01");
    let call = world.client().get("/x?q=1").bearer(&world.access(ADA)).header("user-agent", "agent/1");
    assert_eq!(
        call.header("traceparent", &parent).header("x-forwarded-for", "192.0.2.5").send().await.status,
        200
    );
    assert_eq!(world.client().get("/x").send().await.status, 401);
    world.upstream.on("/public/broken", |_| crate::harness::answer::Answer::raw("no HTTP\r\n\r\n"));
    assert_eq!(world.client().get("/public/broken").send().await.status, 502);
    let lines = lines(&world);
    for line in &lines {
        let severity = line["severity"].as_str().unwrap();
        assert!(["DEBUG", "INFO", "NOTICE", "WARNING", "ERROR"].contains(&severity), "{line}");
        let time = line["time"].as_str().unwrap();
        assert!(time.len() >= 20 && time.ends_with('Z') && time.as_bytes()[10] == b'T', "{line}");
        assert!(!line["message"].as_str().unwrap().is_empty(), "{line}");
    }
    let requests = requests(&lines);
    assert_eq!(requests.len(), 3, "{requests:?}");
    for line in &requests {
        let http = &line["httpRequest"];
        assert!(http["status"].is_u64() && http["requestMethod"].is_string(), "{line}");
        assert!(http["responseSize"].as_str().unwrap().parse::<u64>().is_ok(), "{line}");
        let latency = http["latency"].as_str().unwrap().strip_suffix('s').unwrap();
        assert!(latency.parse::<f64>().is_ok(), "{line}");
        assert!(line["logging.googleapis.com/trace_sampled"].is_boolean(), "{line}");
        assert_eq!(
            line["logging.googleapis.com/trace"].as_str().unwrap().rsplit('/').next().unwrap().len(),
            32
        );
        assert!(line["request_id"].is_string(), "{line}");
    }
    let good = requests[0];
    assert_eq!(
        (good["severity"].as_str(), good["httpRequest"]["status"].as_u64()),
        (Some("INFO"), Some(200))
    );
    assert!(good["logging.googleapis.com/trace"].as_str().unwrap().ends_with(trace));
    assert_eq!(good["httpRequest"]["remoteIp"], "192.0.2.5");
    assert_eq!(good["httpRequest"]["userAgent"], "agent/1");
    assert_eq!((good["identity"].as_str(), good["location"].as_str()), (Some(ADA), Some("/")));
    assert!(good["httpRequest"]["requestUrl"].as_str().unwrap().ends_with("/x"), "without the query: {good}");
    assert_eq!(
        (requests[1]["severity"].as_str(), requests[1]["refusal"].as_str()),
        (Some("NOTICE"), Some("unauthenticated"))
    );
    assert_eq!(
        (requests[2]["severity"].as_str(), requests[2]["refusal"].as_str()),
        (Some("ERROR"), Some("upstream_invalid"))
    );
}

#[tokio::test]
async fn on_cloud_run_the_trace_has_its_projects_name() {
    let world = World::start();
    let yaml = Plan::default().yaml(&world.google, &world.upstream);
    let setup = crate::harness::gateway::Setup::new(&yaml).env("GOOGLE_CLOUD_PROJECT", "example-project");
    let gateway = setup.start();
    let call = crate::harness::http::Client::new(gateway.address()).get("/x");
    assert_eq!(call.send().await.status, 401);
    gateway.says("\"logging.googleapis.com/trace\":\"projects/example-project/traces/");
}

#[tokio::test]
async fn who_gets_a_line_is_configured() {
    for (log, wanted) in [
        ("{ format: json, level: info, requests: all }", vec![200, 401]),
        ("{ format: json, level: info, requests: refused }", vec![401]),
        ("{ format: json, level: info, requests: none }", vec![]),
    ] {
        let world = Plan { log, ..Plan::default() }.start();
        assert_eq!(world.client().get("/public/x").send().await.status, 200);
        assert_eq!(world.client().get("/x").send().await.status, 401);
        let lines = lines(&world);
        let statuses: Vec<_> =
            requests(&lines).iter().map(|line| line["httpRequest"]["status"].as_u64().unwrap()).collect();
        assert_eq!(statuses, wanted, "{log}");
    }
}

#[tokio::test]
async fn text_is_for_people() {
    let world = Plan { log: "{ format: text, level: info, requests: all }", ..Plan::default() }.start();
    assert_eq!(world.client().get("/public/x?secret=1").send().await.status, 200);
    assert_eq!(
        world.client().get("/x").bearer(&world.access("mallory@other.example")).send().await.status,
        403
    );
    world.gateway.signal(Signal::SIGTERM);
    world.gateway.wait();
    let output = world.gateway.output();
    assert!(output.contains("INFO  GET /public/x 200 at /public/"), "{output}");
    assert!(output.contains("GET /x 403 forbidden as mallory@other.example at /"), "{output}");
    assert!(!output.contains("secret=1"), "{output}");
    for line in output.lines() {
        assert!(!line.starts_with('{') && line.as_bytes().get(10) == Some(&b'T'), "{line}");
    }
}

/// The canaries are looked for when the gateway ends, in all it has written.
#[tokio::test]
async fn nothing_secret_is_written_at_any_level() {
    for log in
        ["{ format: json, level: trace, requests: all }", "{ format: text, level: trace, requests: all }"]
    {
        let world = Plan { log, ..Plan::default() }.start();
        let secret = canary::token("log");
        let (cookie, code) = (canary::cookie(), canary::code());
        let client = world.client();
        let good = world.access(ADA);
        for path in ["/x", "/public/x", "/.portcullis/whoami", "/.portcullis/nothing", "/%2e%2e/x"] {
            let with_query = format!("{path}?access_token={secret}&code={code}");
            for call in [
                client.get(path).bearer(&secret),
                client.get(path).session(&secret),
                client.get(path).bearer(&good).session(cookie),
                client.get(&with_query).bearer(&good),
                client.get(&with_query).navigation(),
                client.get(path).header("referer", &format!("https://a.test/?access_token={secret}")),
                client.get(path).header("x-serverless-authorization", &format!("Bearer {secret}")),
                client.get(path).header("x-goog-iap-jwt-assertion", &secret),
                client.post(path, format!("access_token={secret}&state={cookie}")),
            ] {
                // The sign-in's redirect keeps the way back in a cookie; only the log is looked at here.
                drop(call.stream().await);
            }
        }
        for (number, fault) in [Fault::Close, Fault::Html, Fault::Empty].into_iter().enumerate() {
            world.google.fail(Endpoint::Tokeninfo, fault);
            let unknown = canary::token(&format!("fault-{number}"));
            assert_eq!(
                client.get("/x").bearer(&unknown).header("x-forwarded-for", "192.0.2.1").send().await.status,
                503
            );
        }
        world.upstream.on("/public/broken", |_| crate::harness::answer::Answer::raw("no HTTP\r\n\r\n"));
        assert_eq!(client.get(&format!("/public/broken?access_token={secret}")).send().await.status, 502);
        world.gateway.signal(Signal::SIGTERM);
        world.gateway.wait();
        let output = world.gateway.output();
        assert!(output.contains("/public/broken"), "the requests are in the log: {output}");
        canary::assert_clean("the log", &output);
        let minted = world.upstream.last().header("x-serverless-authorization").unwrap();
        let minted = minted.strip_prefix("Bearer ").unwrap();
        assert!(
            !output.contains(minted) && !output.contains(minted.rsplit('.').next().unwrap()),
            "the minted token"
        );
    }
}

#[tokio::test]
async fn nobody_forges_a_line() {
    for log in
        ["{ format: json, level: debug, requests: all }", "{ format: text, level: debug, requests: all }"]
    {
        let world = Plan { log, ..Plan::default() }.start();
        let address = world.gateway.address();
        let forged = "{\"severity\":\"ALERT\",\"message\":\"forged\"}";
        for target in [
            format!("/public/%0a{}", forged.replace('"', "%22")),
            format!("/public/%0d%0a{forged}"),
            "/public/%1b[2J%1b[31mforged".to_owned(),
            "/public/\u{85}forged".to_owned(),
            "/public/\u{2028}forged".to_owned(),
            "/public/\u{1b}[31mforged".to_owned(),
        ] {
            let agent = "a\tb\u{85}forged\\n\"}";
            let request = format!(
                "GET {target} HTTP/1.1\r\nHost: gw.test\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n"
            );
            once(address, request).await;
        }
        world.gateway.signal(Signal::SIGTERM);
        world.gateway.wait();
        let output = world.gateway.output();
        assert!(output.contains("gw.test") || output.contains("/public/"), "{output}");
        for line in output.lines() {
            assert!(!line.contains('\u{1b}') && !line.contains('\u{85}') && !line.contains('\r'), "{line:?}");
            match serde_json::from_str::<Value>(line) {
                Ok(parsed) => assert_ne!(parsed["severity"], "ALERT", "{line}"),
                Err(_) => assert!(log.contains("text") && line.starts_with("20"), "{line}"),
            }
        }
    }
}
