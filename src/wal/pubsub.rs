//! The write-ahead log in Google Pub/Sub, over REST (<https://docs.cloud.google.com/pubsub/docs/reference/rest>).
//!
//! An entry is the data of a message. It is recorded when Pub/Sub has given the message an id. It comes back either by
//! push, to the gateway's own endpoint ([`read_push`]), or because the gateway pulls; then the lease is extended for as
//! long as somebody has the entry.

mod held;
mod message;
mod publish;

mod recent;
mod subscription;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use url::Url;

use super::{Delivery, Entry, Recorded, Wal, WalError};
use crate::config::{PubSubDelivery, PubSubStore};
use crate::google_api::{ApiError, GoogleApi};
use crate::time::UnixTime;
use publish::{Message, Publisher};
use recent::{Joined, Recent};
use subscription::{LEASES, Leases, Subscription};

pub use message::{PushError, Pushed, Unreadable, read_push};

/// Most bytes of an entry: Pub/Sub takes 10,000,000 bytes of JSON, in which it stands in Base64.
pub const LARGEST_ENTRY: u64 = 7_400_000;
/// How long recording may take; Slack waits three seconds. Large entries get [`PER_MEGABYTE`] more.
const BUDGET: Duration = Duration::from_secs(2);
const PER_MEGABYTE: Duration = Duration::from_secs(1);
/// Longest value of an attribute.
const MAX_ATTRIBUTE: usize = 1024;

/// A log in Pub/Sub.
#[derive(Debug)]
pub struct PubSub {
    topic: Arc<Publisher>,
    recent: Arc<Recent>,
    dead: DeadLetters,
    /// Nothing when entries come by push.
    subscription: Option<Arc<Subscription>>,
}

impl PubSub {
    /// `endpoint` is scheme, host and port of Pub/Sub: a regional one where order matters. Starts nothing before the
    /// first call.
    pub fn new(api: &Arc<GoogleApi>, endpoint: &Url, store: &PubSubStore) -> Self {
        Self::with_leases(api, endpoint, store, LEASES)
    }

    fn with_leases(api: &Arc<GoogleApi>, endpoint: &Url, store: &PubSubStore, leases: Leases) -> Self {
        let topic = |name: &str| Arc::new(Publisher::new(Arc::clone(api), endpoint, name));
        let dead = DeadLetters {
            topic: store.dead_letter_topic.as_deref().map(topic),
            unreadable: Arc::new(AtomicU64::new(0)),
        };
        let subscription = match &store.delivery {
            PubSubDelivery::Push { .. } => None,
            PubSubDelivery::Pull { subscription } => {
                let (api, dead) = (Arc::clone(api), dead.clone());
                Some(Arc::new(Subscription::new(api, endpoint, subscription, dead, leases)))
            }
        };
        Self { topic: topic(&store.topic), recent: Arc::default(), dead, subscription }
    }

    /// Makes an entry that came by push a dead letter. The caller acknowledges it then.
    pub async fn dead_letter(
        &self,
        entry: &Entry,
        attempt: Option<u32>,
        reason: &str,
    ) -> Result<(), WalError> {
        self.dead.entry(entry, attempt, reason).await
    }

    /// Makes a message that came by push and holds no entry a dead letter, and counts it. The caller acknowledges it then,
    /// unless it shall come again.
    pub async fn dead_letter_unreadable(&self, message: &Unreadable) -> Result<(), WalError> {
        self.dead.unreadable(message).await
    }

    /// How many messages held no entry.
    pub fn unreadable(&self) -> u64 {
        self.dead.unreadable.load(Ordering::Relaxed)
    }
}

impl Drop for PubSub {
    fn drop(&mut self) {
        if let Some(subscription) = &self.subscription {
            subscription.stop();
        }
    }
}

#[async_trait]
impl Wal for PubSub {
    async fn record(&self, entry: Entry) -> Result<Recorded, WalError> {
        let data = Bytes::from(entry.encode());
        let size = data.len() as u64;
        if size > LARGEST_ENTRY {
            return Err(WalError::TooLarge { size, limit: LARGEST_ENTRY });
        }
        let now = Instant::now();
        let deadline = deadline(now, size);
        let stopping = || WalError::Unavailable("the process is stopping".to_owned());
        let in_time = |outcome: oneshot::Receiver<Result<Recorded, WalError>>| async move {
            match timeout_at(deadline, outcome).await {
                Ok(outcome) => outcome.unwrap_or_else(|_| Err(stopping())),
                Err(_) => Err(WalError::Unavailable("Pub/Sub did not take the entry in time".to_owned())),
            }
        };
        loop {
            match self.recent.join(entry.id, Instant::now()) {
                Joined::Known => return Ok(Recorded::Duplicate),
                // Another's attempt may be failing for want of time that this one still has.
                Joined::Other(outcome) => match in_time(outcome).await {
                    Err(_) if Instant::now() < deadline => {}
                    outcome => return outcome,
                },
                Joined::First(outcome) => {
                    let (recent, id) = (Arc::clone(&self.recent), entry.id);
                    // Also when nobody waits any more: it is known then when the sender tries again.
                    let done = move |outcome: &Result<(), WalError>| {
                        recent.conclude(id, outcome, Instant::now());
                    };
                    let message = Message { data, attributes: attributes(&entry), key: ordering_key(&entry) };
                    self.topic.publish(message, deadline, Box::new(done));
                    return in_time(outcome).await;
                }
            }
        }
    }

    async fn take(&self, most: usize) -> Result<Vec<Delivery>, WalError> {
        match &self.subscription {
            Some(subscription) => Ok(subscription.take(most).await),
            // They come by push.
            None => std::future::pending().await,
        }
    }

    async fn settle(&self, delivery: &Delivery) -> Result<(), WalError> {
        match &self.subscription {
            Some(subscription) => subscription.settle(delivery).await,
            None => Ok(()),
        }
    }

    async fn postpone(&self, delivery: &Delivery, until: UnixTime) -> Result<(), WalError> {
        if let Some(subscription) = &self.subscription {
            subscription.postpone(delivery, until.since(UnixTime::now())).await;
        }
        Ok(())
    }

    async fn bury(&self, delivery: &Delivery, reason: &str) -> Result<(), WalError> {
        self.dead.entry(&delivery.entry, Some(delivery.attempt), reason).await?;
        self.settle(delivery).await
    }
}

/// Where messages go that nobody can use.
#[derive(Clone, Debug)]
struct DeadLetters {
    topic: Option<Arc<Publisher>>,
    unreadable: Arc<AtomicU64>,
}

impl DeadLetters {
    async fn entry(&self, entry: &Entry, attempt: Option<u32>, reason: &str) -> Result<(), WalError> {
        let Some(topic) = &self.topic else {
            let (id, location) = (entry.id, &entry.location);
            log::error!(
                "entry {id} of {location} is dropped, because there is no dead-letter topic: {reason}"
            );
            return Ok(());
        };
        let mut attributes = attributes(entry);
        attributes.push(("portcullis-reason", shortened(reason)));
        attributes.extend(attempt.map(|attempt| ("portcullis-attempts", attempt.to_string())));
        send(topic, Message { data: Bytes::from(entry.encode()), attributes, key: None }).await
    }

    async fn unreadable(&self, message: &Unreadable) -> Result<(), WalError> {
        self.unreadable.fetch_add(1, Ordering::Relaxed);
        let (id, why) = (&message.message_id, message.why);
        let Some(topic) = &self.topic else {
            log::error!("message {id} is dropped, because there is no dead-letter topic: {why}");
            return Ok(());
        };
        log::error!("message {id} becomes a dead letter: {why}");
        let attributes = vec![("portcullis-message", shortened(id)), ("portcullis-reason", why.to_owned())];
        send(topic, Message { data: message.data(), attributes, key: None }).await
    }
}

/// Publishes a message and waits for it.
async fn send(topic: &Arc<Publisher>, message: Message) -> Result<(), WalError> {
    let deadline = deadline(Instant::now(), message.data.len() as u64);
    let (sender, outcome) = oneshot::channel();
    let done = move |outcome: &Result<(), WalError>| drop(sender.send(outcome.clone()));
    topic.publish(message, deadline, Box::new(done));
    outcome.await.unwrap_or_else(|_| Err(WalError::Unavailable("the process is stopping".to_owned())))
}

fn deadline(now: Instant, size: u64) -> Instant {
    let megabytes = u32::try_from(size / 1_000_000).unwrap_or(u32::MAX);
    now + BUDGET + PER_MEGABYTE.saturating_mul(megabytes)
}

/// Few and small; they are there for people and for filters. What counts is in the data.
fn attributes(entry: &Entry) -> Vec<(&'static str, String)> {
    let location = Some(entry.location.clone()).filter(|location| !location.is_empty());
    let mut attributes = vec![("portcullis-entry", entry.id.to_string())];
    attributes.extend(location.map(|location| ("portcullis-location", shortened(&location))));
    attributes
}

/// The location, or what stands for one whose name is too long.
fn ordering_key(entry: &Entry) -> Option<String> {
    let whole = entry.location.len() <= MAX_ATTRIBUTE;
    let key = || {
        if whole {
            entry.location.clone()
        } else {
            super::EntryId::of_delivery(&entry.location, "").to_string()
        }
    };
    entry.ordered.then(key)
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(MAX_ATTRIBUTE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// What an error of Pub/Sub's means for the operator. `role` is what the gateway needs on `name`.
fn explain(error: &ApiError, role: &str, name: &str) -> WalError {
    WalError::Unavailable(match error.status() {
        Some(403) => format!("{error}; grant {role} on {name} to the gateway's service account"),
        Some(404) => format!("{error}; create {name}, or correct its name in the file"),
        Some(_) | None => error.to_string(),
    })
}

#[cfg(test)]
mod tests;
