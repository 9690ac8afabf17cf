//! The three adapters of `conf/adapters` before an upstream that judges signals as Camunda 7 does.

use serde_json::{Map, Value, json};

use super::kit::{
    DISK, assert_nothing_kept, assert_refused, dead, delivered, drained, entries, hook, kept, plan,
    pushed_world, slack,
};
use crate::harness::answer::Answer;
use crate::harness::glue::minted_for;
use crate::harness::http::Call;
use crate::harness::upstream::Recorded;
use crate::harness::world::World;

const SIGNAL: &str = "/engine-rest/signal";
/// What a String variable may have in Camunda's database.
const LONGEST: usize = 4000;

/// An error as the engine's REST interface writes it (`ExceptionDto`).
fn error(status: u16, kind: &str, message: &str) -> Answer {
    let body = json!({"type": kind, "message": message, "code": null});
    Answer::new(status, body.to_string()).header("Content-Type", "application/json")
}

/// `POST /engine-rest/signal` (`SignalRestServiceImpl`).
fn signal(request: &Recorded) -> Answer {
    if request.header("content-type").as_deref() != Some("application/json") {
        return error(415, "NotSupportedException", "HTTP 415 Unsupported Media Type");
    }
    let Ok(Value::Object(body)) = serde_json::from_slice(request.body()) else {
        return error(400, "InvalidRequestException", "Cannot parse request body");
    };
    let known = ["name", "executionId", "variables", "tenantId", "withoutTenantId"];
    if let Some(unknown) = body.keys().find(|key| !known.contains(&key.as_str())) {
        return error(400, "JsonMappingException", &format!("Unrecognized field \"{unknown}\""));
    }
    if !body.get("name").is_some_and(Value::is_string) {
        return error(400, "InvalidRequestException", "No signal name given");
    }
    let none = Map::new();
    let variables = body.get("variables").and_then(Value::as_object).unwrap_or(&none);
    let problem = variables.values().find_map(|value| variable(value).err());
    problem.unwrap_or_else(|| Answer::new(204, ""))
}

/// `VariableValueDto`, for the types that JSON can bring.
fn variable(value: &Value) -> Result<(), Answer> {
    let Value::Object(members) = value else {
        return Err(error(400, "JsonMappingException", "Cannot construct instance of VariableValueDto"));
    };
    if members.keys().any(|key| !["type", "value", "valueInfo"].contains(&key.as_str())) {
        return Err(error(400, "JsonMappingException", "Unrecognized field"));
    }
    let kind = members.get("type").and_then(Value::as_str).unwrap_or("String");
    let value = members.get("value").unwrap_or(&Value::Null);
    let misfit = || {
        let message = format!("Cannot convert value '{value}' of type '{kind}' to java type");
        Err(error(400, "InvalidRequestException", &message))
    };
    match kind {
        "String" => match value {
            Value::String(text) if text.chars().count() > LONGEST => {
                Err(error(500, "ProcessEngineException", "value too long for type character varying(4000)"))
            }
            Value::Array(_) | Value::Object(_) => misfit(),
            Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Null => Ok(()),
        },
        "Integer" | "Long" | "Short" if !value.is_i64() => misfit(),
        "Boolean" if !value.is_boolean() => misfit(),
        "Integer" | "Long" | "Short" | "Boolean" | "Double" => Ok(()),
        "Null" if !value.is_null() => misfit(),
        "Null" => Ok(()),
        "Json" | "Xml" | "Object" => match value {
            Value::String(text) if kind == "Json" && serde_json::from_str::<Value>(text).is_err() => misfit(),
            Value::String(_) | Value::Null => Ok(()),
            Value::Array(_) | Value::Object(_) | Value::Number(_) | Value::Bool(_) => Err(error(
                400,
                "InvalidRequestException",
                "Must provide 'null' or String value for value of SerializableValue type 'Object'.",
            )),
        },
        other => Err(error(400, "RestException", &format!("Unsupported value type '{other}'"))),
    }
}

/// A location with an adapter that comes with the gateway.
fn adapted(path: &str, access: &str, program: &str, more: &str) -> String {
    let program = format!("{}/conf/adapters/{program}.jq", env!("CARGO_MANIFEST_DIR"));
    format!(
        "{{ path: {path}, methods: [POST], {access}, adapt: {program}, rewrite: {SIGNAL}, wal: true, upstream: up{more} }}"
    )
}

fn locations() -> Vec<String> {
    let slack = "access: webhook, webhook: { slack: { secret: s } }";
    vec![
        adapted(
            "/slack/command/",
            slack,
            "slack-command",
            ", reply: { json: { response_type: in_channel } }",
        ),
        adapted("/slack/event/", slack, "slack-event", ""),
        adapted("'= /zapier/engine-rest/signal'", "access: google", "zapier-signal", ""),
    ]
}

fn world() -> World {
    let locations = locations();
    let world = plan(DISK, &locations.iter().map(String::as_str).collect::<Vec<_>>()).start();
    world.upstream.on(SIGNAL, signal);
    world
}

fn command(world: &World, form: &str) -> Call {
    slack(world, "/slack/command/", form).header("content-type", "application/x-www-form-urlencoded")
}

fn event(world: &World, event: &Value) -> Call {
    slack(world, "/slack/event/", &event.to_string()).header("content-type", "application/json")
}

fn zapier(world: &World, token: &str, body: &Value) -> Call {
    let call = world.client().post("/zapier/engine-rest/signal", body.to_string()).bearer(token);
    call.header("content-type", "application/json; charset=utf-8").header("user-agent", "Zapier")
}

/// The signal that arrived; nothing is left, and nothing is dead.
async fn arrived(world: &World) -> Value {
    delivered(world).await;
    assert_eq!(entries(world, &[]), Vec::<Value>::new(), "Camunda did not take it");
    let request = world.upstream.only();
    assert_eq!((request.method().as_str(), request.target().as_str()), ("POST", SIGNAL));
    let token = request.header("x-serverless-authorization").unwrap();
    assert_eq!(minted_for(&token), Some(world.upstream.url()));
    serde_json::from_slice(request.body()).unwrap()
}

fn text(value: &str) -> Value {
    json!({"type": "String", "value": value})
}

#[tokio::test]
async fn a_slash_command_starts_a_process() {
    let world = world();
    let form = "token=t&team_id=T1DC2JH3J&command=%2Fdeploy&text=prod+now%21&user_id=U2CERLKJA&\
        response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1&again=1&again=2&empty=";
    let response = command(&world, form).send().await;
    assert_eq!(
        (response.status.as_u16(), response.text().as_str()),
        (200, "{\"response_type\":\"in_channel\"}")
    );
    assert!(response.header("content-type").unwrap().starts_with("application/json"));
    let signal = arrived(&world).await;
    assert_eq!(signal["name"], "slackCommand");
    let variables = &signal["variables"];
    for (name, value) in [
        ("text", "prod now!"),
        ("command", "/deploy"),
        ("user_id", "U2CERLKJA"),
        ("response_url", "https://hooks.slack.com/commands/T1"),
        ("again", "[\"1\",\"2\"]"),
        ("empty", ""),
    ] {
        assert_eq!(variables[name], text(value), "{name}");
    }
}

#[tokio::test]
async fn an_event_starts_a_process_once_however_often_slack_sends_it() {
    let world = world();
    let body = json!({"token": "t", "team_id": "T1", "api_app_id": "A1", "type": "event_callback",
        "event_id": "Ev0PV52K25", "event_time": 1, "event": {"type": "message", "text": "hi \u{1f680}", "ts": "1.2"}});
    for _ in 0..3 {
        kept(event(&world, &body).header("x-slack-retry-num", "1")).await;
    }
    let signal = arrived(&world).await;
    assert_eq!(signal["name"], "event");
    assert_eq!(signal["variables"]["event_id"], text("Ev0PV52K25"));
    let inner: Value = serde_json::from_str(signal["variables"]["event"]["value"].as_str().unwrap()).unwrap();
    assert_eq!(inner, body["event"]);
    world.upstream.forget();
    let long = json!({"type": "event_callback", "event_id": "Ev2", "event": {"text": "ü".repeat(5000)}});
    kept(event(&world, &long)).await;
    let signal = arrived(&world).await;
    assert_eq!(signal["variables"]["event"]["type"], "Json");
    world.upstream.forget();
    let limited =
        json!({"token": "t", "type": "app_rate_limited", "team_id": "T1", "minute_rate_limited": 1});
    kept(event(&world, &limited)).await;
    assert_eq!(arrived(&world).await["variables"]["type"], text("app_rate_limited"));
}

#[tokio::test]
async fn slack_s_proof_of_the_url_never_reaches_camunda() {
    let world = world();
    let body = json!({"type": "url_verification", "challenge": "abc", "token": "t"});
    let response = event(&world, &body).send().await;
    assert_eq!((response.status.as_u16(), response.text().as_str()), (200, "abc"));
    assert_nothing_kept(&world);
}

#[tokio::test]
async fn a_zap_sends_a_signal_in_its_user_s_name() {
    let world = world();
    let body = json!({"name": "order", "variables": {"n": 5, "ok": true, "text": "hi", "none": null,
        "list": [1, "2"], "object": {"a": {"b": 1}}, "float": 1.5}});
    kept(zapier(&world, &world.access("ada@example.com"), &body)).await;
    let signal = arrived(&world).await;
    let json_of = |value: &str| json!({"type": "Json", "value": value});
    assert_eq!(
        signal,
        json!({"name": "order", "variables": {"n": text("5"), "ok": text("true"), "text": text("hi"),
            "none": {"type": "Null", "value": null}, "list": json_of("[1,\"2\"]"),
            "object": json_of("{\"a\":{\"b\":1}}"), "float": text("1.5")}})
    );
    let request = world.upstream.only();
    for (name, value) in [
        ("x-goog-authenticated-user-email", "accounts.google.com:ada@example.com".to_owned()),
        (
            "x-goog-authenticated-user-id",
            format!("accounts.google.com:{}", world.google.account("ada@example.com").unwrap().sub),
        ),
    ] {
        assert_eq!(request.headers().all(name), [value], "{name}");
    }
    assert_eq!(request.header("authorization"), None, "the user's token is not recorded");
}

#[tokio::test]
async fn nobody_sends_signals_without_a_token_or_a_signature() {
    let world = world();
    let body = json!({"name": "order", "variables": {}});
    let unsigned = |path: &str| world.client().post(path, "text=x");
    let mut table = world.table();
    let without = world.client().post("/zapier/engine-rest/signal", body.to_string());
    table.refused("no token", without, 401, "unauthenticated").await;
    let stranger = world.access("mallory@other.example");
    table.refused("not allowed", zapier(&world, &stranger, &body), 403, "forbidden").await;
    let unverified = world.access("eve@example.com");
    table.refused("not verified", zapier(&world, &unverified, &body), 401, "invalid_credential").await;
    let revoked = world.access("grace@example.com");
    assert!(world.google.revoke(&revoked));
    table.refused("revoked", zapier(&world, &revoked, &body), 401, "invalid_credential").await;
    table
        .refused("nonsense", zapier(&world, "ya29.nonsense-of-somebody", &body), 401, "invalid_credential")
        .await;
    table.refused("a command", unsigned("/slack/command/"), 403, "bad_signature").await;
    table.refused("an event", unsigned("/slack/event/"), 403, "bad_signature").await;
    let get = world.client().get("/slack/command/");
    table.refused("another method", get, 405, "method_not_allowed").await;
    table.finish().await;
    world.upstream.forget();
    assert_nothing_kept(&world);
}

#[tokio::test]
async fn what_camunda_would_refuse_is_refused_at_once() {
    let world = world();
    let ada = world.access("ada@example.com");
    let long = "x".repeat(LONGEST + 1);
    let response = command(&world, &format!("text={long}")).send().await;
    assert_refused(&response, 422, "adapter_rejected");
    let not_a_form = slack(&world, "/slack/command/", "{}").header("content-type", "application/json");
    assert_refused(&not_a_form.send().await, 422, "adapter_rejected");
    assert_refused(&event(&world, &json!([1])).send().await, 422, "adapter_rejected");
    for body in [json!([]), json!("x"), json!({"variables": []}), json!({"variables": {"v": long}})] {
        let response = zapier(&world, &ada, &body).send().await;
        assert_refused(&response, 422, "adapter_rejected");
    }
    let broken = world.client().post("/zapier/engine-rest/signal", "{").bearer(&ada);
    let broken = broken.header("content-type", "application/json").send().await;
    assert_refused(&broken, 400, "invalid_body");
    assert_nothing_kept(&world);
}

#[tokio::test]
async fn what_camunda_refuses_later_is_a_dead_letter_with_its_status() {
    let world = world();
    let ada = world.access("ada@example.com");
    kept(zapier(&world, &ada, &json!({"variables": {}}))).await;
    kept(zapier(&world, &ada, &json!({"name": "n", "unknown": 1}))).await;
    for letter in dead(&world, 2).await {
        assert!(letter["reason"].as_str().unwrap().contains("answered 400"), "{letter}");
    }
    assert_eq!(world.upstream.count(), 2);
    assert!(minted_for(&world.upstream.last().header("x-serverless-authorization").unwrap()).is_some());
}

#[tokio::test]
async fn the_same_through_pub_sub() {
    let world = pushed_world(&[locations(), vec![hook("/plain", "")]].concat());
    world.upstream.on(SIGNAL, signal);
    kept(command(&world, "text=hi")).await;
    kept(event(&world, &json!({"type": "event_callback", "event_id": "Ev1", "event": {"a": 1}}))).await;
    kept(zapier(&world, &world.access("ada@example.com"), &json!({"name": "z", "variables": {"a": 1}})))
        .await;
    drained(&world).await;
    assert_eq!(world.google.messages(super::kit::DEAD), []);
    let mut seen: Vec<_> = world
        .upstream
        .requests()
        .iter()
        .map(|request| {
            let body: Value = serde_json::from_slice(request.body()).unwrap();
            let by = request.header("x-goog-authenticated-user-email").unwrap_or_default();
            (body["name"].as_str().unwrap().to_owned(), by)
        })
        .collect();
    seen.sort();
    let ada = "accounts.google.com:ada@example.com".to_owned();
    let expected = [("event", String::new()), ("slackCommand", String::new()), ("z", ada)];
    assert_eq!(seen, expected.map(|(name, by)| (name.to_owned(), by)));
}

/// The upstream of these tests refuses what Camunda refuses.
#[test]
fn the_stand_in_for_camunda_is_strict() {
    let judged = |body: Value| {
        let mut recorded = Recorded { message: Default::default() };
        recorded.message.headers.0.push((b"content-type".to_vec(), b"application/json".to_vec()));
        recorded.message.body = body.to_string().into_bytes();
        match signal(&recorded) {
            Answer::Full { status, .. } => status,
            Answer::Steps(_) => 0,
        }
    };
    let with = |value: Value| judged(json!({"name": "n", "variables": {"v": value}}));
    assert_eq!(judged(json!({"name": "n"})), 204);
    assert_eq!(judged(json!({"variables": {}})), 400);
    assert_eq!(with(json!({"type": "String", "value": 5})), 204);
    assert_eq!(with(json!({"type": "String", "value": "x".repeat(LONGEST + 1)})), 500);
    for wrong in [
        json!(5),
        json!({"type": "Integer", "value": "abc"}),
        json!({"type": "X", "value": 1}),
        json!({"type": "Json", "value": {"a": 1}}),
        json!({"type": "Json", "value": "{"}),
        json!({"type": "Null", "value": 1}),
    ] {
        assert_eq!(with(wrong.clone()), 400, "{wrong}");
    }
}
