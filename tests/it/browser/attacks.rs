//! What others try with a browser that is, or is about to be, signed in.

use portcullis::dev::google::AccessTokenSpec;
use serde_json::Value;

use super::person::{Person, SESSION, assert_clean, documents};
use crate::harness::answer::Answer;
use crate::harness::site::{CLIENT, Flow};
use crate::harness::upstream::Upstream;

super::in_both_flows!(
    no_return_path_leads_elsewhere,
    other_sites_cannot_hand_over_a_session,
    other_sites_cannot_sign_anybody_out,
    no_page_can_be_framed,
    hostile_values_are_shown_as_text,
);

/// CVE-2020-5233, CVE-2019-20479, CVE-2021-32786, CVE-2020-11053, CVE-2021-21291, CVE-2021-29651, encoded as
/// a link would carry them.
const ELSEWHERE: &[&str] = &[
    "%2F%5Cevil.example",
    "%2F%5C%2Fevil.example",
    "%5C%5Cevil.example",
    "%2F%255cevil.example",
    "%2F%2Fevil.example",
    "%2F%09%2Fevil.example",
    "%2F%0A%2Fevil.example",
    "%2F%0D%2Fevil.example",
    "%2F%0B%2Fevil.example",
    "%2F%2509%2Fevil.example",
    "%2F%20%2Fevil.example",
    "%2F..%2F%2Fevil.example",
    "https%3A%2F%2Fevil.example",
    "https%3A%2F%2Flocalhost.evil.example",
    "https%3A%2F%2Flocalhost%40evil.example",
    "https%3Aevil.example",
    "javascript%3Adocument.title%3D%27owned%27",
    "JaVaScRiPt%3A%250adocument.title%3D%27owned%27",
    "data%3Atext%2Fhtml%2C%3Cscript%3Edocument.title%3D%27owned%27%3C%2Fscript%3E",
    "%2F.portcullis%2Flogout",
];

async fn no_return_path_leads_elsewhere(flow: Flow) {
    let person = Person::at(flow).await;
    person.signs_in("ada@example.com", "/").await;
    for path in ELSEWHERE {
        // Once with a session, and once by the whole way over Google.
        for signed_in in [true, false] {
            if !signed_in {
                person.browser.delete_cookie(SESSION).await;
                person.waits_a_while().await;
            }
            person.tab.forget();
            person.opens(&format!("/.portcullis/login?return={path}")).await;
            person.lands("/").await;
            let mut urls = Vec::new();
            for fetch in documents(&person.tab) {
                urls.extend(fetch.redirects.into_iter().map(|(_, url)| url));
                urls.push(fetch.url);
            }
            let google = person.site.google.base_url();
            let known = |url: &String| url.starts_with(&person.url("/")) || url.starts_with(google.as_str());
            assert!(urls.iter().all(known), "{path}: {urls:?}");
        }
    }
    person.assert_clean();
}

/// A site of somebody else, whose page sends a form to the gateway at once.
fn elsewhere(action: &str, fields: &[(&str, &str)]) -> Upstream {
    let site = Upstream::start();
    let fields: String =
        fields.iter().map(|(name, value)| format!("<input name='{name}' value='{value}'>")).collect();
    let page = format!(
        "<!doctype html><title>Elsewhere</title><form method=post action='{action}'>{fields}</form>
        <script>document.forms[0].submit()</script>"
    );
    site.otherwise(move |_| {
        Answer::new(200, page.as_str()).header("Content-Type", "text/html; charset=utf-8")
    });
    site
}

/// CVE-2017-1000069: nobody is signed in as the attacker.
async fn other_sites_cannot_hand_over_a_session(flow: Flow) {
    let person = Person::at(flow).await;
    let token = person.site.token("mallory@other.example");
    let state = "AAAAAAAAAAAAAAAAAAAAAA";
    for path in ["/.portcullis/session", "/.portcullis/callback"] {
        let fields = [("access_token", token.as_str()), ("id_token", token.as_str()), ("state", state)];
        let site = elsewhere(&person.url(path), &fields);
        person.tab.forget();
        person.tab.goto(&site.url()).await;
        person.tab.arrives(&person.url("/.portcullis/")).await;
        let status = documents(&person.tab).pop().unwrap().status.unwrap();
        assert!((400..500).contains(&status), "{path}: {status}");
        assert!(person.browser.cookie(SESSION).await.is_none(), "{path}");
    }
    // The same by a link to the callback page, which then hands over what the link says.
    person.tab.goto("about:blank").await;
    person.tab.forget();
    person
        .opens(&format!("/.portcullis/callback#access_token={token}&state={state}&return=//evil.example"))
        .await;
    person
        .tab
        .until("document.querySelector('a.button') !== null && document.readyState === 'complete'")
        .await;
    assert!(person.browser.cookie(SESSION).await.is_none());
    assert!(person.site.echoed().is_empty());
    assert!(documents(&person.tab).iter().all(|fetch| fetch.url.starts_with(&person.url("/.portcullis/"))));
}

async fn other_sites_cannot_sign_anybody_out(flow: Flow) {
    let person = Person::at(flow).await;
    person.signs_in("ada@example.com", "/").await;
    let session = person.browser.cookie(SESSION).await.unwrap().value;
    let site = elsewhere(&person.url("/.portcullis/logout"), &[("revoke", "1")]);
    person.tab.goto(&site.url()).await;
    person.reads("This came from another site").await;
    assert_eq!(documents(&person.tab).pop().unwrap().status, Some(403));
    assert_eq!(person.browser.cookie(SESSION).await.unwrap().value, session);
    person.opens("/still").await;
    person.lands("/still").await;
}

async fn no_page_can_be_framed(flow: Flow) {
    let person = Person::at(flow).await;
    person.signs_in("ada@example.com", "/").await;
    let paths = ["/.portcullis/logout", "/.portcullis/whoami", "/.portcullis/login?choose=1", "/a%2Fb"];
    for path in paths {
        let client = person.site.client();
        let session = person.browser.cookie(SESSION).await.unwrap().value;
        let answer = client.get(path).session(&session).navigation().send().await;
        assert_eq!(answer.header("x-frame-options"), Some("DENY"), "{path}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        // The page's own site is no exception, and it alone gets the cookies into the frame.
        person.site.open.otherwise({
            let page = format!("<!doctype html><title>Frame</title><iframe src='{path}'></iframe>");
            move |_| Answer::new(200, page.as_str()).header("Content-Type", "text/html; charset=utf-8")
        });
        person.tab.forget();
        person.opens("/open/").await;
        let refused = || person.tab.complaints().iter().any(|text| text.contains("frame-ancestors"));
        crate::harness::background::eventually("the browser to refuse the frame", refused).await;
        let inside =
            "(() => { try { return document.querySelector('iframe').contentDocument?.body?.innerText ?? '' }
            catch (error) { return error.name } })()";
        let shown = person.tab.evaluate(inside).await;
        assert!(shown == "" || shown == "SecurityError", "{path}: {shown}");
    }
}

/// Nothing of what was put into the page has become more than text.
async fn assert_only_text(person: &Person, what: &str) {
    let found = "document.querySelectorAll('script:not(main > script), img, svg[onload], [onerror], [onmouseover], iframe, base').length";
    assert_eq!(person.tab.evaluate(found).await, 0, "{what}");
    let state = person.tab.evaluate("String(window.owned)").await;
    assert_eq!(state, Value::from("undefined"), "{what}");
    assert_clean(&person.tab);
}

async fn hostile_values_are_shown_as_text(flow: Flow) {
    let person = Person::at(flow).await;
    person.opens("/").await;
    person.chooses("mallory@other.example").await;
    person.reads("This account has no access").await;
    let hostile = "/x'onmouseover='owned=1'%22%3E%3Csvg%20onload=owned=1%3E?q='><svg onload=owned=1>\"<script>owned=1</script>";
    person.opens(hostile).await;
    let text = person.reads("This account has no access").await;
    assert!(text.contains("mallory@other.example"));
    assert_only_text(&person, "403").await;
    let links = person.tab.evaluate("[...document.links].map(link => link.origin).join()").await;
    let links = links.as_str().unwrap().to_owned();
    assert!(links.split(',').all(|origin| origin == person.site.origin), "{links}");

    for path in [
        "/.portcullis/%3Csvg%20onload=owned=1%3E",
        "/.portcullis/login?choose=1&return=/%22%3E%3Cscript%3Eowned=1%3C/script%3E",
        "/%2F%22%3E%3Csvg%20onload=owned=1%3E",
        "/.portcullis/callback?error=%3Csvg%20onload=owned=1%3E",
        "/.portcullis/callback#error=%3Csvg%20onload=owned=1%3E&error_description=%3Cscript%3Eowned=1%3C/script%3E&state=x",
    ] {
        // A URL that differs in its fragment alone would load nothing.
        person.tab.goto("about:blank").await;
        person.opens(path).await;
        person.tab.until("document.readyState === 'complete' && !!document.querySelector('h1')").await;
        assert_only_text(&person, path).await;
    }
    if flow == Flow::AccessToken {
        hostile_address_is_shown_as_text(&person).await;
    }
}

/// An address that only a broken or hostile provider could vouch for.
async fn hostile_address_is_shown_as_text(person: &Person) {
    let mallory = person.site.google.account("mallory@other.example").unwrap();
    let address = "<svg/onload=owned=1>@other.example";
    let spec =
        AccessTokenSpec { email: Some(address.to_owned()), ..AccessTokenSpec::person(mallory, CLIENT) };
    person.browser.alter_cookie(SESSION, &person.site.google.issue_access_token(&spec)).await;
    person.waits_a_while().await;
    for path in ["/hostile", "/.portcullis/whoami"] {
        person.opens(path).await;
        person.tab.until("document.readyState === 'complete' && !!document.querySelector('h1')").await;
        assert_only_text(person, path).await;
    }
}
