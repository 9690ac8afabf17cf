//! Signed requests that come late, early, again, or with a time that is none.

use serde_json::json;

use super::kit::{
    DISK, TOPIC, assert_nothing_kept, delivered, entries, github, hook, kept, plan, pushed_world, slack,
    slack_at, unix_now,
};
use crate::harness::world::World;

const SLACK: &str =
    "{ path: /in, access: webhook, webhook: { slack: { secret: s } }, wal: true, upstream: up }";

fn world() -> World {
    plan(DISK, &[SLACK]).start()
}

#[tokio::test]
async fn a_time_outside_of_the_window_is_refused() {
    let world = world();
    let now = unix_now();
    let mut table = world.table();
    for (name, time) in [
        ("301 s ago", (now - 301).to_string()),
        ("an hour ago", (now - 3600).to_string()),
        // The clock goes on while the test runs.
        ("too new", (now + 330).to_string()),
        ("an hour ahead", (now + 3600).to_string()),
        ("zero", "0".to_owned()),
        ("one", "1".to_owned()),
        ("negative", format!("-{now}")),
        ("negative zero", "-0".to_owned()),
        ("a plus", format!("+{now}")),
        ("text", "abc".to_owned()),
        ("empty", String::new()),
        ("a fraction", format!("{now}.0")),
        ("an exponent", "1e10".to_owned()),
        ("hexadecimal", format!("0x{now:x}")),
        ("a space inside", format!("{} {}", now / 10, now % 10)),
        ("milliseconds", format!("{now}000")),
        ("a list", format!("{now},{now}")),
        ("beyond 64 bits", "18446744073709551616".to_owned()),
        ("2^64 and now", "18446744075509551616".to_owned()),
    ] {
        table.refused(name, slack_at(&world, "/in", "a=1", &time), 403, "bad_signature").await;
    }
    let now = now.to_string();
    let twice = slack_at(&world, "/in", "a=1", &now).header("x-slack-request-timestamp", &now);
    table.refused("twice", twice, 403, "bad_signature").await;
    let signature = super::kit::hex(&super::kit::tag(
        crate::harness::canary::secret(),
        &[b"v0:", now.as_bytes(), b":a=1"],
    ));
    let missing =
        || world.client().post("/in", "a=1").header("x-slack-signature", &format!("v0={signature}"));
    table.refused("missing", missing(), 403, "bad_signature").await;
    let other = (unix_now() - 5).to_string();
    table
        .refused(
            "not the signed one",
            missing().header("x-slack-request-timestamp", &other),
            403,
            "bad_signature",
        )
        .await;
    let unsigned = world.client().post("/in", "a=1").header("x-slack-request-timestamp", &now);
    table.refused("no signature", unsigned, 403, "bad_signature").await;
    table.refused("nothing at all", world.client().post("/in", "a=1"), 403, "bad_signature").await;
    table.finish().await;
    world.upstream.forget();
    assert_nothing_kept(&world);
}

#[tokio::test]
async fn a_time_inside_of_the_window_is_good() {
    let world = world();
    let now = unix_now();
    for time in [now, now - 200, now + 250] {
        kept(slack_at(&world, "/in", &format!("a={time}"), &time.to_string())).await;
    }
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 3);
}

#[tokio::test]
async fn a_replay_inside_of_the_window_is_one_entry() {
    let world = world();
    let now = unix_now().to_string();
    let call = || slack_at(&world, "/in", "command=%2Fdeploy&text=prod", &now);
    let first = kept(call()).await;
    for _ in 0..5 {
        assert_eq!(kept(call()).await, first);
    }
    // Another spelling of the same signature is the same message.
    let signature = super::kit::hex(&super::kit::tag(
        crate::harness::canary::secret(),
        &[b"v0:", now.as_bytes(), b":command=%2Fdeploy&text=prod"],
    ));
    let capitals = world.client().post("/in", "command=%2Fdeploy&text=prod");
    let capitals = capitals.header("x-slack-request-timestamp", &now);
    let response =
        capitals.header("x-slack-signature", &format!("v0={}", signature.to_uppercase())).send().await;
    if response.status == 200 {
        assert_eq!(response.header("x-portcullis-entry"), Some(first.as_str()));
    }
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 1);
    assert_eq!(entries(&world, &[]).len(), 0);
    assert_eq!(kept(call()).await, first, "also after it was delivered");
    kept(slack_at(&world, "/in", "command=%2Fdeploy&text=stage", &now)).await;
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 2, "the replay was not delivered once more");
}

#[tokio::test]
async fn slack_s_own_retries_of_an_event_are_one_entry() {
    let world = world();
    let event =
        json!({"type": "event_callback", "event_id": "Ev0PV52K25", "event": {"type": "message"}}).to_string();
    let now = unix_now();
    let first = kept(slack_at(&world, "/in", &event, &(now - 100).to_string())).await;
    for (number, reason) in ["http_timeout", "connection_failed", "http_error"].into_iter().enumerate() {
        let call = slack_at(&world, "/in", &event, &(now - 90 + number as u64).to_string());
        let call = call.header("x-slack-retry-num", &(number + 1).to_string());
        assert_eq!(kept(call.header("x-slack-retry-reason", reason)).await, first);
    }
    let other = event.replace("Ev0PV52K25", "Ev0PV52K26");
    assert_ne!(kept(slack(&world, "/in", &other)).await, first);
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn at_once_and_again_is_one_entry() {
    let world = world();
    let now = unix_now().to_string();
    let calls = (0..20).map(|_| kept(slack_at(&world, "/in", "a=1", &now)));
    let ids: std::collections::BTreeSet<_> =
        futures_util::future::join_all(calls).await.into_iter().collect();
    assert_eq!(ids.len(), 1);
    kept(slack_at(&world, "/in", "a=2", &now)).await;
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn one_delivery_to_two_locations_is_two_entries() {
    let world = plan(DISK, &[&hook("/one", ""), &hook("/two", "")]).start();
    let call = |path: &str| github(&world, path, "{}").header("x-github-delivery", "72d3162e");
    assert_ne!(kept(call("/one")).await, kept(call("/two")).await);
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn without_an_id_each_message_is_one_of_its_own() {
    let world = plan(DISK, &[&hook("/in", "")]).start();
    assert_ne!(kept(github(&world, "/in", "{}")).await, kept(github(&world, "/in", "{}")).await);
    for odd in ["x".repeat(257), "a b".to_owned()] {
        let response = github(&world, "/in", "{}").header("x-github-delivery", &odd).send().await;
        super::kit::assert_refused(&response, 403, "bad_signature");
    }
}

#[tokio::test]
async fn pub_sub_gets_a_replay_once_from_one_process() {
    let world = pushed_world(&[SLACK.to_owned()]);
    let now = unix_now().to_string();
    let first = kept(slack_at(&world, "/in", "a=1", &now)).await;
    for _ in 0..3 {
        assert_eq!(kept(slack_at(&world, "/in", "a=1", &now)).await, first);
    }
    super::kit::drained(&world).await;
    assert_eq!((world.google.messages(TOPIC).len(), world.upstream.count()), (1, 1));
}

#[tokio::test]
async fn a_program_names_its_messages_and_only_its_own() {
    let api = "{ path: /api, access: google, wal: true, upstream: up }";
    let world = plan(DISK, &[SLACK, api]).start();
    let post = |token: &str, key: &str| {
        world.client().post("/api", "{}").bearer(token).header("idempotency-key", key)
    };
    let (ada, grace) = (world.access("ada@example.com"), world.access("grace@example.com"));
    let first = kept(post(&ada, "k1")).await;
    assert_eq!(kept(post(&ada, "k1")).await, first);
    assert_ne!(kept(post(&ada, "k2")).await, first);
    assert_ne!(kept(post(&grace, "k1")).await, first, "a key of somebody else");
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 3);
}
