//! Keys and headers. Tokens that are really signed are verified in the tests of the verifier.

use super::*;
use http::HeaderValue;

fn headers(cache_control: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache_control));
    headers
}

#[test]
fn the_life_of_the_keys_is_google_s_within_limits() {
    assert_eq!(max_age(&headers("public, max-age=20000, must-revalidate, no-transform")), 20_000);
    assert_eq!(max_age(&headers("max-age=0")), 60);
    assert_eq!(max_age(&headers("max-age=99999999")), 86_400);
    for unclear in ["", "no-cache", "max-age=", "max-age=-1", "max-age=x"] {
        assert_eq!(max_age(&headers(unclear)), 3600, "{unclear}");
    }
    assert_eq!(max_age(&HeaderMap::new()), 3600);
}

#[test]
fn only_rsa_keys_for_signatures_are_used() {
    let set = |json: &str| KeySet::read(json.as_bytes(), UnixTime(0)).map(|set| set.keys.len());
    let key = r#"{"kty":"RSA","alg":"RS256","use":"sig","kid":"a","n":"AQAB","e":"AQAB"}"#;
    assert_eq!(set(&format!(r#"{{"keys":[{key},{key}]}}"#)), Ok(2));
    assert_eq!(set(&format!(r#"{{"keys":[{key},{{"kty":"EC"}},null,7]}}"#)), Ok(1));
    assert_eq!(set(&format!(r#"{{"keys":[{}]}}"#, key.replace(r#""alg":"RS256","#, ""))), Ok(1));
    for unusable in [
        key.replace("RSA", "EC"),
        key.replace("RS256", "HS256"),
        key.replace(r#""sig""#, r#""enc""#),
        key.replace(r#""kid":"a","#, ""),
        key.replace(r#""n":"AQAB""#, r#""n":"!""#),
        key.replace(r#","e":"AQAB""#, ""),
    ] {
        assert!(set(&format!(r#"{{"keys":[{unusable}]}}"#)).unwrap_err().contains("usable"), "{unusable}");
    }
    for no_set in ["", "[]", "{}", r#"{"keys":{}}"#, "<html>"] {
        assert!(set(no_set).unwrap_err().contains("JWK set"), "{no_set}");
    }
}

fn token(header: &str) -> String {
    let part = |text: &str| URL_SAFE_NO_PAD.encode(text);
    format!("{}.{}.{}", part(header), part("{}"), part("signature"))
}

#[test]
fn only_rs256_with_a_key_id_is_looked_at() {
    assert!(Parts::read(&token(r#"{"alg":"RS256","kid":"a"}"#)).is_ok());
    for header in [
        r#"{"alg":"none","kid":"a"}"#,
        r#"{"alg":"None","kid":"a"}"#,
        r#"{"alg":"nOnE","kid":"a"}"#,
        r#"{"alg":"HS256","kid":"a"}"#,
        r#"{"alg":"ES256","kid":"a"}"#,
        r#"{"alg":"RS512","kid":"a"}"#,
        r#"{"alg":["RS256"],"kid":"a"}"#,
        r#"{"kid":"a"}"#,
        r#"{"alg":"RS256"}"#,
        r#"{"alg":"RS256","kid":""}"#,
        r#"{"alg":"RS256","kid":"a","crit":["x"]}"#,
    ] {
        assert!(matches!(Parts::read(&token(header)), Err(VerifyError::Invalid(_))), "{header}");
    }
}

#[test]
fn what_is_no_jws_is_malformed() {
    let good = token(r#"{"alg":"RS256","kid":"a"}"#);
    for bad in [
        "",
        "a",
        "a.b",
        "..",
        "!.e30.e30",
        "e30.!.e30",
        "W10.e30.e30",
        &format!("{good}="),
        &format!("{good}.x"),
    ] {
        assert!(Parts::read(bad).is_err(), "{bad}");
    }
}
