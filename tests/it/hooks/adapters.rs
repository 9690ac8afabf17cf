//! Adapters that refuse, drop, fail or never end; what they see, and what they make.

use super::kit::{
    DISK, assert_nothing_kept, assert_refused, delivered, entries, github, hook, kept, plan, world,
};
use crate::harness::background;
use crate::harness::http::{Call, Response};
use crate::harness::world::World;

fn json(world: &World, path: &str, body: &str) -> Call {
    github(world, path, body.to_owned()).header("content-type", "application/json")
}

fn adapted(path: &str, program: &str) -> String {
    hook(path, &format!(", adapt: {{ jq: '{program}' }}"))
}

#[tokio::test]
async fn an_adapter_refuses_in_its_own_words() {
    let world = world(
        DISK,
        &[
            adapted("/in", r#"if .json.amount > 10 then error("at most 10 at once") else .json end"#),
            adapted("/odd", r#"error({"code": 7})"#),
            adapted("/null", "error(null)"),
        ],
    );
    let response = json(&world, "/in", "{\"amount\":11}").send().await;
    assert_refused(&response, 422, "adapter_rejected");
    assert!(response.text().contains("at most 10 at once"), "{}", response.text());
    for path in ["/odd", "/null"] {
        assert_refused(&json(&world, path, "{}").send().await, 422, "adapter_rejected");
    }
    assert_nothing_kept(&world);
    kept(json(&world, "/in", "{\"amount\":10}")).await;
}

#[tokio::test]
async fn nothing_is_acknowledged_and_not_recorded() {
    let reply = ", reply: { status: 202, json: { ok: true } }";
    let one = hook("/in", &format!("{reply}, adapt: {{ jq: 'if .json.keep then .json else empty end' }}"));
    let direct = adapted("/direct", "empty").replace("wal: true, ", "");
    let world = world(DISK, &[one, direct]);
    let response = json(&world, "/in", "{}").send().await;
    assert_eq!((response.status.as_u16(), response.text().as_str()), (202, "{\"ok\":true}"));
    assert_eq!(response.header("x-portcullis-entry"), None);
    assert_eq!(json(&world, "/direct", "{}").send().await.status, 200);
    assert_nothing_kept(&world);
    let response = json(&world, "/in", "{\"keep\":1}").send().await;
    assert_eq!((response.status.as_u16(), response.text().as_str()), (202, "{\"ok\":true}"));
    assert!(response.header("x-portcullis-entry").is_some());
    delivered(&world).await;
    assert_eq!(world.upstream.only().body(), b"{\"keep\":1}");
}

#[tokio::test]
async fn a_program_that_fails_harms_nobody_else() {
    let world = world(
        DISK,
        &[
            adapted("/type", ".json.a.b"),
            adapted("/two", ".json, .json"),
            adapted("/loop", "def f: f; f"),
            adapted("/endless", "[repeat(1)]"),
            adapted("/memory", r#""x" * 100000000000 | length"#),
            adapted("/deep", "def f: 1 + f; f"),
            adapted("/large", r#""x" * 20000000"#),
            adapted("/good", ".json"),
        ],
    );
    for path in ["/type", "/two", "/loop", "/endless", "/memory", "/deep", "/large"] {
        let response = json(&world, path, "{\"a\":\"xoxb-of-the-message\"}").send().await;
        let got = (response.status.as_u16(), response.code());
        assert_eq!(got, (500, "adapter_failed".to_owned()), "{path}: {}", response.text());
        assert!(!response.text().contains("xoxb"), "{path}");
        // The next message has nothing to do with it.
        kept(json(&world, "/good", "{\"a\":1}")).await;
    }
    assert!(!world.gateway.output().contains("xoxb"), "the log holds a piece of the message");
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 7);
    assert!(world.upstream.requests().iter().all(|it| it.body() == b"{\"a\":1}"));
    assert_eq!(entries(&world, &[]).len(), 0);
}

#[tokio::test]
async fn when_all_adapters_are_busy_senders_are_told_to_come_back() {
    let world = world(DISK, &[adapted("/loop", "def f: f; f"), adapted("/good", ".json")]);
    let calls: Vec<Call> = (0..280).map(|_| json(&world, "/loop", "{}")).collect();
    let responses: Vec<Response> =
        futures_util::future::join_all(calls.into_iter().map(|call| background::run(call.send()))).await;
    let mut busy = 0;
    for response in &responses {
        match response.status.as_u16() {
            500 => assert_eq!(response.code(), "adapter_failed"),
            _ => {
                assert_refused(response, 503, "adapter_busy");
                busy += 1;
            }
        }
    }
    assert!(busy >= 20, "{busy}");
    assert_nothing_kept(&world);
    kept(json(&world, "/good", "{}")).await;
    delivered(&world).await;
}

#[tokio::test]
async fn a_program_sees_the_request_but_no_credential() {
    let program = "{method, path, query, headers, text}";
    let mut plan = plan(DISK, &[&adapted("/in", program)]);
    plan.hooks.push_str(&format!(
        "  - {{ path: /api, access: google, adapt: {{ jq: '{program}' }}, wal: true, upstream: up }}\n"
    ));
    let world = plan.start();
    let token = world.access("ada@example.com");
    kept(world.client().post("/api/x?a=1&a=2&b=%20", "hi").bearer(&token).header("x-own", "v")).await;
    world.upstream.received(1).await;
    let seen: serde_json::Value = serde_json::from_slice(world.upstream.only().body()).unwrap();
    assert_eq!(
        (&seen["method"], &seen["path"], &seen["text"]),
        (&"POST".into(), &"/api/x".into(), &"hi".into())
    );
    assert_eq!(seen["query"], serde_json::json!({"a": ["1", "2"], "b": " "}));
    assert_eq!(seen["headers"]["x-own"], "v");
    for name in ["authorization", "cookie", "x-serverless-authorization", "proxy-authorization"] {
        assert_eq!(seen["headers"].get(name), None, "{name}");
    }
    world.upstream.forget();
    kept(github(&world, "/in", "hi").header("cookie", "a=b").header("authorization", "Basic eDp5")).await;
    world.upstream.received(1).await;
    let seen: serde_json::Value = serde_json::from_slice(world.upstream.only().body()).unwrap();
    assert_eq!((seen["headers"].get("cookie"), seen["headers"].get("authorization")), (None, None));
    let request = world.upstream.only();
    assert_eq!(request.header("content-type").as_deref(), Some("application/json"));
}

#[tokio::test]
async fn a_program_that_is_wrong_ends_the_start() {
    for (program, part) in [(".json |", "adapt"), ("nothing_like_it", "nothing_like_it"), ("input", "input")]
    {
        let world = plan(DISK, &[&adapted("/in", program)]).launch();
        let gateway = &world.gateway;
        let (code, _) = gateway.wait();
        assert_eq!(code, 2, "{program}: {}", gateway.output());
        assert!(gateway.output().contains(part), "{program}: {}", gateway.output());
    }
}
