//! A kept connection that turns out dead: what may be sent again is, and what may not never is.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::setup;
use crate::harness::answer::{Answer, Step};
use crate::harness::gateway::Gateway;
use crate::harness::http::Client;
use crate::harness::upstream::Upstream;

/// A gateway that keeps one connection to the upstream, which ends at the next request before any answer. Requests
/// after that are answered.
async fn about_to_die(step: Step) -> (Upstream, Gateway) {
    let up = Upstream::start();
    let deaths = AtomicUsize::new(0);
    up.otherwise(move |request| {
        if request.path() != "/warm" && deaths.fetch_add(1, Ordering::SeqCst) == 0 {
            return Answer::Steps(vec![step.clone()]);
        }
        Answer::new(200, "answered")
    });
    let gateway = setup(&format!("url: '{}'", up.url())).start();
    assert_eq!(Client::new(gateway.address()).get("/warm").send().await.status, 200);
    up.forget();
    (up, gateway)
}

#[tokio::test]
async fn what_is_idempotent_is_sent_again() {
    for step in [Step::Close, Step::Reset] {
        for (method, body) in [("GET", ""), ("HEAD", ""), ("OPTIONS", ""), ("DELETE", ""), ("PUT", "hello")] {
            let (up, gateway) = about_to_die(step.clone()).await;
            // As large as the location takes: what is sent again counts once.
            let response = Client::new(gateway.address()).call(method, "/small").body(body).send().await;
            assert_eq!(response.status, 200, "{method}, {step:?}: {}", response.text());
            let seen: Vec<_> = up.requests().iter().map(|request| request.body().to_vec()).collect();
            assert_eq!(seen, [body.as_bytes(), body.as_bytes()], "{method}, {step:?}");
            assert_eq!(up.connections(), 2, "the first of them was kept");
        }
    }
}

#[tokio::test]
async fn what_may_have_an_effect_is_never_sent_twice() {
    for step in [Step::Close, Step::Reset] {
        for (method, body) in [("POST", "hello"), ("POST", ""), ("PATCH", "hello")] {
            let (up, gateway) = about_to_die(step.clone()).await;
            let response = Client::new(gateway.address()).call(method, "/x").body(body).send().await;
            assert_eq!((response.status.as_u16(), response.code().as_str()), (502, "upstream_invalid"));
            assert_eq!(up.only().method(), method, "{step:?}");
            assert_eq!(up.connections(), 1, "it was the kept connection");
        }
    }
}

/// Who breaks off on a new connection has had his reasons, and will have them again.
#[tokio::test]
async fn nothing_is_sent_again_after_a_new_connection() {
    let up = Upstream::start();
    up.on("/x", |_| Answer::Steps(vec![Step::Close]));
    let gateway = setup(&format!("url: '{}'", up.url())).start();
    for method in ["GET", "POST"] {
        assert_eq!(Client::new(gateway.address()).call(method, "/x").send().await.status, 502);
        assert_eq!(up.only().method(), method);
        up.forget();
    }
}
