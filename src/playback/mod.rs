//! Playback: from an entry of the log to a request at the upstream, and what its answer means for the entry.
//!
//! An entry is not trusted. It names a location, and everything that decides where it goes and what it may say comes
//! from the configuration: the upstream, the token, the paths below the location, the headers that are kept.

mod player;
mod target;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use thiserror::Error;
use url::Url;

use crate::config::{Access, Config, Location, Meaning, Message, Protocol, Upstream};
use crate::mint::{Mint, is_front_door_refusal};
use crate::outbound::{Answer, Call, Outbound, OutboundError, Service, Speaks};
use crate::time::UnixTime;
use crate::wal::Entry;

pub use player::Player;
pub use target::{Unfit, target};

/// Name of a delivery, the same at each attempt, for upstreams that must not do the same thing twice
/// (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Which attempt it is, from 1.
const ATTEMPT: HeaderName = HeaderName::from_static("x-portcullis-attempt");
const USER_EMAIL: HeaderName = HeaderName::from_static("x-goog-authenticated-user-email");
const USER_ID: HeaderName = HeaderName::from_static("x-goog-authenticated-user-id");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Largest answer of an upstream that is read.
const MAX_ANSWER: usize = 10 * 1024 * 1024;
/// How long an entry waits for a configuration that knows its location.
const ROLLOUT: Duration = Duration::from_hours(1);
/// Longest `Retry-After` that is honoured.
const LONGEST_PAUSE: Duration = Duration::from_hours(1);

/// Delivers entries.
pub struct Courier {
    config: Arc<Config>,
    mint: Arc<Mint>,
    outbound: Arc<Outbound>,
    counts: Arc<[AtomicU64; 3]>,
}

/// Why an entry did not reach the upstream, or not with our token.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SendError {
    /// The configuration has no place for it.
    #[error("{0}")]
    Misfit(String),
    /// The configuration has no place for it, but that of another instance may: while a new one is rolled out, entries of
    /// the new one come to the old one as well.
    #[error("{0}")]
    Unknown(String),
    /// No token could be minted.
    #[error("{0}")]
    Mint(String),
    /// No connection, or it broke.
    #[error("{0}")]
    Unreachable(String),
    /// No complete answer in time.
    #[error("the upstream did not answer in time")]
    TimedOut,
    /// Cloud Run's front door refused our token.
    #[error(
        "Cloud Run refused the minted token: check the audience, and that the gateway's service account has roles/run.invoker"
    )]
    RefusedToken,
}

/// What a delivery means for the entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream has taken it.
    Settled,
    /// It is to be tried again.
    Retry {
        /// Why, for the log.
        why: String,
        /// How long the upstream asked to be left alone.
        after: Option<Duration>,
    },
    /// No further attempt would help.
    Dead {
        /// Why.
        why: String,
    },
}

/// How many deliveries ended in each way since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Taken by the upstream.
    pub settled: u64,
    /// To be tried again.
    pub retried: u64,
    /// Given up.
    pub dead: u64,
}

impl Courier {
    /// A courier for the locations of a configuration.
    pub fn new(config: Arc<Config>, mint: Arc<Mint>, outbound: Arc<Outbound>) -> Self {
        Self { config, mint, outbound, counts: Arc::default() }
    }

    /// A courier for another configuration, whose deliveries count on.
    #[must_use]
    pub fn with(&self, config: Arc<Config>, mint: Arc<Mint>) -> Self {
        Self { config, mint, outbound: Arc::clone(&self.outbound), counts: Arc::clone(&self.counts) }
    }

    /// Deliveries so far.
    pub fn counts(&self) -> Counts {
        self.counter()()
    }

    /// Tells the deliveries so far whenever it is asked, also those of couriers for other configurations.
    pub fn counter(&self) -> impl Fn() -> Counts + Send + Sync + use<> {
        let counts = Arc::clone(&self.counts);
        move || {
            let [settled, retried, dead] = counts.each_ref().map(|count| count.load(Relaxed));
            Counts { settled, retried, dead }
        }
    }

    /// Delivers an entry, and says what the answer means for it.
    pub async fn deliver(&self, entry: &Entry, attempt: u32, now: UnixTime) -> Outcome {
        match self.send(entry, attempt, now).await {
            Ok(answer) => self.judge(entry, &answer),
            Err(SendError::Misfit(why)) => Outcome::Dead { why },
            Err(SendError::Unknown(why)) if now.since(entry.received) >= ROLLOUT => Outcome::Dead { why },
            Err(error) => Outcome::Retry { why: error.to_string(), after: None },
        }
    }

    /// Counts and logs what became of a delivery.
    pub fn note(&self, entry: &Entry, attempt: u32, outcome: &Outcome) {
        let [settled, retried, dead] = &*self.counts;
        let (id, location) = (entry.id, &entry.location);
        match outcome {
            Outcome::Settled => {
                settled.fetch_add(1, Relaxed);
                log::debug!("entry {id} of {location} was delivered at attempt {attempt}");
            }
            Outcome::Retry { why, .. } => {
                retried.fetch_add(1, Relaxed);
                log::warn!(
                    "entry {id} of {location} was not delivered at attempt {attempt}: {why}; it is tried again"
                );
            }
            Outcome::Dead { why } => {
                dead.fetch_add(1, Relaxed);
                log::error!("entry {id} of {location} is given up at attempt {attempt}: {why}");
            }
        }
    }

    /// Sends an entry, and returns the upstream's answer whatever its status.
    pub async fn send(&self, entry: &Entry, attempt: u32, now: UnixTime) -> Result<Answer, SendError> {
        let (location, message) = self.location(entry)?;
        let upstream = self.config.upstreams.get(location.upstream);
        let upstream =
            upstream.ok_or_else(|| SendError::Misfit("BUG: there is no such upstream".to_owned()))?;
        let url = target(location, upstream, &entry.path, entry.query.as_deref())
            .map_err(|unfit| SendError::Misfit(unfit.to_string()))?;
        let mut headers = headers(entry, attempt, location, message);
        if let Some(audience) = &upstream.audience {
            let token =
                self.mint.token(audience, now).await.map_err(|error| SendError::Mint(error.to_string()))?;
            headers.insert(upstream.token_header.clone(), token);
        }
        let call = call(entry, url, headers, location);
        let answer =
            self.outbound.call_speaking(call, speaks(upstream)).await.map_err(|error| match error {
                OutboundError::Timeout(..) => SendError::TimedOut,
                OutboundError::TooLarge(..) | OutboundError::Unreachable(..) | OutboundError::NoClient(_) => {
                    SendError::Unreachable(error.to_string())
                }
            })?;
        if let Some(audience) =
            upstream.audience.as_ref().filter(|_| is_front_door_refusal(answer.status, &answer.headers))
        {
            self.mint.discard(audience, now);
            return Err(SendError::RefusedToken);
        }
        Ok(answer)
    }

    /// The location that an entry names, if it may bring this one.
    fn location(&self, entry: &Entry) -> Result<(&Location, &Message), SendError> {
        let named = |location: &&Location| {
            location.message.as_ref().is_some_and(|message| message.key == entry.location)
        };
        let found = self.config.locations.iter().find(named);
        let Some((location, message)) =
            found.and_then(|location| Some((location, location.message.as_ref()?)))
        else {
            return Err(SendError::Unknown("the configuration has no location of this name".to_owned()));
        };
        if !location.methods.is_empty() && !location.methods.contains(&entry.method) {
            return Err(SendError::Unknown(format!("the location does not take {}", entry.method)));
        }
        Ok((location, message))
    }

    fn judge(&self, entry: &Entry, answer: &Answer) -> Outcome {
        let status = answer.status;
        let message = self.location(entry).map(|(_, message)| message);
        let rule =
            message.ok().and_then(|message| message.rules.iter().find(|(range, _)| range.holds(status)));
        let why = || format!("the upstream answered {}", status.as_u16());
        match rule.map_or_else(|| usual(status), |(_, meaning)| *meaning) {
            Meaning::Settle => Outcome::Settled,
            Meaning::Retry => Outcome::Retry { why: why(), after: retry_after(&answer.headers) },
            Meaning::DeadLetter => Outcome::Dead { why: why() },
        }
    }
}

/// What a status means where the location does not say otherwise. Redirects are not followed: the token and the message
/// are for this upstream, and a redirected POST may arrive as a GET.
fn usual(status: StatusCode) -> Meaning {
    match status {
        status if status.is_success() => Meaning::Settle,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => Meaning::Retry,
        status if status.is_server_error() => Meaning::Retry,
        _ => Meaning::DeadLetter,
    }
}

/// `Retry-After` in seconds (RFC 9110, section 10.2.3); a date is not worth a clock's mistakes.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// The headers of a delivery. Of the entry's own, only those pass that the location keeps.
fn headers(entry: &Entry, attempt: u32, location: &Location, message: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &entry.headers {
        if *name == CONTENT_TYPE || *name == CONTENT_ENCODING || message.keep.contains(name) {
            headers.append(name, value.clone());
        }
    }
    let mut say = |name: HeaderName, text: String| {
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.insert(name, value);
        }
    };
    say(IDEMPOTENCY_KEY, entry.id.to_string());
    say(REQUEST_ID, entry.id.to_string());
    say(ATTEMPT, attempt.to_string());
    // Elsewhere nobody asked who it was, so the entry cannot know.
    if let (Access::Google(_), Some(sender)) = (&location.access, &entry.sender) {
        say(USER_EMAIL, format!("accounts.google.com:{}", sender.email));
        if let Some(subject) = &sender.subject {
            say(USER_ID, format!("accounts.google.com:{subject}"));
        }
    }
    headers
}

fn call(entry: &Entry, url: Url, headers: HeaderMap, location: &Location) -> Call {
    let timeouts = &location.timeouts;
    Call {
        service: Service::Upstream,
        method: entry.method.clone(),
        url,
        headers,
        body: entry.body.clone(),
        timeout: timeouts.connect + timeouts.write + timeouts.read,
        max_answer: MAX_ANSWER,
    }
}

fn speaks(upstream: &Upstream) -> Speaks {
    match upstream.protocol {
        Protocol::Auto => Speaks::Auto,
        Protocol::Http1 => Speaks::Http1,
        Protocol::Http2 => Speaks::Http2,
    }
}

#[cfg(test)]
mod tests;
