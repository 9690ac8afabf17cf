//! Ids of requests and traces: `X-Request-Id`, W3C `traceparent`
//! (<https://www.w3.org/TR/trace-context/>) and Google's `X-Cloud-Trace-Context`.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::{HeaderMap, HeaderName, HeaderValue};

/// Header that carries the id of a request, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// Further vendors' part of the W3C trace context; nothing without a `traceparent`.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// Google's own trace header.
pub const CLOUD_TRACE: HeaderName = HeaderName::from_static("x-cloud-trace-context");

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

/// 16 lower-case hexadecimal digits, not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanId([u8; 16]);

impl SpanId {
    /// The span of a request itself: the second half of its id.
    pub fn of_request(id: HexId) -> Self {
        Self::half(id.0.last_chunk())
    }

    /// The span of a request's way to the upstream: the first half of its id.
    pub fn of_forwarding(id: HexId) -> Self {
        Self::half(id.0.first_chunk())
    }

    fn half(digits: Option<&[u8; 16]>) -> Self {
        digits
            .filter(|digits| **digits != [b'0'; 16])
            .map_or(Self(*b"0000000000000001"), |digits| Self(*digits))
    }

    /// The digits.
    pub fn as_str(&self) -> &str {
        // Only hexadecimal digits are ever stored.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    fn number(self) -> u64 {
        u64::from_str_radix(self.as_str(), 16).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<Self> {
        let digits: [u8; 16] = text.as_bytes().try_into().ok()?;
        let valid = digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        (valid && digits != [b'0'; 16]).then_some(Self(digits))
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
    /// Whether the caller said if it is sampled.
    pub decided: bool,
    /// Whether the caller sent a valid `traceparent`.
    pub received: bool,
    /// The caller's span.
    pub parent: Option<SpanId>,
    /// Whether spans of ours are recorded, which are then part of what the upstream sees.
    pub recorded: bool,
}

impl Trace {
    /// The caller's trace or, when there is none, one that has the request's id.
    pub fn of(headers: &HeaderMap, request_id: HexId) -> Self {
        let text = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let none = Self {
            id: request_id,
            sampled: false,
            decided: false,
            received: false,
            parent: None,
            recorded: false,
        };
        if let Some((id, parent, sampled)) = text(TRACEPARENT).and_then(parse_traceparent) {
            return Self { id, sampled, decided: true, received: true, parent: Some(parent), ..none };
        }
        let Some((id, parent, sampled)) = text(CLOUD_TRACE).and_then(parse_cloud_trace) else { return none };
        Self { id, sampled: sampled == Some(true), decided: sampled.is_some(), parent, ..none }
    }

    /// Has spans of ours recorded.
    pub fn record(&mut self) {
        (self.sampled, self.recorded) = (true, true);
    }

    /// The half of the id that is random in every trace (W3C Trace Context Level 2, section 3.2.2.3).
    pub fn random_part(&self) -> u64 {
        self.id.as_str().get(16..).and_then(|half| u64::from_str_radix(half, 16).ok()).unwrap_or_default()
    }

    /// The span that log lines belong to: ours, or the caller's when that is what the upstream sees.
    pub fn span(&self, request_id: HexId) -> SpanId {
        let own = SpanId::of_request(request_id);
        if self.passes() { self.parent.unwrap_or(own) } else { own }
    }

    /// A new `traceparent` for the upstream, unless the caller's passes unchanged.
    pub fn traceparent(&self, request_id: HexId) -> Option<String> {
        let flags = if self.sampled { "-01" } else { "-00" };
        let parts = |span: SpanId| ["00-", self.id.as_str(), "-", span.as_str(), flags].concat();
        (!self.passes()).then(|| parts(self.child(request_id)))
    }

    /// A new `X-Cloud-Trace-Context` in place of the caller's, when spans of ours come in between.
    pub fn cloud_trace(&self, request_id: HexId) -> Option<String> {
        let text = || format!("{}/{};o=1", self.id.as_str(), self.child(request_id).number());
        self.recorded.then(text)
    }

    /// Whoever records nothing passes on what came (W3C Trace Context, section 4.3).
    fn passes(&self) -> bool {
        self.received && !self.recorded
    }

    /// What the upstream takes for its parent.
    fn child(&self, request_id: HexId) -> SpanId {
        if self.recorded { SpanId::of_forwarding(request_id) } else { SpanId::of_request(request_id) }
    }
}

/// `00-TRACE-SPAN-FLAGS`; later versions may append more.
fn parse_traceparent(value: &str) -> Option<(HexId, SpanId, bool)> {
    let mut parts = value.split('-');
    let version = parts.next()?;
    let id = HexId::parse(parts.next()?)?;
    let span = SpanId::parse(parts.next()?)?;
    let flags = parts.next().filter(|flags| flags.len() == 2)?;
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let complete = version != "00" || parts.next().is_none();
    let valid = version.len() == 2 && version != "ff" && hex(version) && complete;
    if !valid {
        return None;
    }
    Some((id, span, u8::from_str_radix(flags, 16).ok()? & 1 == 1))
}

/// `TRACE/SPAN;o=1`, the span in decimal, both parts after the trace optional
/// (<https://docs.cloud.google.com/trace/docs/trace-context>).
fn parse_cloud_trace(value: &str) -> Option<(HexId, Option<SpanId>, Option<bool>)> {
    let (id, rest) = value.split_at_checked(32)?;
    let (span, options) =
        rest.split_once(";o=").map_or((rest, None), |(span, options)| (span, Some(options)));
    let span = span.strip_prefix('/').and_then(|span| span.parse::<u64>().ok());
    let span = span.and_then(|span| SpanId::parse(&format!("{span:016x}")));
    Some((HexId::parse(&id.to_ascii_lowercase())?, span, options.map(|options| options == "1")))
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
        assert_eq!(trace.parent.unwrap().as_str(), "37aab46b1e5bd440", "decimal there, hexadecimal here");
        let expected = format!("00-105445aa7843bc8bf206b12000100000-{}-01", SpanId::of_request(own).as_str());
        assert_eq!(trace.traceparent(own), Some(expected));
        for (value, parent, sampled, decided) in [
            ("105445aa7843bc8bf206b12000100000", false, false, false),
            ("105445aa7843bc8bf206b12000100000/7", true, false, false),
            ("105445aa7843bc8bf206b12000100000/7;o=0", true, false, true),
            ("105445aa7843bc8bf206b12000100000;o=1", false, true, true),
            ("105445aa7843bc8bf206b12000100000/x;o=1", false, true, true),
            ("105445aa7843bc8bf206b12000100000/0;o=1", false, true, true),
        ] {
            let trace = Trace::of(&headers(CLOUD_TRACE, value), own);
            let found = (trace.parent.is_some(), trace.sampled, trace.decided);
            assert_eq!(found, (parent, sampled, decided), "{value}");
        }
    }

    #[test]
    fn a_recorded_trace_puts_our_span_between_the_caller_s_and_the_upstream_s() {
        let own = HexId::of(0x1234, 0x5679);
        let value = "00-105445aa7843bc8bf206b12000100000-37aab46b1e5bd440-01";
        let mut trace = Trace::of(&headers(TRACEPARENT, value), own);
        assert_eq!((trace.traceparent(own), trace.cloud_trace(own)), (None, None));
        assert_eq!(trace.span(own).as_str(), "37aab46b1e5bd440");
        trace.record();
        let expected = "00-105445aa7843bc8bf206b12000100000-0000000000001234-01";
        assert_eq!(trace.traceparent(own).as_deref(), Some(expected));
        let expected = format!("105445aa7843bc8bf206b12000100000/{};o=1", 0x1234);
        assert_eq!(trace.cloud_trace(own), Some(expected));
        assert_eq!(trace.span(own).as_str(), "0000000000005679");
        assert_eq!(trace.random_part(), 0xf206_b120_0010_0000);
        assert_eq!(SpanId::of_forwarding(HexId::of(0, 9)).as_str(), "0000000000000001", "never zero");
    }
}
