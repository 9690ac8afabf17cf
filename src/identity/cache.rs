//! What was learnt about tokens, on Pingora's memory cache (TinyUFO: S3-FIFO with TinyLFU admission).
//!
//! The cache finds entries by a 64-bit hash. Each entry therefore carries the SHA-256 of kind and token and
//! is compared on a hit: a collision is a miss, never somebody else's identity.

use std::sync::Arc;
use std::time::Duration;

use pingora_memory_cache::MemoryCache;
use ring::digest::{Context, SHA256};

use super::{Credential, Identity, Kind, VerifyError};
use crate::time::UnixTime;

/// Room for tokens that were rejected or signed out. Apart from that of good ones, so that garbage cannot
/// push those out.
const REJECTED_ENTRIES: usize = 4096;
const ENDED_ENTRIES: usize = 4096;

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
    verified: MemoryCache<Digest, Entry<Arc<Identity>>>,
    rejected: MemoryCache<Digest, Entry<VerifyError>>,
    ended: MemoryCache<Digest, Entry<()>>,
    life: Duration,
    rejected_life: Duration,
}

#[derive(Clone)]
struct Entry<T> {
    digest: Digest,
    until: UnixTime,
    value: T,
}

impl FactCache {
    pub(crate) fn new(settings: &crate::config::Cache) -> Self {
        Self {
            verified: MemoryCache::new(settings.entries),
            rejected: MemoryCache::new(REJECTED_ENTRIES),
            ended: MemoryCache::new(ENDED_ENTRIES),
            life: settings.verified,
            rejected_life: settings.rejected,
        }
    }

    /// What is known of a token now.
    pub(crate) fn get(&self, digest: &Digest, now: UnixTime) -> Option<Result<Arc<Identity>, VerifyError>> {
        if let Some(identity) = look_up(&self.verified, digest, now) {
            return Some(Ok(identity));
        }
        if look_up(&self.ended, digest, now).is_some() {
            return Some(Err(VerifyError::SignedOut));
        }
        look_up(&self.rejected, digest, now).map(Err)
    }

    /// Keeps the outcome of a check, if it is about the token: that Google could not be asked is not.
    pub(crate) fn put(&self, digest: Digest, outcome: &Result<Arc<Identity>, VerifyError>, now: UnixTime) {
        match outcome {
            Ok(identity) => {
                let until = now.plus(self.life).min(identity.expires);
                self.verified.put(&digest, Entry { digest, until, value: Arc::clone(identity) }, None);
                // A sign-out that came while the token was checked stands.
                if look_up(&self.ended, &digest, now).is_some() {
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
    pub(crate) fn end(&self, digest: Digest, until: UnixTime) {
        self.ended.put(&digest, Entry { digest, until, value: () }, None);
        self.verified.remove(&digest);
    }
}

fn look_up<T: Clone + Send + Sync + 'static>(
    cache: &MemoryCache<Digest, Entry<T>>,
    digest: &Digest,
    now: UnixTime,
) -> Option<T> {
    let (entry, _) = cache.get(digest);
    entry.filter(|entry| entry.digest == *digest && now < entry.until).map(|entry| entry.value)
}

#[cfg(test)]
mod tests;
