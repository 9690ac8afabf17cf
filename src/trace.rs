//! Ids of requests and traces: `X-Request-Id`, W3C `traceparent`
//! (<https://www.w3.org/TR/trace-context/>) and Google's `X-Cloud-Trace-Context`.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Header that carries the id of a request, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const CLOUD_TRACE: HeaderName = HeaderName::from_static("x-cloud-trace-context");

/// 32 lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HexId([u8; 32]);

impl HexId {
    /// The digits.
    pub fn as_str(&self) -> &str {
        // Only hexadecimal digits are ever stored.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The digits as a header.
    pub fn header(&self) -> HeaderValue {
        HeaderValue::from_str(self.as_str()).unwrap_or_else(|_| HeaderValue::from_static("0"))
    }

    fn of(high: u64, low: u64) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let value = u128::from(high) << 64 | u128::from(low);
        let mut digits = [b'0'; 32];
        for (index, digit) in digits.iter_mut().rev().enumerate() {
            let nibble = usize::try_from(value >> (4 * index) & 0xf).unwrap_or_default();
            *digit = DIGITS.get(nibble).copied().unwrap_or(b'0');
        }
        Self(digits)
    }

    fn parse(text: &str) -> Option<Self> {
        let digits: [u8; 32] = text.as_bytes().try_into().ok()?;
        let valid = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        (valid && digits != [b'0'; 32]).then_some(Self(digits))
    }
}

/// Makes ids that are unique and look random. They are no secrets.
#[derive(Debug, Default)]
pub struct Ids {
    seed: RandomState,
    count: AtomicU64,
}

impl Ids {
    /// The next id.
    pub fn next(&self) -> HexId {
        let count = self.count.fetch_add(1, Relaxed);
        // The low bit keeps the id from being zero, which no trace may be.
        HexId::of(self.seed.hash_one(count), self.seed.hash_one(!count) | 1)
    }
}

/// The trace that a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// Trace id.
    pub id: HexId,
    /// Whether it is sampled.
    pub sampled: bool,
    /// Whether the caller sent a valid `traceparent`, which then passes on unchanged.
    pub received: bool,
}

impl Trace {
    /// The caller's trace or, when there is none, one that has the request's id.
    pub fn of(headers: &HeaderMap, request_id: HexId) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some((id, sampled)) = text(TRACEPARENT).and_then(parse_traceparent) {
            return Self { id, sampled, received: true };
        }
        let (id, sampled) = text(CLOUD_TRACE).and_then(parse_cloud_trace).unwrap_or((request_id, false));
        Self { id, sampled, received: false }
    }

    /// A `traceparent` for the upstream, with a span named after the request.
    pub fn traceparent(&self, request_id: HexId) -> String {
        let span = request_id.as_str().get(16..).unwrap_or("0000000000000001");
        let flags = if self.sampled { "-01" } else { "-00" };
        ["00-", self.id.as_str(), "-", span, flags].concat()
    }
}

/// `00-TRACE-SPAN-FLAGS`; later versions may append more.
fn parse_traceparent(value: &str) -> Option<(HexId, bool)> {
    let mut parts = value.split('-');
    let version = parts.next()?;
    let id = HexId::parse(parts.next()?)?;
    let span = parts.next()?;
    let flags = parts.next().filter(|flags| flags.len() == 2)?;
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let complete = version != "00" || parts.next().is_none();
    let valid = version.len() == 2 && version != "ff" && hex(version) && complete;
    if !valid || span.len() != 16 || !hex(span) || span.bytes().all(|byte| byte == b'0') {
        return None;
    }
    Some((id, u8::from_str_radix(flags, 16).ok()? & 1 == 1))
}

/// `TRACE/SPAN;o=1` (<https://docs.cloud.google.com/trace/docs/trace-context>).
fn parse_cloud_trace(value: &str) -> Option<(HexId, bool)> {
    let (id, rest) = value.split_at_checked(32)?;
    Some((HexId::parse(&id.to_ascii_lowercase())?, rest.ends_with(";o=1")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        headers
    }

    #[test]
    fn ids_differ_and_are_hexadecimal() {
        let ids = Ids::default();
        let (a, b) = (ids.next(), ids.next());
        assert_ne!(a, b);
        assert_eq!(HexId::parse(a.as_str()), Some(a));
        assert_eq!(HexId::of(0x0123_4567_89ab_cdef, 0x10).as_str(), "0123456789abcdef0000000000000010");
    }

    #[test]
    fn a_valid_traceparent_is_kept_and_others_are_replaced() {
        let own = Ids::default().next();
        let good = "00-105445aa7843bc8bf206b12000100000-37aab46b1e5bd440-01";
        let trace = Trace::of(&headers(TRACEPARENT, good), own);
        assert_eq!(
            (trace.id.as_str(), trace.sampled, trace.received),
            ("105445aa7843bc8bf206b12000100000", true, true)
        );
        for bad in [
            "",
            "00-105445aa7843bc8bf206b12000100000-37aab46b1e5bd440",
            "00-00000000000000000000000000000000-37aab46b1e5bd440-01",
            "00-105445aa7843bc8bf206b12000100000-0000000000000000-01",
            "ff-105445aa7843bc8bf206b12000100000-37aab46b1e5bd440-01",
            "00-105445AA7843BC8BF206B12000100000-37aab46b1e5bd440-01",
            "00-105445aa7843bc8bf206b12000100000-37aab46b1e5bd440-01-more",
        ] {
            let trace = Trace::of(&headers(TRACEPARENT, bad), own);
            assert_eq!((trace.id, trace.received), (own, false), "{bad}");
        }
    }

    #[test]
    fn google_s_header_gives_the_trace_when_there_is_no_other() {
        let own = Ids::default().next();
        let value = "105445aa7843bc8bf206b12000100000/4011216790290682944;o=1";
        let trace = Trace::of(&headers(CLOUD_TRACE, value), own);
        assert_eq!(
            (trace.id.as_str(), trace.sampled, trace.received),
            ("105445aa7843bc8bf206b12000100000", true, false)
        );
        assert!(trace.traceparent(own).starts_with("00-105445aa7843bc8bf206b12000100000-"));
        assert!(trace.traceparent(own).ends_with("-01"));
    }
}
