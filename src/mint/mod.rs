//! The swap: what the caller presented stays here, and the upstream gets a token minted by the gateway's own
//! service account for exactly that upstream.
//!
//! There is one token for each audience. Near its end one request starts its renewal while others use what is
//! still valid; only without a valid token does anybody wait, and then all wait for the same answer.

mod front_door;
mod metadata;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use futures_util::future::join_all;
use http::HeaderValue;
use thiserror::Error;
use tokio::sync::Mutex;

use crate::time::UnixTime;

pub use front_door::is_front_door_refusal;

/// The metadata server hands out the same token until four minutes before its end, so asking earlier is in
/// vain (on Cloud Run; five minutes elsewhere).
const RENEW_WITHIN: Duration = Duration::from_secs(230);
/// A token that ends sooner than this may end on its way.
const MIN_LIFE: Duration = Duration::from_secs(10);
/// A refused token that is younger than this is kept: an upstream that always refuses must not cost a call
/// for each request.
const DISCARD_AFTER: Duration = Duration::from_secs(30);
/// How long a failure stands before the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An ID token for one audience.
#[derive(Clone, Debug)]
pub struct Minted {
    /// `Bearer TOKEN`, marked as sensitive.
    pub bearer: HeaderValue,
    /// When it was minted.
    pub minted: UnixTime,
    /// `exp` of the token.
    pub expires: UnixTime,
}

/// Why there is no token. The text is for the log; no part of it comes from a token.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("no token could be minted for {audience}: {why}")]
pub struct MintError {
    /// For whom it should have been.
    pub audience: String,
    /// What went wrong.
    pub why: String,
}

/// Where tokens come from.
#[async_trait]
pub trait TokenMinter: Send + Sync {
    /// Fetches a new token, with nothing cached.
    async fn mint(&self, audience: &str, now: UnixTime) -> Result<Minted, MintError>;
}

/// The tokens of all audiences.
pub struct Mint {
    slots: HashMap<String, Arc<Slot>>,
}

struct Slot {
    audience: String,
    minter: Arc<dyn TokenMinter>,
    current: ArcSwapOption<Minted>,
    renewing: AtomicBool,
    /// The last failure and when it was. Held while a token is fetched, so that there is only one fetch.
    failure: Mutex<Option<(UnixTime, MintError)>>,
}

impl Mint {
    /// One slot for each audience.
    pub fn new<'a>(audiences: impl Iterator<Item = &'a str>, minter: &Arc<dyn TokenMinter>) -> Self {
        let slot = |audience: &str| Slot {
            audience: audience.to_owned(),
            minter: Arc::clone(minter),
            current: ArcSwapOption::empty(),
            renewing: AtomicBool::new(false),
            failure: Mutex::new(None),
        };
        Self { slots: audiences.map(|audience| (audience.to_owned(), Arc::new(slot(audience)))).collect() }
    }

    /// For the audiences of another configuration. Tokens of those that stay are kept.
    #[must_use]
    pub fn with<'a>(&self, audiences: impl Iterator<Item = &'a str>, minter: &Arc<dyn TokenMinter>) -> Self {
        let mut mint = Self::new(audiences, minter);
        for (audience, slot) in &mut mint.slots {
            if let Some(known) = self.slots.get(audience) {
                *slot = Arc::clone(known);
            }
        }
        mint
    }

    /// The token for an audience, fetched if need be.
    pub async fn token(&self, audience: &str, now: UnixTime) -> Result<HeaderValue, MintError> {
        let slot = self.slots.get(audience).ok_or_else(|| MintError {
            audience: audience.to_owned(),
            why: "BUG: no upstream has this audience".to_owned(),
        })?;
        slot.token(now).await
    }

    /// Forgets a token that the upstream refused, unless it is so new that another would fare no better.
    pub fn discard(&self, audience: &str, now: UnixTime) {
        let Some(slot) = self.slots.get(audience) else { return };
        if slot.current.load().as_deref().is_some_and(|minted| now.since(minted.minted) >= DISCARD_AFTER) {
            slot.current.store(None);
        }
    }

    /// Fetches all tokens ahead of the first request, at once.
    pub async fn prefetch(&self, now: UnixTime) {
        let fetch = async |slot: &Arc<Slot>| {
            if let Err(error) = slot.token(now).await {
                log::warn!("{error}");
            }
        };
        join_all(self.slots.values().map(fetch)).await;
    }
}

impl Slot {
    async fn token(self: &Arc<Self>, now: UnixTime) -> Result<HeaderValue, MintError> {
        if let Some(minted) = self.current.load().as_deref()
            && minted.expires.since(now) >= MIN_LIFE
        {
            if minted.expires.since(now) < RENEW_WITHIN {
                self.renew_in_background(now);
            }
            return Ok(minted.bearer.clone());
        }
        self.fetch(now, MIN_LIFE).await
    }

    /// One renewal at a time, in a task of its own, so that no request waits for it and none takes it along
    /// when it is cancelled.
    fn renew_in_background(self: &Arc<Self>, now: UnixTime) {
        if self.renewing.swap(true, Ordering::AcqRel) {
            return;
        }
        let slot = Arc::clone(self);
        tokio::spawn(async move {
            let _ended = Renewal(&slot.renewing);
            if let Err(error) = slot.fetch(now, RENEW_WITHIN).await {
                log::warn!("{error}; the present token is used until it ends");
            }
        });
    }

    /// Fetches a token unless there is one by now that lives at least `wanted`.
    async fn fetch(&self, now: UnixTime, wanted: Duration) -> Result<HeaderValue, MintError> {
        let mut failure = self.failure.lock().await;
        if let Some(minted) = self.current.load().as_deref()
            && minted.expires.since(now) >= wanted
        {
            return Ok(minted.bearer.clone());
        }
        if let Some((at, error)) = failure.as_ref()
            && now.since(*at) < RETRY_AFTER
        {
            return Err(error.clone());
        }
        match self.minter.mint(&self.audience, now).await {
            Ok(minted) => {
                let bearer = minted.bearer.clone();
                self.current.store(Some(Arc::new(minted)));
                *failure = None;
                Ok(bearer)
            }
            Err(error) => {
                *failure = Some((now, error.clone()));
                Err(error)
            }
        }
    }
}

/// Marks the renewal as over, also when its task is dropped.
struct Renewal<'a>(&'a AtomicBool);

impl Drop for Renewal<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
