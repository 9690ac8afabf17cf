//! Whatever the path, what the policy was asked about is what is sent on (CVE-2023-33189).

use super::world::World;
use crate::harness::gateway::Gateway;
use crate::harness::glue::StandIn;
use crate::harness::raw::once;
use crate::harness::upstream::Upstream;

/// The segments that the most generous of servers could understand: percent-encoding undone until nothing
/// changes, backslashes turned, parameters dropped, empty and dot segments resolved.
pub(super) fn reading(path: &str) -> Vec<String> {
    let mut bytes = path.as_bytes().to_vec();
    loop {
        let decoded: Vec<u8> = percent_encoding::percent_decode(&bytes).collect();
        if decoded == bytes {
            break;
        }
        bytes = decoded;
    }
    let text = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let text = text.split(['?', '#', '\0']).next().unwrap_or_default();
    let mut segments: Vec<String> = Vec::new();
    for segment in text.split('/') {
        let bare = segment.split(';').next().unwrap_or_default();
        match bare {
            "" | "." => {}
            ".." => drop(segments.pop()),
            _ => segments.push(bare.to_owned()),
        }
    }
    segments
}

#[test]
fn the_oracle_reads_as_the_most_generous_server_does() {
    for path in [
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public%252f..%252fadmin",
        "/public/..;x/admin",
        "/public\\..\\admin",
        "//admin",
        "/;/admin",
        "/admin;x",
        "/public/.//../admin",
        "/admin%00/public",
    ] {
        assert_eq!(reading(path).first().map(String::as_str), Some("admin"), "{path}");
    }
    assert_eq!(reading("/public/a"), ["public", "a"]);
}

/// A small generator of pseudo-random numbers (xorshift), so that a failure can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

const PIECES: &[&str] = &[
    "/",
    "/",
    "/",
    "public",
    "public",
    "admin",
    "admin",
    "..",
    ".",
    "%2e",
    "%2E%2e",
    ".%2e",
    "%2f",
    "%2F",
    "%5c",
    "\\",
    ";",
    ";x=1",
    "..;",
    "//",
    "%252e%252e",
    "%252f",
    "%25",
    "%25252e%25252e",
    "%25252f",
    "open",
    "inner/",
    "inner/",
    "%00",
    "%09",
    "%0a",
    "%c0%af",
    "%c0%ae",
    "%e0%80%af",
    "%u002f",
    "%",
    "%2",
    "?",
    "?/../",
    "#",
    "Public",
    "PUBLIC",
    "%70ublic",
    "%61dmin",
    "publi%63",
    "a",
    "%20",
    "~",
    "@",
    ":80",
    "http://",
    "&",
    "=",
    "+",
    "%ff",
    "%3b",
    "%3f",
    "%23",
    "...",
    "....//",
    ".;/",
];

/// Known attacks, then paths that are put together at random behind one of the beginnings.
fn targets(starts: &[&str]) -> Vec<String> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut targets: Vec<String> = [
        "/public/x?/../admin",
        "/admin?a=1;b=2",
        "//public/",
        "/public/?x=/admin",
        "/public/%61",
        "/public/a=b",
        "/open//inner/x",
        "/open/;x/inner/x",
        "/open/inner;x/x",
        "/open/inner%3bx/x",
        "/open/inner%2fx",
        "/open/%2finner/x",
        "/open/%252finner/x",
        "/open/inner%252fx",
        "/open/inne%2572/x",
        "/open/%253b/inner/x",
        "/open/%253fx/inner/x",
    ]
    .map(str::to_owned)
    .into();
    for _ in 0..800 {
        let start = starts[dice.below(starts.len())];
        let count = 1 + dice.below(7);
        let rest: String = (0..count).map(|_| PIECES[dice.below(PIECES.len())]).collect();
        targets.push(format!("{start}{rest}"));
    }
    targets
}

#[tokio::test]
async fn whatever_reaches_the_upstream_without_a_credential_is_public_in_every_reading() {
    let world = World::start();
    let targets = targets(&["/public/", "/"]);
    let mut passed = 0;
    for target in targets {
        world.upstream.forget();
        let wire = format!("GET {target} HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n\r\n");
        let response = once(world.gateway.address(), wire).await;
        let seen = world.upstream.requests();
        if response.status == 200 {
            assert_eq!(seen.len(), 1, "{target}");
            world.assert_only_public(&target);
            passed += 1;
        } else {
            assert!((400..500).contains(&response.status), "{target}: {}", response.status);
            world.upstream.assert_untouched();
        }
    }
    assert!(passed > 10, "the generator makes paths that pass as well: {passed}");
    world.still_serves().await;
}

const LOCATIONS: [&str; 4] = ["public", "open", "inner", "other"];

/// Whether a path may arrive at a location's upstream. `/public` itself is not below `/public/`, but the oracle
/// keeps no slash at the end, so a location's own name may also arrive at the location around it.
fn belongs(segments: &[String], arrived: &str) -> bool {
    let segments: Vec<_> = segments.iter().map(String::as_str).collect();
    match segments[..] {
        ["public"] => matches!(arrived, "public" | "other"),
        ["open"] => matches!(arrived, "open" | "other"),
        ["open", "inner"] => matches!(arrived, "inner" | "open"),
        ["public", ..] => arrived == "public",
        ["open", "inner", ..] => arrived == "inner",
        ["open", ..] => arrived == "open",
        _ => arrived == "other",
    }
}

/// Each location has an upstream of its own, so that where a request arrives tells which location decided. One
/// of them takes every form that can be allowed, which must not lead out of it in anybody's reading, nor into
/// the protected one inside it.
#[tokio::test]
async fn no_path_is_decided_under_one_location_and_forwarded_under_another() {
    let (standin, upstreams) = (StandIn::start(), LOCATIONS.map(|_| Upstream::start()));
    let [public, open, inner, other] = upstreams.each_ref().map(Upstream::url);
    let gateway = Gateway::start(&format!(
        "{google}
allow: {{ domains: [example.com] }}
upstreams:
  public: {{ url: \"{public}\" }}
  open: {{ url: \"{open}\" }}
  inner: {{ url: \"{inner}\" }}
  other: {{ url: \"{other}\" }}
locations:
  - {{ path: /public/, access: public, upstream: public }}
  - {{ path: /open/, access: public, upstream: open, allow_encoded: [slash, semicolon, percent, double_slash] }}
  - {{ path: /open/inner/, access: google, upstream: inner }}
  - {{ path: /, access: google, upstream: other }}
",
        google = standin.yaml()
    ));
    let token = standin.issue("ada@example.com");
    let mut passed = [0; LOCATIONS.len()];
    for target in targets(&["/public/", "/open/", "/open/", "/open/inner/", "/"]) {
        upstreams.iter().for_each(Upstream::forget);
        let lines = format!("Host: gw.test\r\nAuthorization: Bearer {token}\r\nConnection: close");
        let response = once(gateway.address(), format!("GET {target} HTTP/1.1\r\n{lines}\r\n\r\n")).await;
        for ((name, upstream), count) in LOCATIONS.iter().zip(&upstreams).zip(&mut passed) {
            for seen in upstream.requests() {
                assert!(
                    belongs(&reading(&seen.path()), name),
                    "{target} arrived at {name} as {}",
                    seen.target()
                );
                *count += 1;
            }
        }
        let arrived: usize = upstreams.iter().map(Upstream::count).sum();
        assert_eq!(arrived, usize::from(response.status == 200), "{target}: {}", response.status);
    }
    assert!(passed.iter().all(|count| *count > 10), "paths of all locations pass as well: {passed:?}");
}

#[tokio::test]
async fn the_host_does_not_change_the_policy() {
    let world = World::start();
    for host in
        ["gw.test", "GW.TEST", "gw.test:80", "gw.test.", "gw.test.:8080", "public", "127.0.0.1", "[::1]:1"]
    {
        let wire = format!("GET /admin HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let response = once(world.gateway.address(), wire).await;
        assert!(matches!(response.status, 400 | 401 | 403 | 421), "{host}: {}", response.status);
    }
    world.upstream.assert_untouched();
    world.still_serves().await;
}

/// CVE-2026-40912, CVE-2026-48020, CVE-2026-65600: a rewrite after the decision leads somewhere else.
#[tokio::test]
async fn a_rewrite_cannot_be_led_out_of_its_target() {
    let world = World::with_locations(
        "  - { path: /strip/, access: public, rewrite: /public/inner/, upstream: up }\n",
    );
    let good = world.client().get("/strip/x?q=1").send().await;
    assert_eq!(good.status, 200);
    assert_eq!(world.upstream.only().target(), "/public/inner/x?q=1");
    for target in [
        "/strip../admin",
        "/strip/../admin",
        "/strip/%2e%2e/admin",
        "/strip/%2e%2e/%2e%2e/admin",
        "/strip/..;/admin",
        "/strip%2f..%2fadmin",
        "/strip/%252e%252e/admin",
        "/strip//admin",
        "/strip/\\..\\admin",
        "/strip;/../admin",
        "/strip%2e%2e/admin",
        "/strip@evil.test/",
        "/strip//evil.test/",
        "/strip?/../admin",
        "/strip/.%2e/admin",
    ] {
        world.upstream.forget();
        let wire = format!("GET {target} HTTP/1.1\r\nHost: gw.test\r\nConnection: close\r\n\r\n");
        let response = once(world.gateway.address(), wire).await;
        for request in world.upstream.requests() {
            let segments = reading(&request.path());
            assert!(
                segments.starts_with(&["public".to_owned(), "inner".to_owned()]),
                "{target}: {segments:?}"
            );
        }
        let passed = response.status == 200;
        assert!(passed || (400..500).contains(&response.status), "{target}: {}", response.status);
        assert_eq!(passed, world.upstream.count() == 1, "{target}");
    }
}
