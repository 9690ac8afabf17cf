//! Signing out, and asking who one is.

use super::*;
use crate::cookies;

fn sign_out() -> Ask {
    Ask::form("/.portcullis/logout", &[]).cookie(SESSION, ADA)
}

#[tokio::test]
async fn the_page_asks_first() {
    let google = Arc::<Google>::default();
    let login = login_as(Flow::AccessToken, SESSION, Arc::clone(&google));
    let reply = Ask::page("/.portcullis/logout").cookie(SESSION, ADA).to(&login, NOW).await;
    assert_eq!((reply.status.as_u16(), set_cookies(&reply).len()), (200, 0));
    assert!(text(&reply).contains("method=\"post\"") && text(&reply).contains("name=\"revoke\""));
    assert!(google.signed_out.lock().unwrap().is_empty());
    // An ID token cannot be revoked.
    let reply = Ask::page("/.portcullis/logout").to(&super::login(Flow::IdToken), NOW).await;
    assert!(!text(&reply).contains("revoke"));
}

#[tokio::test]
async fn signing_out_deletes_every_cookie_with_its_attributes() {
    for (flow, cookie, prefix, same_site) in
        [(Flow::AccessToken, SESSION, "__Host-", "Lax"), (Flow::IdToken, "ACCESSTOKEN", "", "None")]
    {
        let google = Arc::<Google>::default();
        let login = login_as(flow, cookie, Arc::clone(&google));
        let ask = Ask::form("/.portcullis/logout", &[])
            .cookie(cookie, ADA)
            .cookie("theirs", "1")
            .cookie(&format!("{prefix}portcullis-attempt-abc"), "x");
        let reply = ask.to(&login, NOW).await;
        assert_eq!(reply.status, 200);
        assert!(text(&reply).contains("You are signed out") && text(&reply).contains("choose=1"));
        let gone = |name: String, same_site: &str| {
            (name, String::new(), format!("Path=/; Max-Age=0; Secure; HttpOnly; SameSite={same_site}"))
        };
        let expected = [
            gone(cookie.to_owned(), "Lax"),
            gone(format!("{prefix}portcullis-hint"), "Lax"),
            gone(format!("{prefix}portcullis-last"), "Lax"),
            gone(format!("{prefix}portcullis-attempt-abc"), same_site),
        ];
        assert_eq!(set_cookies(&reply), expected);
        assert_eq!(*google.signed_out.lock().unwrap(), [ADA]);
        assert!(google.revoked.lock().unwrap().is_empty());
    }
}

#[tokio::test]
async fn other_sites_cannot_sign_anybody_out() {
    let google = Arc::<Google>::default();
    let login = login_as(Flow::AccessToken, SESSION, Arc::clone(&google));
    for (site, origin) in [("cross-site", ""), ("", "https://evil.com"), ("", "null"), ("same-site", ORIGIN)]
    {
        let reply = sign_out().with("sec-fetch-site", site).with("origin", origin).to(&login, NOW).await;
        assert_eq!((reply.status.as_u16(), set_cookies(&reply).len()), (403, 0), "{site} {origin}");
    }
    assert!(google.signed_out.lock().unwrap().is_empty());
}

#[tokio::test]
async fn withdrawing_revokes() {
    for (fails, words) in [(false, "was withdrawn"), (true, "could not be withdrawn")] {
        let google = Arc::new(Google { revocation_fails: fails, ..Google::default() });
        let login = login_as(Flow::AccessToken, SESSION, Arc::clone(&google));
        let reply =
            Ask::form("/.portcullis/logout", &[("revoke", "1")]).cookie(SESSION, ADA).to(&login, NOW).await;
        assert!(text(&reply).contains(words), "{}", text(&reply));
        assert_eq!(set_cookies(&reply).len(), 3);
        assert_eq!(*google.revoked.lock().unwrap(), [ADA]);
        assert_eq!(*google.signed_out.lock().unwrap(), [ADA]);
    }
}

#[tokio::test]
async fn every_session_that_came_along_ends() {
    let google = Arc::<Google>::default();
    let login = login_as(Flow::AccessToken, SESSION, Arc::clone(&google));
    let ask = sign_out()
        .cookie(SESSION, BOB)
        .cookie(SESSION, "ya29.unavailable-token")
        .cookie(SESSION, "ya29.unknown-token-xyz");
    assert_eq!(ask.to(&login, NOW).await.status, 200);
    // What is known to be worthless is not remembered.
    assert_eq!(*google.signed_out.lock().unwrap(), [ADA, BOB, "ya29.unavailable-token"]);
    let again = Ask::program("/.portcullis/whoami").cookie(SESSION, ADA).to(&login, NOW).await;
    assert_eq!(again.status, 401);
}

#[tokio::test]
async fn programs_sign_out_too() {
    let google = Arc::<Google>::default();
    let login = login_as(Flow::AccessToken, SESSION, Arc::clone(&google));
    let ask = Ask::program("/.portcullis/logout")
        .method(Method::POST)
        .with("authorization", &format!("Bearer {ADA}"));
    let reply = ask.to(&login, NOW).await;
    assert_eq!((reply.status.as_u16(), text(&reply).trim()), (200, r#"{"signed_out":true}"#));
    assert_eq!(*google.signed_out.lock().unwrap(), [ADA]);
    let reply = Ask::program("/.portcullis/logout").method(Method::POST).to(&login, NOW).await;
    assert_eq!(reply.status, 200);
}

#[tokio::test]
async fn programs_learn_who_they_are() {
    let login = login(Flow::AccessToken);
    let expected = serde_json::json!({
        "email": "ada@example.com", "subject": "1234567890", "hosted_domain": "example.com",
        "service_account": false, "expires": "2026-11-18T12:06:40Z", "expires_in": 3600
    });
    let bearer = format!("bearer {ADA}");
    let ask = Ask::program("/.portcullis/whoami");
    for ask in [
        ask.clone().cookie(SESSION, ADA),
        ask.clone().with("authorization", &bearer),
        ask.clone().cookie(SESSION, "ya29.unknown-token-xyz").with("authorization", &bearer),
        ask.clone().cookie(SESSION, "").with("authorization", &bearer),
        ask.clone().cookie(SESSION, ADA).with("authorization", &format!("Bearer {BOB}")),
    ] {
        let reply = ask.to(&login, NOW).await;
        assert_eq!(reply.status, 200);
        assert_eq!(serde_json::from_slice::<serde_json::Value>(&reply.body).unwrap(), expected);
    }
}

#[tokio::test]
async fn programs_without_a_good_credential_are_told_so() {
    let login = login(Flow::AccessToken);
    let ask = Ask::program("/.portcullis/whoami");
    let mut two = ask.clone().with("authorization", &format!("Bearer {ADA}"));
    two.headers.append("authorization", HeaderValue::from_static("Bearer x"));
    for (ask, status, code) in [
        (ask.clone(), 401, "unauthenticated"),
        (ask.clone().with("authorization", "Basic YTpi"), 401, "unauthenticated"),
        (ask.clone().with("authorization", "Bearer"), 401, "unauthenticated"),
        (ask.clone().with("authorization", "Bearer x"), 401, "invalid_credential"),
        (ask.clone().cookie(SESSION, "ya29.unknown-token-xyz"), 401, "invalid_credential"),
        (ask.clone().cookie(SESSION, "ya29.unavailable-token"), 503, "provider_unavailable"),
        (ask.clone().cookie(SESSION, ADA).cookie(SESSION, ADA), 400, "ambiguous_credential"),
        (two, 400, "ambiguous_credential"),
    ] {
        let reply = ask.to(&login, NOW).await;
        assert_eq!(reply.status, status, "{code}");
        assert_eq!(reply.get(&http::header::CONTENT_TYPE).unwrap(), "application/problem+json");
        let document: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!((document["code"].as_str(), document["request_id"].as_str()), (Some(code), Some("req-1")));
        assert_eq!(document["status"], status);
        let challenge = reply.get(&http::header::WWW_AUTHENTICATE).map(|value| value.to_str().unwrap());
        assert_eq!(challenge.is_some_and(|challenge| challenge.starts_with("Bearer")), status == 401);
        assert_eq!(set_cookies(&reply).len(), 0);
    }
}

#[tokio::test]
async fn people_see_who_they_are_or_sign_in() {
    let login = login(Flow::AccessToken);
    let reply = Ask::page("/.portcullis/whoami").cookie(SESSION, ADA).to(&login, NOW).await;
    let body = text(&reply);
    for part in ["ada@example.com", "12:06 UTC, in 60 minutes", "/.portcullis/logout", "choose=1"] {
        assert!(body.contains(part), "{part}");
    }
    assert!(!body.contains("ya29."));
    let reply = Ask::page("/.portcullis/whoami").to(&login, NOW).await;
    question(&reply);
    let (_, value, _) = &set_cookies(&reply)[0];
    let stored: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(value).unwrap()).unwrap();
    assert_eq!(stored["r"], "/.portcullis/whoami");
}

#[tokio::test]
async fn upstreams_see_none_of_our_cookies() {
    let login = login(Flow::AccessToken);
    let ask = Ask::page("/")
        .cookie("a", "1")
        .cookie(SESSION, ADA)
        .cookie("__Host-portcullis-attempt-abc", "x")
        .cookie("b", "2");
    let left = cookies::without(&ask.headers, |name| login.names.own(name)).unwrap();
    assert_eq!(left, "a=1; b=2");
}

#[tokio::test]
async fn a_flood_of_sessions_does_not_make_a_flood_of_checks() {
    let google = Arc::<Google>::default();
    let login = login_as(Flow::AccessToken, SESSION, Arc::clone(&google));
    let mut ask = Ask::form("/.portcullis/logout", &[("revoke", "1")]);
    for number in 0..100 {
        ask = ask.cookie(SESSION, &format!("ya29.unavailable-token-{number}"));
    }
    let reply = ask.to(&login, NOW).await;
    assert_eq!(reply.status, 200);
    assert!(google.revoked.lock().unwrap().len() <= 8, "{}", google.revoked.lock().unwrap().len());
    assert!(google.signed_out.lock().unwrap().len() <= 8);
}

#[tokio::test]
async fn what_was_not_withdrawn_is_not_called_withdrawn() {
    let login = login(Flow::AccessToken);
    let ask = Ask::form("/.portcullis/logout", &[("revoke", "1")]).cookie(SESSION, "ya29.throttled-tokens");
    let reply = ask.to(&login, NOW).await;
    assert!(text(&reply).contains("could not be withdrawn"), "{}", text(&reply));
}
