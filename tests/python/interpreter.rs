//! Python with the libraries that tests are checked by.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

/// What is installed, and what must then be there.
const PACKAGES: [&str; 7] = [
    "cryptography",
    "google-auth",
    "google-cloud-pubsub",
    "google-cloud-secret-manager",
    "prometheus-client",
    "pyjwt",
    "requests",
];
const IMPORTS: &str = "import cryptography, google.auth.compute_engine, google.cloud.secretmanager_v1, \
                       google.oauth2.id_token, google.pubsub_v1, jwt, prometheus_client.parser, requests";

/// Made once in a process, whichever tests need it.
static INTERPRETER: LazyLock<PathBuf> = LazyLock::new(make);

/// Runs one of the scripts beside this file.
pub(crate) fn python(script: &str, arguments: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python").join(script);
    run(Command::new(&*INTERPRETER).arg(script).args(arguments))
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|problem| panic!("{command:?}: {problem}"))
}

/// The interpreter of a virtual environment, which is kept in `target`.
fn make() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv");
    let python = directory.join("bin/python");
    let ready =
        || Command::new(&python).args(["-c", IMPORTS]).output().is_ok_and(|output| output.status.success());
    if ready() {
        return python;
    }
    let made = run(Command::new("python3").args(["-m", "venv"]).arg(&directory));
    assert!(made.status.success(), "python3 -m venv: {}", String::from_utf8_lossy(&made.stderr));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let installed = run(Command::new(&python).args(pip).args(PACKAGES));
    assert!(ready(), "pip could not install {PACKAGES:?}: {}", String::from_utf8_lossy(&installed.stderr));
    python
}
