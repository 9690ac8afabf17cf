//! Messages that hold no entry: acknowledged, kept as dead letters, and never a loop.

use serde_json::{Value, json};

use super::forged::entry;
use super::kit::{
    DEAD, PUSHED, SUBSCRIPTION, TOPIC, drained, hook, plan, push, push_of, push_subscription, push_token,
    pushed_world, subscribe,
};
use crate::harness::background::eventually;
use crate::harness::http::Response;

/// Data that are no entry.
pub(super) fn poison() -> Vec<(&'static str, Vec<u8>)> {
    let with = |key: &'static str, value: Value| entry(move |line| line[key] = value, b"body");
    let without = |key: &'static str| {
        entry(
            |line| {
                line.as_object_mut().unwrap().remove(key);
            },
            b"body",
        )
    };
    vec![
        ("text", b"hello".to_vec()),
        ("JSON of another kind", b"{\"uri\":\"/x\",\"payload\":\"y\"}\n".to_vec()),
        ("no end of the line", entry(|_| {}, b"body").split(|byte| *byte == b'\n').next().unwrap().to_vec()),
        ("not UTF-8", b"\xff\xfe\n".to_vec()),
        ("zeros", vec![0; 1000]),
        ("a list", b"[]\n".to_vec()),
        ("deep", [b"[".repeat(100_000), b"\n".to_vec()].concat()),
        ("a later version", with("version", json!(2))),
        ("a version in words", with("version", json!("1"))),
        ("no version", without("version")),
        ("no id", without("id")),
        ("an odd id", with("id", json!("../../etc/passwd"))),
        ("an id in capitals", with("id", json!("00112233445566778899AABBCCDDEEFF"))),
        ("no location", without("location")),
        ("no path", without("path")),
        ("no method", without("method")),
        ("an odd method", with("method", json!("PO ST"))),
        ("no method at all", with("method", json!(""))),
        ("no headers", without("headers")),
        ("an odd header", with("headers", json!([["a b", "c"]]))),
        ("a header that splits", with("headers", json!([["x-a", "b\r\nx-c: d"]]))),
        ("a header beyond bytes", with("headers", json!([["x-a", "€"]]))),
        ("half a header", with("headers", json!([["x-a"]]))),
        ("a longer body", with("body", json!(5))),
        ("a shorter body", with("body", json!(3))),
        ("a negative body", with("body", json!(-1))),
        ("a received of text", with("received", json!("now"))),
    ]
}

#[tokio::test]
async fn poison_is_acknowledged_once_and_kept_as_a_dead_letter() {
    let world = pushed_world(&[hook("/in", "")]);
    let rows = poison();
    for (number, (name, data)) in rows.iter().enumerate() {
        world.google.publish(TOPIC, data, &[("portcullis-location", "/in")]);
        drained(&world).await;
        let letters = world.google.messages(DEAD);
        assert_eq!(letters.len(), number + 1, "{name} is no dead letter");
        assert_eq!(letters[number].data, *data, "{name} is kept as it came");
        assert!(!letters[number].attributes["portcullis-reason"].is_empty(), "{name}");
    }
    assert_eq!(world.google.push_counters(SUBSCRIPTION).sent, rows.len(), "none came twice");
    world.upstream.assert_untouched();
    // A message with attributes alone.
    world.google.publish(TOPIC, b"", &[("uri", "/in")]);
    drained(&world).await;
    world.google.publish(TOPIC, &entry(|_| {}, b"right"), &[]);
    drained(&world).await;
    assert_eq!(world.upstream.only().body(), b"right");
}

#[tokio::test]
async fn without_a_topic_for_dead_letters_poison_is_logged_and_gone() {
    let log = PUSHED.replace(", dead_letter_topic: projects/example-project/topics/dead", "");
    assert_ne!(log, PUSHED);
    let world = plan(&log, &[&hook("/in", "")]).start();
    subscribe(&world, SUBSCRIPTION, push_subscription(&world));
    world.google.publish(TOPIC, b"canary of a body", &[]);
    world.google.publish(TOPIC, &entry(|line| line["location"] = json!("/gone"), b""), &[]);
    drained(&world).await;
    assert_eq!(world.google.push_counters(SUBSCRIPTION).sent, 2);
    world.gateway.says("because there is no dead-letter topic: it has no line of JSON");
    world
        .gateway
        .says("because there is no dead-letter topic: the configuration has no location of this name");
    assert!(!world.gateway.output().contains("canary of a body"));
    world.upstream.assert_untouched();
}

#[tokio::test]
async fn poison_waits_while_the_dead_letter_topic_is_away() {
    let world = plan(PUSHED, &[&hook("/in", "")]).start();
    subscribe(&world, SUBSCRIPTION, push_subscription(&world));
    world.google.publish(TOPIC, b"poison", &[]);
    eventually("refusals", || world.google.push_counters(SUBSCRIPTION).refused >= 2).await;
    assert_eq!(world.google.push_counters(SUBSCRIPTION).last_status, Some(503));
    world.google.create_topic(DEAD);
    drained(&world).await;
    assert_eq!(world.google.messages(DEAD).len(), 1);
}

#[tokio::test]
async fn what_is_no_push_at_all_is_refused() {
    let world = plan(PUSHED, &[&hook("/in", "")]).start();
    world.google.create_topic(DEAD);
    let right = push_of(&entry(|_| {}, b"x"));
    let change = |change: &dyn Fn(&mut Value)| {
        let mut body = right.clone();
        change(&mut body);
        body.to_string()
    };
    let no_push: Vec<String> = vec![
        String::new(),
        "{".to_owned(),
        "[]".to_owned(),
        "null".to_owned(),
        "{}".to_owned(),
        String::from_utf8(entry(|_| {}, b"x")).unwrap(),
        change(&|body| body["message"] = json!("x")),
        change(&|body| body["message"] = Value::Null),
        change(&|body| drop(body["message"].as_object_mut().unwrap().remove("messageId"))),
        "[".repeat(100_000),
    ];
    for body in no_push {
        let shown: String = body.chars().take(60).collect();
        let response: Response = push(&world, &body).await;
        assert_eq!((response.status.as_u16(), response.code()), (400, "invalid_body".to_owned()), "{shown}");
    }
    for body in [
        change(&|body| body["message"]["data"] = json!("not base64!")),
        change(&|body| body["message"]["data"] = json!("_-8=")),
        change(&|body| body["message"]["data"] = json!("")),
        change(&|body| drop(body["message"].as_object_mut().unwrap().remove("data"))),
    ] {
        let before = world.google.messages(DEAD).len();
        let response = push(&world, &body).await;
        assert_eq!(response.status, 204, "{}", response.text());
        let after = world.google.messages(DEAD).len();
        assert_eq!(after, before + 1, "{body}");
    }
    world.upstream.assert_untouched();
    let odd = [
        change(&|body| body["deliveryAttempt"] = json!(7)),
        change(&|body| body["subscription"] = Value::Null),
        change(&|body| body["unknown"] = json!({"a": 1})),
    ];
    for body in odd {
        assert_eq!(push(&world, &body).await.status, 204, "{body}");
    }
    assert_eq!(world.upstream.requests()[0].header("x-portcullis-attempt").as_deref(), Some("7"));
    assert_eq!(world.upstream.count(), 3);
}

#[tokio::test]
async fn the_largest_message_of_pub_sub_is_poison_like_any_other() {
    let world = pushed_world(&[hook("/in", "")]);
    // The limit counts bytes, and a push brings them in Base64.
    world.google.publish(TOPIC, &vec![b'x'; 10_000_000], &[("a", "b")]);
    world.google.publish(TOPIC, &entry(|_| {}, &vec![b'x'; 9_999_000]), &[]);
    drained(&world).await;
    assert_eq!(world.google.push_counters(SUBSCRIPTION).sent, 2);
    assert_eq!(world.google.messages(DEAD).len(), 1);
    assert_eq!(world.upstream.only().body().len(), 9_999_000);
}

#[tokio::test]
async fn a_push_larger_than_a_message_can_be_is_not_read() {
    let world = plan(PUSHED, &[&hook("/in", "")]).start();
    world.google.create_topic(DEAD);
    let data = entry(|_| {}, &vec![b'x'; 12 << 20]);
    let token = push_token(&world, |_| {});
    let call = world.client().post(super::kit::PLAYBACK, push_of(&data).to_string()).bearer(&token);
    let response = call.send().await;
    assert_eq!((response.status.as_u16(), response.code()), (413, "too_large".to_owned()));
    world.upstream.assert_untouched();
}
