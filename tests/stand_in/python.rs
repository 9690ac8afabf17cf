//! Google's own Python library against the stand-in.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use portcullis::dev::google::Endpoint;

use super::stand_in;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn googles_own_library_is_content() {
    let (google, _) = stand_in().await;
    let origin = google.base_url().to_string();
    let output = tokio::task::spawn_blocking(move || {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/google_auth_roundtrip.py");
        run(Command::new(python()).arg(script).arg(origin))
    });
    let output = output.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(google.calls(Endpoint::Metadata) > 5 && google.calls(Endpoint::Certs) > 5);
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|problem| panic!("{command:?}: {problem}"))
}

/// The interpreter of a virtual environment that has google-auth. It is made once, and kept in `target`.
fn python() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv");
    let python = directory.join("bin/python");
    let ready = || {
        let imports =
            "import google.oauth2.id_token, google.auth.compute_engine, requests, jwt, cryptography";
        Command::new(&python).args(["-c", imports]).output().is_ok_and(|output| output.status.success())
    };
    if ready() {
        return python;
    }
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&directory));
    assert!(made.status.success(), "python3 -m venv: {}", String::from_utf8_lossy(&made.stderr));
    let packages = ["google-auth", "requests", "pyjwt", "cryptography"];
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let installed = run(Command::new(&python).args(pip).args(packages));
    assert!(ready(), "pip could not install google-auth: {}", String::from_utf8_lossy(&installed.stderr));
    python
}
