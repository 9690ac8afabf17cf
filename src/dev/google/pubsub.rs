//! Pub/Sub over REST: topics, subscriptions, publishing, pulling and pushing
//! (<https://docs.cloud.google.com/pubsub/docs/reference/rest>).

mod control;
mod push;
mod resources;
mod store;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

use super::{Asked, Endpoint, Shared, api};
use crate::dev::page;
use store::{Handed, Message, Store};

/// How long a pull waits for a message.
const HOLD: Duration = Duration::from_secs(10);
/// Largest request to publish, and most messages of one.
const MAX_PUBLISH: usize = 10_000_000;
const MAX_MESSAGES: usize = 1000;

pub use control::{Published, PushCounters};

/// How a subscription is set up.
#[derive(Clone, Debug)]
pub struct SubscriptionSpec {
    /// Its topic, such as `projects/P/topics/T`.
    pub topic: String,
    /// Where its messages are pushed; they are pulled without.
    pub push: Option<PushSpec>,
    /// How long whoever got a message has it, and how long a push may take.
    pub ack_deadline: Duration,
    /// Whether messages with the same ordering key come in order.
    pub ordered: bool,
    /// Least and longest wait after a refusal.
    pub backoff: Option<(Duration, Duration)>,
    /// Topic for messages that were refused this often.
    pub dead_letter: Option<(String, u32)>,
}

/// Where and how messages are pushed.
#[derive(Clone, Debug)]
pub struct PushSpec {
    /// Where to.
    pub endpoint: Url,
    /// Service account of the token.
    pub account: String,
    /// Audience of the token.
    pub audience: String,
}

impl SubscriptionSpec {
    /// A subscription that is pulled.
    pub fn pull(topic: &str) -> Self {
        Self {
            topic: topic.to_owned(),
            push: None,
            ack_deadline: Duration::from_secs(10),
            ordered: false,
            backoff: None,
            dead_letter: None,
        }
    }

    /// A subscription that pushes.
    pub fn push(topic: &str, push: PushSpec) -> Self {
        Self { push: Some(push), ..Self::pull(topic) }
    }
}

pub(super) struct PubSub {
    store: Mutex<Store>,
    changed: watch::Sender<()>,
}

impl Default for PubSub {
    fn default() -> Self {
        Self { store: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

fn lock(pubsub: &PubSub) -> MutexGuard<'_, Store> {
    pubsub.store.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything but pull, which waits.
pub(super) fn answer(shared: &Arc<Shared>, endpoint: Endpoint, asked: &Asked) -> Response {
    if let Err(refused) = api::check(shared, asked) {
        return *refused;
    }
    let path = asked.parts.uri.path().strip_prefix("/v1/").unwrap_or_default();
    let name = path.rsplit_once(':').map_or(path, |(name, _)| name);
    if endpoint == Endpoint::Topics {
        return resources::answer(shared, asked, name);
    }
    if !asked.is_post() {
        return page::text(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    if endpoint == Endpoint::Publish {
        publish(shared, asked, name)
    } else {
        lease(shared, endpoint, asked, name)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PublishRequest {
    messages: Vec<NewMessage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewMessage {
    #[serde(default)]
    data: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    ordering_key: String,
}

impl NewMessage {
    /// What is wrong with it by Pub/Sub's limits.
    fn problem(&self) -> Option<&'static str> {
        let long = |(key, value): (&String, &String)| key.is_empty() || key.len() > 256 || value.len() > 1024;
        if self.data.is_empty() && self.attributes.is_empty() {
            return Some("A message must have data or attributes.");
        }
        if STANDARD.decode(&self.data).is_err() {
            return Some("Invalid value (TYPE_BYTES), Base64 decoding failed.");
        }
        if self.attributes.len() > 100 || self.attributes.iter().any(long) {
            return Some("The request contains too many or too long attributes.");
        }
        if self.attributes.keys().any(|key| key.starts_with("goog")) {
            return Some("Attribute keys must not begin with 'goog'.");
        }
        (self.ordering_key.len() > 1024).then_some("The ordering key is too long.")
    }
}

fn publish(shared: &Shared, asked: &Asked, topic: &str) -> Response {
    if asked.body.len() > MAX_PUBLISH {
        return api::invalid("Request payload size exceeds the limit: 10000000 bytes.");
    }
    let request: PublishRequest = match serde_json::from_slice(&asked.body) {
        Ok(request) => request,
        Err(problem) => return api::invalid(&format!("Invalid JSON payload received. {problem}")),
    };
    if request.messages.is_empty() || request.messages.len() > MAX_MESSAGES {
        return api::invalid("The value for message_count is too small or too large.");
    }
    if let Some(problem) = request.messages.iter().find_map(NewMessage::problem) {
        return api::invalid(problem);
    }
    let key = request.messages.first().map(|message| message.ordering_key.clone());
    if request.messages.iter().any(|message| Some(&message.ordering_key) != key.as_ref()) {
        return api::invalid("All messages of a request must have the same ordering key.");
    }
    let message = |new: NewMessage| Message {
        id: String::new(),
        data: new.data,
        attributes: new.attributes,
        ordering_key: new.ordering_key,
        published: asked.now,
    };
    let messages = request.messages.into_iter().map(message).collect();
    let Some(ids) = lock(&shared.pubsub).publish(topic, messages, Instant::now()) else {
        return gone(topic);
    };
    shared.pubsub.changed.send_replace(());
    page::json(StatusCode::OK, &json!({ "messageIds": ids }))
}

fn gone(name: &str) -> Response {
    api::not_found(&format!("Resource not found (resource={}).", name.rsplit('/').next().unwrap_or_default()))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PullRequest {
    max_messages: usize,
    #[serde(default)]
    return_immediately: bool,
}

/// Waits until there is a message, or for a while.
pub(super) async fn pull(shared: &Arc<Shared>, asked: &Asked) -> Response {
    if let Err(refused) = api::check(shared, asked) {
        return *refused;
    }
    let path = asked.parts.uri.path().strip_prefix("/v1/").unwrap_or_default();
    let name = path.strip_suffix(":pull").unwrap_or_default();
    let request: PullRequest = match serde_json::from_slice(&asked.body) {
        Ok(PullRequest { max_messages: 0, .. }) => return api::invalid("max_messages must be positive."),
        Ok(request) => request,
        Err(problem) => return api::invalid(&format!("Invalid JSON payload received. {problem}")),
    };
    let until = Instant::now() + if request.return_immediately { Duration::ZERO } else { HOLD };
    let mut changed = shared.pubsub.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let (handed, next) = {
            let mut store = lock(&shared.pubsub);
            let handed = store.hand_out(name, request.max_messages, Instant::now());
            match store.subscriptions.get(name) {
                None => return gone(name),
                Some(it) if it.spec.push.is_some() => {
                    return api::error(
                        StatusCode::BAD_REQUEST,
                        "FAILED_PRECONDITION",
                        "The subscription is a push subscription.",
                    );
                }
                Some(it) => (handed, it.next_due()),
            }
        };
        if !handed.is_empty() {
            let received: Vec<_> = handed.iter().map(received).collect();
            return page::json(StatusCode::OK, &json!({ "receivedMessages": received }));
        }
        if Instant::now() >= until {
            return page::json(StatusCode::OK, &json!({}));
        }
        tokio::select! {
            _ = changed.changed() => {}
            () = tokio::time::sleep_until(next.map_or(until, |next| next.min(until))) => {}
        }
    }
}

fn received(handed: &Handed) -> Value {
    let mut received = json!({"ackId": handed.ack, "message": handed.message.json()});
    if let (Some(attempt), Some(received)) = (handed.attempt, received.as_object_mut()) {
        received.insert("deliveryAttempt".to_owned(), json!(attempt));
    }
    received
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LeaseRequest {
    ack_ids: Vec<String>,
    /// Only of `modifyAckDeadline`. Google's clients leave zeros out.
    #[serde(default)]
    ack_deadline_seconds: u64,
}

/// `acknowledge` and `modifyAckDeadline`. Ids that are not known are no error.
fn lease(shared: &Shared, endpoint: Endpoint, asked: &Asked, name: &str) -> Response {
    let request: LeaseRequest = match serde_json::from_slice(&asked.body) {
        Ok(request) => request,
        Err(problem) => return api::invalid(&format!("Invalid JSON payload received. {problem}")),
    };
    if request.ack_ids.is_empty() || request.ack_deadline_seconds > 600 {
        return api::invalid("No ack ids, or a deadline of more than 600 seconds.");
    }
    let mut store = lock(&shared.pubsub);
    if !store.subscriptions.contains_key(name) {
        return gone(name);
    }
    let lease = Duration::from_secs(request.ack_deadline_seconds);
    for ack in &request.ack_ids {
        if endpoint == Endpoint::Acknowledge {
            store.acknowledge(name, ack);
        } else {
            store.lease(name, ack, lease, Instant::now());
        }
    }
    drop(store);
    shared.pubsub.changed.send_replace(());
    page::json(StatusCode::OK, &json!({}))
}
