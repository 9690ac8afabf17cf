//! Front-end code of another origin, as a browser runs it.

use serde_json::{Value, json};

use crate::harness::answer::Answer;
use crate::harness::browser::Browser;
use crate::harness::site::{Flow, Plan, Site};
use crate::harness::tab::Tab;
use crate::harness::upstream::Upstream;

/// A site of its own, whose only page is empty.
fn front_end() -> Upstream {
    let site = Upstream::start();
    site.otherwise(|_| {
        Answer::new(200, "<!doctype html><title>Front end</title>").header("Content-Type", "text/html")
    });
    site
}

async fn gateway(origin: &str) -> Site {
    let line = format!(
        "{{ path: /api, access: google, upstream: open, cors: {{ origins: [\"{origin}\"], methods: [GET, PUT], expose: [X-Total] }} }}"
    );
    let site = Plan::new(Flow::AccessToken).location(&line).start().await;
    site.open.otherwise(|request| Answer::new(200, request.method()).header("X-Total", "3"));
    site
}

/// What the page gets: `{ status, body, … }`, or `{ error }` when the browser keeps the answer from it.
async fn fetches(tab: &Tab, url: &str, options: &Value) -> Value {
    tab.evaluate(&format!(
        "fetch({}, {options}).then(async answer => ({{
            status: answer.status,
            body: await answer.text(),
            challenge: answer.headers.get('www-authenticate'),
            id: answer.headers.get('x-request-id'),
            total: answer.headers.get('x-total'),
        }}), error => ({{ error: error.name }}))",
        json!(url)
    ))
    .await
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_calls_with_its_token_and_reads_answers_and_refusals() {
    let front_end = front_end();
    let site = gateway(&front_end.url()).await;
    let browser = Browser::start().await;
    let tab = browser.tab().await;
    tab.goto(&front_end.url()).await;
    let url = format!("{}/api/x", site.origin);
    let with = |method: &str, token: &str| json!({ "method": method, "headers": { "authorization": token } });

    let answer = fetches(&tab, &url, &with("PUT", &site.bearer())).await;
    assert_eq!(
        (&answer["status"], &answer["body"], &answer["total"]),
        (&json!(200), &json!("PUT"), &json!("3"))
    );
    let seen: Vec<String> = site.open.requests().iter().map(|request| request.method()).collect();
    assert_eq!(seen, ["PUT"], "the preflight ends at the gateway");

    for (options, code) in
        [(json!({}), "unauthenticated"), (with("GET", "Bearer no-good"), "invalid_credential")]
    {
        let answer = fetches(&tab, &url, &options).await;
        assert_eq!(answer["status"], 401, "{answer}");
        let problem: Value = serde_json::from_str(answer["body"].as_str().unwrap()).unwrap();
        assert_eq!(problem["code"], code);
        assert_eq!(problem["request_id"], answer["id"]);
        assert!(answer["challenge"].as_str().unwrap().starts_with("Bearer"), "{answer}");
    }
    // What the location does not let pages do, the browser does not do.
    let answer = fetches(&tab, &url, &with("DELETE", &site.bearer())).await;
    assert_eq!(answer, json!({ "error": "TypeError" }));
    assert_eq!(site.open.count(), 1);
}

#[tokio::test]
async fn a_page_of_another_origin_neither_calls_nor_reads() {
    let (front_end, stranger) = (front_end(), front_end());
    let site = gateway(&front_end.url()).await;
    let browser = Browser::start().await;
    let tab = browser.tab().await;
    tab.goto(&stranger.url()).await;
    let url = format!("{}/api/x", site.origin);
    let with_token = json!({ "headers": { "authorization": site.bearer() } });
    for options in [with_token, json!({}), json!({ "credentials": "include" })] {
        assert_eq!(fetches(&tab, &url, &options).await, json!({ "error": "TypeError" }), "{options}");
    }
    assert_eq!(site.open.count(), 0);
    // The same from a page that may, so that it was not for another reason.
    tab.goto(&front_end.url()).await;
    assert_eq!(fetches(&tab, &url, &json!({})).await["status"], 401);
}
