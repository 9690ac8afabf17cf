//! Where an entry may go, and what an upstream's status means for it.

use super::*;
use crate::config::{self, Environment};

fn config(locations: &str) -> Config {
    let text = format!(
        "version: 1\nsecrets: {{ s: {{ env: S }} }}\nwal: {{ disk: {{ directory: /nowhere }} }}\n\
         upstreams: {{ up: {{ url: 'https://up.example', audience: none }} }}\nlocations:\n{locations}"
    );
    config::parse(&text, "test", &Environment::of([("S", "secret")])).unwrap()
}

fn hook(path: &str, more: &str) -> Config {
    let fixed = "access: webhook, webhook: { github: { secret: s } }, wal: true, upstream: up";
    config(&format!("  - {{ path: '{path}', {fixed}{more} }}\n"))
}

fn leads(config: &Config, path: &str, query: Option<&str>) -> Result<String, Unfit> {
    target(&config.locations[0], &config.upstreams[0], path, query).map(|url| url.to_string())
}

#[test]
fn an_entry_goes_to_its_location_s_upstream_and_nowhere_else() {
    let rewritten = hook("/hook/", ", rewrite: /engine-rest/signal");
    assert_eq!(
        leads(&rewritten, "/engine-rest/signal", None).unwrap(),
        "https://up.example/engine-rest/signal"
    );
    assert_eq!(
        leads(&rewritten, "/engine-rest/signal/x%20y", Some("a=%2F&b")).unwrap(),
        "https://up.example/engine-rest/signal/x%20y?a=%2F&b"
    );
    for path in [
        "",
        "x",
        ".evil.com/x",
        "@evil.com/",
        ":80@evil.com/",
        "//evil.com",
        "/\\evil.com",
        "http://evil.com",
        "/engine-rest/signals",
        "/engine-rest",
        "/engine-rest/signal/../admin",
        "/engine-rest/signal/%2e%2e/admin",
        "/engine-rest/signal/..%2fadmin",
        "/engine-rest/signal/..;/admin",
        "/engine-rest/signal\\..\\admin",
        "/engine-rest/signal/%5c..",
        "/a b",
        "/a\r\nHost: evil",
        "/hook/",
    ] {
        assert_eq!(leads(&rewritten, path, None), Err(Unfit::Elsewhere), "{path:?}");
    }
    for path in [
        "/engine-rest/signal/a b",
        "/engine-rest/signal/x\r\nHost: evil",
        "/engine-rest/signal?x",
        "/engine-rest/signal#x",
        "/engine-rest/signal/ü",
    ] {
        assert!(leads(&rewritten, path, None).is_err(), "{path:?}");
    }
    let exact = hook("= /hook", "");
    assert!(leads(&exact, "/hook", None).is_ok());
    assert!(leads(&exact, "/hook/x", None).is_err());
    assert!(leads(&hook("/", ""), "/any/thing", Some("q='x'")).is_ok());
    assert_eq!(leads(&exact, "/hook", Some("a b")), Err(Unfit::Changed));
    assert_eq!(leads(&exact, "/hook", Some("a#b")), Err(Unfit::Changed));
}

fn judged(config: &Config, status: u16) -> Meaning {
    let rules = &config.locations[0].message.as_ref().unwrap().rules;
    let status = StatusCode::from_u16(status).unwrap();
    rules.iter().find(|(range, _)| range.holds(status)).map_or_else(|| usual(status), |(_, meaning)| *meaning)
}

#[test]
fn every_status_means_one_thing() {
    let plain = hook("/hook/", "");
    for (statuses, meaning) in [
        (&[200, 201, 202, 204, 226][..], Meaning::Settle),
        (&[408, 425, 429, 500, 502, 503, 504, 507, 599][..], Meaning::Retry),
        (
            &[300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410, 413, 422, 451][..],
            Meaning::DeadLetter,
        ),
    ] {
        for status in statuses {
            assert_eq!(judged(&plain, *status), meaning, "{status}");
        }
    }
}

#[test]
fn a_location_s_own_rules_go_first_and_single_statuses_before_classes() {
    let own = hook("/hook/", ", playback: { settle: [409], retry: [4xx, 301], dead_letter: [503, 5xx] }");
    for (status, meaning) in [
        (200, Meaning::Settle),
        (409, Meaning::Settle),
        (404, Meaning::Retry),
        (301, Meaning::Retry),
        (302, Meaning::DeadLetter),
        (503, Meaning::DeadLetter),
        (500, Meaning::DeadLetter),
    ] {
        assert_eq!(judged(&own, status), meaning, "{status}");
    }
}

#[test]
fn an_upstream_may_ask_to_be_left_alone_but_not_for_ever() {
    let asked = |text: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        retry_after(&headers)
    };
    assert_eq!(asked("120"), Some(Duration::from_secs(120)));
    assert_eq!(asked("999999999"), Some(LONGEST_PAUSE));
    for text in ["", "-1", "soon", "Wed, 21 Oct 2015 07:28:00 GMT"] {
        assert_eq!(asked(text), None, "{text}");
    }
    assert_eq!(retry_after(&HeaderMap::new()), None);
}

#[test]
fn a_forged_entry_cannot_say_what_is_the_gateway_s() {
    let config = hook("/hook/", ", playback: { keep: [X-GitHub-Event] }");
    let mut entry = Entry {
        id: crate::wal::EntryId::of_delivery("a", "b"),
        location: "/hook/".to_owned(),
        ordered: false,
        method: http::Method::POST,
        path: "/hook/".to_owned(),
        query: None,
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        sender: Some(crate::wal::Sender {
            email: "ceo@example.com".to_owned(),
            subject: Some("1".to_owned()),
        }),
        received: UnixTime(0),
    };
    for name in [
        "authorization",
        "host",
        "x-goog-authenticated-user-email",
        "x-portcullis-attempt",
        "x-github-event",
        "content-type",
        "transfer-encoding",
    ] {
        entry.headers.insert(name, HeaderValue::from_static("forged"));
    }
    let location = &config.locations[0];
    let sent = headers(&entry, 3, location, location.message.as_ref().unwrap());
    let mut names: Vec<&str> = sent.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["content-type", "idempotency-key", "x-github-event", "x-portcullis-attempt", "x-request-id"]
    );
    assert_eq!(sent.get("x-portcullis-attempt").unwrap(), "3");
    assert_eq!(sent.get("idempotency-key").unwrap(), entry.id.to_string().as_str());
}

#[tokio::test]
async fn an_entry_of_a_newer_configuration_waits_an_hour_for_it() {
    let outbound = Arc::new(Outbound::default());
    let metadata = Arc::new(crate::metadata::MetadataServer::new(
        Arc::clone(&outbound),
        Url::parse("http://127.0.0.1:9").unwrap(),
    ));
    let minter: Arc<dyn crate::mint::TokenMinter> = metadata;
    let mint = Arc::new(Mint::new(std::iter::empty(), &minter));
    let courier = Courier::new(Arc::new(hook("/hook/", "")), mint, outbound);
    let entry = Entry {
        id: crate::wal::EntryId::of_delivery("a", "b"),
        location: "/new/".to_owned(),
        ordered: false,
        method: http::Method::POST,
        path: "/new/".to_owned(),
        query: None,
        headers: HeaderMap::new(),
        body: bytes::Bytes::new(),
        sender: None,
        received: UnixTime(1000),
    };
    let outcome = courier.deliver(&entry, 1, UnixTime(1000 + 3599)).await;
    assert!(matches!(outcome, Outcome::Retry { .. }), "{outcome:?}");
    let outcome = courier.deliver(&entry, 1, UnixTime(1000 + 3600)).await;
    assert!(matches!(outcome, Outcome::Dead { .. }), "{outcome:?}");
    // One that names a path outside of its location never gets there.
    let outcome = courier.deliver(&Entry { location: "/hook/".to_owned(), ..entry }, 1, UnixTime(1000)).await;
    assert!(matches!(outcome, Outcome::Dead { .. }), "{outcome:?}");
}
