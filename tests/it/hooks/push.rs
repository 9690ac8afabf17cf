//! Entries that Pub/Sub pushes back: delivered, tried again, and given up.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use portcullis::dev::google::{Endpoint, SubscriptionSpec};

use super::kit::{
    DEAD, PUSHED, SUBSCRIPTION, TOPIC, drained, github, hook, kept, push_subscription, pushed_world, status,
    subscribe, world,
};
use crate::harness::answer::{Answer, Step};
use crate::harness::background::eventually;
use crate::harness::glue::minted_for;

#[tokio::test]
async fn a_message_goes_through_the_log_to_the_upstream() {
    let world = pushed_world(&[hook("/in", ", playback: { keep: [X-GitHub-Event] }, rewrite: /to")]);
    let call = github(&world, "/in/x?q=%20", "\0\u{ff}").header("content-type", "text/plain; charset=x");
    let id = kept(call.header("x-github-event", "push").header("x-other", "dropped")).await;
    drained(&world).await;
    let request = world.upstream.only();
    assert_eq!((request.method().as_str(), request.target().as_str()), ("POST", "/to/x?q=%20"));
    assert_eq!(request.body(), "\0\u{ff}".as_bytes());
    for (name, value) in [
        ("content-type", Some("text/plain; charset=x")),
        ("x-github-event", Some("push")),
        ("x-other", None),
        ("idempotency-key", Some(id.as_str())),
        ("x-portcullis-attempt", Some("1")),
        ("authorization", None),
    ] {
        assert_eq!(request.header(name).as_deref(), value, "{name}");
    }
    let token = request.header("x-serverless-authorization").unwrap();
    assert_eq!(minted_for(&token), Some(world.upstream.url()));
    let counters = world.google.push_counters(SUBSCRIPTION);
    assert_eq!((counters.sent, counters.acknowledged, counters.last_status), (1, 1, Some(204)));
}

#[tokio::test]
async fn statuses_are_tried_again_or_become_dead_letters() {
    let world = pushed_world(&[hook("/in", ", playback: { settle: [409], dead_letter: [501] }")]);
    let settled = [200, 201, 204, 226, 409];
    let retried = [408, 425, 429, 500, 502, 503, 504];
    let dead = [301, 302, 307, 400, 401, 403, 404, 410, 422, 501];
    for expected in [settled.as_slice(), &retried, &dead] {
        for status in expected.iter().copied() {
            let seen = AtomicUsize::new(0);
            world.upstream.on(&format!("/in/{status}"), move |_| {
                let answer = if seen.fetch_add(1, Ordering::SeqCst) == 0 { status } else { 200 };
                Answer::new(answer, "").header("Location", "/elsewhere")
            });
            kept(github(&world, &format!("/in/{status}"), "{}")).await;
        }
    }
    drained(&world).await;
    let requests = world.upstream.requests();
    let times = |status: u16| requests.iter().filter(|it| it.path() == format!("/in/{status}")).count();
    let letters = world.google.messages(DEAD);
    let letter = |status: u16| {
        let reason = format!("the upstream answered {status}");
        letters.iter().filter(|it| it.attributes["portcullis-reason"] == reason).count()
    };
    for status in settled {
        assert_eq!((times(status), letter(status)), (1, 0), "{status}");
    }
    for status in retried {
        assert_eq!((times(status), letter(status)), (2, 0), "{status}");
    }
    for status in dead {
        assert_eq!((times(status), letter(status)), (1, 1), "{status}");
    }
    assert_eq!(letters.len(), dead.len());
    assert!(requests.iter().all(|it| it.path() != "/elsewhere"));
}

#[tokio::test]
async fn a_dead_letter_is_the_entry_itself() {
    let world = pushed_world(&[hook("/in", "")]);
    world.upstream.on("/in", |_| Answer::new(410, ""));
    let id = kept(github(&world, "/in?q=1", "the body")).await;
    drained(&world).await;
    let (published, letter) = (world.google.messages(TOPIC).remove(0), world.google.messages(DEAD).remove(0));
    assert_eq!(letter.data, published.data, "so it can be published to the topic again");
    assert_eq!(letter.attributes["portcullis-entry"], id);
    assert_eq!(letter.attributes["portcullis-location"], "/in");
}

#[tokio::test]
async fn what_cannot_become_a_dead_letter_is_kept() {
    let world = pushed_world(&[hook("/in", "")]);
    world.upstream.on("/in", |_| Answer::new(410, ""));
    kept(github(&world, "/in", "the body")).await;
    drained(&world).await;
    assert_eq!(world.google.messages(DEAD).len(), 1);
    kept(github(&world, "/in", "another")).await;
    // The next publish is that of the dead letter, as soon as the upstream has refused the entry.
    drained(&world).await;
    assert_eq!(world.google.messages(DEAD).len(), 2);

    let other = super::kit::world(PUSHED, &[hook("/in", "")]);
    other.google.create_topic(TOPIC);
    other.upstream.on("/in", |_| Answer::new(410, ""));
    subscribe(&other, SUBSCRIPTION, push_subscription(&other));
    kept(github(&other, "/in", "the body")).await;
    // The topic for dead letters does not exist.
    eventually("some pushes in vain", || other.google.push_counters(SUBSCRIPTION).refused >= 2).await;
    assert_eq!(other.google.backlog(SUBSCRIPTION), 1, "it must not be lost");
    other.google.create_topic(DEAD);
    drained(&other).await;
    assert_eq!(other.google.messages(DEAD).len(), 1);
}

#[tokio::test]
async fn duplicates_and_redeliveries_carry_one_key() {
    let world = pushed_world(&[hook("/in", "")]);
    world.google.duplicate(SUBSCRIPTION, 3);
    let ids = [
        kept(github(&world, "/in", "0")).await,
        kept(github(&world, "/in", "1")).await,
        kept(github(&world, "/in", "2")).await,
    ];
    eventually("three more than there are", || world.upstream.count() >= 6).await;
    drained(&world).await;
    for (number, id) in ids.iter().enumerate() {
        let bodies: Vec<_> = world
            .upstream
            .requests()
            .iter()
            .filter(|it| it.header("idempotency-key").as_ref() == Some(id))
            .map(|it| it.body().to_vec())
            .collect();
        assert!(!bodies.is_empty() && bodies.iter().all(|body| *body == number.to_string().as_bytes()));
    }
    world.upstream.forget();
    world.google.lose_acknowledgements(SUBSCRIPTION, 1);
    let id = kept(github(&world, "/in", "again")).await;
    world.upstream.received(1).await;
    world.google.end_leases(SUBSCRIPTION);
    let requests = world.upstream.received(2).await;
    assert!(requests.iter().all(|it| it.header("idempotency-key").as_ref() == Some(&id)));
    drained(&world).await;
}

#[tokio::test]
async fn whatever_the_order_everything_arrives() {
    let world = world(PUSHED, &[hook("/in", "")]);
    world.google.create_topic(DEAD);
    let spec = push_subscription(&world);
    // Nothing is pushed before all are there.
    subscribe(&world, SUBSCRIPTION, SubscriptionSpec { push: None, ..spec.clone() });
    let mut ids = BTreeSet::new();
    for number in 0..20 {
        ids.insert(kept(github(&world, "/in", number.to_string())).await);
    }
    let messages = world.google.messages(TOPIC);
    subscribe(&world, SUBSCRIPTION, spec);
    world.google.reverse(SUBSCRIPTION, true);
    for message in &messages {
        let attributes: Vec<_> = message.attributes.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        world.google.publish(TOPIC, &message.data, &attributes);
    }
    drained(&world).await;
    let seen: BTreeSet<_> =
        world.upstream.requests().iter().filter_map(|it| it.header("idempotency-key")).collect();
    assert_eq!(seen, ids);
}

#[tokio::test]
async fn order_is_kept_where_it_is_asked_for() {
    let world = world(PUSHED, &[hook("/in", ", playback: { ordered: true }")]);
    world.google.create_topic(DEAD);
    subscribe(&world, SUBSCRIPTION, SubscriptionSpec { ordered: true, ..push_subscription(&world) });
    let failures = AtomicUsize::new(0);
    world.upstream.on("/in", move |request| {
        let fails = request.body() == b"1" && failures.fetch_add(1, Ordering::SeqCst) < 2;
        Answer::new(if fails { 503 } else { 200 }, "")
    });
    for number in 0..5 {
        kept(github(&world, "/in", number.to_string())).await;
    }
    drained(&world).await;
    let bodies: Vec<_> =
        world.upstream.requests().iter().map(|it| String::from_utf8_lossy(it.body()).into_owned()).collect();
    assert_eq!(bodies, ["0", "1", "1", "1", "2", "3", "4"]);
}

#[tokio::test]
async fn the_subscription_s_own_dead_letters_count_attempts() {
    let world = world(PUSHED, &[hook("/in", "")]);
    world.upstream.on("/in", |_| Answer::new(503, ""));
    let dead_letter = Some(("projects/example-project/topics/given-up".to_owned(), 5));
    subscribe(&world, SUBSCRIPTION, SubscriptionSpec { dead_letter, ..push_subscription(&world) });
    kept(github(&world, "/in", "x")).await;
    drained(&world).await;
    let attempts: Vec<_> =
        world.upstream.requests().iter().filter_map(|it| it.header("x-portcullis-attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3", "4", "5"]);
    assert_eq!(world.google.messages("projects/example-project/topics/given-up").len(), 1);
}

#[tokio::test]
async fn an_upstream_that_is_silent_gets_it_again() {
    let world = pushed_world(&[hook("/in", ", timeouts: { connect: 1s, read: 1s, write: 1s }")]);
    let seen = AtomicUsize::new(0);
    world.upstream.on("/in", move |_| match seen.fetch_add(1, Ordering::SeqCst) {
        0 => Answer::Steps(vec![Step::Stall]),
        1 => Answer::Steps(vec![Step::Reset]),
        _ => Answer::new(200, ""),
    });
    kept(github(&world, "/in", "x")).await;
    drained(&world).await;
    assert_eq!(world.upstream.count(), 3);
}

#[tokio::test]
async fn without_a_token_for_the_upstream_it_is_tried_again() {
    let mut plan =
        super::kit::plan(PUSHED, &[&hook("/in", ""), &hook("/late", "").replace(": up", ": late")]);
    let late = crate::harness::upstream::Upstream::start();
    plan.upstreams = format!("  late: {{ url: \"{}\", audience: 'https://late.example' }}\n", late.url());
    let world = plan.start();
    world.google.create_topic(DEAD);
    subscribe(&world, SUBSCRIPTION, push_subscription(&world));
    // The access token for publishing is known now.
    kept(github(&world, "/in", "x")).await;
    drained(&world).await;
    world.google.fail(Endpoint::Metadata, status(503));
    world.google.set_lifetime(Duration::from_secs(1));
    kept(github(&world, "/late", "x")).await;
    eventually("an end", || {
        let counters = world.google.push_counters(SUBSCRIPTION);
        counters.refused >= 1 || late.count() >= 1
    })
    .await;
    for request in late.requests() {
        // Only if a token was fetched ahead of time may anything have arrived.
        let token = request.header("x-serverless-authorization").expect("a token");
        assert_eq!(minted_for(&token).as_deref(), Some("https://late.example"));
    }
    world.google.clear_switches();
    drained(&world).await;
    assert_eq!((late.count(), world.google.messages(DEAD).len()), (1, 0));
}

#[tokio::test]
async fn a_delivery_under_way_at_sigterm_is_acknowledged() {
    let world = pushed_world(&[hook("/in", "")]);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let held = Arc::clone(&gate);
    world.upstream.on("/in", move |_| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec();
        Answer::Steps(vec![Step::Gate(Arc::clone(&held)), Step::Bytes(answer)])
    });
    kept(github(&world, "/in", "x")).await;
    world.upstream.received(1).await;
    world.gateway.signal(Signal::SIGTERM);
    world.gateway.says("stopping");
    gate.add_permits(1);
    assert_eq!(world.gateway.wait().0, 0);
    drained(&world).await;
    assert_eq!(world.google.push_counters(SUBSCRIPTION).acknowledged, 1);
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn google_s_keys_out_of_reach_mean_later_and_not_never() {
    let mut plan = super::kit::plan(PUSHED, &[&hook("/in", "")]);
    plan.faults = vec![(Endpoint::Certs, status(503))];
    let world = plan.start();
    subscribe(&world, SUBSCRIPTION, push_subscription(&world));
    kept(github(&world, "/in", "x")).await;
    eventually("a push in vain", || world.google.push_counters(SUBSCRIPTION).refused >= 1).await;
    assert_eq!(world.google.push_counters(SUBSCRIPTION).last_status, Some(503));
    world.upstream.assert_untouched();
    world.google.clear_switches();
    drained(&world).await;
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn the_log_s_commands_say_that_this_one_is_elsewhere() {
    let world = world(PUSHED, &[hook("/in", "")]);
    let output = world.gateway.run(&["wal", "list", "--config", "portcullis.yaml"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("Pub/Sub") || said.contains("pubsub"), "{said}");
}
