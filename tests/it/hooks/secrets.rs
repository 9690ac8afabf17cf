//! Signing secrets that change, and places to read them from that fail.

use portcullis::dev::google::{Endpoint, Fault, VersionState};

use super::kit::{
    DISK, accepted, assert_nothing_kept, assert_refused, delivered, hex, hook, kept, plan, status, tag,
};
use crate::harness::canary;
use crate::harness::http::Call;
use crate::harness::world::{Plan, World};

const SECRET: &str = "projects/example-project/secrets/signing";
const LATEST: &str = "{ secret_manager: projects/123456789012/secrets/signing/versions/latest }";

/// A value of the secret; all are canaries.
fn value(number: u32) -> String {
    format!("{}-{number}", canary::secret())
}

/// Signed with one of the values.
fn call(world: &World, secret: &str) -> Call {
    let signature = format!("sha256={}", hex(&tag(secret, &[b"{}"])));
    world.client().post("/in", "{}").header("x-hub-signature-256", &signature)
}

fn from(place: &str) -> Plan {
    let further = format!("secrets: {{ s: {place} }}\n{DISK}");
    Plan { further, environment: Vec::new(), ..plan("", &[&hook("/in", "")]) }
}

fn managed() -> Plan {
    Plan { secrets: vec![(SECRET, value(1))], ..from(LATEST) }
}

#[tokio::test]
async fn a_file_that_changes_is_read_again_when_a_signature_is_wrong() {
    let plan = Plan { files: vec![("secret", format!("{}\n", value(1)))], ..from("{ file: secret }") };
    let world = plan.start();
    kept(call(&world, &value(1))).await;
    assert_refused(&call(&world, &value(2)).send().await, 403, "bad_signature");
    let directory = world.gateway.directory();
    std::fs::write(directory.join("new"), value(2)).unwrap();
    std::fs::rename(directory.join("new"), directory.join("secret")).unwrap();
    accepted(|| call(&world, &value(2))).await;
    assert_refused(&call(&world, &value(1)).send().await, 403, "bad_signature");
    kept(call(&world, &value(2))).await;
    // Gone for a moment, as when a volume is mounted anew: the value that is known stays good.
    std::fs::remove_file(directory.join("secret")).unwrap();
    assert_refused(&call(&world, &value(1)).send().await, 403, "bad_signature");
    kept(call(&world, &value(2))).await;
    delivered(&world).await;
}

#[tokio::test]
async fn an_old_value_ends_without_a_wrong_signature_when_it_is_stale() {
    let files = vec![("secret", value(1))];
    let world = Plan { files, ..from("{ file: secret, refresh: 1s }") }.start();
    kept(call(&world, &value(1))).await;
    std::fs::write(world.gateway.directory().join("secret"), value(2)).unwrap();
    // Somebody who has the old secret goes on using it, and it ends all the same.
    world.until(403, || call(&world, &value(1))).await;
    kept(call(&world, &value(2))).await;
}

#[tokio::test]
async fn secret_manager_s_next_version_is_accepted_and_the_old_one_no_longer() {
    let world = managed().start();
    kept(call(&world, &value(1))).await;
    assert_refused(&call(&world, &value(2)).send().await, 403, "bad_signature");
    world.google.add_secret_version(SECRET, value(2).as_bytes());
    accepted(|| call(&world, &value(2))).await;
    assert_refused(&call(&world, &value(1)).send().await, 403, "bad_signature");
    delivered(&world).await;
}

#[tokio::test]
async fn a_secret_manager_that_goes_away_later_changes_nothing() {
    let world = managed().start();
    kept(call(&world, &value(1))).await;
    let faults = [status(503), status(403), status(404), Fault::Close, Fault::Html, Fault::Empty];
    for fault in faults {
        world.google.fail(Endpoint::SecretManager, fault);
        assert_refused(&call(&world, &value(2)).send().await, 403, "bad_signature");
        kept(call(&world, &value(1))).await;
    }
    world.google.clear_switches();
    world.google.set_secret_version(SECRET, 1, VersionState::Disabled);
    // Until somebody has tried to read it again, and in vain.
    let before = world.google.calls(Endpoint::SecretManager);
    crate::harness::background::within("another read", async {
        while world.google.calls(Endpoint::SecretManager) == before {
            assert_refused(&call(&world, &value(2)).send().await, 403, "bad_signature");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await;
    kept(call(&world, &value(1))).await;
    world.gateway.says("its present value stays in use");
}

#[tokio::test]
async fn wrong_signatures_do_not_cost_a_call_each() {
    let world = managed().start();
    let before = world.google.calls(Endpoint::SecretManager);
    for number in 0..100 {
        assert_refused(&call(&world, &value(number + 2)).send().await, 403, "bad_signature");
    }
    let calls = world.google.calls(Endpoint::SecretManager) - before;
    assert!(calls <= 10, "{calls} calls for a hundred wrong signatures");
    assert_nothing_kept(&world);
}

#[tokio::test]
async fn a_secret_that_is_not_there_ends_the_start_with_what_to_do() {
    let numbered = "{ secret_manager: projects/123456789012/secrets/signing/versions/7 }";
    let rows: Vec<(&str, Plan, &str)> = vec![
        (
            "no secret",
            Plan { secrets: Vec::new(), ..managed() },
            "create projects/123456789012/secrets/signing",
        ),
        ("no such version", Plan { secrets: vec![(SECRET, value(1))], ..from(numbered) }, "add a version"),
        (
            "no right",
            Plan { faults: vec![(Endpoint::SecretManager, status(403))], ..managed() },
            "grant roles/secretmanager.secretAccessor on projects/123456789012/secrets/signing",
        ),
        ("empty", Plan { secrets: vec![(SECRET, "\n".to_owned())], ..managed() }, "its value is empty"),
        ("no file", from("{ file: nowhere }"), "nowhere cannot be read"),
        (
            "an empty file",
            Plan { files: vec![("secret", String::new())], ..from("{ file: secret }") },
            "empty",
        ),
    ];
    for (name, plan, message) in rows {
        let world = plan.launch();
        let (code, _) = world.gateway.wait();
        let output = world.gateway.output();
        assert_eq!(code, 1, "{name}: {output}");
        assert!(
            output.contains("the secret s cannot be read") && output.contains(message),
            "{name}: {output}"
        );
    }
    // Somebody may have written the value where the name belongs: it is not repeated.
    let world = from(&format!("{{ env: '{}' }}", canary::secret())).launch();
    assert_eq!(world.gateway.wait().0, 2, "{}", world.gateway.output());
    let said = "secrets.s.env: names an environment variable that is not set";
    assert!(world.gateway.output().contains(said), "{}", world.gateway.output());
}

#[tokio::test]
async fn a_secret_manager_that_is_away_at_the_start_means_503_and_never_open() {
    let world = Plan { faults: vec![(Endpoint::SecretManager, status(503))], ..managed() }.start();
    world.gateway.says("its senders get 503 until it can be read");
    for secret in [value(1), value(2), String::new()] {
        assert_refused(&call(&world, &secret).send().await, 503, "secret_unavailable");
    }
    // What is wrong in any case is refused for good, and does not wait for the secret.
    let unsigned = world.client().post("/in", "{}").send().await;
    assert_refused(&unsigned, 403, "bad_signature");
    assert_nothing_kept(&world);
    // The rest of the gateway works meanwhile.
    assert_eq!(world.client().get("/public/x").send().await.status, 200);
    world.upstream.forget();
    world.google.clear_switches();
    accepted(|| call(&world, &value(1))).await;
    assert_refused(&call(&world, &value(2)).send().await, 403, "bad_signature");
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 1);
}

#[tokio::test]
async fn with_one_of_two_secrets_away_the_other_one_still_counts() {
    let files = vec![("known", value(1))];
    let other = "projects/123456789012/secrets/signing/versions/latest";
    let mut plan = Plan { files, ..from(&format!("{{ file: known }}, old: {{ secret_manager: {other} }}")) };
    plan.hooks = plan.hooks.replace("secret: s", "secret: s, previous_secret: old");
    plan.secrets = vec![(SECRET, value(2))];
    plan.faults = vec![(Endpoint::SecretManager, Fault::Close)];
    let world = plan.start();
    kept(call(&world, &value(1))).await;
    // It may be the one that cannot be read.
    assert_refused(&call(&world, &value(2)).send().await, 503, "secret_unavailable");
    assert_refused(&call(&world, &value(3)).send().await, 503, "secret_unavailable");
    world.google.clear_switches();
    accepted(|| call(&world, &value(2))).await;
    assert_refused(&call(&world, &value(3)).send().await, 403, "bad_signature");
}
