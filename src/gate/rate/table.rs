//! The states of callers under one limit, in a table whose size is fixed.
//!
//! A state is one number: when the caller's bucket will be full again. One in the past says nothing that is not true of
//! somebody unknown as well, so the oldest of a few is the one to forget. Only when more callers are busy at once than
//! the table has places is something lost: the one with the least on its account starts anew. Nobody is ever refused for
//! what others did.

use std::sync::{Mutex, PoisonError};

use governor::nanos::Nanos;
use governor::state::StateStore;

/// Places among which a caller has its own.
const WAYS: usize = 8;

/// One caller.
#[derive(Clone, Copy, Default)]
struct State {
    /// A hash under a random key. Of two callers with the same one, which do not occur, both would count as one.
    caller: u64,
    full_at: Nanos,
}

/// States of up to a number of callers.
pub(super) struct Table {
    sets: Box<[Mutex<[State; WAYS]>]>,
}

impl Table {
    pub(super) fn new(callers: usize) -> Self {
        Self { sets: (0..callers.div_ceil(WAYS)).map(|_| Mutex::default()).collect() }
    }
}

impl StateStore for Table {
    type Key = u64;

    fn measure_and_replace<T, F, E>(&self, key: &u64, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let index = usize::try_from(*key).unwrap_or_default() % self.sets.len().max(1);
        let Some(set) = self.sets.get(index) else { return decide(None).map(|(outcome, _)| outcome) };
        let mut states = set.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = states.iter_mut().find(|state| state.caller == *key) {
            let (outcome, full_at) = decide(Some(known.full_at))?;
            known.full_at = full_at;
            return Ok(outcome);
        }
        let (outcome, full_at) = decide(None)?;
        if let Some(oldest) = states.iter_mut().min_by_key(|state| state.full_at) {
            *oldest = State { caller: *key, full_at };
        }
        Ok(outcome)
    }
}
