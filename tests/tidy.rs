//! The rules of ARCHITECTURE.md that a compiler does not know: who may name whom, how large things get, and that
//! documents speak of what exists.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in what its cases share as well")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

const VALUES: [&str; 10] = [
    "cookies",
    "google_api",
    "metadata",
    "outbound",
    "pages",
    "reply",
    "secret",
    "telemetry",
    "time",
    "trace",
];
/// Each part that is no value, and the parts besides the values that it may name.
const PARTS: [(&str, &[&str]); 15] = [
    ("config", &[]),
    ("identity", &["config"]),
    ("mint", &["config"]),
    ("secrets", &["config"]),
    ("webhook", &["config"]),
    ("adapt", &["config"]),
    ("wal", &["config"]),
    ("login", &["config", "identity"]),
    ("playback", &["config", "mint", "wal"]),
    ("gate", &["adapt", "config", "identity", "login", "mint", "playback", "secrets", "wal", "webhook"]),
    ("proxy", &["config", "gate", "identity", "login", "mint"]),
    ("admin", &["config", "gate"]),
    (
        "app",
        &[
            "adapt", "admin", "config", "gate", "identity", "login", "mint", "playback", "proxy", "secrets",
            "wal", "webhook",
        ],
    ),
    ("dev", &["app", "config"]),
    ("main", &["adapt", "app", "config", "dev", "gate", "wal"]),
];
/// What may be named only below these paths.
const PLACES: [(&str, &[&str]); 18] = [
    ("pingora::", &["src/proxy/", "src/app", "src/admin.rs"]),
    ("pingora_proxy", &["src/proxy/", "src/app.rs"]),
    ("pingora_load_balancing", &["src/proxy/health.rs"]),
    ("x509_parser", &["src/config/resolve/certificate.rs"]),
    ("pingora_memory_cache", &["src/identity/cache.rs", "src/identity/flood.rs", "src/identity/verified.rs"]),
    ("serde_saphyr", &["src/config/file.rs"]),
    ("reqwest", &["src/outbound.rs"]),
    ("std::env", &["src/main.rs", "src/config/"]),
    ("env_logger", &["src/telemetry/logger.rs"]),
    ("prometheus::", &["src/telemetry/metrics"]),
    ("askama", &["src/pages.rs", "src/dev/"]),
    ("axum", &["src/dev/"]),
    ("jaq_", &["src/adapt/"]),
    ("tokio::process", &["src/adapt/pool.rs"]),
    ("redb::", &["src/wal/disk/"]),
    ("indicatif", &["src/wal/console/"]),
    ("SystemTime", &["src/time.rs", "src/telemetry/logger.rs"]),
    // A task outlives whoever started it: each of these ends by itself.
    (
        "tokio::spawn",
        &[
            "src/google_api/token.rs",
            "src/identity/jwks.rs",
            "src/mint/mod.rs",
            "src/proxy/address.rs",
            "src/secrets/",
            "src/telemetry/spans.rs",
            "src/wal/pubsub/",
            "src/dev/",
        ],
    ),
];
const MAX_FILE: usize = 450;
const MAX_HOOK: usize = 15;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// All files below a folder, with their path from the root and their text, if they are text.
fn files(folder: &str, least: usize) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path());
            open.extend(entries.filter(|path| {
                !path.ends_with(".git") && !path.ends_with("target") && !path.ends_with("__pycache__")
            }));
        } else if let Ok(text) = fs::read_to_string(&path) {
            found.push((path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), text));
        }
    }
    found.sort();
    assert!(found.len() >= least, "only {} files in {folder}", found.len());
    found
}

fn rust(folder: &str, least: usize) -> Vec<(String, String)> {
    let files: Vec<_> = files(folder, least).into_iter().filter(|(path, _)| path.ends_with(".rs")).collect();
    assert!(files.len() >= least, "only {} sources in {folder}", files.len());
    files
}

/// The code of the gateway itself, without tests and comments.
fn code() -> Vec<(String, String)> {
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    let strip = |text: String| {
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
        code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
    };
    rust("src", 60)
        .into_iter()
        .filter(|(path, _)| !is_test(path))
        .map(|(path, text)| (path, strip(text)))
        .collect()
}

/// `src/gate/mod.rs` and `src/gate.rs` belong to `gate`.
fn part(path: &str) -> &str {
    path.trim_start_matches("src/").split('/').next().unwrap().trim_end_matches(".rs")
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The parts that a piece of code names, as `crate::part` or in `crate::{…}`.
fn named(code: &str, start: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in code.split(start).skip(1) {
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split(';').next().unwrap();
                names.extend(list.split(',').map(|name| word(name.trim()).to_owned()));
            }
            None => drop(names.insert(word(rest).to_owned())),
        }
    }
    names
}

#[test]
fn parts_name_only_whom_they_may() {
    let mut pairs = 0;
    for (path, code) in code() {
        let part = part(&path);
        if part == "lib" {
            continue;
        }
        let allowed = match PARTS.iter().find(|(name, _)| *name == part) {
            Some((_, allowed)) => *allowed,
            None if VALUES.contains(&part) => &[],
            None => panic!("{path} belongs to no part: give it a place in this test and in ARCHITECTURE.md"),
        };
        let start = if part == "main" { "portcullis::" } else { "crate::" };
        for name in named(&code, start) {
            let known = VALUES.contains(&name.as_str()) || PARTS.iter().any(|(part, _)| *part == name);
            let may = name == part || VALUES.contains(&name.as_str()) || allowed.contains(&name.as_str());
            assert!(may || !known, "{path} names {name}, and {part} must not");
            pairs += usize::from(known);
        }
    }
    assert!(pairs >= 60, "only {pairs} pairs");
}

#[test]
fn crates_stay_in_their_files() {
    let code = code();
    for (name, places) in PLACES {
        let users: Vec<&str> =
            code.iter().filter(|(_, text)| text.contains(name)).map(|(path, _)| path.as_str()).collect();
        assert!(!users.is_empty(), "nobody names {name} any more");
        for path in users {
            assert!(places.iter().any(|place| path.starts_with(place)), "{path} names {name}");
        }
    }
}

#[test]
fn files_stay_small() {
    for (path, text) in [rust("src", 60), rust("tests", 20)].concat() {
        let lines = text.lines().count();
        assert!(lines <= MAX_FILE, "{path} has {lines} lines, more than {MAX_FILE}");
    }
}

#[test]
fn hooks_stay_short() {
    let text = fs::read_to_string(root().join("src/proxy/mod.rs")).unwrap();
    let hooks = text.split("impl ProxyHttp for Proxy {").nth(1).unwrap().split("\n}\n").next().unwrap();
    let mut count = 0;
    for hook in hooks.split("fn ").skip(1) {
        let body = hook.split_once("{\n").map_or("", |(_, body)| body).split("\n    }\n").next().unwrap();
        let lines = body.lines().count();
        assert!(lines <= MAX_HOOK, "{} has {lines} lines, more than {MAX_HOOK}", word(hook));
        count += 1;
    }
    assert!(count >= 12, "only {count} hooks");
}

#[test]
fn documents_name_only_files_that_exist() {
    // Read where no other file is named; it is the operator's.
    const OPERATORS: &str = "conf/portcullis.yaml";
    for (document, least) in [("README.md", 4), ("ARCHITECTURE.md", 25)] {
        let text = fs::read_to_string(root().join(document)).unwrap();
        let quoted = text.split('`').skip(1).step_by(2);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let is_path = |name: &&str| {
            let starts = ["src/", "tests/", "conf/", ".ci/"].iter().any(|folder| name.starts_with(folder));
            (starts || name.ends_with(".md") || name.ends_with(".toml")) && !name.contains([' ', '*'])
        };
        let linked = links.filter(|link| !link.starts_with("http"));
        let names: BTreeSet<&str> =
            quoted.filter(is_path).chain(linked).filter(|name| *name != OPERATORS).collect();
        assert!(names.len() >= least, "{document} names only {names:?}");
        for name in names {
            assert!(root().join(name).exists(), "{document} names {name}, which does not exist");
        }
    }
}

#[test]
fn every_part_is_on_the_map() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (path, _) in rust("src", 60).iter().filter(|(path, _)| !path.ends_with("lib.rs")) {
        let part = part(path);
        let (folder, file) = (format!("`src/{part}/`"), format!("`src/{part}.rs`"));
        assert!(map.contains(&folder) || map.contains(&file), "{path} is not on the map of ARCHITECTURE.md");
    }
}

#[test]
fn the_tests_of_the_invariants_exist() {
    let map = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let section = map.split("## What always holds").nth(1).unwrap().split("\n## ").next().unwrap();
    let quoted = section.split('`').skip(1).step_by(2);
    let is_test = |name: &&str| name.matches('_').count() >= 2 && word(name) == *name;
    let names: Vec<&str> = quoted.filter(is_test).collect();
    assert!(names.len() >= 15, "only {names:?}");
    let sources = [rust("src", 60), rust("tests", 20)].concat();
    for name in names {
        let declared = format!("fn {name}()");
        assert!(sources.iter().any(|(_, text)| text.contains(&declared)), "there is no test {name}");
    }
}

#[test]
fn the_changelog_has_an_open_section() {
    let text = fs::read_to_string(root().join("CHANGELOG.md")).unwrap();
    let open = text.split("\n## [Unreleased]\n").nth(1).unwrap().split("\n## ").next().unwrap();
    assert!(open.contains("\n### ") && open.contains("\n- "), "{open}");
    for line in open.lines().filter(|line| line.starts_with("- ")) {
        assert!(line.ends_with('.'), "{line}");
    }
}

#[test]
fn nothing_speaks_of_this_machine_or_of_loose_ends() {
    // Put together here, so that this file does not hold them itself.
    let machine = [["/wo", "rk/"], ["/ro", "ot/"], ["/ho", "me/"], ["/Us", "ers/"], ["../sh", "ared"]]
        .map(|parts| parts.concat());
    let loose = [["TO", "DO"], ["FIX", "ME"], ["XX", "X:"]].map(|parts| parts.concat());
    for (path, text) in files(".", 150) {
        for line in text.lines() {
            let found = machine.iter().find(|word| line.contains(word.as_str()));
            assert!(found.is_none(), "{path} names {}", found.unwrap());
            // With a reason in brackets it may stay.
            let open =
                loose.iter().find(|word| line.contains(word.as_str()) && !line.contains(&format!("{word}(")));
            assert!(open.is_none(), "{path}: {line}");
        }
        let picture = text.chars().find(|c| matches!(u32::from(*c), 0x1F000..=0x1FAFF | 0x2600..=0x27BF));
        assert!(picture.is_none(), "{path} holds {}", picture.unwrap());
    }
}

#[test]
fn the_scripts_can_be_run() {
    use std::os::unix::fs::PermissionsExt as _;
    for name in [".ci/run", ".ci/install"] {
        let path = root().join(Path::new(name));
        let text = fs::read_to_string(&path).unwrap();
        assert!(
            text.starts_with("#!/usr/bin/env bash\n") && text.contains("\nset -euo pipefail\n"),
            "{name}"
        );
        assert_ne!(fs::metadata(&path).unwrap().permissions().mode() & 0o111, 0, "{name} is not executable");
    }
}
