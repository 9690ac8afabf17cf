//! `portcullis wal` beside the gateway that holds the log.

use nix::sys::signal::Signal;

use super::kit::{DISK, dead, delivered, entries, github, hook, kept, world};
use crate::harness::answer::{Answer, Step};
use crate::harness::world::World;

/// What a command prints, and its exit code.
fn wal(world: &World, arguments: &[&str]) -> (i32, String, String) {
    let all = [&["wal"], arguments, &["--config", "portcullis.yaml"]].concat();
    let output = world.gateway.run(&all);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_dead_letter_is_found_read_and_delivered_after_all() {
    let world = world(DISK, &[hook("/in", ", playback: { keep: [X-GitHub-Event] }")]);
    world.upstream.on("/in", |_| Answer::new(422, ""));
    let call = github(&world, "/in?q=1", "{\"order\":7}").header("content-type", "application/json");
    let id = kept(call.header("x-github-event", "order")).await;
    dead(&world, 1).await;

    let (code, text, _) = wal(&world, &["list"]);
    assert_eq!(code, 0);
    let row = text.lines().last().unwrap();
    assert!(row.starts_with(&id[..12]) && row.contains("/in") && row.contains("dead"), "{text}");
    assert!(!text.contains("order"), "a list holds no bodies");
    assert_eq!(wal(&world, &["list", "--waiting", "--json"]), (0, String::new(), String::new()));

    let (code, text, _) = wal(&world, &["show", &id[..12]]);
    assert_eq!(code, 0);
    for part in [id.as_str(), "POST /in?q=1", "x-github-event: order", "{\"order\":7}", "answered 422"] {
        assert!(text.contains(part), "{part:?} is missing: {text}");
    }
    assert_eq!(wal(&world, &["show", &id, "--body"]), (0, "{\"order\":7}".to_owned(), String::new()));

    world.upstream.on("/in", |_| Answer::new(200, ""));
    let (code, text, _) = wal(&world, &["replay", &id]);
    assert_eq!((code, text.contains("1 entry")), (0, true), "{text}");
    delivered(&world).await;
    assert_eq!(entries(&world, &[]).len(), 0);
    let request = world.upstream.last();
    assert_eq!(world.upstream.count(), 2);
    assert_eq!(request.header("idempotency-key"), Some(id), "the same key as before");
    assert_eq!((request.target().as_str(), request.body()), ("/in?q=1", b"{\"order\":7}".as_slice()));
    assert_eq!(request.header("x-portcullis-attempt").as_deref(), Some("1"), "attempts count anew");
}

#[tokio::test]
async fn all_dead_letters_are_played_again_or_dropped_at_once() {
    let world = world(DISK, &[hook("/in", ""), hook("/never", "")]);
    world.upstream.otherwise(|_| Answer::new(400, ""));
    for number in 0..3 {
        kept(github(&world, &format!("/in/{number}"), "x")).await;
    }
    let dropped = kept(github(&world, "/never", "x")).await;
    dead(&world, 4).await;

    let (code, _, errors) = wal(&world, &["drop", &dropped]);
    assert_eq!(code, 2, "nobody is asked, so it has to be said: {errors}");
    assert!(errors.contains("--yes"), "{errors}");
    assert_eq!(wal(&world, &["drop", &dropped, "--yes"]).0, 0);
    assert_eq!(entries(&world, &[]).len(), 3);

    world.upstream.otherwise(|_| Answer::new(200, ""));
    world.upstream.forget();
    assert_eq!(wal(&world, &["replay", "--all-dead"]).0, 0);
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 3);
    assert!(world.upstream.requests().iter().all(|it| it.path() != "/never"));

    world.upstream.otherwise(|_| Answer::new(400, ""));
    for number in 0..3 {
        kept(github(&world, &format!("/in/{number}"), "x")).await;
    }
    dead(&world, 3).await;
    assert_eq!(wal(&world, &["drop", "--all-dead", "--yes"]).0, 0);
    assert_eq!(entries(&world, &[]).len(), 0);
}

#[tokio::test]
async fn an_entry_that_waits_is_delivered_now_and_one_that_is_dropped_never() {
    let world = world(DISK, &[hook("/in", "")]);
    world.upstream.otherwise(|request| match request.header("x-portcullis-attempt").as_deref() {
        Some("1") => Answer::new(503, "").header("Retry-After", "3000"),
        _ => Answer::new(200, ""),
    });
    let (wanted, unwanted) =
        (kept(github(&world, "/in/wanted", "x")).await, kept(github(&world, "/in/unwanted", "x")).await);
    let both_failed = || entries(&world, &[]).iter().all(|entry| entry["attempts"] == 1);
    crate::harness::background::eventually("both attempts", both_failed).await;
    assert_eq!(wal(&world, &["drop", &unwanted, "--yes"]).0, 0);
    world.upstream.otherwise(|_| Answer::new(200, ""));
    assert_eq!(wal(&world, &["replay", &wanted]).0, 0);
    delivered(&world).await;
    let paths: Vec<_> = world.upstream.requests().iter().map(|it| it.path()).collect();
    assert_eq!(paths.iter().filter(|path| *path == "/in/unwanted").count(), 1, "{paths:?}");
    assert_eq!(paths.last().map(String::as_str), Some("/in/wanted"));
}

#[tokio::test]
async fn what_cannot_be_done_is_said() {
    let world = world(DISK, &[hook("/in", "")]);
    world.upstream.on("/in", |_| Answer::Steps(vec![Step::Stall]));
    kept(github(&world, "/in", "x")).await;
    world.upstream.received(1).await;
    for (arguments, expected) in [
        (vec!["show", "ffffffffffffffffffffffffffffffff"], 1),
        (vec!["show", "zz"], 1),
        (vec!["replay", "ffffffffffffffffffffffffffffffff"], 1),
        (vec!["replay"], 2),
        (vec!["drop", "--yes"], 2),
        (vec!["list", "--dead", "--waiting"], 2),
    ] {
        let (code, _, errors) = wal(&world, &arguments);
        assert_eq!(code, expected, "{arguments:?}: {errors}");
        assert!(!errors.trim().is_empty() && !errors.contains("panicked"), "{arguments:?}: {errors}");
    }
    // The one that is under way is shown as such.
    assert_eq!(entries(&world, &[])[0]["state"], "under_way");
    world.gateway.signal(Signal::SIGKILL);
    world.gateway.wait();
    assert_eq!(entries(&world, &[])[0]["state"], "waiting", "nobody has it any more");
}
