//! The corpus of files in `tests/config`, the files in `conf`, and what the resolved values are.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::file::{self, Value};
use super::read::FromNode as _;
use super::*;

fn here() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn resolve(text: &str, environment: &Environment) -> Result<Config, Problems> {
    // What it names is found beside the files in `conf`.
    parse(text, "conf/test.yaml", environment)
}

fn valid(text: &str) -> Config {
    resolve(text, &Environment::empty()).unwrap_or_else(|problems| panic!("{problems}"))
}

fn problems(text: &str) -> String {
    resolve(text, &Environment::empty())
        .map_or_else(|problems| problems.to_string(), |_| "no problem".to_owned())
}

/// A file with an upstream `a` and a public location, and whatever else.
fn with(rest: &str) -> String {
    format!(
        "version: 1\nupstreams: {{ a: {{ url: 'https://a.example.com' }} }}\n\
         locations: [{{ path: /, access: public, upstream: a }}]\n{rest}"
    )
}

fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(here().join(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    files.sort();
    files
}

/// The environment of the corpus, and of the files in `conf` that name variables.
fn environment() -> Environment {
    Environment::of([
        ("GOOGLE_CLIENT_ID", "1234-abc.apps.googleusercontent.com"),
        ("ZAPIER_CLIENT_ID", "5678-def.apps.googleusercontent.com"),
        ("PUBLIC_URL", "https://gw.example.com"),
        ("UPSTREAM_URL", "https://camunda-abc-ew.a.run.app"),
        ("AUTHORIZED_DOMAIN", "example.com"),
        ("GOOGLE_CLOUD_PROJECT", "example"),
        ("PARTNER_SECRET", "secret"),
        ("BAD_NUMBER", "many"),
        ("YAML", "x, access: public"),
    ])
}

/// The lines that only one of two texts has.
fn difference(expected: &str, found: &str) -> String {
    let mut out = String::new();
    for line in expected.lines().filter(|line| !found.lines().any(|other| other == *line)) {
        writeln!(out, "  - {line}").unwrap();
    }
    for line in found.lines().filter(|line| !expected.lines().any(|other| other == *line)) {
        writeln!(out, "  + {line}").unwrap();
    }
    if out.is_empty() { format!("  the same lines in another order:\n{found}") } else { out }
}

/// Each `.yaml` has its messages beside it in a `.txt`. With `PORTCULLIS_BLESS` set, the messages are written anew:
/// read the difference before it is committed.
#[test]
fn invalid_files_say_what_is_wrong() {
    compare("tests/config/invalid", 25, |loaded| match loaded {
        Err(problems) => problems.to_string() + "\n",
        Ok(_) => "no problem\n".to_owned(),
    });
}

/// The same for files that are good and risky; what they accept is not in their messages.
#[test]
fn risky_files_are_warned_of() {
    compare("tests/config/warned", 8, |loaded| match loaded {
        Err(problems) => panic!("{problems}"),
        Ok(config) => config.warnings.iter().fold(String::new(), |mut said, warning| {
            writeln!(said, "{warning:#}").unwrap();
            said
        }),
    });
    let text = with("accept_risks: [public_token]\nwal: { disk: { directory: /var/lib/portcullis } }");
    let text = text.replace("access: public", "access: google, wal: true");
    let text = format!(
        "{text}\ngoogle: {{ client_id: 1-a.apps.googleusercontent.com }}\nallow: {{ emails: [a@example.com] }}"
    );
    assert!(valid(&text).warnings.is_empty());
    let cloud = resolve(&text, &Environment::of([("K_SERVICE", "gateway")])).unwrap();
    let risks: Vec<_> = cloud.warnings.iter().map(Warning::risk).collect();
    assert_eq!(risks, [Risk::VolatileLog]);
}

#[test]
fn our_own_files_accept_their_risks() {
    for path in files("conf") {
        let config = load(&path, &environment()).unwrap_or_else(|problems| panic!("{problems}"));
        assert!(config.warnings.is_empty(), "{}", config.warnings[0]);
    }
}

/// Holds what is said of each file of a folder against the `.txt` beside it.
#[expect(clippy::disallowed_methods, reason = "asks whether the expectations shall be written anew")]
fn compare(folder: &str, least: usize, said: impl Fn(Result<Config, Problems>) -> String) {
    let files = files(folder);
    assert!(files.len() >= least, "only {} files", files.len());
    let rewrite = std::env::var_os("PORTCULLIS_BLESS").is_some();
    let mut report = String::new();
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        // Without the folder, the messages are the same everywhere.
        let found = said(load(&path, &environment())).replace(&*path.to_string_lossy(), &name);
        let expectation = path.with_extension("txt");
        if rewrite {
            std::fs::write(&expectation, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&expectation).unwrap_or_default();
        if expected != found || found.starts_with("no problem") {
            writeln!(report, "{name}:\n{}", difference(&expected, &found)).unwrap();
        }
    }
    assert!(report.is_empty(), "\n{report}");
}

#[test]
fn valid_files_are_taken() {
    let mut files = files("tests/config/valid");
    files.extend(self::files("conf"));
    assert!(files.len() >= 6, "only {} files", files.len());
    let broken: Vec<String> =
        files.iter().filter_map(|path| load(path, &environment()).err()).map(|it| it.to_string()).collect();
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// One file cannot set what contradicts each other; these set what `full.yaml` says is there.
const REFERENCE: [&str; 3] = ["conf/full.yaml", "conf/vm.yaml", "conf/pull.yaml"];

#[test]
fn the_full_file_and_its_companions_set_every_key() {
    let (mut known, mut set) = (BTreeSet::new(), BTreeSet::new());
    mirror::File::keys("", &mut known);
    for name in REFERENCE {
        let text = std::fs::read_to_string(here().join(name)).unwrap();
        leaves(&file::tree(&text).unwrap().value, "", &mut set);
    }
    let missing: Vec<_> = known.difference(&set).collect();
    assert!(missing.is_empty(), "in none of {REFERENCE:?}: {missing:?}");
    assert!(known.contains("upstreams.NAME.timeouts.idle") && known.contains("locations[].allow.emails[]"));
}

/// The keys of all scalars, written as the mirror writes them.
fn leaves(value: &Value, prefix: &str, out: &mut BTreeSet<String>) {
    match value {
        // Any JSON.
        Value::Map(_) if prefix.ends_with("reply.json") => drop(out.insert(prefix.to_owned())),
        Value::Map(entries) => {
            for (key, node) in entries {
                let chosen =
                    prefix == "upstreams" || prefix == "secrets" || prefix.ends_with("reply.headers");
                let name = if chosen { "NAME" } else { &key.name };
                let dot = if prefix.is_empty() { "" } else { "." };
                leaves(&node.value, &format!("{prefix}{dot}{name}"), out);
            }
        }
        Value::List(items) => items.iter().for_each(|item| leaves(&item.value, &format!("{prefix}[]"), out)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => {
            out.insert(prefix.to_owned());
        }
    }
}

#[test]
fn what_the_reference_calls_default_is_the_default() {
    let environment = Environment::of([
        ("AUTHORIZED_DOMAIN", "example.com"),
        ("GOOGLE_CLOUD_PROJECT", "example"),
        ("PARTNER_SECRET", "secret"),
        ("GOOGLE_CLIENT_ID", "1-a.apps.googleusercontent.com"),
        ("PARTNER_SECRET", "secret"),
        ("PUBLIC_URL", "https://gw.example.com"),
        ("UPSTREAM_URL", "https://up.example.com"),
    ]);
    let mut count = 0;
    for name in REFERENCE {
        let read = |text: &str| {
            let name = here().join(name).display().to_string();
            parse(text, &name, &environment).unwrap_or_else(|problems| panic!("{problems}"))
        };
        let text = std::fs::read_to_string(here().join(name)).unwrap();
        let whole = format!("{:?}", read(&text));
        let lines: Vec<&str> = text.lines().collect();
        for left_out in (0..lines.len()).filter(|&index| lines[index].ends_with("# default")) {
            let rest: Vec<&str> = lines
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != left_out)
                .map(|(_, line)| *line)
                .collect();
            assert_eq!(
                format!("{:?}", read(&rest.join("\n"))),
                whole,
                "{name} without line {}",
                left_out + 1
            );
            count += 1;
        }
    }
    assert!(count >= 35, "only {count} lines");
}

#[test]
fn a_small_file_gets_all_defaults() {
    let config = valid(&with(""));
    assert_eq!(config.listen, SocketAddr::from(([0, 0, 0, 0], 8080)));
    assert!(config.public_url.is_none() && config.admin.is_none() && config.google.is_none());
    assert_eq!((config.login.flow, config.login.cookie.as_str()), (Flow::AccessToken, "__Host-portcullis"));
    assert_eq!(config.cache.entries, 100_000);
    let upstream = &config.upstreams[0];
    assert_eq!(upstream.audience.as_deref(), Some("https://a.example.com"));
    assert_eq!(upstream.timeouts.idle, Duration::from_secs(90));
    assert!(config.locations[0].methods.is_empty() && config.locations[0].max_body.is_none());
}

#[test]
fn cloud_run_is_recognised_by_its_environment() {
    let cloud = Environment::of([("K_SERVICE", "gateway"), ("PORT", "8081")]);
    let config = resolve(&with(""), &cloud).unwrap();
    assert_eq!((config.trusted_hops, config.listen.port()), (1, 8081));
    let config = resolve(&with("trusted_hops: 2\nlisten: '[::1]:1'"), &cloud).unwrap();
    assert_eq!((config.trusted_hops, config.listen.port()), (2, 1));
    assert_eq!(valid(&with("")).trusted_hops, 0);
}

#[test]
fn a_bad_port_of_the_environment_is_named() {
    let said = resolve(&with(""), &Environment::of([("PORT", "http")])).unwrap_err().to_string();
    assert!(said.contains("PORT is \"http\""), "{said}");
}

#[test]
fn the_metadata_server_comes_from_the_environment_unless_set() {
    let metadata = |rest: &str, host: &str| {
        let config = resolve(&with(rest), &Environment::of([("GCE_METADATA_HOST", host)])).unwrap();
        config.endpoints.metadata.to_string()
    };
    assert_eq!(metadata("", "127.0.0.1:8181"), "http://127.0.0.1:8181/");
    assert_eq!(metadata("", ""), "http://metadata.google.internal/");
    let set = "google: { endpoints: { metadata: 'http://localhost:1' } }";
    assert_eq!(metadata(set, "127.0.0.1:8181"), "http://localhost:1/");
    let bad = resolve(&with(""), &Environment::of([("GCE_METADATA_HOST", "http://localhost")])).unwrap_err();
    assert!(bad.to_string().contains("GCE_METADATA_HOST"), "{bad}");
}

#[test]
fn a_locations_list_replaces_the_global_one() {
    let config = load(&here().join("conf/dev.yaml"), &Environment::empty()).unwrap();
    let Access::Google(admin) = &config.locations[1].access else { panic!("public") };
    assert_eq!(admin.emails, ["ada@example.com"]);
    assert!(admin.domains.is_empty() && admin.service_accounts.is_empty());
    let Access::Google(all) = &config.locations[3].access else { panic!("public") };
    assert_eq!(all.domains, ["example.com"]);
}

#[test]
fn a_locations_limits_lie_over_the_upstreams() {
    let config = valid(
        "version: 1\nupstreams: { a: { url: 'https://a.example.com', timeouts: { read: 1s, idle: 2s } } }\n\
         locations: [{ path: /, access: public, upstream: a, timeouts: { read: 3s } }]\n",
    );
    let timeouts = config.locations[0].timeouts;
    assert_eq!(timeouts.read, Duration::from_secs(3));
    assert_eq!(timeouts.idle, Duration::from_secs(2));
    assert_eq!(timeouts.connect, Duration::from_secs(5));
    assert_eq!(config.upstreams[0].timeouts.read, Duration::from_secs(1));
}

#[test]
fn the_environment_cannot_bring_keys_along() {
    let text = with("allow: { domains: ['${YAML}'] }");
    let said = resolve(&text, &environment()).unwrap_err().to_string();
    assert!(said.contains("\"x, access: public\" is not a domain"), "{said}");
}

#[test]
fn references_work_in_any_value() {
    let config = load(&here().join("tests/config/valid/environment.yaml"), &environment()).unwrap();
    assert_eq!((config.trusted_hops, config.cache.entries), (1, 500));
    assert_eq!(config.cache.verified, Duration::from_secs(30));
    assert_eq!(config.upstreams[0].url.as_str(), "https://camunda-abc-ew.a.run.app/");
    assert_eq!(config.upstreams[0].audience.as_deref(), Some("${not-a-variable}"));
}

#[test]
fn a_byte_order_mark_is_no_problem() {
    valid(&format!("\u{feff}{}", with("")));
}

#[test]
fn files_that_are_no_text_say_where() {
    let folder = std::env::temp_dir().join(format!("portcullis-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("x.yaml");
    std::fs::write(&path, b"version: 1\nlog: \xff\n").unwrap();
    let said = load(&path, &Environment::empty()).unwrap_err().to_string();
    assert!(said.contains("x.yaml:2:6: this is not UTF-8 text"), "{said}");
    std::fs::write(&path, vec![b'#'; 2 << 20]).unwrap();
    let said = load(&path, &Environment::empty()).unwrap_err().to_string();
    assert!(said.contains("larger than"), "{said}");
    std::fs::remove_dir_all(&folder).unwrap();
    let said = load(&path, &Environment::empty()).unwrap_err().to_string();
    assert!(said.contains("cannot be read"), "{said}");
}

#[test]
fn long_values_are_cut_in_messages() {
    let said = problems(&with(&format!("public_url: {}", "x".repeat(10_000))));
    assert!(said.len() < 500, "{said}");
}

#[test]
fn no_input_ends_in_a_panic() {
    // Every prefix of a file, and every file with one line left out.
    let text = std::fs::read_to_string(here().join("conf/full.yaml")).unwrap();
    for (end, _) in text.char_indices().step_by(7) {
        let _ = problems(&text[..end]);
    }
    for left_out in 0..text.lines().count() {
        let rest: Vec<&str> =
            text.lines().enumerate().filter(|(index, _)| *index != left_out).map(|(_, line)| line).collect();
        let _ = problems(&rest.join("\n"));
    }
}
