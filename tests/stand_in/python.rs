//! Google's own Python library against the stand-in.

#[path = "../python/interpreter.rs"]
mod interpreter;

use portcullis::dev::google::{Endpoint, StandIn};

use self::interpreter::python;
use super::stand_in;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn googles_own_library_is_content() {
    let (google, _) = stand_in().await;
    succeed(&google, "google_auth_roundtrip.py").await;
    assert!(google.calls(Endpoint::Metadata) > 5 && google.calls(Endpoint::Certs) > 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn googles_own_clients_of_pubsub_and_secret_manager_are_content() {
    let (google, _) = stand_in().await;
    for version in ["one", "two"] {
        google.add_secret_version("projects/example-project/secrets/s", version.as_bytes());
    }
    succeed(&google, "google_cloud_roundtrip.py").await;
    assert_eq!(google.backlog("projects/example-project/subscriptions/pull"), 0);
    assert_eq!(google.messages("projects/example-project/topics/t").len(), 2);
    assert_eq!(google.calls(Endpoint::SecretManager), 4);
}

async fn succeed(google: &StandIn, script: &'static str) {
    let origin = google.base_url().to_string();
    let output = tokio::task::spawn_blocking(move || python(script, &[&origin]));
    let output = output.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
