//! Which of an upstream's addresses a request connects to.
//!
//! The selection of `pingora-load-balancing` is not used, only its health check: it knows neither names nor the fewest
//! connections, collects what it has tried in a new set for each request, and moves on the counter that all requests
//! share, so that two of them at once may both find only an address that is down.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use pingora::protocols::l4::socket::SocketAddr;

use super::address::{Found, Target};
use crate::config::{Address, Balance};

/// The addresses of an upstream.
pub(super) struct Balancer {
    pub(super) targets: Vec<Arc<Target>>,
    balance: Balance,
    turn: AtomicUsize,
    began: Instant,
}

/// Where a request has tried to connect.
#[derive(Default)]
pub(super) struct Attempts {
    failures: usize,
    /// The targets that failed, as bits.
    tried: u64,
    /// Where it connects now; nothing where there is no choice.
    now: Option<Attempt>,
}

struct Attempt {
    index: usize,
    member: usize,
    found: Arc<Found>,
    busy: Busy,
}

/// Counts as a request under way at a target for as long as it lives.
struct Busy {
    target: Arc<Target>,
    counted: bool,
}

impl Drop for Busy {
    fn drop(&mut self) {
        if self.counted {
            self.target.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Attempts {
    /// The connection was established.
    pub(super) fn reached(&self) {
        if let Some(attempt) = &self.now {
            attempt.busy.target.reached();
        }
    }
}

impl Balancer {
    pub(super) fn new(addresses: &[Address], balance: Balance) -> Self {
        let targets = addresses.iter().map(|address| Arc::new(Target::new(address))).collect();
        Self { targets, balance, turn: AtomicUsize::new(0), began: Instant::now() }
    }

    /// Milliseconds on the balancer's clock; never 0.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX / 2) + 1
    }

    /// The address for a request's next attempt.
    pub(super) async fn next(&self, attempts: &mut Attempts) -> Result<SocketAddr, String> {
        attempts.now = None;
        if let [only] = self.targets.as_slice() {
            let found = only.found().await?;
            if let [address] = found.list.as_slice() {
                return Ok(address.clone());
            }
            return self.attempt(0, only, found, attempts);
        }
        let mut failures = 0;
        loop {
            let index = self.choose(attempts.tried, self.now());
            let target = self.targets.get(index).ok_or("BUG: no such address")?;
            match target.found().await {
                Ok(found) => return self.attempt(index, target, found, attempts),
                Err(why) if failures + 1 >= self.targets.len() => return Err(why),
                Err(why) => target.failed(self.now(), &why),
            }
            failures += 1;
            self.note(index, attempts);
        }
    }

    fn attempt(
        &self,
        index: usize,
        target: &Arc<Target>,
        found: Arc<Found>,
        attempts: &mut Attempts,
    ) -> Result<SocketAddr, String> {
        let (member, address) = found.first();
        let address = address.cloned().ok_or_else(|| format!("{} has no address", target.name()))?;
        let counted = self.balance == Balance::LeastConnections && self.targets.len() > 1;
        if counted {
            target.in_flight.fetch_add(1, Ordering::Relaxed);
        }
        let busy = Busy { target: Arc::clone(target), counted };
        attempts.now = Some(Attempt { index, member, found, busy });
        Ok(address)
    }

    /// The attempt failed; whether another makes sense.
    pub(super) fn failed(&self, attempts: &mut Attempts, why: &dyn fmt::Display) -> bool {
        attempts.failures += 1;
        if let Some(Attempt { index, member, found, busy }) = attempts.now.take() {
            found.pass_on(member);
            if self.targets.len() > 1 {
                busy.target.failed(self.now(), why);
            }
            self.note(index, attempts);
        }
        attempts.failures < self.targets.iter().map(|target| target.members()).sum()
    }

    /// Notes a target as tried; once all are, they begin anew, since a name may have further members.
    fn note(&self, index: usize, attempts: &mut Attempts) {
        attempts.tried |= bit(index);
        if attempts.tried == self.all() {
            attempts.tried = 0;
        }
    }

    /// All targets, as bits.
    fn all(&self) -> u64 {
        (0..self.targets.len()).fold(0, |bits, index| bits | bit(index))
    }

    /// Chooses among the targets that were not tried: those that seem well, and else any, because what is known of
    /// them may have changed, and an attempt costs no more than a refusal.
    fn choose(&self, tried: u64, now: u64) -> usize {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let untried = self.all() & !tried;
        let mut open = 0;
        for (index, target) in self.targets.iter().enumerate() {
            if target.open(now) {
                open |= bit(index) & untried;
            }
        }
        while open != 0 {
            let index = self.pick(open, turn);
            if self.targets.get(index).is_some_and(|target| target.claim(now)) {
                return index;
            }
            open &= !bit(index);
        }
        self.pick(untried, turn)
    }

    /// One of the targets in a set that is not empty.
    fn pick(&self, set: u64, turn: usize) -> usize {
        let count = usize::try_from(set.count_ones()).unwrap_or(1).max(1);
        let members = || (0..self.targets.len()).filter(|index| set & bit(*index) != 0);
        // Both begin at another place each time: the one to be even, the other lest the first win every tie.
        let mut from_turn = members().cycle().skip(turn % count).take(count);
        let picked = match self.balance {
            Balance::RoundRobin => from_turn.next(),
            Balance::LeastConnections => from_turn.min_by_key(|index| {
                self.targets.get(*index).map(|target| target.in_flight.load(Ordering::Relaxed))
            }),
        };
        picked.unwrap_or_default()
    }
}

fn bit(index: usize) -> u64 {
    u32::try_from(index).ok().and_then(|index| 1u64.checked_shl(index)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
