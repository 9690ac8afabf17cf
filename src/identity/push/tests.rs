//! Push callers against the stand-in for Google, without any sign-in.
#![cfg(feature = "dev")]

use http::HeaderValue;
use serde_json::{Value, json};

use super::*;
use crate::dev::google::{Endpoint, Fault, GATEWAY, Options, ROBOT, StandIn};
use crate::outbound::Outbound;

const AUDIENCE: &str = "https://gw.example.com/.portcullis/playback";

async fn world() -> (StandIn, PushCaller) {
    let google = StandIn::start("127.0.0.1:0".parse().unwrap(), Options::default()).await.unwrap();
    let keys = Arc::new(Jwks::new(Arc::new(Outbound::default()), google.certs()));
    let caller = PushCaller::new(keys, GATEWAY.to_owned(), AUDIENCE.to_owned());
    (google, caller)
}

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
    }
    headers
}

#[tokio::test]
async fn only_the_named_account_with_the_named_audience_may_push() {
    let (google, caller) = world().await;
    let now = UnixTime::now();
    let good = google.claims(google.account(GATEWAY).unwrap(), AUDIENCE);
    let check = async |change: &dyn Fn(&mut Value)| {
        let mut claims = good.clone();
        change(&mut claims);
        let token = google.issue_id_token(&claims, None);
        caller.check(&headers(&[&format!("Bearer {token}")]), now).await
    };
    assert_eq!(check(&|_| {}).await, Ok(()));
    let set = |name: &'static str, value: Value| move |claims: &mut Value| claims[name] = value.clone();
    let foreign_email = VerifyError::Invalid("it belongs to another account than the one that may push");
    for (name, value, expected) in [
        ("aud", json!("https://gw.example.com"), VerifyError::WrongAudience),
        ("aud", json!(format!("{AUDIENCE}/")), VerifyError::WrongAudience),
        ("aud", json!([AUDIENCE]), VerifyError::WrongAudience),
        ("aud", json!(null), VerifyError::WrongAudience),
        ("email", json!(ROBOT), foreign_email.clone()),
        ("email", json!(GATEWAY.to_uppercase()), foreign_email.clone()),
        ("email", json!(null), foreign_email),
        ("email_verified", json!(false), VerifyError::NoVerifiedEmail),
        ("email_verified", json!("true"), VerifyError::NoVerifiedEmail),
        ("email_verified", json!(null), VerifyError::NoVerifiedEmail),
        ("exp", json!(now.0), VerifyError::Expired),
        ("exp", json!(null), VerifyError::Invalid("it has no expiry")),
        ("iss", json!("https://evil.example"), VerifyError::Invalid("its issuer is not Google")),
    ] {
        assert_eq!(check(&set(name, value.clone())).await, Err(expected), "{name} {value}");
    }
}

#[tokio::test]
async fn the_token_comes_in_one_header_with_a_good_signature() {
    let (google, caller) = world().await;
    let now = UnixTime::now();
    let claims = google.claims(google.account(GATEWAY).unwrap(), AUDIENCE);
    let good = format!("Bearer {}", google.issue_id_token(&claims, None));
    assert_eq!(caller.check(&headers(&[&good.replacen("Bearer", "bearer", 1)]), now).await, Ok(()));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let forged = format!("{signed}.{}", signature.chars().rev().collect::<String>());
    let unknown = google.issue_id_token(&claims, Some(&json!({"alg": "RS256", "kid": "unknown"})));
    let unsigned = google.issue_id_token(&claims, Some(&json!({"alg": "none", "kid": "unknown"})));
    for wrong in [
        headers(&[]),
        headers(&[&good, &good]),
        headers(&[&good.replacen("Bearer", "Basic", 1)]),
        headers(&["Bearer"]),
        headers(&["Bearer ya29.an-access-token-of-somebody"]),
        headers(&[&forged]),
        headers(&[&format!("Bearer {unknown}")]),
        headers(&[&format!("Bearer {unsigned}")]),
    ] {
        assert!(caller.check(&wrong, now).await.is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn that_google_could_not_be_asked_is_no_verdict() {
    let (google, caller) = world().await;
    google.fail(Endpoint::Certs, Fault::Close);
    let claims = google.claims(google.account(GATEWAY).unwrap(), AUDIENCE);
    let token = headers(&[&format!("Bearer {}", google.issue_id_token(&claims, None))]);
    let now = UnixTime::now();
    assert!(matches!(caller.check(&token, now).await, Err(VerifyError::Unavailable(_))));
    google.clear_switches();
    assert_eq!(caller.check(&token, UnixTime(now.0 + 6)).await, Ok(()));
}
