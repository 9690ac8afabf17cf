//! The README says what is so: its commands are run, its tables compared with the code.
#![cfg(feature = "dev")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in what its cases share as well"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::num::NonZeroU32;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use http::StatusCode;
use portcullis::config::{self, Environment, Rate, RateUnit, Risk};
use portcullis::gate::intake::Own;
use portcullis::gate::rate::{Exceeded, Whose};
use portcullis::gate::refusal::Refusal;
use portcullis::gate::request::NotCanonical;
use portcullis::identity::VerifyError;
use portcullis::telemetry::metrics::Metrics;

const README: &str = include_str!("../README.md");
const BINARY: &str = env!("CARGO_BIN_EXE_portcullis");

/// The fenced blocks with this opening line, each with the line before it.
fn blocks<'a>(opening: &str) -> Vec<(&'a str, &'a str)> {
    let fence = format!("\n{opening}\n");
    let blocks: Vec<_> = README
        .match_indices(&fence)
        .map(|(at, _)| {
            let marker = README[..at].lines().next_back().unwrap_or_default();
            let text = README[at + fence.len()..].split("\n```").next().unwrap();
            (marker, text)
        })
        .collect();
    assert!(!blocks.is_empty(), "no {opening} in the README");
    blocks
}

/// The cells of the table whose first column has this head.
fn table(heads: &str) -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>();
    let from = README.split_once(heads).unwrap_or_else(|| panic!("no table {heads}")).1;
    let rows: Vec<_> = from.lines().skip(2).take_while(|line| line.starts_with('|')).map(cells).collect();
    assert!(rows.len() >= 4, "{heads}: {rows:?}");
    rows
}

fn bare(cell: &str) -> &str {
    cell.trim_matches('`')
}

/// A `dev` that ends with the value.
struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed by then.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The port in the first line that starts with a word.
fn port(text: &str, word: &str) -> u16 {
    let line =
        text.lines().find(|line| line.starts_with(word)).unwrap_or_else(|| panic!("no {word} in {text}"));
    let authority = line.split("http://").nth(1).unwrap().split('/').next().unwrap();
    authority.rsplit(':').next().unwrap().parse().unwrap()
}

#[test]
#[expect(clippy::disallowed_methods, reason = "curl is found on the test's own path")]
fn the_commands_are_answered_as_it_says() {
    let mut command = Command::new(BINARY);
    command
        .args(["dev", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut dev = Dev(command
        .env_remove("K_SERVICE")
        .env_remove("K_REVISION")
        .env_remove("CLOUD_RUN_JOB")
        .spawn()
        .unwrap());
    let mut log = BufReader::new(dev.0.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        assert!(log.read_line(&mut line).unwrap() > 0, "dev ended");
    }
    let mut out = BufReader::new(dev.0.stdout.take().unwrap());
    let mut welcome = String::new();
    while !welcome.contains("Ctrl-C") {
        assert!(out.read_line(&mut welcome).unwrap() > 0, "no welcome: {welcome}");
    }
    let (gateway, stand_in, echo) =
        (port(&welcome, "Open"), port(&welcome, "Stand-in"), port(&welcome, "Echo"));
    let runnable: Vec<_> =
        blocks("```sh").into_iter().filter(|(marker, _)| *marker == "<!-- run -->").collect();
    assert_eq!(runnable.len(), 1);
    let script = runnable[0].1;
    let expected: Vec<&str> = script.lines().map(|line| line.rsplit_once("# ").unwrap().1).collect();
    assert_eq!(expected, ["401", "302", "200"]);
    let here = script
        .replace("localhost:8080", &format!("localhost:{gateway}"))
        .replace("localhost:8081", &format!("localhost:{stand_in}"));
    assert!(here != script && !here.contains("localhost:808"), "{here}");
    let shell = Command::new("sh")
        .args(["-euc", &here])
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .output();
    let output = String::from_utf8(shell.unwrap().stdout).unwrap();
    let statuses: Vec<&str> =
        output.lines().filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.split(' ').next()).collect();
    assert_eq!(statuses, expected, "{output}");
    assert!(output.contains("ada@example.com"), "the service learns who calls: {output}");
    webhooks(gateway, echo);
    drop(dev);
    log.read_to_string(&mut line).unwrap();
    assert!(!line.contains("panicked"), "{line}");
}

/// The walk through the log: both messages are answered at once, and the second is delivered when the service is back.
#[expect(clippy::disallowed_methods, reason = "curl and openssl are found on the test's own path")]
fn webhooks(gateway: u16, echo: u16) {
    let blocks = blocks("```sh");
    let (_, script) = blocks.iter().find(|(marker, _)| *marker == "<!-- run webhooks -->").unwrap();
    let here = script
        .replace("localhost:8080", &format!("localhost:{gateway}"))
        .replace("localhost:8082", &format!("localhost:{echo}"));
    assert!(!here.contains("localhost:808"), "{here}");
    let shell = Command::new("timeout")
        .args(["60", "sh", "-euc", &here])
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .output()
        .unwrap();
    let output = String::from_utf8(shell.stdout).unwrap();
    assert!(shell.status.success(), "{output}");
    assert_eq!(output.matches("HTTP/1.1 200 OK").count(), 2, "{output}");
    let delivered = output.lines().find(|line| line.contains("POST /engine-rest/signal (attempt")).unwrap();
    assert!(delivered.contains("\"value\":\"second\"") && !delivered.contains("(attempt 1)"), "{delivered}");
}

#[test]
fn the_samples_print_what_it_says() {
    let mut commands = 0;
    for (marker, text) in blocks("```console") {
        assert_eq!(marker, "<!-- prints -->");
        for sample in text.split("$ portcullis ").skip(1) {
            let (line, expected) = sample.split_once('\n').unwrap();
            let mut command = Command::new(BINARY);
            command.args(line.split_whitespace()).current_dir(env!("CARGO_MANIFEST_DIR"));
            let output = command.output().unwrap();
            let said = [output.stdout, output.stderr].concat();
            assert_eq!(String::from_utf8(said).unwrap().trim_end(), expected.trim_end(), "portcullis {line}");
            commands += 1;
        }
    }
    assert!(commands >= 3, "only {commands}");
}

#[test]
fn the_sample_files_are_good() {
    for (_, text) in blocks("```yaml") {
        config::parse(text, "README.md", &Environment::empty())
            .unwrap_or_else(|problems| panic!("{problems}"));
    }
}

#[test]
fn every_command_is_listed() {
    let help = Command::new(BINARY).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let listed = help.split("Commands:\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
    let known: BTreeSet<&str> =
        listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").collect();
    let rows = table("| command | does |");
    let said: BTreeSet<&str> = rows.iter().map(|row| bare(row[0]).split(' ').nth(1).unwrap()).collect();
    assert_eq!(said, known);
}

/// The keys of the files that set every key there is (a test of the configuration proves it), with their values and
/// whether these are the defaults.
fn keys() -> BTreeMap<String, (String, bool)> {
    let mut keys = BTreeMap::new();
    for text in [
        include_str!("../conf/full.yaml"),
        include_str!("../conf/vm.yaml"),
        include_str!("../conf/pull.yaml"),
    ] {
        read_keys(text, &mut keys);
    }
    keys
}

fn read_keys(text: &str, keys: &mut BTreeMap<String, (String, bool)>) {
    let mut stack: Vec<(usize, String)> = Vec::new();
    for line in text.lines() {
        let item = line.trim_start().starts_with("- ");
        let (indent, text) = match line.trim_start().strip_prefix("- ") {
            Some(rest) => (line.len() - rest.len(), rest),
            None => (line.len() - line.trim_start().len(), line.trim_start()),
        };
        let Some((key, value)) = text.split_once(':').filter(|_| !text.starts_with('#')) else { continue };
        while stack.last().is_some_and(|(above, _)| *above >= indent) {
            stack.pop();
        }
        if item && let Some((_, list)) = stack.last_mut().filter(|(_, list)| !list.ends_with("[]")) {
            list.push_str("[]");
        }
        let parents: Vec<&str> = stack.iter().map(|(_, name)| name.as_str()).collect();
        let chosen = parents == ["upstreams"] || parents == ["secrets"] || parents.last() == Some(&"headers");
        let name = if chosen { "NAME" } else { key };
        let json = parents.last() == Some(&"json");
        let path = if json { parents.join(".") } else { [parents, vec![name]].concat().join(".") };
        // What stands between braces is written out in another file.
        let value =
            value.split(" #").next().filter(|_| !value.ends_with("# default")).unwrap_or(value).trim();
        let value = if value.starts_with('{') { "" } else { value };
        match value.strip_suffix("# default") {
            Some(default) => drop(keys.insert(path, (default.trim().to_owned(), true))),
            None if !value.is_empty() => drop(keys.entry(path).or_insert((value.to_owned(), false))),
            None => {}
        }
        stack.push((indent, name.to_owned()));
    }
}

#[test]
fn every_key_is_listed_with_its_default() {
    let keys = keys();
    assert!(keys.len() >= 40, "only {}", keys.len());
    let rows = table("| key | type | default | what |");
    let said: BTreeMap<&str, &str> = rows.iter().map(|row| (bare(row[0]), row[2])).collect();
    assert_eq!(said.len(), rows.len(), "a key is listed twice");
    assert_eq!(said.keys().copied().collect::<BTreeSet<_>>(), keys.keys().map(String::as_str).collect());
    let elsewhere = |key: &str| key.starts_with("locations[].timeouts.") || key == "upstreams.NAME.audience";
    for (key, (value, _)) in keys.iter().filter(|(key, (_, default))| *default && !elsewhere(key)) {
        assert_eq!(bare(said[key.as_str()]), value, "{key}");
    }
}

fn exceeded() -> Exceeded {
    let one = NonZeroU32::MIN;
    Exceeded {
        whose: Whose::Address,
        rate: Rate { requests: one, unit: RateUnit::Hour, burst: one },
        seconds: 7,
    }
}

/// Every refusal. The match makes a new one fail to compile until it is added to both.
#[expect(clippy::too_many_lines, reason = "one line a refusal, twice, so that none can be left out")]
fn refusals() -> Vec<Refusal> {
    let text = || "why".to_owned();
    let all = vec![
        Refusal::NotCanonical(NotCanonical::Host),
        Refusal::AmbiguousCredential,
        Refusal::HeadTooLarge,
        Refusal::BodyTooLarge(1),
        Refusal::BodyTimeout,
        Refusal::Malformed,
        Refusal::NoLocation,
        Refusal::MethodNotAllowed(text()),
        Refusal::Unauthenticated,
        Refusal::InvalidCredential(VerifyError::Expired),
        Refusal::Throttled,
        Refusal::Forbidden { email: "ada@example.com".into() },
        Refusal::CrossOrigin,
        Refusal::ProviderUnavailable(text()),
        Refusal::MintUnavailable(text()),
        Refusal::UpstreamUnreachable(text()),
        Refusal::UpstreamTimeout,
        Refusal::UpstreamInvalid(text()),
        Refusal::UpstreamRefusedToken,
        Refusal::Internal(text()),
        Refusal::BadSignature(text()),
        Refusal::SecretUnavailable(text()),
        Refusal::InvalidBody(text()),
        Refusal::UnsupportedEncoding,
        Refusal::DecodedTooLarge,
        Refusal::AdapterRejected(text()),
        Refusal::AdapterFailed(text()),
        Refusal::AdapterBusy(text()),
        Refusal::WalFull(text()),
        Refusal::WalUnavailable(text()),
        Refusal::PushRefused(VerifyError::Expired),
        Refusal::UpstreamBusy(text()),
        Refusal::PreflightRefused(text()),
        Refusal::RateLimited(exceeded()),
        Refusal::BuffersFull,
    ];
    let known = |refusal: &Refusal| match refusal {
        Refusal::NotCanonical(_) => 0,
        Refusal::AmbiguousCredential => 1,
        Refusal::HeadTooLarge => 2,
        Refusal::BodyTooLarge(_) => 3,
        Refusal::BodyTimeout => 4,
        Refusal::Malformed => 5,
        Refusal::NoLocation => 6,
        Refusal::MethodNotAllowed(_) => 7,
        Refusal::Unauthenticated => 8,
        Refusal::InvalidCredential(_) => 9,
        Refusal::Throttled => 10,
        Refusal::Forbidden { .. } => 11,
        Refusal::CrossOrigin => 12,
        Refusal::ProviderUnavailable(_) => 13,
        Refusal::MintUnavailable(_) => 14,
        Refusal::UpstreamUnreachable(_) => 15,
        Refusal::UpstreamTimeout => 16,
        Refusal::UpstreamInvalid(_) => 17,
        Refusal::UpstreamRefusedToken => 18,
        Refusal::Internal(_) => 19,
        Refusal::BadSignature(_) => 20,
        Refusal::SecretUnavailable(_) => 21,
        Refusal::InvalidBody(_) => 22,
        Refusal::UnsupportedEncoding => 23,
        Refusal::DecodedTooLarge => 24,
        Refusal::AdapterRejected(_) => 25,
        Refusal::AdapterFailed(_) => 26,
        Refusal::AdapterBusy(_) => 27,
        Refusal::WalFull(_) => 28,
        Refusal::WalUnavailable(_) => 29,
        Refusal::PushRefused(_) => 30,
        Refusal::UpstreamBusy(_) => 31,
        Refusal::PreflightRefused(_) => 32,
        Refusal::RateLimited(_) => 33,
        Refusal::BuffersFull => 34,
    };
    assert!(all.iter().map(known).eq(0..35));
    all
}

#[test]
fn the_table_of_refusals_is_that_of_the_code() {
    type Line = (String, StatusCode, u8, String);
    let retry = |refusal: &Refusal| match (refusal, refusal.row().retry_after) {
        (Refusal::RateLimited(_), _) => "until the next is accepted".to_owned(),
        (_, Some(seconds)) => format!("{seconds} s"),
        (_, None) => String::new(),
    };
    let known: BTreeSet<Line> = refusals()
        .iter()
        .map(|refusal| (refusal.row(), retry(refusal)))
        .map(|(row, retry)| (row.code.to_owned(), row.status, row.grpc, retry))
        .collect();
    let line = |row: &Vec<&str>| -> Line {
        (bare(row[0]).to_owned(), row[1].parse().unwrap(), row[2].parse().unwrap(), row[3].to_owned())
    };
    let said: BTreeSet<Line> =
        table("| code | status | gRPC | retry after | when |").iter().map(line).collect();
    assert_eq!(said, known);
}

/// The string literals of a piece of code.
fn literals(code: &str) -> impl Iterator<Item = &str> {
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split('"').skip(1).step_by(2))
}

#[test]
fn the_codes_of_sign_in_are_listed() {
    let paragraph = README.split("codes of their own besides:").nth(1).unwrap().split("\n\n").next().unwrap();
    let said: BTreeSet<&str> = paragraph.split('`').skip(1).step_by(2).collect();
    let word = |text: &&str| {
        text.contains('_') && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    let shared: BTreeSet<&str> = refusals().iter().map(|refusal| refusal.row().code).collect();
    let known: BTreeSet<&str> = literals(include_str!("../src/login/refuse.rs")).filter(word).collect();
    assert!(known.intersection(&shared).count() >= 7, "what the gate refuses as well has the gate's codes");
    assert_eq!(said, known.difference(&shared).copied().collect());
}

#[test]
fn the_endpoints_are_listed() {
    let rows = table("| path | methods | what |");
    let said: BTreeSet<&str> = rows.iter().map(|row| bare(row[0]).split('?').next().unwrap()).collect();
    for path in &said {
        assert!(!matches!(Own::of(path), None | Some(Own::Unknown)), "{path}");
    }
    let login =
        literals(include_str!("../src/login/mod.rs")).filter(|text| text.starts_with("/.portcullis/"));
    let known: BTreeSet<&str> = login.chain(["/.portcullis/health", "/.portcullis/playback"]).collect();
    assert_eq!(said, known);
}

#[test]
fn every_risk_is_listed() {
    let rows = table("| name | warns of |");
    let said: Vec<&str> = rows.iter().map(|row| bare(row[0])).collect();
    assert_eq!(said, Risk::ALL.map(|(name, _)| name));
}

#[test]
fn the_headers_that_are_removed_are_listed() {
    let code = include_str!("../src/proxy/headers.rs");
    let said: String = table("| direction | header | what happens |")
        .iter()
        .map(|row| row[1].to_ascii_lowercase())
        .collect();
    let mut count = 0;
    for list in ["const RESERVED", "const METHOD_OVERRIDES"] {
        for name in literals(code.split(list).nth(1).unwrap().split("];").next().unwrap()) {
            let shown = if name.ends_with('-') { format!("`{name}*`") } else { format!("`{name}`") };
            assert!(said.contains(&shown), "{shown} is not in the README's table");
            count += 1;
        }
    }
    assert!(count >= 20, "only {count}");
}

#[test]
fn the_metrics_are_listed() {
    let text = Metrics::default().render();
    let names: Vec<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        assert!(README.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn the_makefile_has_the_targets() {
    let makefile = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Makefile")).unwrap();
    let named: BTreeSet<&str> = README
        .split("make ")
        .skip(1)
        .filter_map(|rest| rest.split(|c: char| !c.is_ascii_lowercase()).next())
        .filter(|name| ["dev", "test", "lint", "bench", "run"].contains(name))
        .collect();
    assert!(named.len() >= 2, "{named:?}");
    for target in named {
        assert!(makefile.contains(&format!("\n{target}: ")), "{target}");
    }
}
