//! One secret: its value, and when it was read.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::SecretError;
use super::read::{self, SecretManager};
use crate::config::{SecretRef, SecretSource};
use crate::secret::{Secret, same};
use crate::time::UnixTime;

/// How soon a read that failed is repeated.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How soon a value is read again because a signature was wrong: senders of wrong ones must not cost a call each.
const REREAD_AFTER: Duration = Duration::from_secs(10);
/// How often a failure is logged.
const WARN_EVERY: Duration = Duration::from_secs(60);
/// Limit on a read.
pub(super) const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Slot {
    reference: SecretRef,
    manager: Arc<SecretManager>,
    current: ArcSwapOption<Held>,
    /// Held during a read, so that there is only one.
    reads: Arc<Mutex<Reads>>,
}

#[derive(Debug)]
struct Held {
    value: Arc<Secret>,
    read: UnixTime,
}

/// What became of the last reads.
#[derive(Debug, Default)]
struct Reads {
    last: Option<UnixTime>,
    failure: Option<SecretError>,
    warned: Option<UnixTime>,
}

impl Slot {
    pub(super) fn new(reference: SecretRef, manager: Arc<SecretManager>) -> Self {
        Self { reference, manager, current: ArcSwapOption::empty(), reads: Arc::default() }
    }

    pub(super) fn name(&self) -> &str {
        &self.reference.name
    }

    /// Whether it holds what a reference means.
    pub(super) fn serves(&self, reference: &SecretRef, manager: &Arc<SecretManager>) -> bool {
        let ours = match reference.source {
            SecretSource::SecretManager(_) => Arc::ptr_eq(&self.manager, manager),
            SecretSource::File(_) | SecretSource::Environment { .. } => true,
        };
        ours && self.reference.is_same(reference)
    }

    /// Reads a file anew, whose reading costs nothing. Where that fails, the present value stays.
    pub(super) async fn freshen(&self, now: UnixTime) {
        if matches!(self.reference.source, SecretSource::File(_)) {
            let mut reads = self.reads.lock().await;
            if let Err(why) = self.read(&mut reads, now, TIMEOUT).await {
                self.warn(&mut reads, &why, now);
            }
        }
    }

    pub(super) fn current(&self) -> Option<Arc<Secret>> {
        self.current.load().as_deref().map(|held| Arc::clone(&held.value))
    }

    /// A read whose failure the caller reports.
    pub(super) async fn first(&self, now: UnixTime, limit: Duration) -> Result<(), SecretError> {
        let mut reads = self.reads.lock().await;
        self.read(&mut reads, now, limit).await
    }

    pub(super) async fn value(self: &Arc<Self>, now: UnixTime) -> Result<Arc<Secret>, SecretError> {
        if let Some(held) = self.current.load().as_deref() {
            if self.changes() && now.since(held.read) >= self.reference.refresh {
                self.refresh_in_background(now);
            }
            return Ok(Arc::clone(&held.value));
        }
        let mut reads = self.reads.lock().await;
        if let Some(value) = self.current() {
            return Ok(value);
        }
        if let Some(failure) = &reads.failure
            && is_recent(reads.last, now, RETRY_AFTER)
        {
            return Err(failure.clone());
        }
        if let Err(why) = self.read(&mut reads, now, TIMEOUT).await {
            self.warn(&mut reads, &why, now);
            return Err(why);
        }
        self.current().ok_or_else(|| SecretError::Unreachable("BUG: it was read and is gone".to_owned()))
    }

    pub(super) async fn reread(&self, now: UnixTime) -> bool {
        let Some(before) = self.current() else { return false };
        if !self.changes() {
            return false;
        }
        let mut reads = self.reads.lock().await;
        // Whoever held the lock may have read it meanwhile.
        if !is_recent(reads.last, now, REREAD_AFTER)
            && let Err(why) = self.read(&mut reads, now, TIMEOUT).await
        {
            self.warn(&mut reads, &why, now);
        }
        self.current().is_some_and(|after| !same(after.expose().as_bytes(), before.expose().as_bytes()))
    }

    /// Whether another read can bring another value. A numbered version never changes.
    fn changes(&self) -> bool {
        match &self.reference.source {
            SecretSource::SecretManager(name) => {
                name.rsplit('/').next().is_none_or(|version| version.parse::<u64>().is_err())
            }
            SecretSource::File(_) => true,
            SecretSource::Environment { .. } => false,
        }
    }

    /// In a task of its own that ends with its read: nobody waits for it.
    fn refresh_in_background(self: &Arc<Self>, now: UnixTime) {
        let Ok(mut reads) = Arc::clone(&self.reads).try_lock_owned() else { return };
        if is_recent(reads.last, now, RETRY_AFTER) {
            return;
        }
        let slot = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(why) = slot.read(&mut reads, now, TIMEOUT).await {
                slot.warn(&mut reads, &why, now);
            }
        });
    }

    async fn read(&self, reads: &mut Reads, now: UnixTime, limit: Duration) -> Result<(), SecretError> {
        reads.last = Some(now);
        match read::value(&self.reference.source, &self.manager, now, limit).await {
            Ok(value) => {
                self.current.store(Some(Arc::new(Held { value: Arc::new(value), read: now })));
                reads.failure = None;
                Ok(())
            }
            Err(why) => {
                reads.failure = Some(why.clone());
                Err(why)
            }
        }
    }

    fn warn(&self, reads: &mut Reads, why: &SecretError, now: UnixTime) {
        if is_recent(reads.warned, now, WARN_EVERY) {
            return;
        }
        reads.warned = Some(now);
        let name = self.name();
        if self.current.load().is_some() {
            log::warn!("the secret {name} cannot be read again: {why}; its present value stays in use");
        } else {
            log::warn!("the secret {name} cannot be read: {why}");
        }
    }
}

fn is_recent(at: Option<UnixTime>, now: UnixTime, within: Duration) -> bool {
    at.is_some_and(|at| now.since(at) < within)
}
