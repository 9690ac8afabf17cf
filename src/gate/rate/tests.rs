use std::num::NonZeroU32;

use governor::clock::FakeRelativeClock;

use super::*;

fn rate(requests: u32, unit: RateUnit, burst: u32) -> Rate {
    Rate { requests: NonZeroU32::new(requests).unwrap(), unit, burst: NonZeroU32::new(burst).unwrap() }
}

fn limiter(rate: Rate) -> (FakeRelativeClock, Limiter<FakeRelativeClock>) {
    let clock = FakeRelativeClock::default();
    (clock.clone(), Limiter::new(rate, Whose::Address, clock))
}

/// Seconds to wait, or nothing for a request that passes.
fn wait(limiter: &Limiter<FakeRelativeClock>, key: &impl Hash) -> Option<u32> {
    match limiter.count(key) {
        Ok(()) => None,
        Err(Refusal::RateLimited(exceeded)) => Some(exceeded.seconds),
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_burst_passes_and_then_the_rate_and_the_wait_is_exact() {
    let (clock, limiter) = limiter(rate(6, RateUnit::Minute, 3));
    for _ in 0..3 {
        assert_eq!(wait(&limiter, &1), None);
    }
    assert_eq!(wait(&limiter, &1), Some(10));
    clock.advance(Duration::from_millis(3500));
    assert_eq!(wait(&limiter, &1), Some(7), "rounded up");
    clock.advance(Duration::from_millis(6499));
    assert_eq!(wait(&limiter, &1), Some(1), "never zero");
    clock.advance(Duration::from_millis(1));
    assert_eq!(wait(&limiter, &1), None);
    assert_eq!(wait(&limiter, &1), Some(10), "what was refused did not count");
    assert_eq!(wait(&limiter, &2), None, "another caller");
    clock.advance(Duration::from_hours(1));
    let passed = (0..10).filter(|_| wait(&limiter, &1).is_none()).count();
    assert_eq!(passed, 3, "a long pause saves no more than a burst");
}

#[test]
fn a_hundred_thousand_others_neither_free_nor_block_anybody() {
    let (clock, limiter) = limiter(rate(60, RateUnit::Minute, 5));
    for _ in 0..5 {
        assert_eq!(wait(&limiter, &"busy"), None);
    }
    for other in 0..100_000_u32 {
        assert_eq!(wait(&limiter, &other), None, "{other} is refused for what others did");
    }
    assert_eq!(
        wait(&limiter, &"busy"),
        Some(1),
        "a busy caller is not forgotten for those with little to lose"
    );
    clock.advance(Duration::from_secs(1));
    assert_eq!(wait(&limiter, &"busy"), None);
}

#[test]
fn the_table_does_not_grow() {
    let (_, limiter) = limiter(rate(1, RateUnit::Hour, 1));
    let passed = (0..4 * CALLERS).filter(|other| wait(&limiter, other).is_none()).count();
    assert_eq!(passed, 4 * CALLERS, "whoever finds no place is forgotten, not refused");
}

#[test]
fn an_ipv6_network_counts_as_one() {
    let config = crate::config::parse(
        "version: 1\nupstreams: { up: { url: 'http://127.0.0.1:9' } }\nlimits: { per_address: 2/h }\n\
         locations: [{ path: /, access: public, upstream: up, limits: { per_address: 1/h, total: 2/h } }]",
        "test.yaml",
        &crate::config::Environment::empty(),
    );
    let rates = Rates::new(&config.unwrap());
    let at = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(rates.count_address(at("2001:db8::1")).is_ok());
    assert!(rates.count_address(at("2001:db8::2")).is_ok());
    let whose = |outcome: Result<(), Refusal>| match outcome {
        Err(Refusal::RateLimited(exceeded)) => Some(exceeded.whose),
        _ => None,
    };
    assert_eq!(whose(rates.count_address(at("2001:db8::ffff"))), Some(Whose::Address));
    assert_eq!(whose(rates.count_address(at("2001:db8:0:1::1"))), None);
    assert_eq!(whose(rates.count_address(at("::ffff:192.0.2.1"))), None);
    assert_eq!(whose(rates.count_address(at("192.0.2.1"))), None);
    assert_eq!(whose(rates.count_address(at("192.0.2.1"))), Some(Whose::Address), "however it is written");
    let here = |text: &str| whose(rates.count_location(LocationId(0), at(text)));
    assert_eq!(here("192.0.2.1"), None);
    assert_eq!(here("192.0.2.1"), Some(Whose::Address), "which does not count against everybody");
    assert_eq!(here("192.0.2.2"), None);
    assert_eq!(here("192.0.2.3"), Some(Whose::Everybody));
}
