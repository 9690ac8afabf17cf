//! Publishing: messages that wait at the same time go together.
//!
//! A message is published at once while few requests are under way; what comes meanwhile is gathered for the next one.
//! The tasks that publish end as soon as nothing waits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep};
use url::Url;

use super::super::WalError;
use super::explain;
use crate::google_api::{GoogleApi, Request};
use crate::outbound::Service;
use crate::time::UnixTime;

/// Requests under way at once.
const REQUESTS: usize = 4;
/// Pub/Sub's limit on a request.
const MAX_MESSAGES: usize = 1000;
/// Bytes of a request above which no further message joins it. Pub/Sub's limit is 10,000,000.
const MAX_BYTES: usize = 9_000_000;
const MAX_ANSWER: usize = 256 * 1024;
/// Wait before the second try, which doubles with each further one, and its limit.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(400));

/// What is called with the outcome, also when nobody waits for it any more.
pub(super) type Done = Box<dyn FnOnce(&Result<(), WalError>) + Send>;

/// A message to publish.
pub(super) struct Message {
    pub(super) data: Bytes,
    pub(super) attributes: Vec<(&'static str, String)>,
    /// Messages of one key are published one after the other.
    pub(super) key: Option<String>,
}

/// A topic.
#[derive(Debug)]
pub(super) struct Publisher {
    api: Arc<GoogleApi>,
    url: Url,
    topic: String,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    under_way: usize,
    /// Keys of the requests under way.
    keys: BTreeSet<String>,
}

struct Waiting {
    message: Message,
    deadline: Instant,
    done: Done,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { waiting, under_way, .. } = self;
        f.debug_struct("Queue").field("waiting", &waiting.len()).field("under_way", under_way).finish()
    }
}

impl Publisher {
    /// `topic` is `projects/P/topics/T`.
    pub(super) fn new(api: Arc<GoogleApi>, endpoint: &Url, topic: &str) -> Self {
        let mut url = endpoint.clone();
        url.set_path(&format!("/v1/{topic}:publish"));
        Self { api, url, topic: topic.to_owned(), queue: Mutex::default() }
    }

    /// Publishes a message until `deadline`, and says what became of it.
    pub(super) fn publish(self: &Arc<Self>, message: Message, deadline: Instant, done: Done) {
        self.queue().waiting.push_back(Waiting { message, deadline, done });
        self.start_requests();
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_requests(self: &Arc<Self>) {
        while let Some(batch) = self.next_batch() {
            let publisher = Arc::clone(self);
            // Ends with its request, which ends at its deadline.
            tokio::spawn(async move { publisher.publish_batch(batch).await });
        }
    }

    async fn publish_batch(self: Arc<Self>, batch: Vec<Waiting>) {
        let key = batch.first().and_then(|waiting| waiting.message.key.clone());
        let now = Instant::now();
        let (alive, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(|waiting| waiting.deadline > now);
        conclude(late, &Err(WalError::Unavailable("Pub/Sub is too slow for what waits".to_owned())));
        if let Some(deadline) = alive.iter().map(|waiting| waiting.deadline).max() {
            let (body, messages) = (body(&alive), alive.len());
            let outcome = self.send(body, messages, deadline).await;
            conclude(alive, &outcome);
        }
        self.ended(key);
        self.start_requests();
    }

    fn ended(&self, key: Option<String>) {
        let mut queue = self.queue();
        queue.under_way -= 1;
        if let Some(key) = key {
            queue.keys.remove(&key);
        }
    }

    fn next_batch(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        if queue.under_way >= REQUESTS {
            return None;
        }
        let batch = queue.take_batch();
        let key = batch.first()?.message.key.clone();
        queue.under_way += 1;
        queue.keys.extend(key);
        Some(batch)
    }

    /// Only 200 with an id for each message is success.
    async fn send(&self, body: Bytes, messages: usize, deadline: Instant) -> Result<(), WalError> {
        let mut pause = PAUSES.0;
        loop {
            let request = Request {
                service: Service::PubSub,
                method: Method::POST,
                url: self.url.clone(),
                body: body.clone(),
                timeout: deadline.saturating_duration_since(Instant::now()),
                max_answer: MAX_ANSWER,
            };
            let error = match self.api.call(request, UnixTime::now()).await {
                Ok(answer) => return confirmed(&answer, messages),
                Err(error) => error,
            };
            if !error.retryable() || Instant::now() + pause >= deadline {
                return Err(explain(&error, "roles/pubsub.publisher", &self.topic));
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }
}

fn conclude(batch: Vec<Waiting>, outcome: &Result<(), WalError>) {
    for waiting in batch {
        (waiting.done)(outcome);
    }
}

impl Queue {
    /// The messages of one request: all have the same key, and none of that key is under way.
    fn take_batch(&mut self) -> Vec<Waiting> {
        let free =
            |waiting: &Waiting| waiting.message.key.as_ref().is_none_or(|key| !self.keys.contains(key));
        let Some(first) = self.waiting.iter().position(free) else { return Vec::new() };
        let mut batch: Vec<Waiting> = self.waiting.remove(first).into_iter().collect();
        let key = batch.first().and_then(|waiting| waiting.message.key.clone());
        let mut bytes = batch.first().map_or(0, Waiting::size);
        let mut index = first;
        while let Some(next) = self.waiting.get(index) {
            if next.message.key != key {
                index += 1;
                continue;
            }
            bytes += next.size();
            // The rest waits, so that their order is kept.
            if batch.len() >= MAX_MESSAGES || bytes > MAX_BYTES {
                break;
            }
            batch.extend(self.waiting.remove(index));
        }
        batch
    }
}

impl Waiting {
    /// Bytes in JSON, rather too many.
    fn size(&self) -> usize {
        let attributes: usize =
            self.message.attributes.iter().map(|(name, value)| name.len() + 6 * value.len() + 8).sum();
        self.message.data.len() / 3 * 4
            + attributes
            + 6 * self.message.key.as_ref().map_or(0, String::len)
            + 100
    }
}

#[derive(Serialize)]
struct Body<'a> {
    messages: Vec<BodyMessage<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BodyMessage<'a> {
    data: String,
    attributes: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<&'a str>,
}

impl<'a> BodyMessage<'a> {
    fn new(message: &'a Message) -> Self {
        Self {
            data: STANDARD.encode(&message.data),
            attributes: message.attributes.iter().map(|(name, value)| (*name, value.as_str())).collect(),
            ordering_key: message.key.as_deref(),
        }
    }
}

fn body(batch: &[Waiting]) -> Bytes {
    let body = Body { messages: batch.iter().map(|waiting| BodyMessage::new(&waiting.message)).collect() };
    // Serialising plain structs fails only for maps with non-string keys, of which there are none.
    Bytes::from(serde_json::to_vec(&body).unwrap_or_default())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    message_ids: Vec<String>,
}

fn confirmed(answer: &[u8], messages: usize) -> Result<(), WalError> {
    let ids = serde_json::from_slice(answer).map(|answer: Answer| answer.message_ids).unwrap_or_default();
    if ids.len() == messages && ids.iter().all(|id| !id.is_empty()) {
        return Ok(());
    }
    Err(WalError::Unavailable("Pub/Sub answered 200 without an id for each message".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(size: usize, key: Option<&str>) -> Waiting {
        let message =
            Message { data: Bytes::from(vec![0; size]), attributes: Vec::new(), key: key.map(str::to_owned) };
        Waiting { message, deadline: Instant::now(), done: Box::new(|_| {}) }
    }

    fn queue(waiting: Vec<Waiting>) -> Queue {
        Queue { waiting: waiting.into(), ..Queue::default() }
    }

    #[test]
    fn a_request_has_messages_of_one_key() {
        let mut queue = queue(vec![
            waiting(1, Some("a")),
            waiting(2, None),
            waiting(3, Some("a")),
            waiting(4, Some("b")),
            waiting(5, None),
        ]);
        let mut sizes = || queue.take_batch().iter().map(|it| it.message.data.len()).collect::<Vec<_>>();
        assert_eq!([sizes(), sizes(), sizes(), sizes()], [vec![1, 3], vec![2, 5], vec![4], vec![]]);
    }

    #[test]
    fn a_key_is_under_way_once() {
        let mut queue = queue(vec![waiting(1, Some("a")), waiting(2, Some("b"))]);
        queue.keys.insert("a".to_owned());
        assert_eq!(queue.take_batch().first().map(|it| it.message.data.len()), Some(2));
        assert!(queue.take_batch().is_empty());
        queue.keys.clear();
        assert_eq!(queue.take_batch().len(), 1);
    }

    #[test]
    fn requests_stay_within_pub_sub_s_limits_and_keep_the_order() {
        let mut queue = queue((0..2500).map(|size| waiting(size % 7, None)).collect());
        let lengths = [(); 4].map(|()| queue.take_batch().len());
        assert_eq!(lengths, [1000, 1000, 500, 0]);
        let large = usize::try_from(super::super::LARGEST_ENTRY).unwrap();
        queue.waiting.extend([
            waiting(large, None),
            waiting(1, None),
            waiting(4_000_000, None),
            waiting(4_000_000, None),
            waiting(2, None),
        ]);
        let mut batch = || queue.take_batch();
        let first = batch();
        assert!(first.len() == 1 && body(&first).len() <= 10_000_000);
        let second = batch();
        assert!(second.len() == 2 && body(&second).len() <= MAX_BYTES);
        assert_eq!(batch().iter().map(|it| it.message.data.len()).collect::<Vec<_>>(), [4_000_000, 2]);
    }

    #[test]
    fn nothing_but_an_id_for_each_message_confirms() {
        assert!(confirmed(br#"{"messageIds":["1","2"]}"#, 2).is_ok());
        for wrong in [
            r#"{"messageIds":["1"]}"#,
            r#"{"messageIds":["1","2","3"]}"#,
            r#"{"messageIds":["1",""]}"#,
            r#"{"messageIds":[1,2]}"#,
            r#"{"messageIds":"12"}"#,
            "{}",
            "",
            "<html>",
            "[]",
        ] {
            assert!(confirmed(wrong.as_bytes(), 2).is_err(), "{wrong}");
        }
    }
}
