//! Every page, as a person sees it: pictures in both colour schemes, and nothing that the browser complains about.

use portcullis::dev::google::{Endpoint, Fault};

use super::person::{Person, SESSION};
use crate::harness::site::{Flow, Plan, Site};

/// Takes the pictures, and looks at what pictures do not show.
async fn keep(person: &Person, name: &str, title: &str) {
    person.tab.until("document.readyState === 'complete' && !!document.querySelector('h1')").await;
    assert_eq!(person.tab.title().await, title, "{name}");
    let [light, dark] = person.tab.screenshots(name).await;
    let (light, dark) = (std::fs::read(light).unwrap(), std::fs::read(dark).unwrap());
    assert_ne!(light, dark, "{name} is dark for those who prefer it");
    assert_eq!(person.tab.evaluate("document.documentElement.lang").await, "en", "{name}");
    assert_eq!(
        person
            .tab
            .evaluate(
                "[...document.querySelectorAll('h1')].filter(heading => heading.checkVisibility()).length"
            )
            .await,
        1,
        "{name}"
    );
    let fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth";
    assert_eq!(person.tab.evaluate(fits).await, true, "{name} is too wide");
    person.assert_clean();
}

async fn site() -> Site {
    // Nothing listens on port 9 of loopback.
    let plan = Plan::new(Flow::AccessToken).upstream("dead", "url: \"http://127.0.0.1:9\"", "");
    plan.location("{ path: /post, methods: [POST], access: google, upstream: echo }").start().await
}

#[tokio::test]
async fn pages_of_somebody_who_is_not_signed_in() {
    let person = Person::before(site().await).await;
    person.tab.goto(person.site.google.base_url().as_str()).await;
    keep(&person, "stand-in-index", "Stand-in for Google").await;
    person.opens("/reports?quarter=3").await;
    keep(&person, "stand-in-chooser", "Choose an account").await;
    person.tab.click("button[value='cancel']").await;
    person.reads("Sign-in was cancelled").await;
    keep(&person, "sign-in-cancelled", "Sign-in was cancelled").await;
    person.opens("/.portcullis/login?return=/reports").await;
    keep(&person, "sign-in-button", "Please sign in").await;
    person.opens("/.portcullis/callback").await;
    person.reads("Nothing to do here").await;
    keep(&person, "callback-idle", "Signing in").await;
    person.tab.goto("about:blank").await;
    person.opens("/.portcullis/callback#error=access_denied&state=AAAAAAAAAAAAAAAAAAAAAA").await;
    person.reads("Let’s start over").await;
    keep(&person, "callback-error", "Let’s start over").await;
    person.opens("/.portcullis/nothing").await;
    keep(&person, "problem-404", "There is nothing here").await;
    person.opens("/a%2Fb").await;
    keep(&person, "problem-400", "This request is malformed").await;
    person.opens("/post").await;
    keep(&person, "problem-405", "This method is not allowed here").await;
}

#[tokio::test]
async fn pages_of_somebody_who_is_signed_in() {
    let person = Person::before(site().await).await;
    person.opens("/reports").await;
    person.chooses("mallory@other.example").await;
    person.reads("This account has no access").await;
    keep(&person, "forbidden", "No access").await;
    person.tab.click("a.button").await;
    person.reads("Use another account").await;
    keep(&person, "another-account", "Use another account").await;
    person.tab.click("a.button").await;
    person.chooses("ada@example.com").await;
    person.lands("/reports").await;
    keep(&person, "echo", "What your service receives").await;
    person.opens("/.portcullis/whoami").await;
    keep(&person, "whoami", "Who am I").await;
    person.opens("/dead").await;
    keep(&person, "problem-502", "The service cannot be reached at the moment").await;
    person.site.google.fail(Endpoint::Tokeninfo, Fault::Close);
    person.browser.alter_cookie(SESSION, &person.site.token("ada@example.com")).await;
    person.opens("/reports").await;
    keep(&person, "problem-503", "Google cannot be reached at the moment").await;
    person.site.google.clear_switches();
    person.opens("/.portcullis/logout").await;
    keep(&person, "sign-out", "Sign out").await;
    person.tab.click("button[type=submit]").await;
    person.reads("You are signed out").await;
    keep(&person, "signed-out", "Signed out").await;
}
