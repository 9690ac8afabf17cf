//! HTTP/2 in the clear with prior knowledge, from callers and to upstreams.

use std::process::{Command, Output};

use bytes::Bytes;
use hyper::HeaderMap;

use crate::harness::answer::Answer;
use crate::harness::h2::{self, Connection};
use crate::harness::h2_upstream::H2Upstream;
use crate::harness::site::{Flow, Plan, Site};

/// Runs curl without blocking the runtime.
async fn curl(arguments: Vec<String>) -> Output {
    let run =
        move || Command::new("curl").args(["-sS", "--max-time", "30"]).args(arguments).output().unwrap();
    tokio::task::spawn_blocking(run).await.unwrap()
}

#[tokio::test]
async fn curl_with_prior_knowledge() {
    let site = Site::start(Flow::AccessToken).await;
    let ask = |path: &str, more: &[&str]| {
        let mut arguments =
            vec!["--http2-prior-knowledge".to_owned(), format!("{}{path}", site.gateway.url())];
        arguments.extend(more.iter().map(|word| (*word).to_owned()));
        arguments.extend(["-w", "\n%{http_version} %{http_code}"].map(str::to_owned));
        curl(arguments)
    };
    let bearer = format!("authorization: {}", site.bearer());
    let output = ask("/deep?x=1", &["-H", &bearer]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let (body, status) = text.rsplit_once('\n').unwrap();
    assert_eq!(status, "2 200", "{text}");
    let echoed: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(echoed["target"], "/deep?x=1");

    let output = ask("/upload", &["-H", &bearer, "--data", "a=1&b=2"]).await;
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("2 200"));
    assert_eq!(site.echo.requests().pop().unwrap().body, b"a=1&b=2");

    let output = ask("/deep", &[]).await;
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("2 401"));
    assert_eq!(site.echoed(), ["/deep?x=1", "/upload"]);
}

#[tokio::test]
async fn many_streams_on_one_connection() {
    let site = Site::start(Flow::AccessToken).await;
    let connection = Connection::open(site.address()).await;
    let bearer = site.bearer();
    let calls = (0..50).map(|number| {
        let url = format!("{}/stream/{number}", site.gateway.url());
        // Every fifth one has no credential, and is judged by itself.
        let headers = [("authorization", bearer.as_str())];
        let request = h2::request("POST", &url, if number % 5 == 0 { &[] } else { &headers });
        let body = Bytes::from(format!("body {number}"));
        let connection = &connection;
        async move { (number, connection.send(request, &[body], None).await) }
    });
    for (number, outcome) in futures_util::future::join_all(calls).await {
        if number % 5 == 0 {
            assert_eq!(outcome.status.unwrap(), 401, "{number}");
            continue;
        }
        assert_eq!(outcome.status.unwrap(), 200, "{number}");
        let echoed: serde_json::Value = serde_json::from_slice(&outcome.body).unwrap();
        assert_eq!(echoed["target"], format!("/stream/{number}"));
        assert_eq!(echoed["body"]["text"], format!("body {number}"));
    }
    assert_eq!(site.echoed().len(), 40);
}

#[tokio::test]
async fn answers_without_a_body_and_head() {
    let site = Site::start(Flow::AccessToken).await;
    site.open.on("/open/204", |_| Answer::new(204, ""));
    site.open.on("/open/304", |_| Answer::new(304, ""));
    site.open.on("/open/page", |_| Answer::new(200, "twelve bytes"));
    let connection = Connection::open(site.address()).await;
    for (method, path, status) in
        [("GET", "/open/204", 204), ("GET", "/open/304", 304), ("HEAD", "/open/page", 200)]
    {
        let request = h2::request(method, &format!("{}{path}", site.gateway.url()), &[]);
        let outcome = connection.send(request, &[], None).await;
        assert_eq!(outcome.status.unwrap(), status, "{path}");
        assert!(outcome.body.is_empty() && outcome.reset.is_none(), "{path}: {outcome:?}");
        if method == "HEAD" {
            assert_eq!(outcome.headers["content-length"], "12");
        }
    }
}

#[tokio::test]
async fn an_http1_answer_with_trailers_is_whole_for_an_http2_caller() {
    let site = Site::start(Flow::AccessToken).await;
    site.open.on("/open/trailers", |_| Answer::with_trailers("body", &[("x-sum", "9")]));
    let connection = Connection::open(site.address()).await;
    let url = format!("{}/open/trailers", site.gateway.url());
    let outcome = connection.send(h2::request("GET", &url, &[("te", "trailers")]), &[], None).await;
    assert_eq!(outcome.body, b"body");
    assert!(outcome.reset.is_none(), "{outcome:?}");
}

#[tokio::test]
async fn trailers_of_an_http2_upstream_reach_the_caller() {
    let upstream = H2Upstream::start();
    let settings = format!("url: \"{}\", protocol: http2", upstream.url());
    let site = Plan::new(Flow::AccessToken).upstream("two", &settings, "").start().await;
    let connection = Connection::open(site.address()).await;
    let bearer = site.bearer();
    let url = format!("{}/two/x?y=1", site.gateway.url());
    let request = h2::request("POST", &url, &[("authorization", &bearer), ("te", "trailers")]);
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "9".parse().unwrap());
    let outcome = connection.send(request, &[Bytes::from_static(b"hello")], Some(trailers)).await;
    assert_eq!(outcome.status.unwrap(), 200);
    assert_eq!(outcome.body, b"hello");
    // The caller's own trailers end with Pingora.
    assert_eq!(outcome.trailers.expect("trailers")["x-trailer"], "last");
    assert_eq!(upstream.seen()[0].uri().path(), "/two/x");

    let response = site.client().post("/two/y", "from HTTP/1.1").bearer(&site.member()).send().await;
    assert_eq!(response.text(), "from HTTP/1.1");
    assert_eq!(upstream.seen().len(), 2);
}
