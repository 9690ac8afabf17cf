//! Google's keys: rotation, and everything that may come instead of them (CVE-2025-64527).
//!
//! Where minutes have to pass, the verifier is asked directly, with a clock of the test's own.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use portcullis::config::{self, Environment};
use portcullis::dev::google::{AccessTokenSpec, CLIENT_ID, Endpoint, Fault, Options, StandIn};
use portcullis::identity::{Credential, IdentityProvider as _, Verifier, VerifyError};
use portcullis::outbound::Outbound;
use portcullis::telemetry::metrics::Metrics;
use portcullis::time::UnixTime;
use serde_json::{Value, json};

use super::{ADA, GOOD, INVALID, UNAVAILABLE};
use crate::harness::background::Task;
use crate::harness::raw::once;
use crate::harness::upstream::Upstream;
use crate::harness::world::{Plan, World, stand_in};

/// A verifier with its own Google and its own time.
struct Keys {
    google: StandIn,
    verifier: Verifier,
    start: UnixTime,
    _task: Task,
}

impl Keys {
    fn new(options: Options) -> Self {
        let (google, task) = stand_in(options);
        let yaml = format!("version: 1\n{}", Plan::default().yaml(&google, &Upstream::start()));
        let config = config::parse(&yaml, "test.yaml", &Environment::empty()).unwrap();
        let outbound = Arc::new(Outbound::new(Arc::new(Metrics::default())));
        let verifier = Verifier::new(&config, config.google.as_ref().unwrap(), outbound);
        Self { google, verifier, start: UnixTime::now(), _task: task }
    }

    /// A token that is new, and good so many seconds after the start.
    fn token(&self, after: u64) -> String {
        let mut claims = self.google.claims(self.google.account(ADA).unwrap(), CLIENT_ID);
        claims["iat"] = (self.start.0 + after).into();
        claims["exp"] = (self.start.0 + after + 3600).into();
        claims["jti"] = format!("{after}-{}", self.google.calls(Endpoint::Certs)).into();
        self.google.issue_id_token(&claims, None)
    }

    async fn verify(&self, token: &str, after: u64) -> Result<(), VerifyError> {
        let now = UnixTime(self.start.0 + after);
        let credential = Credential::parse(token).unwrap();
        self.verifier.verify(credential, IpAddr::V4(Ipv4Addr::LOCALHOST), now).await.map(drop)
    }

    fn fetches(&self) -> usize {
        self.google.calls(Endpoint::Certs)
    }
}

#[tokio::test]
async fn a_new_key_is_fetched_once_and_old_tokens_stay_good() {
    let keys = Keys::new(Options::default());
    let old = keys.token(0);
    keys.verify(&old, 0).await.unwrap();
    assert_eq!(keys.fetches(), 1);
    keys.google.rotate_keys();
    let new = keys.token(61);
    for token in [&new, &old] {
        keys.verify(token, 61).await.unwrap();
    }
    // Not from the cache: a token of the old key that was not seen before is the same string only once.
    assert_eq!(keys.fetches(), 2);
    keys.verify(&keys.token(62), 62).await.unwrap();
    assert_eq!(keys.fetches(), 2);
    // Twice rotated at once: within the interval the newest key has to wait, known ones do not.
    keys.google.rotate_keys();
    let newest = keys.token(70);
    assert!(matches!(keys.verify(&newest, 70).await, Err(VerifyError::Invalid(_))));
    assert_eq!(keys.fetches(), 2);
    assert!(
        keys.verify(&newest, 125).await.is_ok(),
        "after the interval, and after the rejection was forgotten"
    );
    assert_eq!(keys.fetches(), 3);
}

#[tokio::test]
async fn keys_that_cannot_be_renewed_stay_in_use() {
    let keys = Keys::new(Options { certs_max_age: 60, ..Options::default() });
    keys.verify(&keys.token(0), 0).await.unwrap();
    let bad = [
        Fault::Answer { status: 500, content_type: String::new(), body: String::new() },
        Fault::Empty,
        Fault::Html,
        Fault::Close,
        Fault::Flood { bytes: 10_000_000 },
        Fault::Gzip { bytes: 100_000_000 },
        Fault::Truncated { body: "{\"keys\":[".to_owned() },
    ];
    let mut after = 100;
    for fault in bad {
        keys.google.fail(Endpoint::Certs, fault.clone());
        let known = keys.token(after);
        keys.verify(&known, after).await.unwrap_or_else(|error| panic!("{fault:?}: {error}"));
        after += 100;
    }
    // And one that is not known is not good because of it.
    let header = json!({"alg": "RS256", "kid": "unknown", "typ": "JWT"});
    let claims = keys.google.claims(keys.google.account(ADA).unwrap(), CLIENT_ID);
    let unknown = keys.google.issue_id_token(&claims, Some(&header));
    assert!(matches!(keys.verify(&unknown, after).await, Err(VerifyError::Invalid(_))));
}

async fn published(google: &StandIn) -> Value {
    let request = "GET /oauth2/v3/certs HTTP/1.1\r\nHost: google\r\nConnection: close\r\n\r\n";
    serde_json::from_str(&once(google.address(), request).await.text()).unwrap()
}

fn set(keys: &[Value]) -> Fault {
    let body = json!({ "keys": keys }).to_string();
    Fault::Answer { status: 200, content_type: "application/json".to_owned(), body }
}

/// A key with one member changed, or taken away.
fn changed(key: &Value, member: &str, value: Option<&str>) -> Value {
    let mut key = key.clone();
    match value {
        Some(value) => key[member] = value.into(),
        None => drop(key.as_object_mut().unwrap().remove(member)),
    }
    key
}

#[tokio::test]
async fn odd_key_sets_are_survived_from_the_start() {
    let (google, _task) = stand_in(Options::default());
    let all = published(&google).await;
    let (key, other) = (&all["keys"][0], &all["keys"][1]);
    let stolen = changed(other, "kid", key["kid"].as_str());
    let ec = json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA", "kid": key["kid"], "alg": "ES256", "use": "sig"});
    let rows: Vec<(&str, Fault, (u16, &str))> = vec![
        ("500", Fault::Answer { status: 500, content_type: String::new(), body: String::new() }, UNAVAILABLE),
        ("nothing", Fault::Empty, UNAVAILABLE),
        ("HTML", Fault::Html, UNAVAILABLE),
        ("no connection", Fault::Close, UNAVAILABLE),
        ("10 MB", Fault::Flood { bytes: 10_000_000 }, UNAVAILABLE),
        ("a bomb", Fault::Gzip { bytes: 100_000_000 }, UNAVAILABLE),
        ("no keys", set(&[]), UNAVAILABLE),
        ("another type of key", set(std::slice::from_ref(&ec)), UNAVAILABLE),
        ("another type under the same id first", set(&[ec, key.clone()]), GOOD),
        ("a symmetric key", set(&[json!({"kty": "oct", "k": "AAAA", "kid": key["kid"]})]), UNAVAILABLE),
        ("for encryption", set(&[changed(key, "use", Some("enc"))]), UNAVAILABLE),
        ("for another algorithm", set(&[changed(key, "alg", Some("RS512"))]), UNAVAILABLE),
        ("no algorithm", set(&[changed(key, "alg", None)]), GOOD),
        ("no use", set(&[changed(key, "use", None)]), GOOD),
        ("no id", set(&[changed(key, "kid", None)]), UNAVAILABLE),
        ("no modulus", set(&[changed(key, "n", None)]), UNAVAILABLE),
        ("a modulus that is none", set(&[changed(key, "n", Some("!!"))]), UNAVAILABLE),
        ("an empty modulus", set(&[changed(key, "n", Some(""))]), INVALID),
        ("a tiny modulus", set(&[changed(key, "n", Some("AQAB"))]), INVALID),
        ("an exponent of one", set(&[changed(key, "e", Some("AQ"))]), INVALID),
        ("only another key under this id", set(std::slice::from_ref(&stolen)), INVALID),
        ("the id twice, the right one first", set(&[key.clone(), stolen]), GOOD),
        ("not objects", set(&[json!(null), json!("x"), json!([]), key.clone()]), GOOD),
    ];
    let upstream = Upstream::start();
    let yaml = Plan::default().yaml(&google, &upstream);
    let ada = google.account(ADA).unwrap();
    for (name, fault, (status, code)) in rows {
        google.fail(Endpoint::Certs, fault);
        upstream.forget();
        let gateway = crate::harness::gateway::Setup::new(&yaml).start();
        let token = google.issue_id_token(&google.claims(ada, CLIENT_ID), None);
        let client = crate::harness::http::Client::new(gateway.address());
        let response = client.get("/x").bearer(&token).send().await;
        assert_eq!(response.status.as_u16(), status, "{name}: {}", response.text());
        if status != 200 {
            assert_eq!(response.code(), code, "{name}");
            upstream.assert_untouched();
        }
        assert!(gateway.alive(), "{name}");
    }
}

/// What is fetched in vain is not fetched again for everybody who asks.
#[tokio::test]
async fn without_keys_a_crowd_makes_one_fetch() {
    let fault = Fault::Answer { status: 500, content_type: String::new(), body: String::new() };
    let world: World = Plan { faults: vec![(Endpoint::Certs, fault)], ..Plan::default() }.start();
    world.warm().await;
    let before = world.google.calls(Endpoint::Certs);
    let began = UnixTime::now().0;
    let mut table = world.table();
    for number in 0..50 {
        let token = world.id_token(ADA, |claims| claims["jti"] = number.into());
        table.bearer("no keys", &token, UNAVAILABLE).await;
    }
    table.finish().await;
    let fetched = world.google.calls(Endpoint::Certs) - before;
    let lasted = usize::try_from(UnixTime::now().0 - began).unwrap();
    assert!(fetched <= 2 + lasted / 5, "{fetched} fetches for 50 tokens in {lasted} s");
    world.google.clear_switches();
    let token = world.id_token(ADA, |_| {});
    world.until(200, || world.client().get("/x").bearer(&token)).await;
}

/// The keys that are fetched at the start were fetched for nobody in particular.
#[tokio::test]
async fn a_key_that_is_newer_than_the_start_does_not_wait() {
    let keys = Keys::new(Options::default());
    keys.verifier.prefetch(keys.start).await;
    assert_eq!(keys.fetches(), 1);
    keys.google.rotate_keys();
    keys.verify(&keys.token(1), 1).await.unwrap();
    assert_eq!(keys.fetches(), 2);
    keys.google.rotate_keys();
    assert!(matches!(keys.verify(&keys.token(2), 2).await, Err(VerifyError::Invalid(_))), "but only once");
    assert_eq!(keys.fetches(), 2);
}

#[tokio::test]
async fn id_tokens_that_wait_for_keys_do_not_hold_access_tokens_up() {
    let keys = Keys::new(Options::default());
    keys.google.delay(Endpoint::Certs, Duration::from_mins(1));
    let tokens: Vec<String> = (0..100).map(|number| keys.token(number)).collect();
    let person = keys.google.account(ADA).unwrap();
    let access = keys.google.issue_access_token(&AccessTokenSpec::person(person, CLIENT_ID));
    let waiting = join_all(tokens.iter().map(|token| keys.verify(token, 0)));
    tokio::select! {
        // All of them take what turns they find before the access token comes.
        biased;
        outcomes = waiting => panic!("nobody waits: {outcomes:?}"),
        outcome = keys.verify(&access, 0) => outcome.unwrap(),
    }
}
