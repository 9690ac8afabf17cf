//! Topics and subscriptions: who has which message, and since when. No HTTP here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::Instant;

use super::SubscriptionSpec;
use crate::time::UnixTime;

/// Wait after a refusal where the subscription has no retry policy and Pub/Sub pushes.
const PUSH_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(60));

/// A message as it was published.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: String,
    /// Standard Base64, as it came.
    pub(super) data: String,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) ordering_key: String,
    pub(super) published: UnixTime,
}

impl Message {
    /// `PubsubMessage` in JSON. Empty fields are left out.
    pub(super) fn json(&self) -> Map<String, Value> {
        let time =
            humantime::format_rfc3339_millis(std::time::UNIX_EPOCH + Duration::from_secs(self.published.0));
        let mut message = Map::new();
        message.insert("messageId".to_owned(), json!(self.id));
        message.insert("publishTime".to_owned(), json!(time.to_string()));
        if !self.data.is_empty() {
            message.insert("data".to_owned(), json!(self.data));
        }
        if !self.attributes.is_empty() {
            message.insert("attributes".to_owned(), json!(self.attributes));
        }
        if !self.ordering_key.is_empty() {
            message.insert("orderingKey".to_owned(), json!(self.ordering_key));
        }
        message
    }
}

#[derive(Default)]
pub(super) struct Store {
    pub(super) topics: BTreeMap<String, Vec<Arc<Message>>>,
    pub(super) subscriptions: BTreeMap<String, Subscription>,
    number: u64,
}

pub(super) struct Subscription {
    pub(super) spec: SubscriptionSpec,
    backlog: Vec<Pending>,
    /// Messages of the next deliveries that come once more although they are out.
    pub(super) duplicates: u32,
    /// Acknowledgements that get lost from now on.
    pub(super) lost_acks: u32,
    /// The newest message comes first, where there is no order to keep.
    pub(super) reversed: bool,
    pub(super) counters: super::PushCounters,
}

struct Pending {
    message: Arc<Message>,
    attempt: u32,
    acks: Vec<String>,
    state: State,
}

enum State {
    Due(Instant),
    Out(Instant),
}

/// A message that somebody gets.
pub(super) struct Handed {
    pub(super) message: Arc<Message>,
    pub(super) ack: String,
    /// Only where the subscription has a dead-letter policy.
    pub(super) attempt: Option<u32>,
}

impl Store {
    fn next(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Stores messages for all subscriptions of the topic. Nothing when there is no such topic.
    pub(super) fn publish(
        &mut self,
        topic: &str,
        messages: Vec<Message>,
        now: Instant,
    ) -> Option<Vec<String>> {
        self.topics.get(topic)?;
        let mut ids = Vec::new();
        for mut message in messages {
            // Long decimal numbers, as Google's are.
            message.id = (2_070_443_601_311_540 + self.next()).to_string();
            ids.push(message.id.clone());
            let message = Arc::new(message);
            self.topics.get_mut(topic)?.push(Arc::clone(&message));
            for subscription in self.subscriptions.values_mut().filter(|it| it.spec.topic == topic) {
                let message = Arc::clone(&message);
                let state = State::Due(now);
                subscription.backlog.push(Pending { message, attempt: 0, acks: Vec::new(), state });
            }
        }
        Some(ids)
    }

    /// Ends the leases that are over, and hands out what is due. Of an ordered subscription a key is out once: pull gets
    /// several of its messages in one answer, push gets one.
    pub(super) fn hand_out(&mut self, name: &str, most: usize, now: Instant) -> Vec<Handed> {
        self.lapse(name, Some(now));
        let mut number = self.number;
        let Some(subscription) = self.subscriptions.get_mut(name) else { return Vec::new() };
        let handed = subscription.hand_out(most, now, &mut number);
        self.number = number;
        handed
    }

    /// Leases that are over, or all of them, count as refusals.
    pub(super) fn lapse(&mut self, name: &str, before: Option<Instant>) {
        let Some(subscription) = self.subscriptions.get(name) else { return };
        let over = |pending: &&Pending| match pending.state {
            State::Out(until) => before.is_none_or(|now| until <= now),
            State::Due(_) => false,
        };
        let acks: Vec<_> =
            subscription.backlog.iter().filter(over).filter_map(|it| it.acks.last().cloned()).collect();
        for ack in acks {
            self.refuse(name, &ack, before.unwrap_or_else(Instant::now));
        }
    }

    /// It comes again after a while, or becomes a dead letter.
    pub(super) fn refuse(&mut self, name: &str, ack: &str, now: Instant) {
        let Some(subscription) = self.subscriptions.get_mut(name) else { return };
        let Some(index) = subscription.find(ack) else { return };
        let spec = subscription.spec.clone();
        if let Some((topic, most)) = &spec.dead_letter
            && subscription.backlog.get(index).is_some_and(|it| it.attempt >= *most)
        {
            let pending = subscription.backlog.remove(index);
            self.forward(name, &spec.topic, topic, &pending, now);
            return;
        }
        subscription.put_back(index, now);
    }

    fn forward(&mut self, name: &str, from: &str, to: &str, pending: &Pending, now: Instant) {
        let mut message = (*pending.message).clone();
        let project = name.split('/').nth(1).unwrap_or_default();
        let added = [
            ("DeliveryCount", pending.attempt.to_string()),
            ("Subscription", name.rsplit('/').next().unwrap_or_default().to_owned()),
            ("SubscriptionProject", project.to_owned()),
            ("TopicPublishTime", pending.message.published.0.to_string()),
        ];
        for (key, value) in added {
            message.attributes.insert(format!("CloudPubSubDeadLetterSource{key}"), value);
        }
        if self.publish(to, vec![message], now).is_none() {
            log::error!("{to}, the dead-letter topic of {name} for {from}, does not exist");
        }
    }

    pub(super) fn acknowledge(&mut self, name: &str, ack: &str) {
        let Some(subscription) = self.subscriptions.get_mut(name) else { return };
        if subscription.lost_acks > 0 {
            subscription.lost_acks -= 1;
            return;
        }
        if let Some(index) = subscription.find(ack) {
            subscription.backlog.remove(index);
        }
    }

    /// Zero seconds refuse.
    pub(super) fn lease(&mut self, name: &str, ack: &str, lease: Duration, now: Instant) {
        if lease.is_zero() {
            return self.refuse(name, ack, now);
        }
        let Some(subscription) = self.subscriptions.get_mut(name) else { return };
        let index = subscription.find(ack);
        if let Some(pending) = index.and_then(|index| subscription.backlog.get_mut(index))
            && matches!(pending.state, State::Out(_))
        {
            pending.state = State::Out(now + lease);
        }
    }
}

impl Subscription {
    pub(super) fn new(spec: SubscriptionSpec) -> Self {
        Self {
            spec,
            backlog: Vec::new(),
            duplicates: 0,
            lost_acks: 0,
            reversed: false,
            counters: super::PushCounters::default(),
        }
    }

    /// Messages that nobody has acknowledged.
    pub(super) fn backlog(&self) -> usize {
        self.backlog.len()
    }

    /// When something may have to be handed out.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.backlog
            .iter()
            .map(|pending| match pending.state {
                State::Due(at) | State::Out(at) => at,
            })
            .min()
    }

    fn find(&self, ack: &str) -> Option<usize> {
        self.backlog.iter().position(|pending| pending.acks.iter().any(|known| known == ack))
    }

    fn hand_out(&mut self, most: usize, now: Instant, number: &mut u64) -> Vec<Handed> {
        let (ordered, push) = (self.spec.ordered, self.spec.push.is_some());
        let mut order: Vec<usize> = (0..self.backlog.len()).collect();
        if self.reversed && !ordered {
            order.reverse();
        }
        let mut blocked = BTreeSet::new();
        let mut handed = Vec::new();
        for index in order {
            let Some(pending) = self.backlog.get_mut(index) else { continue };
            let key = Some(pending.message.ordering_key.clone()).filter(|key| ordered && !key.is_empty());
            let due = matches!(pending.state, State::Due(at) if at <= now);
            let free = key.as_ref().is_none_or(|key| !blocked.contains(key));
            if handed.len() < most && due && free {
                *number += 1;
                let ack = format!("ack-{number}");
                pending.acks.push(ack.clone());
                pending.attempt += 1;
                pending.state = State::Out(now + self.spec.ack_deadline);
                if self.duplicates > 0 {
                    self.duplicates -= 1;
                    pending.state = State::Due(now);
                }
                let attempt = self.spec.dead_letter.is_some().then_some(pending.attempt);
                handed.push(Handed { message: Arc::clone(&pending.message), ack, attempt });
                blocked.extend(key.filter(|_| push));
            } else {
                blocked.extend(key);
            }
        }
        handed
    }

    /// With it come all later messages of its key.
    fn put_back(&mut self, index: usize, now: Instant) {
        let ordered = self.spec.ordered;
        let (backoff, push) = (self.spec.backoff, self.spec.push.is_some());
        let mut key = String::new();
        if let Some(pending) = self.backlog.get_mut(index) {
            let backoff = backoff.or_else(|| push.then_some(PUSH_BACKOFF));
            let wait = backoff.map_or(Duration::ZERO, |(least, most)| {
                least.saturating_mul(1 << pending.attempt.saturating_sub(1).min(16)).min(most)
            });
            pending.state = State::Due(now + wait);
            key.clone_from(&pending.message.ordering_key);
        }
        if ordered && !key.is_empty() {
            for later in self.backlog.iter_mut().skip(index + 1) {
                if later.message.ordering_key == key && matches!(later.state, State::Out(_)) {
                    later.state = State::Due(now);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
