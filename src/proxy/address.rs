//! One address of an upstream: what it resolves to, looked up without blocking, and what is known of its condition.

use std::fmt;
use std::net::{IpAddr, SocketAddr as InternetAddress};
use std::os::unix::net::SocketAddr as SocketPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use pingora::protocols::l4::socket::SocketAddr;
use tokio::net::lookup_host;

use crate::config::Address;

/// How long the addresses of a name are used before they are looked up again, which no request waits for.
const FRESH: Duration = Duration::from_secs(30);
/// Limit on one look-up.
const LOOKUP: Duration = Duration::from_secs(5);
/// How long an address is avoided after a failure, in milliseconds. Then one request tries it.
const AVOIDED: u64 = 5000;

/// An address as it is configured.
pub(super) struct Target {
    address: Address,
    found: ArcSwapOption<Found>,
    refreshing: AtomicBool,
    /// When it may be tried again after a failure, in milliseconds on the balancer's clock; 0 when all is well.
    again: AtomicU64,
    /// What the health checks say.
    healthy: AtomicBool,
    /// Requests under way; counted only where connections are balanced by it.
    pub(super) in_flight: AtomicUsize,
}

/// What an address resolves to. The members stand in for one another; they are not balanced, because a name may well
/// have addresses that cannot be reached from here, such as one of IPv6.
pub(super) struct Found {
    pub(super) list: Vec<SocketAddr>,
    /// The member that is used until it fails.
    first: AtomicUsize,
    /// When they were looked up; nothing for what needs no look-up.
    looked_up: Option<Instant>,
}

impl Found {
    fn new(list: Vec<SocketAddr>, looked_up: Option<Instant>, first: usize) -> Arc<Self> {
        Arc::new(Self { list, first: AtomicUsize::new(first), looked_up })
    }

    /// The member to use now, with its number.
    pub(super) fn first(&self) -> (usize, Option<&SocketAddr>) {
        let first = self.first.load(Ordering::Relaxed);
        (first, self.list.get(first))
    }

    /// Goes on to the next member, unless somebody else has already.
    pub(super) fn pass_on(&self, failed: usize) {
        let next = (failed + 1).checked_rem(self.list.len()).unwrap_or_default();
        // When it fails, another member is first by now, which is as good.
        let _ = self.first.compare_exchange(failed, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Target {
    pub(super) fn new(address: &Address) -> Self {
        let known = match address {
            // The configuration has checked that it fits.
            Address::Unix(path) => SocketPath::from_pathname(path).ok().map(SocketAddr::Unix),
            Address::Host(host, port) => {
                let literal = host.parse::<IpAddr>().ok();
                literal.map(|ip| SocketAddr::Inet(InternetAddress::new(ip, *port)))
            }
        };
        Self {
            address: address.clone(),
            found: ArcSwapOption::new(known.map(|address| Found::new(vec![address], None, 0))),
            refreshing: AtomicBool::new(false),
            again: AtomicU64::new(0),
            healthy: AtomicBool::new(true),
            in_flight: AtomicUsize::new(0),
        }
    }

    /// As the configuration writes it.
    pub(super) fn name(&self) -> String {
        match &self.address {
            Address::Unix(path) => format!("unix:{}", path.display()),
            Address::Host(host, port) if host.contains(':') => format!("[{host}]:{port}"),
            Address::Host(host, port) => format!("{host}:{port}"),
        }
    }

    /// How many members are known; one for a name that was not looked up yet.
    pub(super) fn members(&self) -> usize {
        self.found.load().as_ref().map_or(1, |found| found.list.len())
    }

    /// What it resolves to.
    pub(super) async fn found(self: &Arc<Self>) -> Result<Arc<Found>, String> {
        match self.found.load_full() {
            Some(known) => {
                if known.looked_up.is_some_and(|then| then.elapsed() > FRESH) {
                    self.refresh_in_background();
                }
                Ok(known)
            }
            None => self.look_up().await,
        }
    }

    fn refresh_in_background(self: &Arc<Self>) {
        if self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let target = Arc::clone(self);
        // Ends with the look-up, which has a limit.
        tokio::spawn(async move {
            if let Err(why) = target.look_up().await {
                log::warn!("{why}; the addresses known so far are used");
            }
            target.refreshing.store(false, Ordering::Release);
        });
    }

    async fn look_up(&self) -> Result<Arc<Found>, String> {
        let Address::Host(host, port) = &self.address else {
            return Err(format!("{} is no socket", self.name()));
        };
        let list: Vec<SocketAddr> =
            match tokio::time::timeout(LOOKUP, lookup_host((host.as_str(), *port))).await {
                Ok(Ok(addresses)) => addresses.map(SocketAddr::Inet).collect(),
                Ok(Err(error)) => return Err(format!("{host} cannot be looked up: {error}")),
                Err(_) => return Err(format!("{host} was not looked up within {LOOKUP:?}")),
            };
        if list.is_empty() {
            return Err(format!("{host} has no address"));
        }
        // Whoever was found to work goes on being used.
        let before = self.found.load();
        let used = before.as_ref().and_then(|before| before.list.get(before.first().0));
        let first = list.iter().position(|address| Some(address) == used).unwrap_or_default();
        let found = Found::new(list, Some(Instant::now()), first);
        self.found.store(Some(Arc::clone(&found)));
        Ok(found)
    }

    /// Whether it may be used at this time.
    pub(super) fn open(&self, now: u64) -> bool {
        self.healthy.load(Ordering::Relaxed) && self.again.load(Ordering::Relaxed) <= now
    }

    /// Whether this request may use it. After a failure only one request in a while may, so that not all of them
    /// wait for an address that is still down.
    pub(super) fn claim(&self, now: u64) -> bool {
        let again = self.again.load(Ordering::Relaxed);
        let taken = || {
            self.again.compare_exchange(again, now + AVOIDED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        };
        again == 0 || (again <= now && taken())
    }

    /// It could not be reached.
    pub(super) fn failed(&self, now: u64, why: &dyn fmt::Display) {
        if self.again.swap(now + AVOIDED, Ordering::Relaxed) == 0 {
            log::warn!("{} is avoided, because it cannot be reached: {why}", self.name());
        }
    }

    /// It was reached.
    pub(super) fn reached(&self) {
        if self.again.load(Ordering::Relaxed) != 0 && self.again.swap(0, Ordering::Relaxed) != 0 {
            log::info!("{} is reached again", self.name());
        }
    }

    /// What the health checks said last.
    pub(super) fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// What the health checks say of it now. One that is well again is used at once.
    pub(super) fn set_healthy(&self, healthy: bool) {
        self.healthy.store(healthy, Ordering::Relaxed);
        if healthy {
            self.reached();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, port: u16) -> Arc<Target> {
        Arc::new(Target::new(&Address::Host(host.to_owned(), port)))
    }

    #[tokio::test]
    async fn an_address_in_the_configuration_is_used_as_it_is() {
        for (host, port, expected) in [("127.0.0.1", 9, "127.0.0.1:9"), ("::1", 443, "[::1]:443")] {
            let target = target(host, port);
            let found = target.found().await.unwrap();
            assert_eq!(found.list, [SocketAddr::Inet(expected.parse().unwrap())]);
            assert!(found.looked_up.is_none());
            assert_eq!(target.name(), expected);
        }
        let target = Arc::new(Target::new(&Address::Unix("/run/app.sock".into())));
        let path = target.found().await.unwrap().list[0].as_unix().unwrap().as_pathname().unwrap().to_owned();
        assert_eq!((path.to_str(), target.name().as_str()), (Some("/run/app.sock"), "unix:/run/app.sock"));
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_an_error_that_names_it() {
        let said = target("no-such-host.invalid", 80).found().await.err().unwrap();
        assert!(said.contains("no-such-host.invalid"), "{said}");
    }

    #[test]
    fn a_member_is_used_until_it_fails() {
        let list = ["127.0.0.1:1", "127.0.0.1:2"].map(|text| SocketAddr::Inet(text.parse().unwrap()));
        let found = Found::new(list.into(), None, 0);
        found.pass_on(0);
        // A second failure that was under way at the same time does not go back.
        found.pass_on(0);
        assert_eq!(found.first().0, 1);
        found.pass_on(1);
        assert_eq!(found.first().0, 0);
    }

    #[test]
    fn after_a_failure_one_request_in_a_while_tries_again() {
        let target = target("127.0.0.1", 1);
        assert!(target.open(1) && target.claim(1) && target.claim(1));
        target.failed(1, &"refused");
        assert!(!target.open(AVOIDED) && target.open(AVOIDED + 1));
        assert!(target.claim(AVOIDED + 1));
        assert!(!target.open(AVOIDED + 1) && !target.claim(AVOIDED + 1));
        target.reached();
        assert!(target.open(AVOIDED + 1) && target.claim(AVOIDED + 1) && target.claim(AVOIDED + 1));
    }

    #[test]
    fn what_is_not_healthy_is_not_used() {
        let target = target("127.0.0.1", 1);
        target.set_healthy(false);
        assert!(!target.open(1));
        target.failed(1, &"refused");
        target.set_healthy(true);
        assert!(target.open(1));
    }
}
