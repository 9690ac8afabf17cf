//! What the vendors' own libraries sign is believed, and what they refuse is refused.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::kit::{DISK, delivered, plan};
use crate::harness::canary;

/// What `tests/python/webhook_senders.py` imports.
const PACKAGES: [&str; 3] = ["slack_sdk", "standardwebhooks", "stripe"];

#[tokio::test]
async fn the_vendors_own_code_and_the_gateway_agree() {
    let scheme = |name: &str, secret: &str| {
        format!("{{ path: /{name}, access: webhook, webhook: {{ {secret} }}, wal: true, upstream: up }}")
    };
    let mut plan = plan(
        DISK,
        &[
            &scheme("slack", "slack: { secret: s }"),
            &scheme("stripe", "stripe: { secret: s }"),
            &scheme("standard", "standard_webhooks: { secret: w }"),
        ],
    );
    plan.further = plan.further.replace("env: SIGNING }", "env: SIGNING }, w: { env: STANDARD }");
    let standard = format!("whsec_{}", STANDARD.encode(format!("{}-of-enough-bytes", canary::secret())));
    plan.environment.push(("STANDARD", standard.clone()));
    let world = plan.start();
    let requests = signed(&[canary::secret(), &standard]);
    assert!(requests.len() >= 19, "{}", requests.len());
    let mut expected = Vec::new();
    for request in &requests {
        let text = |name: &str| request[name].as_str().unwrap().to_owned();
        let (sender, name) = (text("sender"), text("name"));
        let body = STANDARD.decode(text("body")).unwrap();
        let mut call = world.client().post(&format!("/{sender}"), body.clone());
        for (header, value) in request["headers"].as_object().unwrap() {
            call = call.header(header, value.as_str().unwrap());
        }
        let response = call.send().await;
        if request["good"] == true {
            assert_eq!(response.status, 200, "{sender}, {name}: {}", response.text());
            expected.push((format!("/{sender}"), body));
        } else {
            let got = (response.status.as_u16(), response.code());
            assert_eq!(got, (403, "bad_signature".to_owned()), "{sender}, {name}");
        }
    }
    delivered(&world).await;
    let mut seen: Vec<_> =
        world.upstream.requests().iter().map(|it| (it.path(), it.body().to_vec())).collect();
    seen.sort();
    expected.sort();
    assert_eq!(seen, expected);
}

/// The lines that the script prints.
fn signed(secrets: &[&str]) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/webhook_senders.py");
    let output = Command::new(python()).arg(script).args(secrets).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The interpreter of a virtual environment that has the libraries. It is made once, and kept in `target`.
fn python() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv-webhooks");
    let python = directory.join("bin/python");
    let imports = format!("import {}", PACKAGES.join(", "));
    let ready =
        || Command::new(&python).args(["-c", &imports]).output().is_ok_and(|output| output.status.success());
    if ready() {
        return python;
    }
    let made = Command::new("python3").args(["-m", "venv"]).arg(&directory).output().unwrap();
    assert!(made.status.success(), "python3 -m venv: {}", String::from_utf8_lossy(&made.stderr));
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let installed = Command::new(&python).args(pip).args(PACKAGES).output().unwrap();
    assert!(
        ready(),
        "pip could not install what webhook_senders.py imports: {}",
        String::from_utf8_lossy(&installed.stderr)
    );
    python
}
