//! Wall-clock time as a plain value. Logic takes `now` as a parameter; only [`UnixTime::now`] reads the clock for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// 9999-12-31T23:59:59Z; RFC 3339 has four digits for the year.
const LAST_OF_9999: u64 = 253_402_300_799;

/// Whole seconds since 1970-01-01T00:00:00Z, the unit of `exp` and `iat` (RFC 7519, section 2, NumericDate).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub u64);

impl UnixTime {
    /// The present moment. A clock set before 1970 reads as zero, at which every token has yet to be issued.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since.map_or(0, |elapsed| elapsed.as_secs()))
    }

    /// This moment plus a duration (whole seconds of it), saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }

    /// As RFC 3339 writes it, in UTC: `2023-11-14T22:13:20Z`. What comes after the year 9999 reads as its last second.
    #[must_use]
    pub fn rfc3339(self) -> String {
        let seconds = self.0.min(LAST_OF_9999);
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(seconds)).to_string()
    }

    /// How long from `earlier` until this moment; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(self.0.saturating_sub(earlier.0))
    }
}

/// Nanoseconds since 1970, for when spans of a trace began and ended; no logic depends on them.
#[expect(clippy::disallowed_methods, reason = "a span says when it was")]
pub fn unix_nanoseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |elapsed| u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        assert_eq!(UnixTime(5).since(UnixTime(9)), Duration::ZERO);
        assert_eq!(UnixTime(u64::MAX).plus(Duration::from_secs(1)), UnixTime(u64::MAX));
        assert_eq!(UnixTime(9).since(UnixTime(5)), Duration::from_secs(4));
    }
    #[test]
    fn every_moment_can_be_written() {
        assert_eq!(UnixTime(1_700_000_000).rfc3339(), "2023-11-14T22:13:20Z");
        assert_eq!(UnixTime(0).rfc3339(), "1970-01-01T00:00:00Z");
        assert_eq!(UnixTime(u64::MAX).rfc3339(), "9999-12-31T23:59:59Z");
    }
}
