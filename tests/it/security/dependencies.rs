//! Versions and crates that advisories speak of, looked up in the lock file.

const LOCK: &str = include_str!("../../../Cargo.lock");

/// Every locked version of a crate.
fn versions(name: &str) -> Vec<(u64, u64, u64)> {
    let wanted = format!("name = \"{name}\"");
    let mut lines = LOCK.lines();
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line != wanted {
            continue;
        }
        let version = lines.next().unwrap().trim_start_matches("version = \"").trim_end_matches('"');
        let core = version.split(['-', '+']).next().unwrap();
        let mut numbers = core.split('.').map(|number| number.parse().unwrap());
        found.push((numbers.next().unwrap(), numbers.next().unwrap(), numbers.next().unwrap()));
    }
    found
}

#[test]
fn vulnerable_versions_are_not_in_use() {
    // CVE-2026-105299, CVE-2026-105297 and the earlier ones; RUSTSEC-2026-0258.
    for (name, least) in [("pingora-core", (0, 9, 1)), ("pingora-proxy", (0, 9, 1)), ("h2", (0, 4, 16))] {
        let locked = versions(name);
        assert!(!locked.is_empty(), "{name} is in the lock file");
        assert!(locked.iter().all(|version| *version >= least), "{name}: {locked:?}");
    }
}

#[test]
fn hazardous_crates_are_not_in_use() {
    // RUSTSEC-2023-0071; RUSTSEC-2025-0068; a second provider of TLS.
    for name in ["rsa", "serde_yml", "libyml", "aws-lc-rs", "openssl"] {
        assert!(versions(name).is_empty(), "{name} is in the lock file");
    }
}
