//! Recording in Pub/Sub, and all the ways in which that fails.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis::dev::google::{Endpoint, Fault};

use super::kit::{
    PUSHED, TOPIC, assert_nothing_published, assert_refused, github, hook, kept, plan, pushed_world, status,
    world,
};
use crate::harness::world::{World, closed};

fn answer(status: u16, body: &str) -> Fault {
    Fault::Answer { status, content_type: "application/json".to_owned(), body: body.to_owned() }
}

/// The ids of the entries that were published.
fn published(world: &World) -> Vec<String> {
    let messages = world.google.messages(TOPIC);
    messages.iter().map(|message| message.attributes["portcullis-entry"].clone()).collect()
}

#[tokio::test]
async fn nothing_is_acknowledged_that_pub_sub_has_not_confirmed() {
    let world = world(PUSHED, &[hook("/in", "")]);
    world.google.create_topic(TOPIC);
    let faults = [
        ("500", status(500)),
        ("503", status(503)),
        ("429", status(429)),
        ("400", status(400)),
        ("403", status(403)),
        ("404", status(404)),
        ("401", status(401)),
        ("a redirect", status(302)),
        ("nothing", Fault::Empty),
        ("a page", Fault::Html),
        ("no ids", answer(200, "{}")),
        ("an empty list", answer(200, "{\"messageIds\":[]}")),
        ("an empty id", answer(200, "{\"messageIds\":[\"\"]}")),
        ("two ids", answer(200, "{\"messageIds\":[\"1\",\"2\"]}")),
        ("a number", answer(200, "{\"messageIds\":[1]}")),
        ("an id with 201 and no more", answer(299, "{}")),
        ("too much", Fault::Flood { bytes: 10_000_000 }),
    ];
    for (name, fault) in faults {
        world.google.fail(Endpoint::Publish, fault);
        let response = github(&world, "/in", "{}").send().await;
        assert_eq!(
            (response.status.as_u16(), response.code()),
            (503, "wal_unavailable".to_owned()),
            "{name}"
        );
        assert!(response.header("retry-after").is_some(), "{name}");
        assert_eq!(response.header("x-portcullis-entry"), None, "{name}");
    }
    assert_nothing_published(&world);
    world.google.clear_switches();
    kept(github(&world, "/in", "{}")).await;
    assert_eq!(world.google.messages(TOPIC).len(), 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_leaves_duplicates_with_one_id() {
    let world = world(PUSHED, &[hook("/in", "")]);
    world.google.create_topic(TOPIC);
    for (number, fault) in
        [Fault::Close, Fault::Truncated { body: "{\"messageIds\":[\"1".to_owned() }].into_iter().enumerate()
    {
        world.google.fail(Endpoint::Publish, fault);
        let call = || github(&world, "/in", "{}").header("x-github-delivery", &format!("delivery-{number}"));
        assert_refused(&call().send().await, 503, "wal_unavailable");
        world.google.clear_switches();
        let before = published(&world);
        // The sender tries again, as it was told.
        let id = kept(call()).await;
        let after = published(&world);
        assert!(after.len() > before.len(), "it must be published again: nobody knows of the first one");
        let own: BTreeSet<_> = after.iter().filter(|known| **known == id).collect();
        assert_eq!(own.len(), 1);
        assert!(after.iter().filter(|known| **known == id).count() >= 2, "{after:?}");
    }
    let distinct: BTreeSet<_> = published(&world).into_iter().collect();
    assert_eq!(distinct.len(), 2, "one id for each delivery, however often it was published");
}

#[tokio::test]
async fn a_slow_pub_sub_is_not_waited_for_longer_than_senders_wait() {
    let world = world(PUSHED, &[hook("/in", "")]);
    world.google.create_topic(TOPIC);
    world.google.delay(Endpoint::Publish, Duration::from_secs(600));
    assert_refused(&github(&world, "/in", "{}").send().await, 503, "wal_unavailable");
    assert_nothing_published(&world);
}

#[tokio::test]
async fn a_fault_that_passes_costs_a_moment_and_no_message() {
    let world = world(PUSHED, &[hook("/in", "")]);
    world.google.create_topic(TOPIC);
    for fault in [status(503), status(500), status(429), Fault::Close] {
        world.google.fail_next(Endpoint::Publish, 1, fault);
        kept(github(&world, "/in", "{}")).await;
    }
}

#[tokio::test]
async fn a_token_that_is_no_longer_good_is_replaced() {
    let world = world(PUSHED, &[hook("/in", "")]);
    world.google.create_topic(TOPIC);
    kept(github(&world, "/in", "{}")).await;
    world.google.fail_next(Endpoint::Publish, 1, status(401));
    kept(github(&world, "/in", "{}")).await;
    assert_eq!(world.google.messages(TOPIC).len(), 2);
}

#[tokio::test]
async fn without_an_access_token_or_a_pub_sub_nothing_is_acknowledged() {
    let mut without = plan(PUSHED, &[&hook("/in", "")]);
    without.faults = vec![(Endpoint::Metadata, status(503))];
    let world = without.start();
    world.google.create_topic(TOPIC);
    assert_refused(&github(&world, "/in", "{}").send().await, 503, "wal_unavailable");
    assert_nothing_published(&world);
    world.google.clear_switches();
    super::kit::accepted(|| github(&world, "/in", "{}")).await;

    let mut nowhere = plan(PUSHED, &[&hook("/in", "")]);
    nowhere.endpoint = Some(("pubsub", format!("http://{}", closed())));
    let world = nowhere.start();
    assert_refused(&github(&world, "/in", "{}").send().await, 503, "wal_unavailable");
}

#[tokio::test]
async fn a_topic_that_is_missing_is_named_in_the_log() {
    let world = world(PUSHED, &[hook("/in", "")]);
    assert_refused(&github(&world, "/in", "{}").send().await, 503, "wal_unavailable");
    world.gateway.says("create projects/example-project/topics/wal");
    world.google.create_topic(TOPIC);
    world.google.fail_next(Endpoint::Publish, 1, status(403));
    assert_refused(&github(&world, "/in", "{}").send().await, 503, "wal_unavailable");
    world.gateway.says("grant roles/pubsub.publisher on projects/example-project/topics/wal");
}

#[tokio::test]
async fn the_entry_holds_all_and_the_attributes_little() {
    let ordered = hook("/ordered", ", playback: { ordered: true, keep: [X-GitHub-Event] }");
    let world = world(PUSHED, &[hook("/in", ""), ordered]);
    world.google.create_topic(TOPIC);
    let id = kept(github(&world, "/in/x?q=1", "secret of the sender")).await;
    let message = world.google.messages(TOPIC).remove(0);
    assert_eq!(message.ordering_key, "");
    let attributes: Vec<_> =
        message.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(attributes, [("portcullis-entry", id.as_str()), ("portcullis-location", "/in")]);
    let (line, body) = message.data.split_at(message.data.iter().position(|byte| *byte == b'\n').unwrap());
    assert_eq!(&body[1..], b"secret of the sender");
    let line: serde_json::Value = serde_json::from_slice(line).unwrap();
    assert_eq!(
        (&line["path"], &line["query"], &line["method"]),
        (&"/in/x".into(), &"q=1".into(), &"POST".into())
    );
    assert!(!line.to_string().contains("http"), "an entry names no URL: {line}");
    kept(github(&world, "/ordered", "x").header("x-github-event", "push")).await;
    kept(github(&world, "/ordered", "y")).await;
    let keys: Vec<_> = world.google.messages(TOPIC)[1..].iter().map(|it| it.ordering_key.clone()).collect();
    assert_eq!(keys, ["/ordered", "/ordered"]);
}

#[tokio::test]
async fn an_emulator_is_found_in_the_environment_and_gets_no_credential() {
    let mut plan = plan(PUSHED, &[&hook("/in", "")]);
    plan.endpoint = Some(("pubsub", String::new()));
    plan.environment.push(("PUBSUB_EMULATOR_HOST", "{google}".to_owned()));
    let world = plan.start();
    world.google.create_topic(TOPIC);
    // The stand-in asks for a token like the real one. So this is refused, which shows that none was sent.
    assert_refused(&github(&world, "/in", "{}").send().await, 503, "wal_unavailable");
    let calls = world.google.recent_calls();
    let mut publishes = calls.iter().filter(|call| call.endpoint == Some(Endpoint::Publish)).peekable();
    assert!(publishes.peek().is_some());
    assert!(publishes.all(|call| !call.headers.contains(&"authorization".to_owned())));
    // What an emulator answers, which asks for none.
    world.google.fail(Endpoint::Publish, answer(200, "{\"messageIds\":[\"1\"]}"));
    kept(github(&world, "/in", "{}")).await;
}

#[tokio::test]
async fn many_at_once_are_all_kept_and_all_different() {
    let world = pushed_world(&[hook("/in", "")]);
    let calls: Vec<_> = (0..60).map(|number| github(&world, "/in", format!("message {number}"))).collect();
    let ids = futures_util::future::join_all(calls.into_iter().map(kept)).await;
    super::kit::drained(&world).await;
    let seen: BTreeSet<_> =
        world.upstream.requests().iter().filter_map(|it| it.header("idempotency-key")).collect();
    assert_eq!(seen, ids.into_iter().collect());
    assert_eq!(seen.len(), 60);
    let bodies: BTreeSet<_> = world.upstream.requests().iter().map(|it| it.body().to_vec()).collect();
    assert_eq!(bodies.len(), 60);
}
