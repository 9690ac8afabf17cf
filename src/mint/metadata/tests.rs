use super::*;
use serde_json::json;

const NOW: UnixTime = UnixTime(1_700_000_000);

fn jwt(payload: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.c2lnbmF0dXJl", part(&json!({"alg": "RS256"})), part(payload))
}

fn good() -> Value {
    json!({"aud": "https://up.example", "exp": NOW.0 + 3600})
}

fn read_text(body: &str) -> Result<Minted, &'static str> {
    read(body.as_bytes(), "https://up.example", NOW)
}

#[test]
fn a_token_is_taken_with_its_own_expiry_and_kept_out_of_debug_output() {
    let minted = read_text(&format!("{}\n", jwt(&good()))).unwrap();
    assert_eq!(minted.expires, UnixTime(NOW.0 + 3600));
    assert_eq!(minted.bearer, format!("Bearer {}", jwt(&good())).as_str());
    assert!(!format!("{minted:?}").contains("eyJ"));
}

#[test]
fn nothing_but_a_token_for_this_audience_is_taken() {
    let with = |name: &str, value: Value| {
        let mut payload = good();
        payload[name] = value;
        jwt(&payload)
    };
    let rows = [
        (String::new(), "not a JWT"),
        ("<html>Error 500</html>".to_owned(), "not a JWT"),
        ("<html>.a.b</html>".to_owned(), "not a JWT"),
        (format!("{}\n{}", jwt(&good()), jwt(&good())), "not a JWT"),
        (format!("{}.more", jwt(&good())), "not a JWT"),
        ("e30.e30.".to_owned(), "not a JWT"),
        ("e30.e30.c2ln\u{7f}".to_owned(), "not a JWT"),
        (format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode("no json")), "not JSON"),
        (with("aud", json!("https://other.example")), "another audience"),
        (with("aud", json!(["https://up.example"])), "another audience"),
        (with("exp", json!(null)), "no expiry"),
        (with("exp", json!("1700003600")), "no expiry"),
        (with("exp", json!(NOW.0)), "expired already"),
    ];
    for (body, expected) in rows {
        let why = read_text(&body).unwrap_err();
        assert!(why.contains(expected), "{body}: {why}");
    }
    assert!(read(b"\xff\xfe", "https://up.example", NOW).unwrap_err().contains("not text"));
}
