//! One check at a time for each token: whoever asks while it is under way waits for its outcome.
//!
//! Failures are shared like successes, so that a slow failure is not repeated by every waiter. The check is
//! driven by whichever waiter is still there; it ends with the last one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, WeakShared};

use super::cache::Digest;
use super::{Identity, VerifyError};

/// Outcome of a check.
pub(crate) type Outcome = Result<Arc<Identity>, VerifyError>;

/// The checks under way.
#[derive(Clone, Default)]
pub(crate) struct Flights {
    under_way: Arc<Mutex<HashMap<Digest, WeakShared<BoxFuture<'static, Outcome>>>>>,
}

impl Flights {
    /// Joins the check of this token, or starts it; `joined` is told which.
    pub(crate) async fn join<F>(
        &self,
        digest: Digest,
        joined: impl FnOnce(bool),
        check: impl FnOnce() -> F,
    ) -> Outcome
    where
        F: Future<Output = Outcome> + Send + 'static,
    {
        let flight = {
            let mut under_way = self.lock();
            let present = under_way.get(&digest).and_then(WeakShared::upgrade);
            joined(present.is_some());
            match present {
                Some(flight) => flight,
                None => {
                    let landing = Landing { flights: self.clone(), digest };
                    let check = check();
                    let flight = async move {
                        let _landing = landing;
                        check.await
                    };
                    let flight = flight.boxed().shared();
                    if let Some(weak) = flight.downgrade() {
                        under_way.insert(digest, weak);
                    }
                    flight
                }
            }
        };
        flight.await
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, WeakShared<BoxFuture<'static, Outcome>>>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }
}

/// Takes a check off the list when it ends, and when the last waiter goes away.
struct Landing {
    flights: Flights,
    digest: Digest,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.digest);
    }
}

#[cfg(test)]
mod tests;
