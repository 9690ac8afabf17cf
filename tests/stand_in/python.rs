//! Google's own Python library against the stand-in.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use portcullis::dev::google::{Endpoint, StandIn};

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
    let output = tokio::task::spawn_blocking(move || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
        run(Command::new(python()).arg(script).arg(origin))
    });
    let output = output.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|problem| panic!("{command:?}: {problem}"))
}

/// The interpreter of a virtual environment that has Google's libraries. It is made once, and kept in `target`.
fn python() -> PathBuf {
    // Two tests may want to make it at the same time.
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(made).clone()
}

fn made() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv");
    let python = directory.join("bin/python");
    let ready = || {
        let imports = "import google.oauth2.id_token, google.auth.compute_engine, requests, jwt, cryptography, google.pubsub_v1, \
             google.cloud.secretmanager_v1";
        Command::new(&python).args(["-c", imports]).output().is_ok_and(|output| output.status.success())
    };
    if ready() {
        return python;
    }
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&directory));
    assert!(made.status.success(), "python3 -m venv: {}", String::from_utf8_lossy(&made.stderr));
    let packages = [
        "google-auth",
        "requests",
        "pyjwt",
        "cryptography",
        "google-cloud-pubsub",
        "google-cloud-secret-manager",
    ];
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let installed = run(Command::new(&python).args(pip).args(packages));
    assert!(
        ready(),
        "pip could not install what google_auth_roundtrip.py and google_cloud_roundtrip.py import: {}",
        String::from_utf8_lossy(&installed.stderr)
    );
    python
}
