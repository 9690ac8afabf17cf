//! Somebody with a browser in front of the site.

use portcullis::dev::google::Endpoint;

use crate::harness::background::eventually;
use crate::harness::browser::{Browser, Cookie};
use crate::harness::site::{Flow, Site};
use crate::harness::tab::{Fetch, Tab};

pub(super) const SESSION: &str = "__Host-portcullis";
pub(super) const HINT: &str = "__Host-portcullis-hint";
pub(super) const LAST: &str = "__Host-portcullis-last";
pub(super) const ATTEMPT: &str = "__Host-portcullis-attempt-";
/// The title of the page that the echo upstream answers with.
pub(super) const ECHO_TITLE: &str = "What your service receives";
/// The cookie in which the stand-in remembers who is signed in there.
pub(super) const AT_GOOGLE: &str = "stand-in-account";

pub(super) struct Person {
    pub(super) site: Site,
    pub(super) browser: Browser,
    pub(super) tab: Tab,
}

impl Person {
    pub(super) async fn at(flow: Flow) -> Self {
        Self::before(Site::start(flow).await).await
    }

    pub(super) async fn before(site: Site) -> Self {
        let browser = Browser::start().await;
        let tab = browser.tab().await;
        Self { site, browser, tab }
    }

    /// A path of the site as a URL.
    pub(super) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.site.origin)
    }

    pub(super) async fn opens(&self, path: &str) {
        self.tab.goto(&self.url(path)).await;
    }

    /// Signs in at a page, and lands there.
    pub(super) async fn signs_in(&self, who: &str, path: &str) {
        self.opens(path).await;
        chooses(&self.tab, &self.site, who).await;
        lands(&self.tab, &self.url(path)).await;
    }

    pub(super) async fn chooses(&self, who: &str) {
        chooses(&self.tab, &self.site, who).await;
    }

    pub(super) async fn lands(&self, path: &str) {
        lands(&self.tab, &self.url(path)).await;
    }

    /// Waits for a page with this heading, and returns all that a person reads on it.
    pub(super) async fn reads(&self, heading: &str) -> String {
        reads(&self.tab, heading).await
    }

    /// The gateway's cookies in the browser.
    pub(super) async fn ours(&self) -> Vec<Cookie> {
        let cookies = self.browser.cookies().await.into_iter();
        cookies.filter(|cookie| cookie.name.contains("portcullis")).collect()
    }

    /// As after a while: the cookie that keeps sign-in from running in circles has expired.
    pub(super) async fn waits_a_while(&self) {
        self.browser.delete_cookie(LAST).await;
    }

    /// How often the browser was sent to Google.
    pub(super) fn trips(&self) -> usize {
        self.site.google.calls(Endpoint::Authorization)
    }

    /// The parameters of the last trip to Google.
    pub(super) fn asked_google(&self, name: &str) -> Option<String> {
        let mut calls = self.site.google.recent_calls().into_iter().rev();
        let call = calls.find(|call| call.endpoint == Some(Endpoint::Authorization)).unwrap();
        call.query.into_iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Neither the policy, nor a script, nor the browser had anything to complain about.
    #[track_caller]
    pub(super) fn assert_clean(&self) {
        assert_clean(&self.tab);
    }
}

/// Picks an account in the stand-in's chooser, once that is there.
pub(super) async fn chooses(tab: &Tab, site: &Site, who: &str) {
    let sub = &site.google.account(who).unwrap().sub;
    tab.click(&format!("button[value='{sub}']")).await;
}

/// Waits until the tab shows what the service behind the gateway answers at exactly this URL.
pub(super) async fn lands(tab: &Tab, url: &str) {
    let (url, title) = (serde_json::Value::from(url), serde_json::Value::from(ECHO_TITLE));
    tab.until(&format!(
        "location.href === {url} && document.title === {title} && document.readyState === 'complete'"
    ))
    .await;
}

pub(super) async fn reads(tab: &Tab, heading: &str) -> String {
    let quoted = serde_json::Value::from(heading);
    tab.until(&format!(
        "document.readyState === 'complete' && [...document.querySelectorAll('h1')].find(heading => heading.checkVisibility())?.innerText === {quoted}"
    ))
    .await;
    tab.text().await
}

/// Page loads of the tab, without what they consist of.
pub(super) fn documents(tab: &Tab) -> Vec<Fetch> {
    tab.fetches().into_iter().filter(|fetch| fetch.kind == "Document").collect()
}

/// Where the tab stopped: the URLs of all documents that are neither redirects nor part of the way back from Google.
pub(super) fn stops(tab: &Tab) -> Vec<String> {
    let way = ["/.portcullis/callback", "/.portcullis/session", "/o/oauth2/v2/auth"];
    let urls = documents(tab).into_iter().map(|fetch| fetch.url);
    urls.filter(|url| !way.iter().any(|path| url.split('?').next().unwrap_or_default().ends_with(path)))
        .collect()
}

#[track_caller]
pub(super) fn assert_clean(tab: &Tab) {
    assert_eq!(tab.violations(), [""; 0], "violations of the policy");
    assert_eq!(tab.exceptions(), [""; 0], "exceptions");
    assert_eq!(tab.console(), [""; 0], "words on the console");
    // That a page comes with an error's status is what the tests ask for, and the stand-in has no icon.
    let status = "error: Failed to load resource: the server responded with a status of ";
    let complaints: Vec<_> = tab.complaints().into_iter().filter(|text| !text.starts_with(status)).collect();
    assert_eq!(complaints, [""; 0], "complaints of the browser");
}

/// No URL that the browser asked for, or keeps in the tab's history, carries a token.
pub(super) async fn assert_no_token_in_urls(tab: &Tab) {
    let history = tab.call("Page.getNavigationHistory", serde_json::json!({})).await;
    let entries = history["entries"].as_array().unwrap().iter();
    let mut urls: Vec<String> = entries
        .flat_map(|entry| [entry["url"].as_str().unwrap(), entry["userTypedURL"].as_str().unwrap()])
        .map(str::to_owned)
        .collect();
    for fetch in tab.fetches() {
        urls.extend(fetch.redirects.into_iter().map(|(_, url)| url));
        urls.push(fetch.url);
    }
    assert!(urls.len() > 2, "there is something to look at: {urls:?}");
    for url in urls {
        assert!(!url.contains("ya29.") && !url.contains("eyJ"), "a token in {url}");
        assert!(!url.contains("token="), "a token in {url}");
    }
}

/// Waits until the browser's records hold a document that came from a URL with this beginning.
pub(super) async fn has_loaded(tab: &Tab, prefix: &str) {
    let loaded = |fetch: &Fetch| fetch.url.starts_with(prefix) && fetch.status.is_some();
    eventually(&format!("{prefix} to be loaded"), || tab.fetches().iter().any(loaded)).await;
}
