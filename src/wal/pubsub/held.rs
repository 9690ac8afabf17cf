//! Which entries this process has, and which of them may be handed out. No HTTP here.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::super::{Delivery, Entry, Handle};

/// Messages of which something is remembered.
const REMEMBERED: usize = 100_000;
/// Entries of an ordered location that wait here for an earlier one; the rest waits at Pub/Sub.
const ORDERED_AT_ONCE: usize = 100;

/// A message of a pull that holds an entry.
pub(super) struct Arrival {
    pub(super) message_id: String,
    pub(super) ack: String,
    pub(super) entry: Entry,
    /// Told only where the subscription has a dead-letter policy.
    pub(super) attempt: Option<u32>,
}

/// What to do with a message that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is held here now, and its lease has to be extended.
    Held,
    /// It was settled, but the acknowledgement got lost.
    Acknowledge,
    /// It comes too early, and shall come again after this.
    ComeAgain(Duration),
}

#[derive(Default)]
pub(super) struct Held {
    /// In the order in which they arrived.
    messages: VecDeque<Message>,
    known: Known,
}

struct Message {
    id: String,
    /// Each delivery has an id of its own, and each of them is good; the newest is the last.
    acks: Vec<String>,
    entry: Entry,
    attempt: u32,
    state: State,
}

enum State {
    /// It may be handed out from then on.
    Due(Instant),
    /// Somebody has it.
    Out,
}

impl Held {
    pub(super) fn arrive(&mut self, arrival: Arrival, now: Instant) -> Verdict {
        if let Some(message) = self.messages.iter_mut().find(|message| message.id == arrival.message_id) {
            message.acks.push(arrival.ack);
            return Verdict::Held;
        }
        let attempts = match self.known.get(&arrival.message_id) {
            Some(Past::Settled) => return Verdict::Acknowledge,
            Some(Past::Postponed { until, .. }) if *until > now => {
                return Verdict::ComeAgain(*until - now);
            }
            Some(Past::Postponed { attempts, .. }) => *attempts,
            None => 0,
        };
        let entry = arrival.entry;
        let same = |message: &&Message| message.entry.ordered && message.entry.location == entry.location;
        if entry.ordered && self.messages.iter().filter(same).count() >= ORDERED_AT_ONCE {
            return Verdict::ComeAgain(Duration::from_secs(10));
        }
        self.messages.push_back(Message {
            id: arrival.message_id,
            acks: vec![arrival.ack],
            entry,
            attempt: arrival.attempt.unwrap_or(attempts.saturating_add(1)).max(1),
            state: State::Due(now),
        });
        Verdict::Held
    }

    /// Of an ordered location the first one, unless somebody has it.
    pub(super) fn hand_out(&mut self, most: usize, now: Instant) -> Vec<Delivery> {
        let mut handed = Vec::new();
        for message in free(&mut self.messages) {
            if handed.len() >= most {
                break;
            }
            if let State::Due(at) = message.state
                && at <= now
            {
                message.state = State::Out;
                handed.push(Delivery {
                    entry: message.entry.clone(),
                    attempt: message.attempt,
                    handle: Handle::Ack(message.acks.last().cloned().unwrap_or_default()),
                });
            }
        }
        handed
    }

    /// When the next one may be handed out without anything else happening.
    pub(super) fn next_due(&mut self) -> Option<Instant> {
        let due = |message: &mut Message| match message.state {
            State::Due(at) => Some(at),
            State::Out => None,
        };
        free(&mut self.messages).filter_map(due).min()
    }

    /// Forgets a message that is done with. Its newest acknowledgement id.
    pub(super) fn settle(&mut self, ack: &str) -> Option<String> {
        let message = self.remove(ack)?;
        self.known.put(message.id, Past::Settled);
        message.acks.into_iter().next_back()
    }

    /// An ordered one stays here, since none of its location may overtake it. For another one, the acknowledgement id whose
    /// lease has to be changed.
    pub(super) fn postpone(&mut self, ack: &str, wait: Duration, now: Instant) -> Option<String> {
        let index = self.find(ack)?;
        let message = self.messages.get_mut(index)?;
        if message.entry.ordered {
            message.attempt = message.attempt.saturating_add(1);
            message.state = State::Due(now + wait);
            return None;
        }
        let message = self.messages.remove(index)?;
        self.known.put(message.id, Past::Postponed { attempts: message.attempt, until: now + wait });
        message.acks.into_iter().next_back()
    }

    /// The newest acknowledgement id of each message.
    pub(super) fn acks(&self) -> Vec<String> {
        self.messages.iter().filter_map(|message| message.acks.last().cloned()).collect()
    }

    fn find(&self, ack: &str) -> Option<usize> {
        self.messages.iter().position(|message| message.acks.iter().any(|known| known == ack))
    }

    fn remove(&mut self, ack: &str) -> Option<Message> {
        let index = self.find(ack)?;
        self.messages.remove(index)
    }
}

/// Messages that no earlier one of an ordered location holds back.
fn free(messages: &mut VecDeque<Message>) -> impl Iterator<Item = &mut Message> {
    let mut locations = BTreeSet::new();
    messages
        .iter_mut()
        .filter(move |message| !message.entry.ordered || locations.insert(message.entry.location.clone()))
}

/// What was done with messages that are not here any more.
enum Past {
    Settled,
    Postponed { attempts: u32, until: Instant },
}

#[derive(Default)]
struct Known {
    past: HashMap<String, Past>,
    /// Oldest first.
    order: VecDeque<String>,
}

impl Known {
    fn get(&self, id: &str) -> Option<&Past> {
        self.past.get(id)
    }

    fn put(&mut self, id: String, past: Past) {
        if self.past.insert(id.clone(), past).is_none() {
            self.order.push_back(id);
        }
        while self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.past.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests;
