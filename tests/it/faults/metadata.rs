//! No token for the upstream, no request to the upstream; and what is no token never travels as one.

use std::time::Duration;

use portcullis::dev::google::{CLIENT_ID, Endpoint, Fault, GATEWAY, Options};
use serde_json::json;

use crate::harness::gateway::Setup;
use crate::harness::http::Client;
use crate::harness::upstream::Upstream;
use crate::harness::world::{Plan, World, closed, stand_in};

fn answer(status: u16, body: &str) -> Fault {
    Fault::Answer { status, content_type: "text/html".to_owned(), body: body.to_owned() }
}

#[tokio::test]
async fn only_one_token_for_this_very_audience_is_taken() {
    let (google, _task) = stand_in(Options::default());
    let upstream = Upstream::start();
    let yaml = Plan::default().yaml(&google, &upstream);
    let gateway_account = google.account(GATEWAY).unwrap();
    let minted = |audience: &str| google.issue_id_token(&google.claims(gateway_account, audience), None);
    let claims = |change: serde_json::Value| {
        let mut claims = google.claims(gateway_account, &upstream.url());
        for (name, value) in change.as_object().unwrap() {
            claims[name] = value.clone();
        }
        google.issue_id_token(&claims, None)
    };
    let good = minted(&upstream.url());
    let [head, body, _] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let rows = vec![
        ("without flavor", Fault::NoFlavor),
        ("another flavor", Fault::WrongFlavor),
        ("two lines", Fault::SeveralLines),
        ("HTML with 200", Fault::Html),
        ("nothing", Fault::Empty),
        ("half", Fault::Truncated { body: head.to_owned() }),
        ("no answer", Fault::Close),
        ("too much", Fault::Flood { bytes: 10_000_000 }),
        ("another audience", answer(200, &minted("https://other.example"))),
        ("our client as audience", answer(200, &minted(CLIENT_ID))),
        ("a list of audiences", answer(200, &claims(json!({"aud": [upstream.url()]})))),
        ("expired", answer(200, &claims(json!({"exp": 1})))),
        ("no expiry", answer(200, &claims(json!({"exp": null})))),
        ("two tokens", answer(200, &format!("{good}\n{good}"))),
        ("a token in quotes", answer(200, &format!("\"{good}\""))),
        ("a token in JSON", answer(200, &json!({"id_token": good}).to_string())),
        ("a token and a header", answer(200, &format!("{good}\r\nX-Evil: 1"))),
        ("no signature", answer(200, &format!("{head}.{body}."))),
        ("an access token", answer(200, "ya29.c.b0AXv0zTPQexample")),
        ("403", answer(403, &good)),
        ("404", answer(404, &good)),
        ("429", answer(429, &good)),
        ("500", answer(500, &good)),
        ("201", answer(201, &good)),
        ("a redirect", answer(301, &good)),
    ];
    for (name, fault) in rows {
        google.fail(Endpoint::Metadata, fault);
        upstream.forget();
        let gateway = Setup::new(&yaml).start();
        let client = Client::new(gateway.address());
        let response = client.get("/public/x").send().await;
        assert_eq!(response.status, 503, "{name}: {}", response.text());
        assert_eq!(response.code(), "mint_unavailable", "{name}");
        assert!(response.header("retry-after").is_some(), "{name}");
        let page = client.get("/public/x").navigation().send().await;
        assert_eq!(page.status, 503, "{name}");
        assert!(page.header("content-type").unwrap().starts_with("text/html"), "{name}");
        upstream.assert_untouched();
        assert!(!gateway.output().contains(body), "{name}: what came is not in the log");
    }
}

#[tokio::test]
async fn it_serves_again_when_the_metadata_server_does() {
    let world = Plan { faults: vec![(Endpoint::Metadata, answer(500, ""))], ..Plan::default() }.start();
    assert_eq!(world.client().get("/public/x").send().await.status, 503);
    world.upstream.assert_untouched();
    world.google.clear_switches();
    world.until(200, || world.client().get("/public/x")).await;
    let seen = world.upstream.last();
    let token = seen.header("x-serverless-authorization").unwrap();
    assert_eq!(token.split('.').count(), 3);
    // From here on the token is there, whatever happens to the metadata server.
    world.google.fail(Endpoint::Metadata, Fault::Close);
    for _ in 0..5 {
        assert_eq!(world.client().get("/public/x").send().await.status, 200);
        assert_eq!(world.upstream.last().header("x-serverless-authorization").unwrap(), token);
    }
}

#[tokio::test]
async fn a_metadata_server_that_is_not_there_or_never_answers() {
    let endpoint = Some(("metadata", format!("http://{}/", closed())));
    let world = Plan { endpoint, ..Plan::default() }.start();
    let response = world.client().get("/public/x").send().await;
    assert_eq!((response.status.as_u16(), response.code().as_str()), (503, "mint_unavailable"));
    world.upstream.assert_untouched();
    world.gateway.says("metadata cannot be reached");

    let world = World::start();
    world.warm().await;
    let (google, _task) = stand_in(Options::default());
    google.delay(Endpoint::Metadata, Duration::from_secs(3600));
    let gateway = Setup::new(&Plan::default().yaml(&google, &world.upstream)).start();
    let response = Client::new(gateway.address()).get("/public/x").send().await;
    assert_eq!((response.status.as_u16(), response.code().as_str()), (503, "mint_unavailable"));
    world.upstream.assert_untouched();
}

/// An upstream that wants no token does not depend on the metadata server.
#[tokio::test]
async fn without_an_audience_nothing_is_minted() {
    let plan = Plan {
        upstream: ", audience: none",
        faults: vec![(Endpoint::Metadata, Fault::Close)],
        ..Plan::default()
    };
    let world = plan.start();
    assert_eq!(world.client().get("/public/x").send().await.status, 200);
    assert!(world.upstream.only().header("x-serverless-authorization").is_none());
}
