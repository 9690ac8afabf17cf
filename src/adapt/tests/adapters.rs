//! The programs in `conf/adapters`, on messages of the shape that their senders use.

use serde_json::{Value, json};

use super::*;

const ZAPIER: &str = include_str!("../../../conf/adapters/zapier-signal.jq");
const COMMAND: &str = include_str!("../../../conf/adapters/slack-command.jq");
const EVENT: &str = include_str!("../../../conf/adapters/slack-event.jq");

fn made(result: Result<Option<String>, Failure>) -> Value {
    serde_json::from_str(&result.unwrap().unwrap()).unwrap()
}

fn rejected(result: Result<Option<String>, Failure>) -> String {
    match result {
        Err(Failure::Rejected(why)) => why,
        other => panic!("{other:?}"),
    }
}

fn string(text: &str) -> Value {
    json!({"type": "String", "value": text})
}

#[test]
fn zapier_variables_become_typed() {
    let body = json!({
        "name": "order",
        "tenantId": null,
        "variables": {"text": "hello", "n": 5, "big": 12_345_678_901_234_567_890_u64, "yes": true, "none": null,
            "o": {"a": [1, "x"]}, "l": [1.5], "empty": ""},
    });
    assert_eq!(
        made(of_json(ZAPIER, &body.to_string())),
        json!({
            "name": "order",
            "tenantId": null,
            "variables": {
                "text": string("hello"), "n": string("5"), "big": string("12345678901234567890"), "yes": string("true"),
                "none": {"type": "Null", "value": null}, "o": {"type": "Json", "value": "{\"a\":[1,\"x\"]}"},
                "l": {"type": "Json", "value": "[1.5]"}, "empty": string(""),
            },
        })
    );
    let message = json!({
        "messageName": "paid", "all": true, "variables": null,
        "processVariables": {"a": 1}, "correlationKeys": {"order": "A-1", "empty": false},
    });
    assert_eq!(
        made(of_json(ZAPIER, &message.to_string())),
        json!({
            "messageName": "paid", "all": true, "variables": null,
            "processVariables": {"a": string("1")}, "correlationKeys": {"order": string("A-1"), "empty": string("false")},
        })
    );
}

#[test]
fn zapier_learns_what_is_wrong() {
    assert_eq!(rejected(of_json(ZAPIER, "[]")), "the body must be a JSON object");
    assert_eq!(rejected(result(ZAPIER, message(&[], b"a=1"))), "the body must be a JSON object");
    assert_eq!(rejected(of_json(ZAPIER, "{\"variables\": \"x\"}")), "variables must be an object");
    let long = json!({"processVariables": {"note": "x".repeat(4001)}}).to_string();
    assert_eq!(rejected(of_json(ZAPIER, &long)), "processVariables.note is longer than 4000 characters");
    let just = json!({"variables": {"note": "é".repeat(4000)}}).to_string();
    assert_eq!(made(of_json(ZAPIER, &just))["variables"]["note"], string(&"é".repeat(4000)));
}

#[test]
fn a_slash_command_becomes_a_signal() {
    let form = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
        &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=caf%C3%A9+94070\
        &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
        &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
    let form_type = [("content-type", "application/x-www-form-urlencoded")];
    let signal = made(result(COMMAND, message(&form_type, form.as_bytes())));
    assert_eq!(signal["name"], "slackCommand");
    let variables = signal["variables"].as_object().unwrap();
    assert_eq!(variables.len(), 11);
    assert_eq!(variables["command"], string("/webhook-collect"));
    assert_eq!(variables["text"], string("café 94070"));
    assert_eq!(variables["user_id"], string("U2CERLKJA"));

    let long = format!("text={}", "x".repeat(4001));
    assert_eq!(
        rejected(result(COMMAND, message(&form_type, long.as_bytes()))),
        "a field is longer than 4000 characters"
    );
    let twice = made(result(COMMAND, message(&form_type, b"a=1&a=2")));
    assert_eq!(twice["variables"]["a"], string("[\"1\",\"2\"]"));
    assert_eq!(rejected(of_json(COMMAND, "{}")), "a slash command is a form");
}

#[test]
fn an_event_becomes_a_signal() {
    let event =
        json!({"type": "app_mention", "user": "U1", "text": "hi \"you\"", "ts": "1.2", "event_ts": "1.2"});
    let envelope = json!({
        "token": "verification", "team_id": "T1", "api_app_id": "A1", "event": event, "type": "event_callback",
        "event_id": "Ev1", "event_time": 1_700_000_000, "authorizations": [{"team_id": "T1", "is_bot": true}],
        "is_ext_shared_channel": false, "event_context": "4-x",
    });
    let signal = made(of_json(EVENT, &envelope.to_string()));
    let text = signal["variables"]["event"]["value"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), event);
    assert_eq!(
        signal,
        json!({
            "name": "event",
            "variables": {
                "event": string(text), "token": string("verification"), "team_id": string("T1"),
                "api_app_id": string("A1"), "type": string("event_callback"), "event_id": string("Ev1"),
            },
        })
    );
}

#[test]
fn a_long_event_is_json() {
    let envelope = json!({"type": "event_callback", "event": {"text": "é".repeat(5000)}});
    let signal = made(of_json(EVENT, &envelope.to_string()));
    assert_eq!(signal["variables"]["event"]["type"], "Json");
    let text = signal["variables"]["event"]["value"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<Value>(text).unwrap(), envelope["event"]);
    assert_eq!(signal["variables"].as_object().unwrap().len(), 2);
    assert_eq!(rejected(of_json(EVENT, "[]")), "an event is a JSON object");
}
