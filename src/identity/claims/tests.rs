use super::*;
use serde_json::json;

const NOW: UnixTime = UnixTime(1_700_000_000);

fn claims(value: &Value) -> Claims {
    Claims::from_json(value.to_string().as_bytes()).unwrap()
}

fn ada() -> Value {
    json!({
        "iss": "https://accounts.google.com", "aud": "client", "sub": "1234", "email": "Ada@Example.com",
        "email_verified": true, "iat": NOW.0 - 10, "exp": NOW.0 + 3600,
    })
}

fn with(name: &str, value: Value) -> Claims {
    let mut all = ada();
    all[name] = value;
    claims(&all)
}

#[test]
fn an_identity_is_read_from_both_spellings() {
    let jwt = claims(&ada()).identity(NOW).unwrap();
    let tokeninfo = claims(&json!({
        "aud": "client", "sub": "1234", "email": "ada@example.com", "email_verified": "true",
        "exp": (NOW.0 + 3600).to_string(),
    }))
    .identity(NOW)
    .unwrap();
    for identity in [jwt, tokeninfo] {
        assert_eq!(&*identity.email, "ada@example.com");
        assert_eq!(identity.subject.as_deref(), Some("1234"));
        assert_eq!(identity.expires, UnixTime(NOW.0 + 3600));
        assert_eq!(identity.email_header, "accounts.google.com:ada@example.com");
        assert!(!identity.service_account);
    }
}

#[test]
fn only_the_two_spellings_of_true_verify_an_address() {
    for good in [json!(true), json!("true")] {
        assert!(with("email_verified", good).identity(NOW).is_ok());
    }
    for bad in [json!(false), json!("false"), json!("TRUE"), json!(1), json!("1"), json!(null), json!([true])]
    {
        assert_eq!(
            with("email_verified", bad.clone()).identity(NOW).unwrap_err(),
            VerifyError::NoVerifiedEmail,
            "{bad}"
        );
    }
    let mut missing = ada();
    missing.as_object_mut().unwrap().remove("email_verified");
    assert_eq!(claims(&missing).identity(NOW).unwrap_err(), VerifyError::NoVerifiedEmail);
}

#[test]
fn addresses_that_could_be_read_two_ways_are_no_identity() {
    let bad = [
        "attacker@evil.com@company.com",
        "\"a@company.com\"@evil.com",
        "a@company.com\0@evil",
        "a@company.com\n",
        "@company.com",
        "a@",
        "a",
        "",
        "a b@company.com",
        "a@company",
        "a@comp any.com",
        "a@.com",
        "a@company..com",
        "ä@company.com",
        "a@compäny.com",
    ];
    for email in bad {
        assert_eq!(
            with("email", json!(email)).identity(NOW).unwrap_err(),
            VerifyError::NoVerifiedEmail,
            "{email:?}"
        );
    }
    assert!(with("email", json!(["a@company.com"])).identity(NOW).is_err());
}

#[test]
fn service_accounts_are_recognised_by_their_domain_only() {
    let is_service_account = |email: &str| with("email", json!(email)).identity(NOW).unwrap().service_account;
    for robot in
        ["r@p.iam.gserviceaccount.com", "1-compute@developer.gserviceaccount.com", "r@gserviceaccount.com"]
    {
        assert!(is_service_account(robot), "{robot}");
    }
    for person in
        ["gserviceaccount.com@example.com", "r@evilgserviceaccount.com", "r@gserviceaccount.com.evil.com"]
    {
        assert!(!is_service_account(person), "{person}");
    }
}

#[test]
fn a_token_ends_at_its_expiry() {
    assert_eq!(with("exp", json!(NOW.0)).identity(NOW).unwrap_err(), VerifyError::Expired);
    assert!(with("exp", json!(NOW.0 + 1)).identity(NOW).is_ok());
    for bad in [json!(null), json!("soon"), json!(-1), json!(1.5), json!("")] {
        assert!(matches!(with("exp", bad).identity(NOW), Err(VerifyError::Invalid(_))));
    }
}

#[test]
fn issuer_and_times_of_an_id_token() {
    assert_eq!(claims(&ada()).check_id_token(NOW), Ok(()));
    assert_eq!(with("iss", json!("accounts.google.com")).check_id_token(NOW), Ok(()));
    let bad = [
        ("iss", json!("https://accounts.google.com.evil.com")),
        ("iss", json!("https://accounts.google.com/")),
        ("iss", json!("http://accounts.google.com")),
        ("iss", json!(["https://accounts.google.com"])),
        ("iss", json!(null)),
        ("iat", json!(NOW.0 + 301)),
        ("iat", json!(null)),
        ("nbf", json!(NOW.0 + 301)),
        ("nbf", json!("x")),
        ("exp", json!(null)),
        ("exp", json!(NOW.0 + 90_000)),
    ];
    for (name, value) in bad {
        assert!(
            matches!(with(name, value.clone()).check_id_token(NOW), Err(VerifyError::Invalid(_))),
            "{name} {value}"
        );
    }
    assert_eq!(with("iat", json!(NOW.0 + 300)).check_id_token(NOW), Ok(()));
}

#[test]
fn what_is_no_object_has_no_claims() {
    for bad in ["", "[]", "1", "null", "\"x\"", "{", "{}x"] {
        assert!(Claims::from_json(bad.as_bytes()).is_none(), "{bad}");
    }
}

#[test]
fn a_nonce_must_be_there_and_the_same() {
    let token = |payload: Value| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload.to_string()));
    assert!(verify_nonce(&token(json!({"nonce": "abc"})), "abc"));
    for (payload, nonce) in
        [(json!({"nonce": "abc"}), "abd"), (json!({}), "abc"), (json!({"nonce": ""}), ""), (json!({}), "")]
    {
        assert!(!verify_nonce(&token(payload), nonce));
    }
    assert!(!verify_nonce("garbage", "abc"));
}
