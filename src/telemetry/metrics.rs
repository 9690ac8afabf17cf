//! Counters, gauges and histograms, in the text format of Prometheus
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
//!
//! No label has an unbounded set of values: they are names of configured locations, and words from lists in the code.
//! What every request touches was looked up at the start, so that counting is a few atomic additions.

mod process;
mod source;

use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::outbound::Service;

pub use source::{Kind, Reading, Source};

/// Upper bounds of the histograms in seconds. The upstream's time-outs end at a minute by default.
const BUCKETS: [f64; 18] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    30.0, 60.0,
];
/// The `location` of requests that belong to none. Names of locations begin with `/` or `=`.
const NO_LOCATION: &str = "none";
/// The `status` of requests without an answer, then the classes of status codes.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];

/// Declares the words of a label: an enum with the list of its values and their names.
macro_rules! words {
    ($(#[$about:meta])* $name:ident { $($(#[$what:meta])* $value:ident = $word:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$what])* $value,)+
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$value,)+];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$value => $word,)+
                }
            }
        }
    };
}

words! {
    /// How an outbound call ended.
    CallOutcome {
        /// An answer that is neither of the following.
        Ok = "ok",
        /// Status 4xx.
        ClientError = "client_error",
        /// Status 5xx.
        ServerError = "server_error",
        /// No complete answer.
        Failed = "failed",
    }
}

words! {
    /// How an answer came about; a label of the request counter.
    Outcome {
        /// Forwarded, and answered by the upstream.
        Forwarded = "forwarded",
        /// Answered by the gateway itself.
        Answered = "answered",
        /// Refused.
        Refused = "refused",
        /// Forwarded, but the upstream failed.
        Failed = "failed",
    }
}

words! {
    /// What became of a look at a token.
    TokenLook {
        /// Known to be good.
        Hit = "hit",
        /// Known not to be good.
        Rejected = "rejected",
        /// Unknown; a check began.
        Miss = "miss",
        /// Unknown; another request's check was joined.
        Coalesced = "coalesced",
        /// Unknown, and not checked, because too many of this address were rejected.
        Throttled = "throttled",
    }
}

words! {
    /// What became of a span.
    SpanOutcome {
        /// Sent to the collector.
        Sent = "sent",
        /// There was no room for it.
        Dropped = "dropped",
        /// The collector could not be reached or did not take it.
        Failed = "failed",
    }
}

/// A request that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// Index of its location, when one was found.
    pub location: Option<usize>,
    /// How its answer came about.
    pub outcome: Outcome,
    /// Status of the answer; 0 when there was none.
    pub status: u16,
    /// Step and code of the refusal, if it was refused or failed.
    pub refusal: Option<(&'static str, &'static str)>,
    /// From its head to the end of the answer.
    pub whole: Duration,
    /// What the gateway itself took, look-ups at Google included, up to forwarding or refusing.
    pub gateway: Duration,
    /// From forwarding to the head of the upstream's response, connecting included, when one came.
    pub upstream: Option<Duration>,
}

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    refusals: IntCounterVec,
    per_location: PerLocation,
    elsewhere: AtLocation,
    calls: [[IntCounter; CallOutcome::ALL.len()]; Service::ALL.len()],
    call_seconds: [Histogram; Service::ALL.len()],
    tokens: [IntCounter; TokenLook::ALL.len()],
    spans: [IntCounter; SpanOutcome::ALL.len()],
    connections: IntGauge,
    sources: Mutex<Vec<Box<dyn Source>>>,
}

/// What is counted at the locations of one configuration, in its order.
#[derive(Default)]
pub struct Locations(Vec<AtLocation>);

/// What is counted at one location.
struct AtLocation {
    name: Box<str>,
    /// By outcome and class of status. Most combinations never occur, and get no series.
    requests: [[OnceLock<IntCounter>; CLASSES.len()]; Outcome::ALL.len()],
    whole: Histogram,
    gateway: Histogram,
    upstream: Histogram,
    /// New and reused connections to the upstream.
    connections: [IntCounter; 2],
}

/// What the handles of a location are taken from.
struct PerLocation {
    whole: HistogramVec,
    gateway: HistogramVec,
    upstream: HistogramVec,
    connections: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// All metrics at zero, those of locations aside.
    pub fn new() -> Self {
        let make = Maker(Registry::new());
        let per = PerLocation {
            whole: make.histograms(
                "portcullis_request_duration_seconds",
                "From a request's head to the end of its answer.",
                "location",
            ),
            gateway: make.histograms(
                "portcullis_gateway_duration_seconds",
                "What the gateway itself takes until it forwards, answers or refuses, calls to Google included.",
                "location",
            ),
            upstream: make.histograms(
                "portcullis_upstream_duration_seconds",
                "From forwarding a request to the head of the upstream's response, connecting included.",
                "location",
            ),
            connections: make.counters(
                "portcullis_upstream_connections_total",
                "Connections that requests were forwarded on, new or reused.",
                &["location", "connection"],
            ),
        };
        let requests = make.counters(
            "portcullis_requests_total",
            "Requests by location, how they were answered, and class of status.",
            &["location", "outcome", "status"],
        );
        let refusals = make.counters(
            "portcullis_refusals_total",
            "Requests that were refused or failed, by location, step and code.",
            &["location", "step", "code"],
        );
        // So that the counter is there from the start.
        let _ = refusals.with_label_values(&[NO_LOCATION, "route", "no_location"]);
        let (calls, call_seconds) = make.calls();
        make.build_info();
        Self {
            elsewhere: AtLocation::new(NO_LOCATION, &per, &requests),
            per_location: per,
            requests,
            refusals,
            calls,
            call_seconds,
            tokens: make.token_looks(),
            spans: make.spans(),
            connections: make.gauge("portcullis_connections", "Open connections of callers."),
            sources: Mutex::new(vec![Box::new(process::readings)]),
            registry: make.0,
        }
    }

    /// Counters for the locations of these names, in the order of the configuration. Those of one name are counted
    /// together, and go on from where those of an earlier configuration are.
    pub fn locations<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Locations {
        let at = |name| AtLocation::new(name, &self.per_location, &self.requests);
        Locations(names.into_iter().map(at).collect())
    }

    /// Counts a request that has ended.
    pub fn count_request(&self, locations: &Locations, ended: &Ended) {
        let at = ended.location.and_then(|index| locations.0.get(index)).unwrap_or(&self.elsewhere);
        at.count(ended.outcome, ended.status, &self.requests);
        at.whole.observe(ended.whole.as_secs_f64());
        at.gateway.observe(ended.gateway.as_secs_f64());
        if let Some(upstream) = ended.upstream {
            at.upstream.observe(upstream.as_secs_f64());
        }
        if let Some((step, code)) = ended.refusal {
            self.refusals.with_label_values(&[&at.name, step, code]).inc();
        }
    }

    /// Counts a connection that a location's request is forwarded on.
    pub fn count_upstream_connection(&self, locations: &Locations, location: usize, reused: bool) {
        let at = locations.0.get(location).unwrap_or(&self.elsewhere);
        if let Some(counter) = at.connections.get(usize::from(reused)) {
            counter.inc();
        }
    }

    /// Counts an outbound call.
    pub fn count_call(&self, service: Service, outcome: CallOutcome, took: Duration) {
        if let Some(counter) = self.calls.get(service as usize).and_then(|row| row.get(outcome as usize)) {
            counter.inc();
        }
        if let Some(histogram) = self.call_seconds.get(service as usize) {
            histogram.observe(took.as_secs_f64());
        }
    }

    /// Counts a look at a token.
    pub fn count_token(&self, look: TokenLook) {
        if let Some(counter) = self.tokens.get(look as usize) {
            counter.inc();
        }
    }

    /// Counts spans.
    pub fn count_spans(&self, outcome: SpanOutcome, number: usize) {
        if let Some(counter) = self.spans.get(outcome as usize) {
            counter.inc_by(number as u64);
        }
    }

    /// Open connections of callers.
    pub fn connections(&self) -> &IntGauge {
        &self.connections
    }

    /// Adds somebody who is asked for values whenever the metrics are.
    pub fn add_source(&self, source: impl Source + 'static) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(source));
    }

    /// Everything, as `text/plain; version=0.0.4`.
    pub fn render(&self) -> String {
        let mut families = self.registry.gather();
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        families.extend(source::families(sources.iter().flat_map(|source| source.readings())));
        drop(sources);
        TextEncoder::new().encode_to_string(&families).unwrap_or_else(|error| {
            log::error!("the metrics cannot be written: {error}");
            String::new()
        })
    }
}

impl AtLocation {
    fn new(name: &str, per: &PerLocation, requests: &IntCounterVec) -> Self {
        let connections = |word| per.connections.with_label_values(&[name, word]);
        let at = Self {
            name: name.into(),
            requests: Default::default(),
            whole: per.whole.with_label_values(&[name]),
            gateway: per.gateway.with_label_values(&[name]),
            upstream: per.upstream.with_label_values(&[name]),
            connections: ["new", "reused"].map(connections),
        };
        // What is sure to come starts at zero, so that its first increase shows as one.
        let usual =
            [(Outcome::Forwarded, 2), (Outcome::Answered, 2), (Outcome::Refused, 4), (Outcome::Failed, 5)];
        for (outcome, class) in usual {
            at.counter(outcome, class, requests);
        }
        at
    }

    fn count(&self, outcome: Outcome, status: u16, requests: &IntCounterVec) {
        let class = usize::from(status / 100);
        if let Some(counter) = self.counter(outcome, if class < CLASSES.len() { class } else { 0 }, requests)
        {
            counter.inc();
        }
    }

    fn counter(&self, outcome: Outcome, class: usize, requests: &IntCounterVec) -> Option<&IntCounter> {
        let cell = self.requests.get(outcome as usize)?.get(class)?;
        let word = CLASSES.get(class)?;
        Some(cell.get_or_init(|| requests.with_label_values(&[&*self.name, outcome.name(), word])))
    }
}

/// Makes metrics and registers them.
struct Maker(Registry);

impl Maker {
    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let counters = sound(IntCounterVec::new(Opts::new(name, help), labels));
        sound(self.0.register(Box::new(counters.clone())));
        counters
    }

    fn histograms(&self, name: &str, help: &str, label: &str) -> HistogramVec {
        let options = HistogramOpts::new(name, help).buckets(BUCKETS.to_vec());
        let histograms = sound(HistogramVec::new(options, &[label]));
        sound(self.0.register(Box::new(histograms.clone())));
        histograms
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        let gauge = sound(IntGauge::new(name, help));
        sound(self.0.register(Box::new(gauge.clone())));
        gauge
    }

    fn build_info(&self) {
        let options = Opts::new("portcullis_build_info", "The running version.");
        let gauge = sound(IntGauge::with_opts(options.const_label("version", env!("CARGO_PKG_VERSION"))));
        gauge.set(1);
        sound(self.0.register(Box::new(gauge)));
    }

    fn calls(
        &self,
    ) -> ([[IntCounter; CallOutcome::ALL.len()]; Service::ALL.len()], [Histogram; Service::ALL.len()]) {
        let counters = self.counters(
            "portcullis_outbound_calls_total",
            "Calls to other services by service and outcome.",
            &["service", "outcome"],
        );
        let histograms = self.histograms(
            "portcullis_outbound_duration_seconds",
            "Calls to other services, from connecting to the last byte of the answer.",
            "service",
        );
        let row = |service: Service| {
            each(CallOutcome::ALL, |outcome| counters.with_label_values(&[service.name(), outcome.name()]))
        };
        let histogram = |service: Service| histograms.with_label_values(&[service.name()]);
        (Service::ALL.map(row), Service::ALL.map(histogram))
    }

    fn token_looks(&self) -> [IntCounter; TokenLook::ALL.len()] {
        let help = "Looks at callers' tokens, by what was known of them.";
        let counters = self.counters("portcullis_token_cache_total", help, &["result"]);
        each(TokenLook::ALL, |look| counters.with_label_values(&[look.name()]))
    }

    fn spans(&self) -> [IntCounter; SpanOutcome::ALL.len()] {
        let counters =
            self.counters("portcullis_spans_total", "Spans of traces, by what became of them.", &["outcome"]);
        each(SpanOutcome::ALL, |outcome| counters.with_label_values(&[outcome.name()]))
    }
}

/// One counter for each word, in their order.
fn each<W: Copy, const N: usize>(words: &[W], counter: impl Fn(W) -> IntCounter) -> [IntCounter; N] {
    let mut counters = words.iter().map(|word| counter(*word));
    std::array::from_fn(|_| sound(counters.next().ok_or("fewer words than counters")))
}

/// What can only fail by a mistake in this file, which every test would show.
#[expect(clippy::expect_used, reason = "names and labels are constants of this file")]
fn sound<T, E: std::fmt::Debug>(made: Result<T, E>) -> T {
    made.expect("the metrics are declared soundly")
}

#[cfg(test)]
mod tests;
