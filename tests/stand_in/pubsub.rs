//! Pub/Sub over REST: what is refused, and pushes with all that they carry. Google's own client does the rest.

use std::sync::Arc;
use std::time::Duration;

use portcullis::config::{PubSubDelivery, PubSubStore};
use portcullis::dev::echo::Echo;
use portcullis::dev::google::{Endpoint, Fault, GATEWAY, PushSpec, ROBOT, StandIn, SubscriptionSpec};
use portcullis::google_api::GoogleApi;
use portcullis::identity::{Jwks, PushCaller};
use portcullis::metadata::MetadataServer;
use portcullis::outbound::Outbound;
use portcullis::time::UnixTime;
use portcullis::wal::pubsub::{PubSub, read_push};
use portcullis::wal::{Entry, EntryId, Recorded, Wal as _};
use serde_json::{Value, json};

use super::secrets::bearer;
use super::{LOOPBACK, get, send, stand_in};

const TOPIC: &str = "projects/example-project/topics/wal";
const DEAD: &str = "projects/example-project/topics/dead";
const NAME: &str = "projects/example-project/subscriptions/wal";
const AUDIENCE: &str = "https://gw.example.com";

fn spec(echo: &Echo, path: &str) -> SubscriptionSpec {
    let endpoint = format!("http://{}{path}", echo.address()).parse().unwrap();
    let push = PushSpec { endpoint, account: GATEWAY.to_owned(), audience: AUDIENCE.to_owned() };
    let backoff = Some((Duration::from_millis(1), Duration::from_millis(5)));
    SubscriptionSpec { backoff, ..SubscriptionSpec::push(TOPIC, push) }
}

async fn until(done: impl Fn() -> bool) {
    while !done() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_push_is_in_googles_form_with_a_token_of_the_subscription() {
    let (google, _) = stand_in().await;
    let echo = Echo::start(LOOPBACK).await.unwrap();
    google.create_subscription(NAME, spec(&echo, "/status/204"));
    let id = google.publish(TOPIC, b"hello", &[("a", "b")]).unwrap();
    until(|| google.push_counters(NAME).acknowledged == 1).await;
    assert_eq!((google.backlog(NAME), google.push_counters(NAME).last_status), (0, Some(204)));
    let request = echo.requests().remove(0);
    assert_eq!((request.method.as_str(), request.header("content-type")), ("POST", Some("application/json")));
    assert!(request.header("user-agent").unwrap().starts_with("APIs-Google; "));
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let message = &body["message"];
    assert_eq!((&message["data"], &message["attributes"]), (&json!("aGVsbG8="), &json!({"a": "b"})));
    assert_eq!((&message["messageId"], &message["message_id"]), (&json!(id), &json!(id)));
    assert!(message["publishTime"].is_string() && message["publishTime"] == message["publish_time"]);
    assert_eq!(body["subscription"], NAME);
    assert!(body.get("deliveryAttempt").is_none(), "only with a dead-letter policy");
    let token = request.header("authorization").unwrap().strip_prefix("Bearer ").unwrap();
    let claims = get(google.address(), &format!("/tokeninfo?id_token={token}"), "").await.json();
    assert_eq!((&claims["email"], &claims["aud"]), (&json!(GATEWAY), &json!(AUDIENCE)));
    assert_eq!((&claims["email_verified"], &claims["azp"]), (&json!("true"), &claims["sub"]));
}

#[tokio::test]
async fn the_gateway_s_own_reader_finds_its_entry_in_a_push_and_believes_its_caller() {
    let (google, _) = stand_in().await;
    let echo = Echo::start(LOOPBACK).await.unwrap();
    google.create_subscription(NAME, spec(&echo, "/status/204"));
    let outbound = Arc::new(Outbound::default());
    let metadata = Arc::new(MetadataServer::new(Arc::clone(&outbound), google.metadata()));
    let api = Arc::new(GoogleApi::new(Arc::clone(&outbound), metadata));
    let store = PubSubStore {
        topic: TOPIC.to_owned(),
        delivery: PubSubDelivery::Push { account: GATEWAY.to_owned(), audience: AUDIENCE.to_owned() },
        dead_letter_topic: None,
    };
    let entry = Entry {
        id: EntryId::of_delivery("/hook", "1"),
        location: "/hook".to_owned(),
        ordered: true,
        method: http::Method::POST,
        path: "/in".to_owned(),
        query: None,
        headers: http::HeaderMap::new(),
        body: vec![0, 255].into(),
        sender: None,
        received: UnixTime(1_700_000_000),
    };
    let log = PubSub::new(&api, &google.pubsub(), &store);
    assert_eq!(log.record(entry.clone()).await, Ok(Recorded::New));
    until(|| google.push_counters(NAME).acknowledged == 1).await;

    let request = echo.requests().remove(0);
    let pushed = read_push(&request.body).unwrap();
    assert_eq!((pushed.entry, pushed.subscription.as_str()), (entry, NAME));
    let keys = Arc::new(Jwks::new(outbound, google.certs()));
    let mut headers = http::HeaderMap::new();
    headers.insert("authorization", request.header("authorization").unwrap().parse().unwrap());
    for (account, audience, right) in
        [(GATEWAY, AUDIENCE, true), (ROBOT, AUDIENCE, false), (GATEWAY, "https://other.example", false)]
    {
        let caller = PushCaller::new(Arc::clone(&keys), account.to_owned(), audience.to_owned());
        assert_eq!(caller.check(&headers, UnixTime::now()).await.is_ok(), right, "{account} {audience}");
    }
}

#[tokio::test]
async fn only_five_statuses_acknowledge_and_the_rest_ends_as_a_dead_letter() {
    let (google, _) = stand_in().await;
    let echo = Echo::start(LOOPBACK).await.unwrap();
    for (status, good) in [
        (200, true),
        (201, true),
        (202, true),
        (204, true),
        (203, false),
        (206, false),
        (302, false),
        (400, false),
        (403, false),
        (404, false),
        (429, false),
        (500, false),
        (503, false),
    ] {
        echo.clear();
        let name = format!("{NAME}-{status}");
        let dead_letter = Some((format!("{DEAD}-{status}"), 3));
        google.create_subscription(
            &name,
            SubscriptionSpec { dead_letter, ..spec(&echo, &format!("/status/{status}")) },
        );
        google.publish(TOPIC, b"x", &[]).unwrap();
        until(|| google.backlog(&name) == 0).await;
        let dead = google.messages(&format!("{DEAD}-{status}"));
        let attempts: Vec<_> = echo
            .requests()
            .iter()
            .map(|request| serde_json::from_slice::<Value>(&request.body).unwrap()["deliveryAttempt"].clone())
            .collect();
        if good {
            assert_eq!((dead.len(), attempts), (0, vec![json!(1)]), "{status}");
        } else {
            assert_eq!(attempts, [1, 2, 3], "{status}");
            assert_eq!(dead[0].attributes["CloudPubSubDeadLetterSourceDeliveryCount"], "3", "{status}");
        }
        delete(&google, &name).await;
    }
}

async fn delete(google: &StandIn, name: &str) {
    let answer = send(google.address(), "DELETE", &format!("/v1/{name}"), &bearer(google, GATEWAY), "").await;
    assert_eq!(answer.status, 200);
}

#[tokio::test]
async fn an_endpoint_that_is_silent_or_away_gets_it_again() {
    let (google, _) = stand_in().await;
    let echo = Echo::start(LOOPBACK).await.unwrap();
    let slow = SubscriptionSpec { ack_deadline: Duration::from_millis(50), ..spec(&echo, "/slow?ms=60000") };
    google.create_subscription(NAME, slow);
    google.publish(TOPIC, b"x", &[]).unwrap();
    until(|| google.push_counters(NAME).refused >= 2).await;
    assert_eq!((google.backlog(NAME), google.push_counters(NAME).acknowledged), (1, 0));
    assert_eq!(google.push_counters(NAME).last_status, Some(0));
}

#[tokio::test]
async fn an_ordered_subscription_pushes_one_message_of_a_key_at_a_time() {
    let (google, address) = stand_in().await;
    let echo = Echo::start(LOOPBACK).await.unwrap();
    google.create_topic(TOPIC);
    google.create_subscription(NAME, SubscriptionSpec { ordered: true, ..spec(&echo, "/status/503") });
    let token = bearer(&google, GATEWAY);
    let messages: Vec<_> = (0..3)
        .map(|n| json!({"data": "eA==", "orderingKey": "k", "attributes": {"n": n.to_string()}}))
        .collect();
    let body = json!({ "messages": messages }).to_string();
    let published = send(address, "POST", &format!("/v1/{TOPIC}:publish"), &token, &body).await.json();
    assert_eq!(published["messageIds"].as_array().unwrap().len(), 3);
    until(|| google.push_counters(NAME).refused >= 5).await;
    let first = published["messageIds"][0].as_str().unwrap();
    for request in echo.requests() {
        assert!(String::from_utf8_lossy(&request.body).contains(first), "the first one until it is taken");
    }
}

#[tokio::test]
async fn what_pubsub_refuses_to_publish() {
    let (google, address) = stand_in().await;
    google.create_topic(TOPIC);
    let token = bearer(&google, GATEWAY);
    let path = format!("/v1/{TOPIC}:publish");
    let one = |message: Value| json!({ "messages": [message] }).to_string();
    let many = json!({"messages": vec![json!({"data": "eA=="}); 1001]}).to_string();
    for body in [
        String::new(),
        "[]".to_owned(),
        json!({"messages": []}).to_string(),
        many,
        one(json!({})),
        one(json!({"data": "_-8="})),
        one(json!({"data": "eA=="  , "attributes": {"goog-x": "v"}})),
        one(json!({"data": "eA==", "attributes": {"k": "v".repeat(1025)}})),
        one(json!({"data": "eA==", "orderingKey": "k".repeat(1025)})),
        json!({"messages": [{"data": "eA==", "orderingKey": "a"}, {"data": "eA=="}]}).to_string(),
        one(json!({"data": "e".repeat(10_000_000)})),
    ] {
        let answer = send(address, "POST", &path, &token, &body).await;
        assert_eq!((answer.status, &answer.json()["error"]["status"]), (400, &json!("INVALID_ARGUMENT")));
    }
    assert!(google.messages(TOPIC).is_empty());
    assert_eq!(send(address, "GET", &path, &token, "").await.status, 405);
    let body = one(json!({"data": "eA=="}));
    assert_eq!(send(address, "POST", &path, "", &body).await.status, 401);
}

#[tokio::test]
async fn a_fault_that_says_no_stores_nothing_and_a_broken_connection_does() {
    let (google, address) = stand_in().await;
    google.create_topic(TOPIC);
    let token = bearer(&google, GATEWAY);
    let path = format!("/v1/{TOPIC}:publish");
    let body = json!({"messages": [{"data": "eA=="}]}).to_string();
    for (fault, stored) in [
        (Fault::Answer { status: 500, content_type: String::new(), body: String::new() }, 0),
        (Fault::Answer { status: 200, content_type: String::new(), body: "{}".to_owned() }, 0),
        (Fault::Html, 0),
        (Fault::Close, 1),
        (Fault::Truncated { body: "{\"messageIds\":[".to_owned() }, 2),
    ] {
        google.fail_next(Endpoint::Publish, 1, fault);
        drop(send(address, "POST", &path, &token, &body).await);
        assert_eq!(google.messages(TOPIC).len(), stored);
    }
}
