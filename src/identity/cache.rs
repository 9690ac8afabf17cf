//! What was learnt about tokens, on Pingora's memory cache (TinyUFO: S3-FIFO with TinyLFU admission).
//!
//! The cache finds entries by a 64-bit hash. Each entry therefore carries the SHA-256 of kind and token and
//! is compared on a hit: a collision is a miss, never somebody else's identity.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pingora_memory_cache::MemoryCache;
use ring::digest::{Context, SHA256};

use super::verified::Verified;
use super::{Credential, Identity, Kind, VerifyError};
use crate::time::UnixTime;

/// Room for tokens that were rejected. Apart from that of good ones, so that garbage cannot push those out.
const REJECTED_ENTRIES: usize = 4096;
/// Sign-outs that are remembered at once; beyond them the one that would have ended first is forgotten.
const ENDED_ENTRIES: usize = 64 * 1024;

/// SHA-256 of kind and token: the name of a token wherever the token itself must not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Digest([u8; 32]);

impl Digest {
    pub(crate) fn of(credential: Credential<'_>) -> Self {
        let mut context = Context::new(&SHA256);
        // The kind is part of the name: what was learnt of an access token says nothing of an ID token.
        context.update(match credential.kind() {
            Kind::AccessToken => b"access:",
            Kind::IdToken => b"id:",
        });
        context.update(credential.token().as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }
}

/// Verified and rejected tokens.
pub(crate) struct FactCache {
    verified: Verified,
    rejected: MemoryCache<Digest, Entry<VerifyError>>,
    /// Not a cache: a sign-out must not be dropped because nobody asks for it.
    ended: Arc<Mutex<HashMap<Digest, UnixTime>>>,
    life: Duration,
    rejected_life: Duration,
}

/// What was learnt of a token, with its name in full.
#[derive(Clone)]
pub(super) struct Entry<T> {
    pub(super) digest: Digest,
    pub(super) until: UnixTime,
    pub(super) value: T,
}

impl FactCache {
    pub(crate) fn new(settings: &crate::config::Cache) -> Self {
        Self {
            verified: Verified::new(settings.entries),
            rejected: MemoryCache::new(REJECTED_ENTRIES),
            ended: Arc::default(),
            life: settings.verified,
            rejected_life: settings.rejected,
        }
    }

    /// An empty cache that knows of the sign-outs of this one, also of later ones.
    pub(crate) fn emptied(&self, settings: &crate::config::Cache) -> Self {
        Self { ended: Arc::clone(&self.ended), ..Self::new(settings) }
    }

    /// What is known of a token now.
    pub(crate) fn get(&self, digest: &Digest, now: UnixTime) -> Option<Result<Arc<Identity>, VerifyError>> {
        if let Some(identity) = self.verified.get(digest, now) {
            return Some(Ok(identity));
        }
        if self.has_ended(digest, now) {
            return Some(Err(VerifyError::SignedOut));
        }
        look_up(&self.rejected, digest, now).map(Err)
    }

    /// Keeps the outcome of a check, if it is about the token: that Google could not be asked is not.
    pub(crate) fn put(&self, digest: Digest, outcome: &Result<Arc<Identity>, VerifyError>, now: UnixTime) {
        match outcome {
            Ok(identity) => {
                let until = now.plus(self.life).min(identity.expires);
                self.verified.put(&digest, Entry { digest, until, value: Arc::clone(identity) });
                // A sign-out that came while the token was checked stands.
                if self.has_ended(&digest, now) {
                    self.verified.remove(&digest);
                }
            }
            Err(VerifyError::Unavailable(_) | VerifyError::Throttled | VerifyError::SignedOut) => {}
            Err(
                error @ (VerifyError::Malformed
                | VerifyError::Expired
                | VerifyError::Invalid(_)
                | VerifyError::WrongAudience
                | VerifyError::NoVerifiedEmail),
            ) => {
                let until = now.plus(self.rejected_life);
                self.rejected.put(&digest, Entry { digest, until, value: error.clone() }, None);
            }
        }
    }

    /// Refuses a token from now on, until it would have ended anyway.
    pub(crate) fn end(&self, digest: Digest, until: UnixTime, now: UnixTime) {
        let mut ended = self.lock_ended();
        ended.retain(|_, until| now < *until);
        if ended.len() >= ENDED_ENTRIES
            && let Some(first) = ended.iter().min_by_key(|(_, until)| **until).map(|(digest, _)| *digest)
        {
            ended.remove(&first);
        }
        ended.insert(digest, until);
        drop(ended);
        self.verified.remove(&digest);
    }

    fn has_ended(&self, digest: &Digest, now: UnixTime) -> bool {
        self.lock_ended().get(digest).is_some_and(|until| now < *until)
    }

    /// A thread that panicked while it held the lock leaves a whole map behind.
    fn lock_ended(&self) -> MutexGuard<'_, HashMap<Digest, UnixTime>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An entry that is this token's, and still good.
pub(super) fn look_up<T: Clone + Send + Sync + 'static>(
    cache: &MemoryCache<Digest, Entry<T>>,
    digest: &Digest,
    now: UnixTime,
) -> Option<T> {
    let (entry, _) = cache.get(digest);
    entry.filter(|entry| entry.digest == *digest && now < entry.until).map(|entry| entry.value)
}

#[cfg(test)]
mod tests;
