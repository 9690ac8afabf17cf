//! A bound on what one address can make us ask Google: after too many rejected tokens, unknown ones from
//! that address have to wait. Tokens that are known to be good are not affected.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use pingora_memory_cache::MemoryCache;

use crate::time::UnixTime;

/// Rejected tokens from one address within one window before others from there must wait.
pub(crate) const REJECTIONS: u64 = 60;
/// Length of a window in seconds; also the longest wait.
pub(crate) const WINDOW: u64 = 60;
/// Addresses that are remembered.
const ADDRESSES: usize = 4096;

/// Counts rejected tokens by address.
pub(crate) struct RejectionBudget {
    counters: MemoryCache<IpAddr, Counter>,
}

/// The window's number in the upper half, the count in the lower; with the address, since the cache finds
/// entries by hash.
#[derive(Clone)]
struct Counter {
    address: IpAddr,
    packed: Arc<AtomicU64>,
}

impl RejectionBudget {
    pub(crate) fn new() -> Self {
        Self { counters: MemoryCache::new(ADDRESSES) }
    }

    /// Whether an address has to wait.
    pub(crate) fn is_spent(&self, client: IpAddr, now: UnixTime) -> bool {
        let address = network(client);
        let (counter, _) = self.counters.get(&address);
        counter.is_some_and(|counter| counter.address == address && counter.count(now) >= REJECTIONS)
    }

    /// Counts a rejected token.
    pub(crate) fn spend(&self, client: IpAddr, now: UnixTime) {
        let address = network(client);
        let (known, _) = self.counters.get(&address);
        let counter = known.filter(|counter| counter.address == address).unwrap_or_else(|| {
            let counter = Counter { address, packed: Arc::default() };
            self.counters.put(&address, counter.clone(), None);
            counter
        });
        let window = now.0 / WINDOW;
        // Two threads at the turn of a window may lose a count, which a bound can bear.
        let count = counter.count(now) + 1;
        counter.packed.store(window << 32 | count.min(u64::from(u32::MAX)), Relaxed);
    }
}

impl Counter {
    fn count(&self, now: UnixTime) -> u64 {
        let packed = self.packed.load(Relaxed);
        if packed >> 32 == now.0 / WINDOW { packed & u64::from(u32::MAX) } else { 0 }
    }
}

/// One subscriber commands a whole IPv6 /64.
pub(crate) fn network(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V4(_) => client,
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(address) & (u128::MAX << 64)).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_address_that_spent_its_budget_waits_and_only_until_the_next_window() {
        let budget = RejectionBudget::new();
        let (bad, good): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let now = UnixTime(WINDOW * 1000);
        for _ in 0..REJECTIONS {
            assert!(!budget.is_spent(bad, now));
            budget.spend(bad, now);
        }
        assert!(budget.is_spent(bad, now));
        assert!(!budget.is_spent(good, now));
        assert!(!budget.is_spent(bad, UnixTime(now.0 + WINDOW)));
    }

    #[test]
    fn an_ipv6_network_counts_as_one() {
        let budget = RejectionBudget::new();
        let now = UnixTime(0);
        for host in 0..REJECTIONS {
            budget.spend(format!("2001:db8::{host:x}").parse().unwrap(), now);
        }
        assert!(budget.is_spent("2001:db8::ffff".parse().unwrap(), now));
        assert!(!budget.is_spent("2001:db8:0:1::1".parse().unwrap(), now));
        assert_eq!(network("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }
}
