//! Accounts that are not let in.

use super::person::{Person, SESSION, documents};
use crate::harness::site::Flow;

super::in_both_flows!(
    another_account_can_be_used_instead_of_a_wrong_one,
    an_unverified_address_is_refused,
    scripts_without_a_session_get_401,
);

const DEEP: &str = "/secret/plan?page=7";

async fn another_account_can_be_used_instead_of_a_wrong_one(flow: Flow) {
    let person = Person::at(flow).await;
    person.opens(DEEP).await;
    person.chooses("mallory@other.example").await;
    let text = person.reads("This account has no access").await;
    assert!(text.contains("mallory@other.example"), "{text}");
    let last = documents(&person.tab).pop().unwrap();
    assert_eq!((last.status, last.url.as_str()), (Some(403), person.url(DEEP).as_str()));
    assert!(!person.site.echoed().contains(&DEEP.to_owned()));
    person.opens(DEEP).await;
    person.reads("This account has no access").await;
    assert_eq!(person.trips(), 1, "asking again leads nowhere else");

    person.tab.click("a.button").await;
    person.reads("Use another account").await;
    person.tab.click("a.button").await;
    person.chooses("ada@example.com").await;
    person.lands(DEEP).await;
    assert_eq!(person.asked_google("prompt").as_deref(), Some("select_account"));
    person.assert_clean();
}

async fn an_unverified_address_is_refused(flow: Flow) {
    let person = Person::at(flow).await;
    person.opens(DEEP).await;
    person.chooses("eve@example.com").await;
    let text = person.reads("No verified e-mail address").await;
    assert!(text.contains("Sign in again"), "{text}");
    assert_eq!(documents(&person.tab).pop().unwrap().status, Some(401));
    assert!(person.browser.cookie(SESSION).await.is_none(), "no session comes of it");
    assert!(person.site.echoed().is_empty());
    person.opens(DEEP).await;
    assert!(!person.site.echoed().contains(&DEEP.to_owned()));
    person.assert_clean();
}

async fn scripts_without_a_session_get_401(flow: Flow) {
    let person = Person::at(flow).await;
    person.site.open.otherwise(|_| {
        crate::harness::answer::Answer::new(200, "<!doctype html><title>Open</title>")
            .header("Content-Type", "text/html; charset=utf-8")
    });
    person.opens("/open/").await;
    for options in ["{}", "{headers: {accept: 'text/html'}}", "{method: 'POST'}", "{mode: 'same-origin'}"] {
        // A redirect that is not followed would show as `opaqueredirect 0`.
        let script = format!(
            "fetch('/data', Object.assign({{redirect: 'manual'}}, {options}))
                .then(async answer => `${{answer.type}} ${{answer.status}} ${{answer.headers.get('www-authenticate')}}`)"
        );
        assert_eq!(person.tab.evaluate(&script).await, "basic 401 Bearer", "{options}");
    }
    let open = person.ours().await;
    assert!(open.is_empty(), "no attempt is begun by a script: {open:?}");
    assert_eq!(person.trips(), 0);
    assert!(person.site.echoed().is_empty());
}
