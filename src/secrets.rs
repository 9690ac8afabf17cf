//! Values of the secrets that the file refers to: from Secret Manager, from a file, or from the environment.
//!
//! A value that can change is read again when it is older than the file says, while the old one stays in use, and when
//! a signature was wrong. Whoever rotates a secret and wants both to be good for a while names two.

mod read;
mod slot;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use thiserror::Error;
use tokio::time::Instant;

use crate::config::SecretRef;
use crate::secret::Secret;
use crate::time::UnixTime;

pub use read::SecretManager;
use slot::Slot;

/// How long the start waits for a secret that cannot be reached.
const START: Duration = Duration::from_secs(5);
/// Waits between the tries of the start.
const TRIES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(400),
    Duration::from_millis(1200),
    Duration::from_millis(2000),
];

/// Why a secret has no value. The text is for the operator, and holds nothing of a value.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SecretError {
    /// Somebody has to do something about it, and the text says what.
    #[error("{0}")]
    Unusable(String),
    /// It may be there later.
    #[error("{0}")]
    Unreachable(String),
}

/// A secret that had no value at start.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the secret {name} cannot be read: {why}")]
pub struct SecretProblem {
    /// Its name in the file.
    pub name: String,
    /// Why it has none.
    pub why: SecretError,
}

/// The secrets of the file, by their index there.
#[derive(Debug, Default)]
pub struct Secrets {
    slots: Vec<Arc<Slot>>,
}

impl Secrets {
    /// Reads all secrets, and says which have no value. One that is [`SecretError::Unreachable`] is tried again whenever
    /// it is asked for.
    ///
    /// A secret that is the same as one in `before` keeps its value; one from a file is read again all the same.
    pub async fn load(
        references: &[SecretRef],
        manager: &Arc<SecretManager>,
        before: Option<&Self>,
        now: UnixTime,
    ) -> (Self, Vec<SecretProblem>) {
        let known = before.map(|before| before.slots.as_slice()).unwrap_or_default();
        let slot = |reference: &SecretRef| match known.iter().find(|slot| slot.serves(reference, manager)) {
            Some(slot) => Arc::clone(slot),
            None => Arc::new(Slot::new(reference.clone(), Arc::clone(manager))),
        };
        let slots: Vec<_> = references.iter().map(slot).collect();
        let outcomes = join_all(slots.iter().map(|slot| at_start(slot, now))).await;
        let problem = |(slot, outcome): (&Arc<Slot>, Result<(), SecretError>)| {
            outcome.err().map(|why| SecretProblem { name: slot.name().to_owned(), why })
        };
        let problems = slots.iter().zip(outcomes).filter_map(problem).collect();
        (Self { slots }, problems)
    }

    /// The value as it is known, without waiting for anybody.
    pub fn current(&self, index: usize) -> Option<Arc<Secret>> {
        self.slots.get(index)?.current()
    }

    /// The value. When it is old it is read again, for which nobody waits; only without one does the caller wait, and
    /// then all wait for the same read.
    pub async fn value(&self, index: usize, now: UnixTime) -> Result<Arc<Secret>, SecretError> {
        self.slot(index)?.value(now).await
    }

    /// Reads the value again because something did not fit it, unless that was done a moment ago. Says whether it changed.
    pub async fn reread(&self, index: usize, now: UnixTime) -> bool {
        match self.slot(index) {
            Ok(slot) => slot.reread(now).await,
            Err(_) => false,
        }
    }

    fn slot(&self, index: usize) -> Result<&Arc<Slot>, SecretError> {
        let slot = self.slots.get(index);
        slot.ok_or_else(|| SecretError::Unusable("BUG: there is no secret of this index".to_owned()))
    }
}

/// A few tries, since what the gateway asks may start at the same time as the gateway.
async fn at_start(slot: &Slot, now: UnixTime) -> Result<(), SecretError> {
    if slot.current().is_some() {
        slot.freshen(now).await;
        return Ok(());
    }
    let start = Instant::now();
    let mut pauses = TRIES.into_iter();
    loop {
        let left = START.saturating_sub(start.elapsed());
        let why = match slot.first(now.plus(start.elapsed()), left).await {
            Ok(()) => return Ok(()),
            Err(why @ SecretError::Unusable(_)) => return Err(why),
            Err(why @ SecretError::Unreachable(_)) => why,
        };
        match pauses.next() {
            Some(pause) if start.elapsed() + pause < START => tokio::time::sleep(pause).await,
            _ => return Err(why),
        }
    }
}

#[cfg(test)]
mod tests;
