//! Sessions that have ended, or are about to.

use std::time::Duration;

use super::person::{
    AT_GOOGLE, HINT, LAST, Person, SESSION, assert_no_token_in_urls, documents, has_loaded, stops,
};
use crate::harness::site::Flow;

super::in_both_flows!(
    an_ended_session_is_renewed_without_a_word,
    a_session_that_google_no_longer_knows_is_renewed,
    a_session_near_its_end_is_renewed,
    google_wants_to_see_the_person,
    a_renewal_that_needs_the_person_can_be_declined,
);

const DEEP: &str = "/deep/link?a=1&b=%2F";

/// At DEEP again after a trip to Google on which there was nothing to see.
async fn came_back_silently(person: &Person) {
    person.lands(DEEP).await;
    assert_eq!(person.trips(), 2, "one more trip to Google");
    assert_eq!(person.asked_google("prompt").as_deref(), Some("none"));
    assert_eq!(person.asked_google("login_hint").as_deref(), Some("ada@example.com"));
    assert_eq!(stops(&person.tab), [person.url(DEEP)], "no other page was shown");
    let redirects = documents(&person.tab).into_iter().flat_map(|fetch| fetch.redirects);
    let google = person.site.google.authorization();
    let to_google: Vec<_> = redirects.filter(|(_, url)| url.starts_with(google.as_str())).collect();
    assert!(to_google.len() <= 2, "{to_google:?}");
    person.assert_clean();
    assert_no_token_in_urls(&person.tab).await;
}

async fn an_ended_session_is_renewed_without_a_word(flow: Flow) {
    let person = Person::at(flow).await;
    person.signs_in("ada@example.com", "/first").await;
    // A cookie at its end is one that the browser no longer sends.
    person.browser.delete_cookie(SESSION).await;
    person.waits_a_while().await;
    person.tab.forget();
    person.opens(DEEP).await;
    came_back_silently(&person).await;
    assert!(person.browser.cookie(SESSION).await.is_some());
}

async fn a_session_that_google_no_longer_knows_is_renewed(flow: Flow) {
    let person = Person::at(flow).await;
    person.signs_in("ada@example.com", "/first").await;
    let session = person.browser.cookie(SESSION).await.unwrap().value;
    let (first, second) = session.split_at(session.len() - 6);
    let reversed: String = second.chars().rev().collect();
    let altered = format!("{first}{reversed}x");
    person.browser.alter_cookie(SESSION, &altered).await;
    person.waits_a_while().await;
    person.tab.forget();
    person.opens(DEEP).await;
    came_back_silently(&person).await;
    assert_ne!(person.browser.cookie(SESSION).await.unwrap().value, altered);
}

async fn a_session_near_its_end_is_renewed(flow: Flow) {
    let person = Person::at(flow).await;
    person.site.google.set_lifetime(Duration::from_secs(240));
    person.signs_in("ada@example.com", "/first").await;
    let old = person.browser.cookie(SESSION).await.unwrap();
    person.opens("/again").await;
    person.lands("/again").await;
    assert_eq!(person.trips(), 1, "who has just signed in is left alone");

    person.site.google.set_lifetime(Duration::from_secs(3600));
    person.waits_a_while().await;
    person.tab.forget();
    person.opens(DEEP).await;
    came_back_silently(&person).await;
    let new = person.browser.cookie(SESSION).await.unwrap();
    assert_ne!(new.value, old.value);
    assert!(new.expires - old.expires > 3000.0, "{} after {}", new.expires, old.expires);

    person.waits_a_while().await;
    person.opens("/later").await;
    person.lands("/later").await;
    assert_eq!(person.trips(), 2, "a fresh session is left alone");
}

async fn google_wants_to_see_the_person(flow: Flow) {
    let person = Person::at(flow).await;
    person.signs_in("ada@example.com", "/first").await;
    person.browser.delete_cookie(SESSION).await;
    person.waits_a_while().await;
    person.browser.delete_cookie(AT_GOOGLE).await;
    person.opens(DEEP).await;
    let text = person.reads("Please sign in again").await;
    assert!(!text.contains("Continue without"), "there is nothing to continue with: {text}");
    assert_eq!(person.trips(), 2);
    assert_eq!(person.asked_google("prompt").as_deref(), Some("none"));
    assert!(person.browser.cookie(HINT).await.is_some());
    person.tab.click("a.button").await;
    person.chooses("ada@example.com").await;
    person.lands(DEEP).await;
    assert_eq!(person.trips(), 3);
    assert_eq!(person.asked_google("prompt"), None);
    person.assert_clean();
}

async fn a_renewal_that_needs_the_person_can_be_declined(flow: Flow) {
    let person = Person::at(flow).await;
    person.site.google.set_lifetime(Duration::from_secs(240));
    person.signs_in("ada@example.com", "/first").await;
    let session = person.browser.cookie(SESSION).await.unwrap().value;
    person.waits_a_while().await;
    person.browser.delete_cookie(AT_GOOGLE).await;
    person.opens(DEEP).await;
    let text = person.reads("Please sign in again").await;
    assert!(text.contains("Continue without"), "{text}");
    assert!(person.browser.cookie(LAST).await.is_some());
    person.tab.click("a.button.plain").await;
    person.lands(DEEP).await;
    has_loaded(&person.tab, &person.url(DEEP)).await;
    assert_eq!(person.browser.cookie(SESSION).await.unwrap().value, session, "the session is as it was");
    person.opens("/next").await;
    person.lands("/next").await;
    assert_eq!(person.trips(), 2, "nobody is asked again and again");
    person.assert_clean();
}
