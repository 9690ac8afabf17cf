//! Leaving for Google.

use super::*;

#[test]
fn a_navigation_is_sent_to_google() {
    let ask = Ask::page("/app/x?q=1&r=2");
    for method in [Method::GET, Method::HEAD] {
        let reply = login(Flow::AccessToken).begin(&ask.clone().method(method).visit(), NOW);
        let mut query = question(&reply);
        let state = query.remove("state").unwrap();
        assert_eq!(state.len(), 22);
        let expected = [
            ("client_id", "1234-abc.apps.googleusercontent.com"),
            ("hd", "example.com"),
            ("redirect_uri", "https://gw.example.com/.portcullis/callback"),
            ("response_type", "token"),
            ("scope", "openid email"),
        ];
        let query: Vec<_> = query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(query, expected);
        assert_eq!(reply.get(&http::header::CACHE_CONTROL).unwrap(), "no-store");
        let cookies = set_cookies(&reply);
        assert_eq!(cookies.len(), 1);
        let (name, value, attributes) = &cookies[0];
        assert_eq!(*name, format!("__Host-portcullis-attempt-{}", &state[..12]));
        assert_eq!(attributes, "Path=/; Max-Age=600; Secure; HttpOnly; SameSite=Lax");
        let stored: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(value).unwrap()).unwrap();
        assert_eq!(stored, serde_json::json!({"s": state, "r": "/app/x?q=1&r=2", "q": false, "c": NOW.0}));
    }
}

#[test]
fn id_tokens_are_asked_for_with_a_nonce() {
    let reply = login(Flow::IdToken).begin(&Ask::page("/").visit(), NOW);
    let query = question(&reply);
    assert_eq!(query["response_type"], "id_token");
    assert_eq!(query["response_mode"], "form_post");
    assert_eq!(query["nonce"].len(), 22);
    assert_ne!(query["nonce"], query["state"]);
    let (_, value, attributes) = &set_cookies(&reply)[0];
    assert_eq!(attributes, "Path=/; Max-Age=600; Secure; HttpOnly; SameSite=None");
    let stored: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(value).unwrap()).unwrap();
    assert_eq!(stored["n"], query["nonce"]);
}

#[test]
fn names_without_a_prefix_stay_without() {
    let login = login_as(Flow::AccessToken, "ACCESSTOKEN", Arc::default());
    let (name, _, attributes) = &set_cookies(&login.begin(&Ask::page("/").visit(), NOW))[0];
    assert!(name.starts_with("portcullis-attempt-"), "{name}");
    assert!(attributes.contains("Secure"));
    assert!(login.names.own(b"ACCESSTOKEN") && login.names.own(b"portcullis-hint"));
    assert!(
        !login.names.own(b"accesstoken")
            && !login.names.own(b"__Host-portcullis-hint")
            && !login.names.own(b"")
    );
}

#[test]
fn a_known_account_is_asked_silently() {
    let hint = URL_SAFE_NO_PAD.encode("ada@example.com");
    let ask = Ask::page("/").cookie("__Host-portcullis-hint", &hint);
    let login = login(Flow::AccessToken);
    let query = question(&login.begin(&ask.visit(), NOW));
    assert_eq!((query["login_hint"].as_str(), query["prompt"].as_str()), ("ada@example.com", "none"));

    let failed = ask.clone().cookie("__Host-portcullis-last", &format!("failed.{}", NOW.0 - 100));
    let query = question(&login.begin(&failed.visit(), NOW));
    assert_eq!((query["login_hint"].as_str(), query.get("prompt")), ("ada@example.com", None));
    let long_ago = ask.cookie("__Host-portcullis-last", &format!("failed.{}", NOW.0 - 301));
    assert_eq!(question(&login.begin(&long_ago.visit(), NOW))["prompt"], "none");

    for odd in [
        "!",
        "",
        "YQ",
        &URL_SAFE_NO_PAD.encode("a@b\r\nc"),
        &URL_SAFE_NO_PAD.encode(format!("a@{}", "b".repeat(300))),
    ] {
        let ask = Ask::page("/").cookie("__Host-portcullis-hint", odd);
        let query = question(&login.begin(&ask.visit(), NOW));
        assert!(!query.contains_key("login_hint") && !query.contains_key("prompt"), "{odd}");
    }
}

#[test]
fn what_is_no_navigation_gets_no_cookies() {
    let login = login(Flow::AccessToken);
    for mode in ["cors", "no-cors", "same-origin", "websocket"] {
        let reply = login.begin(&Ask::page("/").with("sec-fetch-mode", mode).visit(), NOW);
        assert_eq!((reply.status.as_u16(), set_cookies(&reply).len()), (200, 0), "{mode}");
    }
    let reply = login.begin(&Ask::page("/").method(Method::POST).visit(), NOW);
    assert_eq!((reply.status.as_u16(), set_cookies(&reply).len()), (200, 0));
}

#[test]
fn a_cookie_stays_small() {
    let longest = format!("/{}", "a".repeat(620));
    let cases = [
        (longest.as_str(), true),
        (&format!("/{}", "a".repeat(698)), false),
        (&format!("/{}", "\"".repeat(600)), false),
    ];
    for (path, kept) in cases {
        let reply = login(Flow::IdToken).begin(&Ask::page(path).visit(), NOW);
        let (name, value, _) = &set_cookies(&reply)[0];
        assert!(name.len() + 1 + value.len() <= 1024);
        let stored: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(value).unwrap()).unwrap();
        assert_eq!(stored["r"], if kept { path } else { "/" });
    }
}

#[test]
fn the_oldest_attempts_make_room() {
    let ages = [("a", 30), ("b", 500), ("c", 10), ("d", 20)];
    let mut ask = Ask::page("/");
    for (letter, age) in ages {
        let (name, value) = attempt(&letter.repeat(22), "/", None, age);
        ask = ask.cookie(&name, &value);
    }
    let login = login(Flow::AccessToken);
    let dropped = |ask: &Ask| -> Vec<String> {
        let cookies = set_cookies(&login.begin(&ask.visit(), NOW));
        let gone = cookies.iter().filter(|(_, value, _)| value.is_empty());
        gone.inspect(|(_, _, attributes)| {
            assert_eq!(attributes, "Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax");
        })
        .map(|(name, _, _)| name.trim_start_matches("__Host-portcullis-attempt-").to_owned())
        .collect()
    };
    assert_eq!(dropped(&ask), ["b".repeat(12)]);
    let ask =
        ask.cookie("__Host-portcullis-attempt-zzz", "nonsense").cookie("__Host-portcullis-attempt-y\"y", "x");
    assert_eq!(dropped(&ask), ["zzz".to_owned(), "b".repeat(12)]);
}

#[tokio::test]
async fn the_login_page_redirects_unless_it_would_loop() {
    let login = login(Flow::AccessToken);
    let ask = Ask::page("/.portcullis/login?return=%2Fapp%3Fx%3D1");
    let query = question(&ask.to(&login, NOW).await);
    assert!(!query.contains_key("prompt"));

    let last = |outcome: &str, age: u64| {
        ask.clone().cookie("__Host-portcullis-last", &format!("{outcome}.{}", NOW.0 - age))
    };
    let mut full = ask.clone();
    for letter in ["a", "b", "c", "d"] {
        let (name, value) = attempt(&letter.repeat(22), "/", None, 5);
        full = full.cookie(&name, &value);
    }
    for looping in [last("failed", 10), last("ok", 10), full] {
        let reply = looping.to(&login, NOW).await;
        assert_eq!(reply.status, 200);
        assert!(
            text(&reply).contains("href=\"/.portcullis/login?return=%2Fapp%3Fx%3D1&#38;go=1\""),
            "{}",
            text(&reply)
        );
        assert_eq!(set_cookies(&reply).len(), 0);
        // The button always works.
        let go = Ask { query: Some("return=%2Fapp%3Fx%3D1&go=1".into()), ..looping };
        assert!(!question(&go.to(&login, NOW).await).contains_key("prompt"));
    }
    assert_eq!(last("ok", 40).to(&login, NOW).await.status, 302);
    for odd in ["ok", "ok.", "ok.-1", "ok.99999999999999999999999", "fine.1"] {
        assert_eq!(
            ask.clone().cookie("__Host-portcullis-last", odd).to(&login, NOW).await.status,
            302,
            "{odd}"
        );
    }
}

#[tokio::test]
async fn another_account_is_chosen_by_hand() {
    let login = login(Flow::AccessToken);
    let ask = Ask::page("/.portcullis/login?choose=1&return=%2Fapp").cookie(SESSION, ADA);
    let reply = ask.to(&login, NOW).await;
    assert_eq!(reply.status, 200);
    assert!(text(&reply).contains("/.portcullis/login?choose=1&#38;return=%2Fapp&#38;go=1"));
    let go = Ask::page("/.portcullis/login?choose=1&return=%2Fapp&go=1").cookie(SESSION, ADA);
    let query = question(&go.to(&login, NOW).await);
    assert_eq!(query["prompt"], "select_account");
    assert!(!query.contains_key("login_hint"));
}

#[tokio::test]
async fn who_is_signed_in_goes_on() {
    let login = login(Flow::AccessToken);
    for (query, to) in [
        ("return=%2Fapp", "/app"),
        ("return=%2F%2Fevil.com&go=1", "/"),
        ("", "/"),
        ("return=/a&return=/b", "/"),
    ] {
        let reply =
            Ask::page(&format!("/.portcullis/login?{query}")).cookie(SESSION, ADA).to(&login, NOW).await;
        assert_eq!((reply.status.as_u16(), location(&reply).as_str()), (303, to), "{query}");
    }
    let twice = Ask::page("/.portcullis/login").cookie(SESSION, ADA).cookie(SESSION, BOB);
    assert_eq!(twice.to(&login, NOW).await.status, 400);
    let down =
        Ask::page("/.portcullis/login").cookie(SESSION, "ya29.unavailable-token").to(&login, NOW).await;
    assert_eq!(down.status, 503);
    assert!(down.get(&http::header::RETRY_AFTER).is_some() && !text(&down).contains("secret detail"));
}

#[test]
fn a_session_near_its_end_is_renewed_once() {
    let login = login(Flow::AccessToken);
    let ending = |left: u64| Identity::new("ada@example.com", None, None, UnixTime(NOW.0 + left)).unwrap();
    let ask = Ask::page("/app?x=1").cookie(SESSION, ADA);
    assert!(login.renew(&ask.visit(), &ending(301), NOW).is_none());
    let reply = login.renew(&ask.visit(), &ending(300), NOW).unwrap();
    let query = question(&reply);
    assert_eq!((query["prompt"].as_str(), query["login_hint"].as_str()), ("none", "ada@example.com"));
    let (name, value, _) = &set_cookies(&reply)[0];

    let refused = [
        ask.clone().cookie(name, value),
        ask.clone().cookie("__Host-portcullis-last", &format!("ok.{}", NOW.0 - 250)),
        ask.clone().cookie("__Host-portcullis-last", &format!("failed.{}", NOW.0 - 250)),
        ask.clone().with("sec-fetch-mode", "cors"),
        ask.clone().method(Method::POST),
    ];
    for (at, ask) in refused.iter().enumerate() {
        assert!(login.renew(&ask.visit(), &ending(100), NOW).is_none(), "{at}");
    }
    let robot = Identity::new("x@y.iam.gserviceaccount.com", None, None, UnixTime(NOW.0 + 9)).unwrap();
    assert!(login.renew(&ask.visit(), &robot, NOW).is_none());
}

#[tokio::test]
async fn methods_are_as_documented() {
    for (flow, path, allowed) in [
        (Flow::AccessToken, "/.portcullis/login", "GET, HEAD"),
        (Flow::AccessToken, "/.portcullis/callback", "GET, HEAD"),
        (Flow::AccessToken, "/.portcullis/session", "POST"),
        (Flow::AccessToken, "/.portcullis/logout", "GET, HEAD, POST"),
        (Flow::AccessToken, "/.portcullis/whoami", "GET, HEAD"),
        (Flow::IdToken, "/.portcullis/callback", "GET, HEAD, POST"),
    ] {
        let login = login(flow);
        for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let expected = allowed.split(", ").any(|one| one == method.as_str());
            let reply = Ask::page(path).method(method.clone()).to(&login, NOW).await;
            assert_eq!(reply.status != 405, expected, "{path} {method}");
            let allow = reply.get(&http::header::ALLOW).map(|value| value.to_str().unwrap());
            assert_eq!(allow, (!expected).then_some(allowed), "{path} {method}");
        }
    }
    assert_eq!(Ask::form("/.portcullis/session", &[]).to(&login(Flow::IdToken), NOW).await.status, 404);
}

#[test]
fn endpoints_are_exact_paths() {
    for path in
        ["/.portcullis/login/", "/.portcullis/Login", "/.portcullis/", "/login", "", "/.portcullis/health"]
    {
        assert_eq!(Endpoint::of(path), None, "{path}");
    }
}
