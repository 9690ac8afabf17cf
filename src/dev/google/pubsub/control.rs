//! Topics and subscriptions from Rust, for tests and for the `dev` command.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::time::Instant;

use super::super::{Shared, StandIn};
use super::store::{Message, Subscription};
use super::{SubscriptionSpec, lock, push};
use crate::time::UnixTime;

/// A message that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Its id.
    pub id: String,
    /// Its data, decoded.
    pub data: Vec<u8>,
    /// Its attributes.
    pub attributes: BTreeMap<String, String>,
    /// Its ordering key; empty without one.
    pub ordering_key: String,
}

/// What became of the pushes of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PushCounters {
    /// Requests that were begun.
    pub sent: usize,
    /// Those without an answer so far.
    pub under_way: usize,
    /// Those that were acknowledged.
    pub acknowledged: usize,
    /// Those that were not.
    pub refused: usize,
    /// Status of the last answer; 0 for none.
    pub last_status: Option<u16>,
}

pub(super) fn subscribe(shared: &Arc<Shared>, name: &str, spec: SubscriptionSpec) {
    let pushes = spec.push.is_some();
    lock(&shared.pubsub).subscriptions.insert(name.to_owned(), Subscription::new(spec));
    if pushes {
        // Ends with the subscription, and with the stand-in.
        drop(tokio::spawn(push::run(Arc::downgrade(shared), name.to_owned())));
    }
}

/// Pub/Sub. Names are such as `projects/example-project/topics/wal` and `projects/example-project/subscriptions/wal`.
impl StandIn {
    /// Makes a topic, unless there is one.
    pub fn create_topic(&self, name: &str) {
        lock(&self.0.pubsub).topics.entry(name.to_owned()).or_default();
    }

    /// Makes a subscription, or replaces it. Has to be called within the runtime that is to push.
    pub fn create_subscription(&self, name: &str, spec: SubscriptionSpec) {
        self.create_topic(&spec.topic);
        if let Some((topic, _)) = &spec.dead_letter {
            self.create_topic(topic);
        }
        subscribe(&self.0, name, spec);
    }

    /// Publishes a message of any kind. Nothing when there is no such topic.
    pub fn publish(&self, topic: &str, data: &[u8], attributes: &[(&str, &str)]) -> Option<String> {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let message = Message {
            id: String::new(),
            data: STANDARD.encode(data),
            attributes: attributes.collect(),
            ordering_key: String::new(),
            published: UnixTime::now(),
        };
        let ids = lock(&self.0.pubsub).publish(topic, vec![message], Instant::now());
        self.0.pubsub.changed.send_replace(());
        ids?.pop()
    }

    /// All messages that were ever published to a topic, oldest first; dead letters are those of their topic.
    pub fn messages(&self, topic: &str) -> Vec<Published> {
        let store = lock(&self.0.pubsub);
        let published = |message: &Arc<Message>| Published {
            id: message.id.clone(),
            data: STANDARD.decode(&message.data).unwrap_or_default(),
            attributes: message.attributes.clone(),
            ordering_key: message.ordering_key.clone(),
        };
        store.topics.get(topic).map(|messages| messages.iter().map(published).collect()).unwrap_or_default()
    }

    /// How many messages of a subscription nobody has acknowledged.
    pub fn backlog(&self, subscription: &str) -> usize {
        lock(&self.0.pubsub).subscriptions.get(subscription).map_or(0, Subscription::backlog)
    }

    /// What became of the pushes of a subscription.
    pub fn push_counters(&self, subscription: &str) -> PushCounters {
        lock(&self.0.pubsub).subscriptions.get(subscription).map(|it| it.counters).unwrap_or_default()
    }

    /// Delivers each of the next messages twice.
    pub fn duplicate(&self, subscription: &str, messages: u32) {
        self.change(subscription, |it| it.duplicates = messages);
    }

    /// Loses the next acknowledgements, which are answered as if they had not been.
    pub fn lose_acknowledgements(&self, subscription: &str, acknowledgements: u32) {
        self.change(subscription, |it| it.lost_acks = acknowledgements);
    }

    /// Delivers the newest message first, where there is no order to keep, or no longer.
    pub fn reverse(&self, subscription: &str, reversed: bool) {
        self.change(subscription, |it| it.reversed = reversed);
    }

    /// Ends all leases, as if whoever has the messages had been silent for too long.
    pub fn end_leases(&self, subscription: &str) {
        let mut store = lock(&self.0.pubsub);
        store.lapse(subscription, None);
        drop(store);
        self.0.pubsub.changed.send_replace(());
    }

    fn change(&self, subscription: &str, change: impl FnOnce(&mut Subscription)) {
        if let Some(found) = lock(&self.0.pubsub).subscriptions.get_mut(subscription) {
            change(found);
        }
        self.0.pubsub.changed.send_replace(());
    }
}
