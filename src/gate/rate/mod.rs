//! Rate limits: how often one address, one identity, and everybody together may ask.
//!
//! The algorithm is GCRA, from `governor`: a bucket that fills evenly, so that `Retry-After` is exact and no window turns
//! over for all at once. An estimate over a window, as in `pingora-limits`, would be smaller still, but it counts the
//! requests of some callers for others. Where callers' states are kept is our own (`table`), because the maps of
//! `governor` grow with the number of callers, which a caller can choose.

mod table;

use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use governor::clock::{Clock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::{Quota, RateLimiter};

use self::table::Table;
use super::location::LocationId;
use super::refusal::Refusal;
use crate::config::{Config, LocationLimits, Rate, RateUnit};
use crate::identity::{Identity, network};

/// Callers whose state is kept for one limit; a power of two. The table takes 2 MiB.
const CALLERS: usize = 1 << 17;

/// All limits of a configuration.
pub(super) struct Rates {
    identity: Option<Limiter>,
    address: Option<Limiter>,
    /// In the order of the configuration's locations.
    locations: Vec<OfLocation>,
}

/// The limits of one location.
struct OfLocation {
    identity: Option<Limiter>,
    address: Option<Limiter>,
    total: Option<Limiter>,
}

/// One limit.
struct Limiter<C: Clock = Monotonic> {
    rate: Rate,
    whose: Whose,
    states: RateLimiter<u64, Table, C, NoOpMiddleware<C::Instant>>,
    /// With a random key, so that nobody can choose addresses that share a state.
    keys: RandomState,
}

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Whose requests it counts.
    pub whose: Whose,
    /// The limit.
    pub rate: Rate,
    /// When the next request is accepted, if there is none before: in so many seconds, at least one.
    pub seconds: u32,
}

/// Whose requests a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of one address.
    Address,
    /// Those of one identity.
    Identity,
    /// Those of everybody at a location.
    Everybody,
}

impl Whose {
    /// In a sentence to the caller.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "your address",
            Self::Identity => "your account",
            Self::Everybody => "this path",
        }
    }
}

/// The process's own time.
struct Monotonic(Instant);

impl Clock for Monotonic {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Rates {
    pub(super) fn new(config: &Config) -> Self {
        let limiter =
            |rate: Option<Rate>, whose| rate.map(|rate| Limiter::new(rate, whose, Monotonic(Instant::now())));
        let of_location = |limits: &LocationLimits| OfLocation {
            identity: limiter(limits.per_identity, Whose::Identity),
            address: limiter(limits.per_address, Whose::Address),
            total: limiter(limits.total, Whose::Everybody),
        };
        Self {
            identity: limiter(config.limits.per_identity, Whose::Identity),
            address: limiter(config.limits.per_address, Whose::Address),
            locations: config.locations.iter().map(|location| of_location(&location.limits)).collect(),
        }
    }

    /// Counts a request of an address, whatever it asks for.
    pub(super) fn count_address(&self, client: IpAddr) -> Result<(), Refusal> {
        self.address.as_ref().map_or(Ok(()), |limiter| limiter.count(&network(client)))
    }

    /// Counts a request at a location, before anybody asks who it is from. What an address is refused does not count
    /// against everybody.
    pub(super) fn count_location(&self, id: LocationId, client: IpAddr) -> Result<(), Refusal> {
        let Some(limits) = self.locations.get(id.0) else { return Ok(()) };
        if let Some(limiter) = &limits.address {
            limiter.count(&network(client))?;
        }
        limits.total.as_ref().map_or(Ok(()), |limiter| limiter.count(&()))
    }

    /// Counts a request of somebody who is allowed at a location.
    pub(super) fn count_identity(&self, id: LocationId, identity: &Identity) -> Result<(), Refusal> {
        let own = self.locations.get(id.0).and_then(|limits| limits.identity.as_ref());
        for limiter in own.into_iter().chain(&self.identity) {
            limiter.count(&identity.email)?;
        }
        Ok(())
    }
}

impl<C: Clock> Limiter<C> {
    fn new(rate: Rate, whose: Whose, clock: C) -> Self {
        let quota = match rate.unit {
            RateUnit::Second => Quota::per_second(rate.requests),
            RateUnit::Minute => Quota::per_minute(rate.requests),
            RateUnit::Hour => Quota::per_hour(rate.requests),
        };
        let callers = match whose {
            Whose::Address | Whose::Identity => CALLERS,
            Whose::Everybody => 1,
        };
        let states = RateLimiter::new(quota.allow_burst(rate.burst), Table::new(callers), clock);
        Self { rate, whose, states, keys: RandomState::new() }
    }

    fn count(&self, key: &impl Hash) -> Result<(), Refusal> {
        self.states.check_key(&self.keys.hash_one(key)).map_err(|until| {
            let now = self.states.clock().now();
            let wait = until.earliest_possible().duration_since(now);
            let seconds = wait.as_u64().div_ceil(1_000_000_000).max(1);
            let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
            Refusal::RateLimited(Exceeded { whose: self.whose, rate: self.rate, seconds })
        })
    }
}

#[cfg(test)]
mod tests;
