//! The access token of the gateway's own service account.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use tokio::sync::Mutex;

use crate::metadata::{AccessToken, MetadataServer};
use crate::time::UnixTime;

/// The metadata server hands out the same token until four minutes before its end, so asking earlier is in vain.
const RENEW_WITHIN: Duration = Duration::from_secs(230);
/// How soon after a fetch a renewal may start.
const RENEW_EVERY: Duration = Duration::from_secs(10);
/// A token that ends sooner than this may end on its way.
const MIN_LIFE: Duration = Duration::from_secs(10);
/// How long a failure stands before the next try.
const RETRY_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Token {
    metadata: Arc<MetadataServer>,
    current: ArcSwapOption<AccessToken>,
    /// Held while a token is fetched, so that there is only one fetch.
    fetches: Arc<Mutex<Fetches>>,
}

/// What became of the last fetches.
#[derive(Default)]
struct Fetches {
    /// When there was one that succeeded.
    success: UnixTime,
    /// The last one, if it failed, and when that was.
    failure: Option<(UnixTime, String)>,
}

impl Token {
    pub(super) fn new(metadata: Arc<MetadataServer>) -> Self {
        Self { metadata, current: ArcSwapOption::empty(), fetches: Arc::default() }
    }

    /// The token, fetched if need be.
    pub(super) async fn bearer(self: &Arc<Self>, now: UnixTime) -> Result<HeaderValue, String> {
        if let Some(token) = self.current.load().as_deref()
            && token.expires.since(now) >= MIN_LIFE
        {
            if token.expires.since(now) < RENEW_WITHIN {
                self.renew_in_background(now);
            }
            return Ok(token.bearer.clone());
        }
        let mut fetches = self.fetches.lock().await;
        self.fetch(&mut fetches, now, MIN_LIFE).await
    }

    /// A token in place of one that was refused.
    pub(super) async fn another(&self, refused: &HeaderValue, now: UnixTime) -> Result<HeaderValue, String> {
        let mut fetches = self.fetches.lock().await;
        if self.current.load().as_deref().is_some_and(|token| token.bearer == *refused) {
            self.current.store(None);
        }
        self.fetch(&mut fetches, now, MIN_LIFE).await
    }

    /// One renewal at a time, in a task of its own that ends with its call, so that no request waits for it and none
    /// takes it along when it is cancelled.
    fn renew_in_background(self: &Arc<Self>, now: UnixTime) {
        let Ok(mut fetches) = Arc::clone(&self.fetches).try_lock_owned() else { return };
        // The server's own token may be near its end, too.
        if now.since(fetches.success) < RENEW_EVERY {
            return;
        }
        let token = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(why) = token.fetch(&mut fetches, now, RENEW_WITHIN).await {
                log::warn!(
                    "the gateway's access token was not renewed: {why}; the present one is used until it ends"
                );
            }
        });
    }

    /// Fetches a token unless there is one by now that lives at least `wanted`.
    async fn fetch(
        &self,
        fetches: &mut Fetches,
        now: UnixTime,
        wanted: Duration,
    ) -> Result<HeaderValue, String> {
        if let Some(token) = self.current.load().as_deref()
            && token.expires.since(now) >= wanted
        {
            return Ok(token.bearer.clone());
        }
        if let Some((at, why)) = &fetches.failure
            && now.since(*at) < RETRY_AFTER
        {
            return Err(why.clone());
        }
        match self.metadata.access_token(now).await {
            Ok(token) => {
                let bearer = token.bearer.clone();
                self.current.store(Some(Arc::new(token)));
                *fetches = Fetches { success: now, failure: None };
                Ok(bearer)
            }
            Err(why) => {
                fetches.failure = Some((now, why.clone()));
                Err(why)
            }
        }
    }
}
