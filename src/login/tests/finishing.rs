//! Coming back from Google.

use super::*;

const STATE: &str = "AbCdEfGhIjKlMnOpQrStUv";
const NONCE: &str = "nonceNONCEnonceNONCE12";

fn id_token(nonce: &str) -> String {
    format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", URL_SAFE_NO_PAD.encode(format!(r#"{{"nonce":"{nonce}"}}"#)))
}

/// The callback page's form, with the attempt that it belongs to.
fn hand_over(fields: &[(&str, &str)]) -> Ask {
    let (name, value) = attempt(STATE, "/app?x=1", None, 5);
    Ask::form("/.portcullis/session", fields).cookie(&name, &value)
}

/// Google's form post.
fn form_post(fields: &[(&str, &str)]) -> Ask {
    let (name, value) = attempt(STATE, "/app?x=1", Some(NONCE), 5);
    let ask = Ask::form("/.portcullis/callback", fields).cookie(&name, &value);
    ask.with("sec-fetch-site", "cross-site").with("origin", "https://accounts.google.com")
}

fn has_session(reply: &Reply) -> bool {
    set_cookies(reply).iter().any(|(name, _, _)| name == SESSION)
}

fn assert_signed_in(reply: &Reply, token: &str, same_site: &str) {
    assert_eq!((reply.status.as_u16(), location(reply).as_str()), (303, "/app?x=1"), "{}", text(reply));
    let hint = URL_SAFE_NO_PAD.encode("ada@example.com");
    let lax = |age: u64| format!("Path=/; Max-Age={age}; Secure; HttpOnly; SameSite=Lax");
    let expected = [
        (SESSION.to_owned(), token.to_owned(), lax(3600)),
        ("__Host-portcullis-hint".to_owned(), hint, lax(30 * 24 * 3600)),
        ("__Host-portcullis-last".to_owned(), format!("ok.{}", NOW.0), lax(300)),
        (
            "__Host-portcullis-attempt-AbCdEfGhIjKl".to_owned(),
            String::new(),
            format!("Path=/; Max-Age=0; Secure; HttpOnly; SameSite={same_site}"),
        ),
    ];
    assert_eq!(set_cookies(reply), expected);
}

#[tokio::test]
async fn a_good_answer_becomes_a_session() {
    let login = login(Flow::AccessToken);
    let fields = [("access_token", ADA), ("expires_in", "3599"), ("state", STATE)];
    assert_signed_in(&hand_over(&fields).to(&login, NOW).await, ADA, "Lax");
    // Whatever was in the session cookie before is replaced.
    assert_signed_in(&hand_over(&fields).cookie(SESSION, BOB).to(&login, NOW).await, ADA, "Lax");
    let named = [("access_token", ADA), ("state", STATE), ("iss", "https://accounts.google.com")];
    assert_signed_in(&hand_over(&named).to(&login, NOW).await, ADA, "Lax");
}

#[tokio::test]
async fn a_good_id_token_becomes_a_session() {
    let token = id_token(NONCE);
    let reply = form_post(&[("id_token", &token), ("state", STATE)]).to(&login(Flow::IdToken), NOW).await;
    assert_signed_in(&reply, &token, "None");
}

#[tokio::test]
async fn an_id_token_of_another_sign_in_is_refused() {
    let login = login(Flow::IdToken);
    for token in [
        id_token("another-nonce-another-"),
        id_token(""),
        "eyJhbGciOiJSUzI1NiJ9.e30.c2ln".to_owned(),
        ADA.to_owned(),
    ] {
        let reply = form_post(&[("id_token", &token), ("state", STATE)]).to(&login, NOW).await;
        assert_eq!(reply.status, 401);
        assert!(!has_session(&reply));
    }
    // An attempt without a nonce was not begun in this flow.
    let (name, value) = attempt(STATE, "/", None, 5);
    let ask = Ask::form("/.portcullis/callback", &[("id_token", &id_token(NONCE)), ("state", STATE)]);
    let reply = ask.cookie(&name, &value).to(&login, NOW).await;
    assert_eq!((reply.status.as_u16(), has_session(&reply)), (401, false));
    // An ID token is no access token.
    let reply = hand_over(&[("access_token", &id_token(NONCE)), ("state", STATE)])
        .to(&super::login(Flow::AccessToken), NOW)
        .await;
    assert_eq!((reply.status.as_u16(), has_session(&reply)), (401, false));
}

#[tokio::test]
async fn only_our_own_page_hands_over() {
    let login = login(Flow::AccessToken);
    let ask = hand_over(&[("access_token", ADA), ("state", STATE)]);
    for (site, origin, passes) in [
        ("same-origin", ORIGIN, true),
        ("same-origin", "null", true),
        ("same-origin", "", true),
        ("", ORIGIN, true),
        ("", "", true),
        ("", "null", false),
        ("same-origin", "https://evil.com", false),
        ("", "https://evil.com", false),
        ("", "http://gw.example.com", false),
        ("", "https://gw.example.com:8443", false),
        ("cross-site", ORIGIN, false),
        ("same-site", "", false),
        ("none", "", false),
        ("cross-site", "null", false),
    ] {
        let reply = ask.clone().with("sec-fetch-site", site).with("origin", origin).to(&login, NOW).await;
        assert_eq!(
            (reply.status.as_u16(), has_session(&reply)),
            if passes { (303, true) } else { (403, false) },
            "{site} {origin}"
        );
    }
    let reply = ask.with("content-type", "text/plain").to(&login, NOW).await;
    assert_eq!((reply.status.as_u16(), has_session(&reply)), (415, false));
}

#[tokio::test]
async fn an_answer_without_its_attempt_is_not_used() {
    let login = login(Flow::AccessToken);
    let other = "AbCdEfGhIjKlXXXXXXXXXX";
    let cases: Vec<Ask> = vec![
        Ask::form("/.portcullis/session", &[("access_token", ADA), ("state", STATE)]),
        hand_over(&[("access_token", ADA)]),
        hand_over(&[("access_token", ADA), ("state", "")]),
        hand_over(&[("access_token", ADA), ("state", other)]),
        hand_over(&[("access_token", ADA), ("state", &STATE[..12])]),
        hand_over(&[("access_token", ADA), ("state", STATE), ("state", STATE)]),
        hand_over(&[("access_token", ADA), ("state", &format!("{STATE}x"))]),
        hand_over(&[("access_token", ADA), ("state", "ä; x=\r\n\"><svg onload=a>")]),
        hand_over(&[("access_token", ADA), ("state", STATE)])
            .cookie("__Host-portcullis-attempt-AbCdEfGhIjKl", "x"),
        Ask::form("/.portcullis/session", &[("access_token", ADA), ("state", STATE)])
            .cookie("__Host-portcullis-attempt-AbCdEfGhIjKl", "bm90IGpzb24"),
    ];
    for (at, ask) in cases.iter().enumerate() {
        let reply = ask.to(&login, NOW).await;
        assert_eq!((reply.status.as_u16(), has_session(&reply)), (400, false), "{at}");
        assert!(text(&reply).contains("started in another window") && text(&reply).contains("go=1"), "{at}");
        assert!(reply.get(&LOCATION).is_none(), "{at}");
        // Who is signed in by now goes on.
        let reply = ask.clone().cookie(SESSION, BOB).to(&login, NOW).await;
        assert_eq!(
            (reply.status.as_u16(), location(&reply).as_str(), has_session(&reply)),
            (303, "/", false),
            "{at}"
        );
    }
    let post = Ask::form("/.portcullis/callback", &[("id_token", &id_token(NONCE)), ("state", STATE)]);
    let reply = post.to(&super::login(Flow::IdToken), NOW).await;
    assert_eq!((reply.status.as_u16(), has_session(&reply)), (303, false));
    assert_eq!(location(&reply), "/.portcullis/login?return=%2F&why=stale");
}

/// A form post from another site comes without the session, which the GET after it has.
#[tokio::test]
async fn what_depends_on_the_session_waits_for_a_request_that_has_it() {
    let login = login(Flow::IdToken);
    let (name, value) = attempt(STATE, "/app?x=1", Some(NONCE), 5);
    let fields = [("error", "interaction_required"), ("state", STATE)];
    let reply = Ask::form("/.portcullis/callback", &fields).cookie(&name, &value).to(&login, NOW).await;
    assert_eq!(reply.status.as_u16(), 303);
    assert_eq!(location(&reply), "/.portcullis/login?return=%2Fapp%3Fx%3D1&why=attention");

    let id_token = id_token(NONCE);
    for (why, status, words) in [("attention", 200, "Please sign in again"), ("stale", 400, "start over")] {
        let ask = Ask::page(&format!("/.portcullis/login?return=%2Fapp&why={why}"));
        let reply = ask.clone().to(&login, NOW).await;
        assert_eq!(reply.status.as_u16(), status, "{why}");
        assert!(text(&reply).contains(words) && !text(&reply).contains("Continue without"), "{why}");
        let reply = ask.cookie(SESSION, &id_token).to(&login, NOW).await;
        if why == "stale" {
            assert_eq!(location(&reply), "/app", "who is signed in by now goes on");
        } else {
            assert!(text(&reply).contains("Continue without"), "who is still signed in may go on");
        }
    }
}

#[tokio::test]
async fn an_old_attempt_starts_over() {
    let login = login(Flow::AccessToken);
    for (age, status) in [(600, 303), (601, 400)] {
        let (name, value) = attempt(STATE, "/app", None, age);
        let ask = Ask::form("/.portcullis/session", &[("access_token", ADA), ("state", STATE)])
            .cookie(&name, &value);
        let reply = ask.to(&login, NOW).await;
        assert_eq!((reply.status.as_u16(), has_session(&reply)), (status, status == 303));
        if status == 400 {
            assert!(text(&reply).contains("return=%2Fapp&#38;go=1"));
            let reply = ask.cookie(SESSION, BOB).to(&login, NOW).await;
            assert_eq!((reply.status.as_u16(), location(&reply).as_str()), (303, "/app"));
        }
    }
}

#[tokio::test]
async fn a_return_path_from_a_cookie_is_checked_again() {
    let (name, value) = attempt(STATE, "//evil.com", None, 5);
    let ask =
        Ask::form("/.portcullis/session", &[("access_token", ADA), ("state", STATE)]).cookie(&name, &value);
    assert_eq!(location(&ask.to(&login(Flow::AccessToken), NOW).await), "/");
}

#[tokio::test]
async fn an_answer_of_somebody_else_is_refused() {
    let login = login(Flow::AccessToken);
    for issuer in [
        "https://evil.com",
        "accounts.google.com",
        "https://accounts.google.com/",
        "",
        "http://accounts.google.com",
    ] {
        let reply =
            hand_over(&[("access_token", ADA), ("state", STATE), ("iss", issuer)]).to(&login, NOW).await;
        assert_eq!((reply.status.as_u16(), has_session(&reply)), (400, false), "{issuer}");
    }
}

#[tokio::test]
async fn errors_of_google_are_told_in_our_words() {
    let login = login(Flow::AccessToken);
    for (error, status, words) in [
        ("access_denied", 403, "Sign-in was cancelled"),
        ("interaction_required", 200, "Please sign in again"),
        ("login_required", 200, "Please sign in again"),
        ("consent_required", 200, "Please sign in again"),
        ("account_selection_required", 200, "Please sign in again"),
        ("temporarily_unavailable", 503, "Google cannot be reached"),
        ("server_error", 503, "Google cannot be reached"),
        ("invalid_scope", 400, "Google did not sign you in"),
        ("\"><svg onload=alert(1)>", 400, "Google did not sign you in"),
        ("", 400, "Google did not sign you in"),
    ] {
        // Even with a token: what carries an error is no success.
        let fields = [
            ("error", error),
            ("state", STATE),
            ("access_token", ADA),
            ("error_description", "canary-words"),
        ];
        let reply = hand_over(&fields).to(&login, NOW).await;
        let body = text(&reply);
        assert_eq!((reply.status.as_u16(), has_session(&reply)), (status, false), "{error}");
        assert!(body.contains(words) && body.contains("%2Fapp%3Fx%3D1"), "{error}: {body}");
        assert!(!body.contains("canary-words") && !body.contains("<svg onload"), "{error}");
        let cookies = set_cookies(&reply);
        assert!(cookies.contains(&(
            "__Host-portcullis-last".into(),
            format!("failed.{}", NOW.0),
            "Path=/; Max-Age=300; Secure; HttpOnly; SameSite=Lax".into()
        )));
        assert!(
            cookies.iter().any(|(name, value, _)| name.contains("attempt") && value.is_empty()),
            "{error}"
        );
    }
    // A session that is still good can be used on.
    let ask = hand_over(&[("error", "login_required"), ("state", STATE)]).cookie(SESSION, ADA);
    assert!(text(&ask.to(&login, NOW).await).contains("href=\"/app?x=1\""));
}

#[tokio::test]
async fn a_bad_token_makes_no_session() {
    let login = login(Flow::AccessToken);
    for (token, status, code) in [
        ("ya29.unknown-token-xyz", 401, "invalid_credential"),
        ("ya29.invalid-tokens-x", 401, "invalid_credential"),
        ("short", 401, "invalid_credential"),
        (&"a".repeat(4096), 400, "token_too_long"),
        ("ya29.with-\"quotes\";-x", 401, "invalid_credential"),
        ("ya29.wrong-audience-x", 401, "invalid_credential"),
        ("ya29.no-email-address", 401, "invalid_credential"),
        ("ya29.throttled-tokens", 429, "rate_limited"),
        ("ya29.unavailable-token", 503, "provider_unavailable"),
        ("", 400, "sign_in_incomplete"),
    ] {
        let ask = hand_over(&[("access_token", token), ("state", STATE)]);
        let reply = ask.to(&login, NOW).await;
        let body = text(&reply);
        assert_eq!((reply.status.as_u16(), has_session(&reply)), (status, false), "{token}");
        assert!(
            body.contains(code) && body.contains("req-1") && body.contains("return=%2Fapp%3Fx%3D1"),
            "{token}: {body}"
        );
        assert!((token.is_empty() || !body.contains(token)) && !body.contains("secret detail"), "{token}");
        assert_eq!(reply.get(&http::header::WWW_AUTHENTICATE).is_some(), status == 401, "{token}");
        let waits = status == 429 || status == 503;
        assert_eq!(reply.get(&http::header::RETRY_AFTER).is_some(), waits, "{token}");
        // Where waiting helps, the attempt stays open.
        assert_eq!(set_cookies(&reply).is_empty(), waits, "{token}");
    }
    let twice = hand_over(&[("access_token", ADA), ("access_token", BOB), ("state", STATE)]);
    assert_eq!(twice.to(&login, NOW).await.status, 400);
}

#[tokio::test]
async fn the_callback_shows_a_page() {
    let reply = Ask::page("/.portcullis/callback").to(&login(Flow::AccessToken), NOW).await;
    assert_eq!(reply.status, 200);
    assert!(text(&reply).contains("action=\"/.portcullis/session\""));
    let reply = Ask::page("/.portcullis/callback").to(&login(Flow::IdToken), NOW).await;
    assert_eq!(reply.status, 200);
    assert!(text(&reply).contains("go=1") && !text(&reply).contains("<script"));
}

#[test]
fn status_and_code_are_those_of_the_gate() {
    use crate::gate::refusal::Refusal as GateRefusal;
    let errors = [
        VerifyError::Malformed,
        VerifyError::Expired,
        VerifyError::SignedOut,
        VerifyError::Invalid("x"),
        VerifyError::WrongAudience,
        VerifyError::NoVerifiedEmail,
        VerifyError::Throttled,
        VerifyError::Unavailable("x".to_owned()),
    ];
    for error in errors {
        let (here, there) = (Refusal::from(&error), GateRefusal::from(error.clone()).row());
        assert_eq!((here.status, here.code), (there.status, there.code), "{error}");
        assert_eq!(
            here.retry_after,
            there.retry_after.map(|seconds| seconds.to_string()).as_deref(),
            "{error}"
        );
    }
}
