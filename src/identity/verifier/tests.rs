//! The verifier against the stand-in for Google, over HTTP.
#![cfg(feature = "dev")]

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::Environment;
use crate::dev::google::{AccessTokenSpec, Endpoint, Fault, Options, ROBOT, StandIn};

const CLIENT: &str = "1-a.apps.googleusercontent.com";
const ADA: &str = "ada@example.com";

struct World {
    google: StandIn,
    verifier: Arc<Verifier>,
    now: UnixTime,
}

impl World {
    async fn new() -> Self {
        let google = StandIn::start("127.0.0.1:0".parse().unwrap(), Options::default()).await.unwrap();
        let text = format!(
            "version: 1
public_url: https://gw.example.com
google:
  client_id: {CLIENT}
  endpoints: {{ tokeninfo: '{}', certs: '{}' }}
allow: {{ domains: [example.com] }}
upstreams: {{ up: {{ url: 'http://127.0.0.1:9' }} }}
locations: [{{ path: /, access: google, upstream: up }}]
",
            google.tokeninfo(),
            google.certs()
        );
        let config = crate::config::parse(&text, "test.yaml", &Environment::empty()).unwrap();
        let outbound = Arc::new(Outbound::default());
        let verifier = Arc::new(Verifier::new(&config, config.google.as_ref().unwrap(), outbound));
        Self { google, verifier, now: UnixTime::now() }
    }

    async fn verify(&self, token: &str, now: UnixTime) -> Outcome {
        let credential = Credential::parse(token).ok_or(VerifyError::Malformed)?;
        self.verifier.verify(credential, [192, 0, 2, 1].into(), now).await
    }

    fn access_token(&self, client: &str) -> String {
        self.google.issue_access_token(&AccessTokenSpec::person(self.google.account(ADA).unwrap(), client))
    }

    fn id_token(&self, change: impl FnOnce(&mut Value)) -> String {
        let mut claims = self.google.claims(self.google.account(ADA).unwrap(), CLIENT);
        change(&mut claims);
        self.google.issue_id_token(&claims, None)
    }
}

#[tokio::test]
async fn both_kinds_of_token_tell_who_somebody_is() {
    let world = World::new().await;
    for token in [world.access_token(CLIENT), world.id_token(|_| {})] {
        let identity = world.verify(&token, world.now).await.unwrap();
        assert_eq!(&*identity.email, ADA);
    }
    let refused = world.verify(&world.access_token("2-b.apps.googleusercontent.com"), world.now).await;
    assert_eq!(refused.unwrap_err(), VerifyError::WrongAudience);
}

#[tokio::test]
async fn a_good_signature_does_not_make_up_for_wrong_claims() {
    let world = World::new().await;
    let changes: [(&str, Value); 6] = [
        ("aud", json!("2-b.apps.googleusercontent.com")),
        ("aud", json!([CLIENT])),
        ("azp", json!("2-b.apps.googleusercontent.com")),
        ("iss", json!("https://accounts.google.com.evil.com")),
        ("exp", json!(world.now.0 - 1)),
        ("email_verified", json!(false)),
    ];
    for (name, value) in changes {
        let token = world.id_token(|claims| claims[name] = value.clone());
        assert!(world.verify(&token, world.now).await.is_err(), "{name} {value}");
    }
    let (signed, signature) =
        world.id_token(|_| {}).rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    let flipped: String = signature.chars().rev().collect();
    assert!(world.verify(&format!("{signed}.{flipped}"), world.now).await.is_err());
}

#[tokio::test]
async fn a_service_account_s_id_token_must_name_the_gateway() {
    let world = World::new().await;
    let robot = world.google.account(ROBOT).unwrap();
    let token = |audience: &str| world.google.issue_id_token(&world.google.claims(robot, audience), None);
    let identity = world.verify(&token("https://gw.example.com"), world.now).await.unwrap();
    assert!(identity.service_account);
    for other in [CLIENT, "https://gw.example.com/", "https://other.example.com"] {
        assert_eq!(
            world.verify(&token(other), world.now).await.unwrap_err(),
            VerifyError::WrongAudience,
            "{other}"
        );
    }
    let access = world.google.issue_access_token(&AccessTokenSpec::service_account(robot));
    assert!(world.verify(&access, world.now).await.unwrap().service_account);
}

#[tokio::test]
async fn a_verified_token_is_not_asked_about_again_and_never_outlives_itself() {
    let world = World::new().await;
    let token = world.access_token(CLIENT);
    for _ in 0..20 {
        world.verify(&token, world.now).await.unwrap();
    }
    assert_eq!(world.google.calls(Endpoint::Tokeninfo), 1);
    let later = UnixTime(world.now.0 + 4000);
    assert_eq!(world.verify(&token, later).await.unwrap_err(), VerifyError::Expired);
}

#[tokio::test]
async fn those_who_ask_at_once_share_one_call_and_its_failure() {
    let world = Arc::new(World::new().await);
    world.google.delay(Endpoint::Tokeninfo, Duration::from_millis(100));
    let token = Arc::new(world.access_token(CLIENT));
    let tasks: Vec<_> = (0..30)
        .map(|_| {
            let (world, token) = (world.clone(), token.clone());
            tokio::spawn(async move { world.verify(&token, world.now).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(world.google.calls(Endpoint::Tokeninfo), 1);
    world.google.fail(Endpoint::Tokeninfo, Fault::Empty);
    let other = world.access_token(CLIENT);
    assert!(matches!(world.verify(&other, world.now).await, Err(VerifyError::Unavailable(_))));
    world.google.clear_switches();
    assert!(world.verify(&other, world.now).await.is_ok(), "a failure is not kept");
}

#[tokio::test]
async fn unknown_keys_cause_one_fetch_and_a_rotation_is_followed() {
    let world = World::new().await;
    world.verify(&world.id_token(|_| {}), world.now).await.unwrap();
    assert_eq!(world.google.calls(Endpoint::Certs), 1);
    for n in 0..50 {
        let claims = world.google.claims(world.google.account(ADA).unwrap(), CLIENT);
        let mut header = world.google.id_token_header();
        header["kid"] = json!(format!("unknown-{n}"));
        let token = world.google.issue_id_token(&claims, Some(&header));
        assert!(matches!(world.verify(&token, world.now).await, Err(VerifyError::Invalid(_))));
    }
    assert_eq!(world.google.calls(Endpoint::Certs), 1);
    let old = world.id_token(|claims| claims["jti"] = json!("old"));
    world.google.rotate_keys();
    let new = world.id_token(|claims| claims["jti"] = json!("new"));
    let later = UnixTime(world.now.0 + 61);
    assert!(world.verify(&new, later).await.is_ok());
    assert!(world.verify(&old, later).await.is_ok());
    assert_eq!(world.google.calls(Endpoint::Certs), 2);
}

#[tokio::test]
async fn known_keys_stay_in_use_while_new_ones_cannot_be_fetched() {
    let world = World::new().await;
    world.verify(&world.id_token(|_| {}), world.now).await.unwrap();
    world.google.fail(Endpoint::Certs, Fault::Html);
    let tomorrow = UnixTime(world.now.0 + 90_000);
    let token = world.id_token(|claims| {
        claims["iat"] = json!(tomorrow.0);
        claims["exp"] = json!(tomorrow.0 + 3600);
    });
    assert!(world.verify(&token, tomorrow).await.is_ok());
}

#[tokio::test]
async fn signing_out_ends_a_token_at_once() {
    let world = World::new().await;
    let token = world.access_token(CLIENT);
    world.verify(&token, world.now).await.unwrap();
    world.verifier.sign_out(Credential::parse(&token).unwrap(), world.now);
    assert_eq!(world.verify(&token, world.now).await.unwrap_err(), VerifyError::SignedOut);
    assert_eq!(world.google.calls(Endpoint::Tokeninfo), 1);
}

#[tokio::test]
async fn garbage_costs_a_bounded_number_of_calls() {
    let world = World::new().await;
    let good = world.access_token(CLIENT);
    world.verify(&good, world.now).await.unwrap();
    for n in 0..500 {
        let error = world.verify(&format!("ya29.garbage-garbage-{n}"), world.now).await.unwrap_err();
        assert!(matches!(error, VerifyError::Expired | VerifyError::Throttled), "{error}");
    }
    let calls = u64::try_from(world.google.calls(Endpoint::Tokeninfo)).unwrap();
    assert!(calls <= 2 * crate::identity::flood::REJECTIONS + 1, "{calls}");
    assert!(world.verify(&good, world.now).await.is_ok());
}
