//! The browser driver against a small site of its own.

use super::answer::Answer;
use super::browser::Browser;
use super::upstream::Upstream;

const PAGE: &str = "<!doctype html><title>Start</title>
<style>@media (prefers-color-scheme: dark) { body { background: black } }</style>
<form action=/done method=post><input name=who id=who><button>Go</button></form>
<script nonce=good>console.log('hello', 7); setTimeout(() => { throw new Error('thrown'); });</script>
<script>window.blocked = true</script>";

fn site() -> Upstream {
    let site = Upstream::start();
    let policy = "default-src 'none'; script-src 'nonce-good'; style-src 'unsafe-inline'; form-action 'self'";
    let html = |body: &str| Answer::new(200, body).header("Content-Type", "text/html; charset=utf-8");
    site.on("/", |_| Answer::new(302, "").header("Location", "/second"));
    site.on("/second", |_| Answer::new(303, "").header("Location", "/page"));
    site.on("/page", move |_| {
        html(PAGE)
            .header("Content-Security-Policy", policy)
            .header("Set-Cookie", "strict=1; Path=/; HttpOnly; Secure; SameSite=Strict")
            .header("Set-Cookie", "plain=2; Path=/")
    });
    site.on("/done", move |request| {
        html(&format!("<title>Done</title>{}", String::from_utf8_lossy(request.body())))
    });
    site
}

#[tokio::test]
async fn the_browser_does_and_sees_what_a_person_and_a_developer_would() {
    let site = site();
    let browser = Browser::start().await;
    let tab = browser.tab().await;
    tab.goto(&format!("http://localhost:{}/", site.address().port())).await;
    assert_eq!(tab.title().await, "Start");

    let page = tab.fetches().into_iter().find(|fetch| fetch.kind == "Document").unwrap();
    let statuses: Vec<_> = page.redirects.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [302, 303]);
    assert!(page.url.ends_with("/page"), "{page:?}");
    assert_eq!(page.status, Some(200));

    super::background::eventually("the policy's violation", || !tab.violations().is_empty()).await;
    assert!(
        tab.violations().iter().any(|violation| violation.contains("script-src")),
        "{:?}",
        tab.violations()
    );
    assert_eq!(tab.evaluate("window.blocked === undefined").await, true);
    super::background::eventually("the exception", || !tab.exceptions().is_empty()).await;
    assert!(tab.exceptions()[0].contains("thrown"));
    assert_eq!(tab.console(), ["log: hello 7"]);

    let strict = browser.has_cookie("strict").await;
    assert!(strict.http_only && strict.secure);
    assert_eq!(
        (strict.same_site.as_str(), strict.path.as_str(), strict.value.as_str()),
        ("Strict", "/", "1")
    );
    let plain = browser.has_cookie("plain").await;
    assert!(!plain.http_only && !plain.secure && plain.same_site.is_empty());

    let [light, dark] = tab.screenshots("selftest").await;
    let (light, dark) = (std::fs::read(light).unwrap(), std::fs::read(dark).unwrap());
    assert!(light.starts_with(b"\x89PNG") && dark.starts_with(b"\x89PNG"));
    assert_ne!(light, dark, "the page is dark for those who prefer it");

    tab.forget();
    assert!(tab.console().is_empty());
    tab.enter("#who", "Ada").await;
    tab.click("button").await;
    tab.arrives(&format!("http://localhost:{}/done", site.address().port())).await;
    assert_eq!(tab.text().await, "who=Ada");
    assert_eq!(tab.fetches()[0].method, "POST");
}

#[tokio::test]
async fn cookies_can_be_altered_deleted_and_cleared() {
    let site = site();
    let browser = Browser::start().await;
    let tab = browser.tab().await;
    let url = format!("http://localhost:{}/done", site.address().port());
    tab.goto(&format!("http://localhost:{}/page", site.address().port())).await;
    browser.alter_cookie("strict", "changed").await;
    tab.goto(&url).await;
    let sent = site.last().header("cookie").unwrap();
    assert!(sent.contains("strict=changed") && sent.contains("plain=2"), "{sent}");
    assert!(browser.cookie("strict").await.unwrap().http_only, "all else is unchanged");
    browser.delete_cookie("strict").await;
    tab.goto(&url).await;
    assert_eq!(site.last().header("cookie").as_deref(), Some("plain=2"));
    browser.clear_cookies().await;
    assert!(browser.cookies().await.is_empty());
    tab.close().await;
}
