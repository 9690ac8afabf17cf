//! The cache of verified tokens, which starts small.
//!
//! Setting up Pingora's memory cache takes time in proportion to its size: five milliseconds for 100 000 entries, a
//! third of the gateway's whole start. So the first tokens go into a small one; when that is half full, the large one
//! is set up, beside the requests. Many gateways never need it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use pingora_memory_cache::MemoryCache;

use super::Identity;
use super::cache::{Digest, Entry, look_up};
use crate::time::UnixTime;

/// Entries of the small cache.
const FIRST: usize = 1024;

type Cache = MemoryCache<Digest, Entry<Arc<Identity>>>;

pub(super) struct Verified {
    first: Cache,
    full: Arc<OnceLock<Cache>>,
    /// Entries that were put into the small cache.
    puts: AtomicUsize,
    entries: usize,
}

impl Verified {
    pub(super) fn new(entries: usize) -> Self {
        let first = MemoryCache::new(entries.min(FIRST));
        Self { first, full: Arc::default(), puts: AtomicUsize::new(0), entries }
    }

    pub(super) fn get(&self, digest: &Digest, now: UnixTime) -> Option<Arc<Identity>> {
        let full = self.full.get().and_then(|full| look_up(full, digest, now));
        full.or_else(|| look_up(&self.first, digest, now))
    }

    pub(super) fn put(&self, digest: &Digest, entry: Entry<Arc<Identity>>) {
        match self.full.get() {
            Some(full) => full.put(digest, entry, None),
            None => {
                self.first.put(digest, entry, None);
                if self.puts.fetch_add(1, Ordering::AcqRel) == FIRST / 2 {
                    self.grow();
                }
            }
        }
    }

    pub(super) fn remove(&self, digest: &Digest) {
        self.first.remove(digest);
        if let Some(full) = self.full.get() {
            full.remove(digest);
        }
    }

    /// Sets the large cache up, in a thread of its own, which ends with that.
    fn grow(&self) {
        if self.entries <= FIRST {
            return;
        }
        let (full, entries) = (Arc::clone(&self.full), self.entries);
        let set_up = move || {
            full.get_or_init(|| MemoryCache::new(entries));
        };
        if let Err(error) = std::thread::Builder::new().name("cache".to_owned()).spawn(set_up) {
            log::warn!("the cache of verified tokens stays at {FIRST} entries: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::identity::Credential;

    const NOW: UnixTime = UnixTime(1_700_000_000);

    fn digest(number: usize) -> Digest {
        Digest::of(Credential::parse(&format!("ya29.token-token-{number}")).unwrap())
    }

    fn entry(digest: Digest) -> Entry<Arc<Identity>> {
        let until = NOW.plus(Duration::from_secs(60));
        let identity = Identity::new("ada@example.com", None, None, until).unwrap();
        Entry { digest, until, value: Arc::new(identity) }
    }

    #[tokio::test]
    async fn what_came_before_it_grew_is_still_known_and_can_be_removed() {
        let verified = Verified::new(10 * FIRST);
        verified.put(&digest(0), entry(digest(0)));
        assert!(verified.full.get().is_none(), "one token is no reason to grow");
        for number in 1..=FIRST / 2 {
            verified.put(&digest(number), entry(digest(number)));
        }
        while verified.full.get().is_none() {
            tokio::task::yield_now().await;
        }
        for number in FIRST / 2 + 1..4 * FIRST {
            verified.put(&digest(number), entry(digest(number)));
        }
        assert!((0..4 * FIRST).all(|number| verified.get(&digest(number), NOW).is_some()));
        for number in [0, 4 * FIRST - 1] {
            verified.remove(&digest(number));
            assert!(verified.get(&digest(number), NOW).is_none());
        }
    }

    #[test]
    fn one_that_is_small_by_configuration_does_not_grow() {
        let verified = Verified::new(FIRST);
        for number in 0..FIRST {
            verified.put(&digest(number), entry(digest(number)));
        }
        assert!(verified.full.get().is_none());
    }
}
