//! Signing out: the session ends in the browser and at the gateway, and at Google when that is asked for.

use portcullis::dev::google::Endpoint;

use super::person::{AT_GOOGLE, Person, SESSION};
use crate::harness::site::Flow;

super::in_both_flows!(sign_out_ends_the_session_here, signing_in_again_asks_which_account);

async fn sign_out_ends_the_session_here(flow: Flow) {
    let person = Person::at(flow).await;
    person.signs_in("ada@example.com", "/app").await;
    let session = person.browser.cookie(SESSION).await.unwrap().value;
    let before = person.site.client().get("/by-hand").session(&session).send().await;
    assert_eq!(before.status, 200, "the cookie works by hand while the session lasts");

    person.opens("/.portcullis/logout").await;
    assert!(person.browser.cookie(SESSION).await.is_some(), "looking at the page ends nothing");
    person.tab.click("button[type=submit]").await;
    person.reads("You are signed out").await;
    let left: Vec<_> = person.ours().await.into_iter().map(|cookie| cookie.name).collect();
    assert!(left.is_empty(), "left in the jar: {left:?}");
    assert_eq!(person.site.google.calls(Endpoint::Revocation), 0);
    person.assert_clean();

    // CVE-2026-34454: the cookie that somebody kept is of no use any more.
    let seen = person.site.echo.requests().len();
    let after = person.site.client().get("/by-hand").session(&session).send().await;
    assert_eq!((after.status.as_u16(), after.code().as_str()), (401, "invalid_credential"));
    let bearer = person.site.client().get("/by-hand").bearer(&session).send().await;
    assert_eq!((bearer.status.as_u16(), bearer.code().as_str()), (401, "invalid_credential"));
    let page = person.site.client().get("/by-hand").session(&session).navigation().send().await;
    assert_eq!(page.status, 302);
    assert!(page.header("location").unwrap().starts_with(person.site.google.authorization().as_str()));
    assert_eq!(person.site.echo.requests().len(), seen, "nothing more reached the upstream");

    // Signed out at Google as well, a page asks who is there.
    person.browser.delete_cookie(AT_GOOGLE).await;
    person.opens("/app").await;
    person.reads("Choose an account").await;
}

async fn signing_in_again_asks_which_account(flow: Flow) {
    let person = Person::at(flow).await;
    person.signs_in("ada@example.com", "/app").await;
    person.opens("/.portcullis/logout").await;
    person.tab.click("button[type=submit]").await;
    person.reads("You are signed out").await;
    person.tab.click("a.button").await;
    person.reads("Use another account").await;
    person.tab.click("a.button").await;
    person.reads("Choose an account").await;
    assert_eq!(person.asked_google("prompt").as_deref(), Some("select_account"));
    person.chooses("grace@example.com").await;
    person.lands("/").await;
    let last = person.site.echo.requests().into_iter().rfind(|request| request.target == "/").unwrap();
    assert_eq!(last.header("x-goog-authenticated-user-email"), Some("accounts.google.com:grace@example.com"));
    person.assert_clean();
}

#[tokio::test]
async fn access_can_be_withdrawn_at_google() {
    let person = Person::at(Flow::AccessToken).await;
    person.signs_in("ada@example.com", "/app").await;
    let session = person.browser.cookie(SESSION).await.unwrap().value;
    person.opens("/.portcullis/logout").await;
    person.tab.click("input[name=revoke]").await;
    person.tab.click("button[type=submit]").await;
    let text = person.reads("You are signed out").await;
    assert!(text.contains("was withdrawn"), "{text}");
    assert_eq!(person.site.google.calls(Endpoint::Revocation), 1);
    assert!(!person.site.google.revoke(&session), "Google no longer knows the token");
    assert!(person.ours().await.is_empty());
    person.assert_clean();
}

#[tokio::test]
async fn a_withdrawal_that_failed_is_told_and_the_session_ends_all_the_same() {
    let person = Person::at(Flow::AccessToken).await;
    person.signs_in("ada@example.com", "/app").await;
    let session = person.browser.cookie(SESSION).await.unwrap().value;
    person.site.google.fail(Endpoint::Revocation, portcullis::dev::google::Fault::Close);
    person.opens("/.portcullis/logout").await;
    person.tab.click("input[name=revoke]").await;
    person.tab.click("button[type=submit]").await;
    let text = person.reads("You are signed out").await;
    assert!(text.contains("could not be withdrawn"), "{text}");
    assert!(person.ours().await.is_empty());
    let after = person.site.client().get("/by-hand").session(&session).send().await;
    assert_eq!(after.status, 401);
}

#[tokio::test]
async fn an_id_token_cannot_be_withdrawn_and_nobody_is_asked() {
    let person = Person::at(Flow::IdToken).await;
    person.signs_in("ada@example.com", "/app").await;
    person.opens("/.portcullis/logout").await;
    person.reads("Sign out?").await;
    assert_eq!(person.tab.evaluate("document.querySelector('input[name=revoke]') === null").await, true);
}
