//! Signing in: straight, in several tabs, late, and not at all.

use super::person::{
    ATTEMPT, Person, SESSION, assert_clean, assert_no_token_in_urls, chooses, documents, lands, reads,
};
use crate::harness::browser::Browser;
use crate::harness::site::{Flow, Site};

const DEEP: &str = "/reports/2026?quarter=3&note=a%20b%2Fc&empty=&x=%C3%A4";

super::in_both_flows!(
    a_deep_link_survives_sign_in,
    several_tabs_at_once_all_finish,
    the_oldest_of_many_attempts_still_ends_well,
    a_stale_attempt_starts_over,
    cancelling_at_google_is_told,
    without_cookies_nothing_runs_in_circles,
    a_session_that_was_not_kept_does_not_run_in_circles,
);

async fn a_deep_link_survives_sign_in(flow: Flow) {
    let person = Person::at(flow).await;
    person.signs_in("ada@example.com", DEEP).await;
    assert_eq!(person.site.echoed().iter().filter(|target| *target == DEEP).count(), 1);
    let seen = person.site.echo.requests().into_iter().find(|request| request.target == DEEP).unwrap();
    assert_eq!(seen.header("x-goog-authenticated-user-email"), Some("accounts.google.com:ada@example.com"));
    assert!(seen.header("cookie").is_none_or(|cookies| !cookies.contains("portcullis")));
    assert_eq!(person.trips(), 1);
    assert_eq!(person.asked_google("prompt"), None);
    person.assert_clean();
    assert_no_token_in_urls(&person.tab).await;

    let second = person.browser.tab().await;
    second.goto(&person.url("/second?tab=1")).await;
    lands(&second, &person.url("/second?tab=1")).await;
    assert_eq!(person.trips(), 1, "the second tab is signed in already");
    assert!(documents(&second).iter().all(|fetch| fetch.redirects.is_empty()));
    assert_clean(&second);
}

async fn several_tabs_at_once_all_finish(flow: Flow) {
    let site = Site::start(flow).await;
    let browser = Browser::start().await;
    let mut tabs = Vec::new();
    for number in 0..4 {
        let tab = browser.tab().await;
        let url = format!("{}/tab?number={number}", site.origin);
        tab.goto(&url).await;
        assert_eq!(tab.title().await, "Choose an account");
        tabs.push((tab, url));
    }
    // The last one to start is the first one to finish.
    for (tab, url) in tabs.iter().rev() {
        chooses(tab, &site, "ada@example.com").await;
        lands(tab, url).await;
        assert_clean(tab);
    }
    let left = browser.cookies().await;
    assert!(!left.iter().any(|cookie| cookie.name.starts_with(ATTEMPT)), "{left:?}");
}

async fn the_oldest_of_many_attempts_still_ends_well(flow: Flow) {
    let site = Site::start(flow).await;
    let browser = Browser::start().await;
    let mut tabs = Vec::new();
    for number in 0..6 {
        let tab = browser.tab().await;
        let url = format!("{}/tab?number={number}", site.origin);
        tab.goto(&url).await;
        assert_eq!(tab.title().await, "Choose an account");
        let open = browser.cookies().await;
        let open = open.iter().filter(|cookie| cookie.name.starts_with(ATTEMPT)).count();
        assert_eq!(open, (number + 1).min(4), "a handful at most is kept");
        tabs.push((tab, url));
    }
    for (tab, url) in tabs.iter().rev().take(4) {
        chooses(tab, &site, "ada@example.com").await;
        lands(tab, url).await;
    }
    // What the first two wanted is forgotten, but there is a session by now.
    for (tab, _) in tabs.iter().take(2) {
        chooses(tab, &site, "ada@example.com").await;
        lands(tab, &format!("{}/", site.origin)).await;
    }
}

async fn a_stale_attempt_starts_over(flow: Flow) {
    let person = Person::at(flow).await;
    person.opens(DEEP).await;
    for cookie in person.ours().await {
        assert!(cookie.name.starts_with(ATTEMPT), "{}", cookie.name);
        person.browser.delete_cookie(&cookie.name).await;
    }
    person.chooses("ada@example.com").await;
    let text = person.reads("Let’s start over").await;
    assert!(text.contains("Sign in with Google"), "{text}");
    assert!(person.browser.cookie(SESSION).await.is_none());
    assert_eq!(person.trips(), 1, "nothing happens by itself");
    assert_no_token_in_urls(&person.tab).await;
    person.tab.click("a.button").await;
    person.lands("/").await;
    assert!(person.browser.cookie(SESSION).await.is_some());
    person.assert_clean();
}

async fn cancelling_at_google_is_told(flow: Flow) {
    let person = Person::at(flow).await;
    person.opens(DEEP).await;
    person.tab.click("button[value='cancel']").await;
    person.reads("Sign-in was cancelled").await;
    assert_eq!(documents(&person.tab).last().unwrap().status, Some(403));
    let left: Vec<_> = person.ours().await.into_iter().map(|cookie| cookie.name).collect();
    assert_eq!(left, [super::person::LAST], "the attempt is over");
    person.tab.click("a.button").await;
    person.chooses("ada@example.com").await;
    person.lands(DEEP).await;
    assert_eq!(person.trips(), 2);
    person.assert_clean();
}

async fn without_cookies_nothing_runs_in_circles(flow: Flow) {
    let site = Site::start(flow).await;
    let browser = Browser::start_without_cookies().await;
    let tab = browser.tab().await;
    for trips in 1..=3 {
        tab.forget();
        tab.goto(&format!("{}{DEEP}", site.origin)).await;
        chooses(&tab, &site, "ada@example.com").await;
        reads(&tab, "Let’s start over").await;
        assert!(browser.cookies().await.is_empty(), "the browser keeps none");
        assert_eq!(site.google.calls(portcullis::dev::google::Endpoint::Authorization), trips);
        let redirects: usize = documents(&tab).iter().map(|fetch| fetch.redirects.len()).sum();
        assert!(redirects <= 2, "{redirects} redirects");
    }
    assert!(site.echoed().is_empty());
}

async fn a_session_that_was_not_kept_does_not_run_in_circles(flow: Flow) {
    let person = Person::at(flow).await;
    person.signs_in("ada@example.com", DEEP).await;
    person.browser.delete_cookie(SESSION).await;
    for _ in 0..3 {
        person.opens(DEEP).await;
        let text = person.reads("Please sign in once more").await;
        assert!(text.contains("allow cookies"), "{text}");
        assert_eq!(person.trips(), 1, "nobody is sent to Google");
    }
    person.tab.click("a.button").await;
    person.lands(DEEP).await;
    assert_eq!(person.trips(), 2);
    person.assert_clean();
}
