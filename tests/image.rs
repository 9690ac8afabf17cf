//! The Dockerfile and its kin, read as text: what a linter would say, and that they fit what is in the repository. That
//! the image works is checked by `.ci/image`.
#![expect(clippy::panic, reason = "a test fails by panicking, in what its cases share as well")]

use std::fs;
use std::path::{Path, PathBuf};

use portcullis::config::{self, Environment};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The instructions of a Dockerfile, each on one line: word and rest.
fn instructions(text: &str) -> Vec<(String, String)> {
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.trim_start().starts_with('#') && !line.trim().is_empty()).collect();
    let joined = lines.join("\n").replace("\\\n", " ");
    let split =
        |line: &str| line.split_once(' ').map(|(word, rest)| (word.to_owned(), rest.trim().to_owned()));
    joined.lines().map(|line| split(line).unwrap_or_else(|| panic!("no instruction: {line}"))).collect()
}

/// What is wrong with a Dockerfile, by itself.
fn complaints(text: &str) -> Vec<String> {
    let all = instructions(text);
    let mut found = Vec::new();
    let stages: Vec<&str> = all
        .iter()
        .filter(|(word, _)| word == "FROM")
        .filter_map(|(_, rest)| rest.split_once(" AS ").map(|(_, name)| name))
        .collect();
    for (word, rest) in &all {
        let image = rest.split(' ').next().unwrap_or_default();
        let digest = image.split_once("@sha256:").map_or("", |(_, digest)| digest);
        let pinned = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        match word.as_str() {
            "FROM" if image == "scratch" || stages.contains(&image) => {}
            "FROM" if !pinned => found.push(format!("{image} is not pinned by digest")),
            "FROM" if !image.contains(':') || image.contains(":latest") => {
                found.push(format!("{image} has no version"));
            }
            "ADD" => found.push("ADD fetches and unpacks; COPY does not".to_owned()),
            "ENTRYPOINT" | "CMD" if !rest.starts_with('[') => found.push(format!("{word} needs a shell")),
            "RUN" if rest.contains("apt-get install") && !rest.contains("--no-install-recommends") => {
                found.push("apt-get installs what is only recommended".to_owned());
            }
            "RUN" if rest.contains("curl ") || rest.contains("sudo ") => found.push(format!("RUN {rest}")),
            _ => {}
        }
    }
    let last: Vec<_> = all.iter().rev().take_while(|(word, _)| word != "FROM").collect();
    let user = last.iter().find(|(word, _)| word == "USER").map_or("root", |(_, user)| user.as_str());
    let numbers: Vec<u32> = user.split(':').filter_map(|number| number.parse().ok()).collect();
    if numbers.len() != 2 || numbers.contains(&0) {
        found.push(format!("runs as {user}; a numeric user and group other than root is wanted"));
    }
    for wanted in ["ENTRYPOINT", "STOPSIGNAL", "EXPOSE", "LABEL"] {
        if !last.iter().any(|(word, _)| word == wanted) {
            found.push(format!("the image has no {wanted}"));
        }
    }
    found
}

/// Whether `.dockerignore` keeps a path out: the last pattern that matches decides, as Docker reads it.
fn ignored(patterns: &str, path: &str) -> bool {
    let mut out = false;
    for line in patterns.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (keeps, pattern) = line.strip_prefix('!').map_or((false, line), |pattern| (true, pattern));
        if pattern == "*" || path == pattern || path.starts_with(&format!("{pattern}/")) {
            out = !keeps;
        }
    }
    out
}

#[test]
fn the_dockerfile_is_without_fault() {
    assert_eq!(complaints(&read("Dockerfile")), Vec::<String>::new());
}

#[test]
fn faults_are_found() {
    let faulty =
        "FROM rust:1\nADD x /x\nRUN apt-get install gcc\nENTRYPOINT portcullis\nEXPOSE 1\nUSER 0:0\n";
    assert_eq!(
        complaints(faulty),
        [
            "rust:1 is not pinned by digest",
            "ADD fetches and unpacks; COPY does not",
            "apt-get installs what is only recommended",
            "ENTRYPOINT needs a shell",
            "runs as 0:0; a numeric user and group other than root is wanted",
            "the image has no STOPSIGNAL",
            "the image has no LABEL",
        ]
    );
}

#[test]
fn what_is_copied_exists_and_reaches_the_builder() {
    let (patterns, mut copied) = (read(".dockerignore"), 0);
    for (word, rest) in instructions(&read("Dockerfile")) {
        if word != "COPY" || rest.starts_with("--from=") {
            continue;
        }
        let mut sources: Vec<&str> = rest.split_whitespace().collect();
        sources.pop();
        for source in sources {
            assert!(root().join(source).exists(), "{source} is copied and does not exist");
            assert!(!ignored(&patterns, source), "{source} is copied and kept out by .dockerignore");
            copied += 1;
        }
    }
    assert!(copied >= 6, "only {copied}");
    for path in [
        ".git/HEAD",
        "target/debug/portcullis",
        "conf/portcullis.yaml",
        "terraform/terraform.tfstate",
        ".env",
    ] {
        assert!(ignored(&patterns, path), "{path} would be sent to the builder");
    }
}

#[test]
fn what_the_crate_includes_is_copied() {
    let copied: Vec<String> = instructions(&read("Dockerfile"))
        .into_iter()
        .filter(|(word, rest)| word == "COPY" && !rest.starts_with("--from="))
        .flat_map(|(_, rest)| rest.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let front = read("src/lib.rs");
    let outside = front.split("include_str!(\"../").skip(1).map(|rest| rest.split('"').next().unwrap());
    let wanted: Vec<&str> =
        outside.chain(["Cargo.toml", "Cargo.lock", "askama.toml", "src", "benches"]).collect();
    assert!(wanted.len() >= 6, "{wanted:?}");
    for name in wanted {
        assert!(copied.iter().any(|copy| copy == name), "the crate needs {name}, which is not copied");
    }
}

#[test]
fn the_compiler_is_the_one_of_the_manifest() {
    let manifest = read("Cargo.toml");
    let version = manifest.split("rust-version = \"").nth(1).unwrap().split('"').next().unwrap();
    let dockerfile = read("Dockerfile");
    assert!(
        dockerfile.contains(&format!("FROM rust:{version}.")),
        "the image is not built with Rust {version}"
    );
    let own = manifest.split("\nversion = \"").nth(1).unwrap().split('"').next().unwrap();
    assert!(dockerfile.contains(&format!("ARG VERSION={own}\n")), "the image is not labelled {own}");
}

#[test]
fn one_script_builds_for_the_image_and_for_its_check() {
    assert_eq!(read("Dockerfile").matches("RUN deploy/build-static ").count(), 2);
    assert!(read(".ci/image").contains("\n    deploy/build-static "));
    let script = read("deploy/build-static");
    for flag in [
        "--release",
        "--locked",
        "--no-default-features",
        "target-feature=+crt-static",
        "--remap-path-prefix=",
    ] {
        assert!(script.contains(flag), "build-static has no {flag}");
    }
}

#[test]
fn paths_and_user_are_the_same_everywhere() {
    let file = "/etc/portcullis/portcullis.yaml";
    for (document, wanted) in [
        ("Dockerfile", format!("ENV PORTCULLIS_CONFIG={file}\n")),
        ("compose.yaml", format!(":{file}:ro\n")),
        ("deploy/portcullis.service", format!("Environment=PORTCULLIS_CONFIG={file}\n")),
        ("terraform/main.tf", "config_folder = \"/etc/portcullis\"\n".to_owned()),
        ("Dockerfile", "USER 65532:65532\n".to_owned()),
        (".ci/image", "\nuser=65532\n".to_owned()),
        ("compose.yaml", ":/var/lib/portcullis/wal\n".to_owned()),
        ("Dockerfile", "install -d -m 0700 /state/wal\n".to_owned()),
        ("Dockerfile", "--chown=65532:65532 /state/ /var/lib/portcullis/\n".to_owned()),
    ] {
        assert!(read(document).contains(&wanted), "{document} does not say {wanted:?}");
    }
}

#[test]
fn compose_starts_the_gateway_with_what_its_configuration_reads() {
    let compose = read("compose.yaml");
    assert!(!compose.contains(":latest"), "an image may change under its tag");
    let yaml = read("conf/compose.yaml");
    let names: Vec<&str> =
        yaml.split("${").skip(1).map(|rest| rest.split(['}', ':']).next().unwrap()).collect();
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        assert!(compose.contains(&format!("      {name}: ")), "compose.yaml does not set {name}");
    }
    let environment = Environment::of([
        ("GOOGLE_CLIENT_ID", "1-a.apps.googleusercontent.com"),
        ("AUTHORIZED_DOMAIN", "example.com"),
        ("PUBLIC_URL", "http://localhost:8080"),
        ("UPSTREAM_URL", "http://app:8080"),
    ]);
    config::parse(&yaml, "conf/compose.yaml", &environment).unwrap_or_else(|problems| panic!("{problems}"));
}

#[test]
fn the_unit_is_hardened_and_gives_time_to_end() {
    let unit = read("deploy/portcullis.service");
    for line in [
        "DynamicUser=yes",
        "StateDirectory=portcullis",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "CapabilityBoundingSet=",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
        "KillSignal=SIGTERM",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "RestartPreventExitStatus=2",
    ] {
        assert!(unit.lines().any(|there| there == line), "{line} is missing");
    }
    let stop = unit.split("TimeoutStopSec=").nth(1).unwrap().lines().next().unwrap();
    assert!(stop.parse::<u32>().unwrap() >= 10, "the gateway takes up to ten seconds to end");
}

#[test]
fn the_scripts_can_be_run() {
    use std::os::unix::fs::PermissionsExt as _;
    for name in [".ci/image", ".ci/terraform", "deploy/build-static"] {
        let path = root().join(Path::new(name));
        let text = fs::read_to_string(&path).unwrap();
        let strict = text.starts_with("#!/usr/bin/env bash\n") && text.contains("\nset -euo pipefail\n");
        assert!(strict, "{name}");
        assert_ne!(fs::metadata(&path).unwrap().permissions().mode() & 0o111, 0, "{name} is not executable");
    }
}
