//! The gateway's cookies, as the browser has them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::person::{ATTEMPT, HINT, LAST, Person, SESSION};
use crate::harness::browser::Cookie;
use crate::harness::site::{Flow, Plan};

super::in_both_flows!(every_cookie_is_for_this_host_and_no_script, a_name_without_prefix_is_as_safe);

#[expect(
    clippy::disallowed_methods,
    reason = "the browser tells when its cookies end by the clock on the wall"
)]
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

#[track_caller]
fn assert_flags(cookie: &Cookie, same_site: &str) {
    assert!(cookie.http_only, "{} can be read by scripts", cookie.name);
    assert!(cookie.secure, "{} travels in the clear", cookie.name);
    assert_eq!(cookie.same_site, same_site, "{}", cookie.name);
    assert_eq!(cookie.path, "/", "{}", cookie.name);
    // A cookie with a Domain attribute would show as `.localhost`.
    assert_eq!(cookie.domain, "localhost", "{}", cookie.name);
    assert!(cookie.expires > now(), "{} ends with the browser", cookie.name);
}

async fn every_cookie_is_for_this_host_and_no_script(flow: Flow) {
    let person = Person::at(flow).await;
    let life = Duration::from_secs(1800);
    person.site.google.set_lifetime(life);
    person.opens("/app").await;
    let open = person.ours().await;
    assert_eq!(open.len(), 1, "{open:?}");
    assert!(open[0].name.starts_with(ATTEMPT));
    // Google's form post comes from another site.
    assert_flags(&open[0], if flow == Flow::IdToken { "None" } else { "Lax" });
    assert!(open[0].expires < now() + 601.0);

    person.chooses("ada@example.com").await;
    person.lands("/app").await;
    let mut ours = person.ours().await;
    ours.sort_by(|one, other| one.name.cmp(&other.name));
    let names: Vec<_> = ours.iter().map(|cookie| cookie.name.as_str()).collect();
    assert_eq!(names, [SESSION, HINT, LAST]);
    for cookie in &ours {
        assert_flags(cookie, "Lax");
    }
    let session = &ours[0];
    assert!(session.expires < now() + life.as_secs_f64() + 1.0, "it ends with the token");
    assert!(session.value.starts_with(if flow == Flow::IdToken { "eyJ" } else { "ya29." }));
    assert_eq!(person.tab.evaluate("document.cookie").await, "", "scripts see none of them");
}

async fn a_name_without_prefix_is_as_safe(flow: Flow) {
    let person = Person::before(Plan::new(flow).cookie("ACCESSTOKEN").start().await).await;
    person.signs_in("ada@example.com", "/app?x=1").await;
    assert_flags(&person.browser.cookie("ACCESSTOKEN").await.unwrap(), "Lax");
    assert!(person.browser.cookie(SESSION).await.is_none());
    person.opens("/.portcullis/logout").await;
    person.tab.click("button[type=submit]").await;
    person.reads("You are signed out").await;
    assert!(person.browser.cookie("ACCESSTOKEN").await.is_none());
    assert!(person.ours().await.is_empty());
}
