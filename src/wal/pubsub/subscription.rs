//! Pulling: messages are fetched when somebody asks for entries, their leases are extended while they are here.
//!
//! Two tasks do that, so that whoever stops waiting for entries loses none. They start with the first request for
//! entries and end with the log.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep, sleep_until};
use url::Url;

use super::super::{Delivery, Handle, WalError};
use super::held::{Arrival, Held, Verdict};
use super::message::{Unreadable, Wire};
use super::{DeadLetters, explain};
use crate::google_api::{ApiError, GoogleApi, Request};
use crate::outbound::Service;
use crate::time::UnixTime;

/// How leases are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leases {
    /// How long Pub/Sub leaves a message to us without hearing from us.
    pub(super) length: Duration,
    /// How often they are extended.
    pub(super) every: Duration,
}

/// Several tries fit into a lease.
pub(super) const LEASES: Leases = Leases { length: Duration::from_secs(60), every: Duration::from_secs(15) };
/// Longest lease that Pub/Sub grants.
const LONGEST_LEASE: Duration = Duration::from_secs(600);
/// Pub/Sub holds a pull for about a minute and a half.
const PULL_TIMEOUT: Duration = Duration::from_secs(100);
/// Wait after a pull that came back empty at once.
const EMPTY_PAUSE: Duration = Duration::from_secs(1);
const ERROR_PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
const MOST_MESSAGES: usize = 100;
/// Largest answer of a pull.
const MAX_PULL: usize = 64 << 20;
/// Time-out and tries of the short calls.
const TIMEOUT: Duration = Duration::from_secs(5);
const TRIES: u32 = 3;
/// Acknowledgement ids of one call: Pub/Sub takes 512 KiB.
const IDS: usize = 500;
const ROLE: &str = "roles/pubsub.subscriber";

/// A subscription that the gateway pulls.
#[derive(Debug)]
pub(super) struct Subscription {
    api: Arc<GoogleApi>,
    endpoint: Url,
    name: String,
    dead: DeadLetters,
    leases: Leases,
    state: Mutex<State>,
    /// Somebody waits for entries.
    wanted: Notify,
    /// There may be something to hand out.
    changed: Notify,
}

#[derive(Default)]
struct State {
    held: Held,
    /// How many entries are waited for.
    wanted: usize,
    tasks: Vec<AbortHandle>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pulled {
    #[serde(default)]
    received_messages: Vec<Received>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Received {
    ack_id: String,
    #[serde(default)]
    message: Wire,
    #[serde(default)]
    delivery_attempt: Option<u32>,
}

impl Subscription {
    /// `name` is `projects/P/subscriptions/S`.
    pub(super) fn new(
        api: Arc<GoogleApi>,
        endpoint: &Url,
        name: &str,
        dead: DeadLetters,
        leases: Leases,
    ) -> Self {
        Self {
            api,
            endpoint: endpoint.clone(),
            name: name.to_owned(),
            dead,
            leases,
            state: Mutex::default(),
            wanted: Notify::new(),
            changed: Notify::new(),
        }
    }

    /// Ends the tasks. What is held comes again when its lease is over.
    pub(super) fn stop(&self) {
        for task in self.state().tasks.drain(..) {
            task.abort();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(self: &Arc<Self>) {
        let mut state = self.state();
        if state.tasks.is_empty() {
            let (pull, leases) = (Arc::clone(self), Arc::clone(self));
            // Both end when the log is dropped: see `stop`.
            state.tasks.push(tokio::spawn(async move { pull.keep_pulling().await }).abort_handle());
            state.tasks.push(tokio::spawn(async move { leases.keep_leases().await }).abort_handle());
        }
    }

    pub(super) async fn take(self: &Arc<Self>, most: usize) -> Vec<Delivery> {
        self.start();
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            let next = {
                let mut state = self.state();
                let now = Instant::now();
                let handed = state.held.hand_out(most, now);
                if !handed.is_empty() {
                    return handed;
                }
                state.wanted = most;
                state.held.next_due()
            };
            self.wanted.notify_one();
            let due = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = changed => {}
                () = due => {}
            }
        }
    }

    pub(super) async fn settle(&self, delivery: &Delivery) -> Result<(), WalError> {
        let Some(ack) = ack_of(delivery) else { return Ok(()) };
        let newest = self.state().held.settle(ack);
        self.changed.notify_waiters();
        let ids = [newest.unwrap_or_else(|| ack.to_owned())];
        self.acknowledge(&ids).await.map_err(|error| explain(&error, ROLE, &self.name))
    }

    pub(super) async fn postpone(&self, delivery: &Delivery, wait: Duration) {
        let Some(ack) = ack_of(delivery) else { return };
        let lease = self.state().held.postpone(ack, wait, Instant::now());
        self.changed.notify_waiters();
        if let Some(ack) = lease
            && let Err(error) = self.lease(&[ack], wait).await
        {
            // Its present lease ends as well, and if that is too early, it is sent back again.
            log::debug!("a delivery comes again at another time than planned: {error}");
        }
    }

    async fn keep_pulling(&self) {
        let mut pause = ERROR_PAUSES.0;
        let mut told = None;
        let mut only_one = false;
        loop {
            self.wanted.notified().await;
            let most = std::mem::take(&mut self.state().wanted).min(MOST_MESSAGES);
            if most == 0 {
                continue;
            }
            let start = Instant::now();
            match self.pull(if only_one { 1 } else { most }).await {
                Ok(messages) => {
                    (pause, only_one) = (ERROR_PAUSES.0, false);
                    let empty = messages.is_empty();
                    self.arrived(messages).await;
                    if empty && start.elapsed() < EMPTY_PAUSE {
                        sleep(EMPTY_PAUSE).await;
                    }
                }
                // Nothing came for as long as we wait.
                Err(ApiError::Unreachable(_)) if start.elapsed() >= PULL_TIMEOUT => {}
                Err(error) => {
                    self.tell(&error, &mut told);
                    // Perhaps they are too large to come together.
                    only_one = true;
                    sleep(pause).await;
                    pause = (pause * 2).min(ERROR_PAUSES.1);
                }
            }
            self.changed.notify_waiters();
        }
    }

    /// A line a minute.
    fn tell(&self, error: &ApiError, told: &mut Option<Instant>) {
        if told.is_none_or(|told| told.elapsed() >= Duration::from_secs(60)) {
            *told = Some(Instant::now());
            log::warn!("no entries come from {}: {}", self.name, explain(error, ROLE, &self.name));
        }
    }

    async fn pull(&self, most: usize) -> Result<Vec<Received>, ApiError> {
        let answer = self.call("pull", &json!({ "maxMessages": most }), PULL_TIMEOUT, MAX_PULL).await?;
        let pulled: Pulled = serde_json::from_slice(&answer)
            .map_err(|_| ApiError::Unreachable("Pub/Sub's answer is not that of a pull".to_owned()))?;
        Ok(pulled.received_messages)
    }

    /// Takes what a pull has brought. Leases come first: they are short.
    async fn arrived(&self, messages: Vec<Received>) {
        let now = Instant::now();
        let (mut held, mut done, mut unreadable, mut early) = (vec![], vec![], vec![], vec![]);
        for received in messages {
            let (message_id, ack, attempt) =
                (received.message.id(), received.ack_id, received.delivery_attempt);
            let entry = match received.message.entry() {
                Ok(entry) => entry,
                Err(message) => {
                    unreadable.push((ack, message));
                    continue;
                }
            };
            let arrival = Arrival { message_id, ack: ack.clone(), entry, attempt };
            match self.state().held.arrive(arrival, now) {
                Verdict::Held => held.push(ack),
                Verdict::Acknowledge => done.push(ack),
                Verdict::ComeAgain(wait) => early.push((ack, wait)),
            }
        }
        let extended = self.lease(&held, self.leases.length).await;
        self.changed.notify_waiters();
        let acknowledged = if done.is_empty() { Ok(()) } else { self.acknowledge(&done).await };
        for error in [extended, acknowledged].into_iter().filter_map(Result::err) {
            log::warn!("entries may be delivered twice: {error}");
        }
        // Side by side, so that many of them do not hold up the next pull for long.
        let early = early.into_iter().map(async |(ack, wait)| drop(self.lease(&[ack], wait).await));
        let unreadable =
            unreadable.into_iter().map(async |(ack, message)| self.discard(&ack, &message).await);
        tokio::join!(join_all(early), join_all(unreadable));
    }

    /// A message that holds no entry never comes again, unless its dead-letter topic cannot be reached just now.
    async fn discard(&self, ack: &str, message: &Unreadable) {
        if let Err(error) = self.dead.unreadable(message).await {
            log::warn!(
                "message {} comes again, because it cannot become a dead letter: {error}",
                message.message_id
            );
            drop(self.lease(&[ack.to_owned()], LONGEST_LEASE).await);
        } else if let Err(error) = self.acknowledge(&[ack.to_owned()]).await {
            log::warn!("message {} may come again: {error}", message.message_id);
        }
    }

    async fn keep_leases(&self) {
        loop {
            sleep(self.leases.every).await;
            let acks = self.state().held.acks();
            for ids in acks.chunks(IDS) {
                if let Err(error) = self.lease(ids, self.leases.length).await {
                    log::warn!("entries may be delivered twice, because they take long and {error}");
                }
            }
        }
    }

    async fn lease(&self, acks: &[String], lease: Duration) -> Result<(), ApiError> {
        if acks.is_empty() {
            return Ok(());
        }
        // Rounded up, so that nothing comes early.
        let lease = lease.min(LONGEST_LEASE);
        let seconds = lease.as_secs() + u64::from(lease.subsec_nanos() > 0);
        self.short("modifyAckDeadline", &json!({ "ackIds": acks, "ackDeadlineSeconds": seconds })).await
    }

    async fn acknowledge(&self, acks: &[String]) -> Result<(), ApiError> {
        self.short("acknowledge", &json!({ "ackIds": acks })).await
    }

    async fn short(&self, method: &str, body: &Value) -> Result<(), ApiError> {
        let mut pause = ERROR_PAUSES.0 / 5;
        let mut left = TRIES;
        loop {
            left -= 1;
            match self.call(method, body, TIMEOUT, 64 * 1024).await {
                Ok(_) => return Ok(()),
                Err(error) if left == 0 || !error.retryable() => return Err(error),
                Err(_) => sleep(pause).await,
            }
            pause *= 4;
        }
    }

    async fn call(
        &self,
        method: &str,
        body: &Value,
        timeout: Duration,
        max_answer: usize,
    ) -> Result<Bytes, ApiError> {
        let mut url = self.endpoint.clone();
        url.set_path(&format!("/v1/{}:{method}", self.name));
        let body = Bytes::from(body.to_string());
        let request =
            Request { service: Service::PubSub, method: Method::POST, url, body, timeout, max_answer };
        self.api.call(request, UnixTime::now()).await
    }
}

fn ack_of(delivery: &Delivery) -> Option<&str> {
    match &delivery.handle {
        Handle::Ack(ack) => Some(ack),
        Handle::Sequence(_) => None,
    }
}
