//! How much callers may ask for: rates, connections, streams, and what they may keep waiting.

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

/// Limits of the whole gateway.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests of one identity at all locations together; no limit when absent.
    pub per_identity: Option<Rate>,
    /// Requests of one address, an IPv6 network of 64 bits counting as one; no limit when absent.
    pub per_address: Option<Rate>,
    /// Connections of callers at once; fewer where the process may not open as many files.
    pub connections: usize,
    /// Those of one address; no limit when absent.
    pub connections_per_address: Option<usize>,
    /// Streams at once on one HTTP/2 connection.
    pub streams: u32,
    /// How long an HTTP/1 connection may be without a request, the time in which a head arrives included.
    pub idle: Duration,
    /// How long a caller over HTTP/1 may take for the next piece of a body.
    pub body: Duration,
    /// How long a caller may take to accept the next piece of an answer.
    pub write: Duration,
    /// Bytes of bodies that the gateway itself holds at once.
    pub buffered: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let minute = Duration::from_mins(1);
        Self {
            per_identity: None,
            per_address: None,
            connections: 20_000,
            connections_per_address: None,
            streams: 250,
            idle: minute,
            body: minute,
            write: minute,
            buffered: 256 << 20,
        }
    }
}

/// Rates of one location, besides those of the whole gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocationLimits {
    /// Requests of one identity.
    pub per_identity: Option<Rate>,
    /// Requests of one address.
    pub per_address: Option<Rate>,
    /// Requests of everybody together.
    pub total: Option<Rate>,
}

/// So many requests in a unit of time, in the long run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Requests in each unit.
    pub requests: NonZeroU32,
    /// The unit.
    pub unit: RateUnit,
    /// Most requests at once, after a pause.
    pub burst: NonZeroU32,
}

/// Unit of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateUnit {
    /// `s`
    Second,
    /// `m`
    Minute,
    /// `h`
    Hour,
}

/// As the file has it, without the burst.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            RateUnit::Second => 's',
            RateUnit::Minute => 'm',
            RateUnit::Hour => 'h',
        };
        write!(f, "{}/{unit}", self.requests)
    }
}
