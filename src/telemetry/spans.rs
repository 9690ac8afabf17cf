//! Spans of traces on their way to a collector: OTLP over HTTP in JSON
//! (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>).
//!
//! A request only appends to a queue with a limit. A task gathers for a moment, sends what is there, and ends when
//! nothing is left, so nothing runs while there are no requests. Where there is no CPU between requests, its pause is
//! over as soon as the next request brings some. What the collector does not take is counted and given up: a second try
//! would need memory just when much is going wrong.

mod encode;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use tokio::sync::Notify;
use url::Url;

use super::logger::RequestLine;
use super::metrics::{Metrics, SpanOutcome};
use crate::outbound::{Call, Outbound, Service};
use crate::trace::{HexId, Trace};

/// Spans that wait at the most; about four megabytes.
const CAPACITY: usize = 4096;
/// Spans in one call.
const BATCH: usize = 512;
/// How long spans are gathered.
const GATHER: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 64 * 1024;

/// Records requests as spans, and sends them.
pub struct Spans {
    shared: Arc<Shared>,
    /// A trace is recorded whose random part is at most this; nothing when none is.
    threshold: Option<u64>,
}

/// A request that has ended, as a span and, where it was forwarded, one below it.
pub struct Recorded<'a> {
    /// What the log says of it.
    pub line: &'a RequestLine<'a>,
    /// Its id, which names the spans.
    pub id: HexId,
    /// The trace it belongs to.
    pub trace: &'a Trace,
    /// How the caller reached us.
    pub https: bool,
    /// The way to the upstream.
    pub forwarding: Option<Forwarding<'a>>,
}

/// The way of a request to the upstream.
pub struct Forwarding<'a> {
    /// Host of the upstream.
    pub host: &'a str,
    /// From the request's head to the beginning of this.
    pub after: Duration,
    /// Status of the upstream's response, if one came.
    pub status: Option<u16>,
}

struct Shared {
    outbound: Arc<Outbound>,
    endpoint: Url,
    queue: Mutex<Queue>,
    /// There is a whole batch.
    full: Notify,
    /// Held while spans are sent, so that a flush waits for what is on its way.
    turn: tokio::sync::Mutex<()>,
    /// Whether the last call failed, so that a lasting outage is told once.
    failing: AtomicBool,
}

#[derive(Default)]
struct Queue {
    /// Each is JSON.
    spans: VecDeque<String>,
    /// Whether the task is under way.
    served: bool,
}

impl Spans {
    /// Sends to this endpoint. `sample` is the share of those traces to record that nobody has decided on.
    pub fn new(outbound: Arc<Outbound>, endpoint: Url, sample: f64) -> Self {
        let shared = Shared {
            outbound,
            endpoint,
            queue: Mutex::default(),
            full: Notify::new(),
            turn: tokio::sync::Mutex::default(),
            failing: AtomicBool::new(false),
        };
        // The conversion saturates, so that 1 is everything.
        let threshold = (sample > 0.0).then_some((sample * u64::MAX as f64) as u64);
        Self { shared: Arc::new(shared), threshold }
    }

    /// Whether a trace is recorded: as the caller has decided, else by its id, on which every instance agrees.
    pub fn wants(&self, trace: &Trace) -> bool {
        if trace.decided {
            return trace.sampled;
        }
        self.threshold.is_some_and(|threshold| trace.random_part() <= threshold)
    }

    /// Takes the spans of a request. Must be called within a runtime.
    pub fn record(&self, recorded: &Recorded<'_>) {
        let spans = encode::spans(recorded);
        let mut queue = self.shared.lock();
        if queue.spans.len() + spans.len() > CAPACITY {
            drop(queue);
            self.shared.count(SpanOutcome::Dropped, spans.len());
            return;
        }
        queue.spans.extend(spans);
        let full = queue.spans.len() >= BATCH;
        let served = std::mem::replace(&mut queue.served, true);
        drop(queue);
        if !served {
            // Ends when the queue is empty.
            tokio::spawn(Arc::clone(&self.shared).serve());
        } else if full {
            self.shared.full.notify_one();
        }
    }

    /// Sends all that is there.
    pub async fn flush(&self) {
        let _turn = self.shared.turn.lock().await;
        while let Some(batch) = self.shared.next() {
            self.shared.send(batch).await;
        }
    }
}

impl Shared {
    async fn serve(self: Arc<Self>) {
        let mut service = Served { shared: &self, over: false };
        loop {
            // Whichever comes first.
            let _ = tokio::time::timeout(GATHER, self.full.notified()).await;
            let turn = self.turn.lock().await;
            while let Some(batch) = self.next() {
                self.send(batch).await;
            }
            drop(turn);
            let mut queue = self.lock();
            if queue.spans.is_empty() {
                queue.served = false;
                service.over = true;
                return;
            }
        }
    }

    /// The next batch, if anything is there.
    fn next(&self) -> Option<Vec<String>> {
        let mut queue = self.lock();
        let number = queue.spans.len().min(BATCH);
        (number > 0).then(|| queue.spans.drain(..number).collect())
    }

    async fn send(&self, batch: Vec<String>) {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let call = Call {
            service: Service::Traces,
            method: Method::POST,
            url: self.endpoint.clone(),
            headers,
            body: Bytes::from(encode::request(&batch)),
            timeout: TIMEOUT,
            max_answer: MAX_ANSWER,
        };
        let failure = match self.outbound.call(call).await {
            Ok(answer) if answer.status.is_success() => None,
            Ok(answer) => Some(format!("the collector answered {}", answer.status.as_u16())),
            Err(error) => Some(error.to_string()),
        };
        self.count(if failure.is_none() { SpanOutcome::Sent } else { SpanOutcome::Failed }, batch.len());
        let failed_before = self.failing.swap(failure.is_some(), Ordering::AcqRel);
        match failure {
            Some(why) if !failed_before => {
                log::warn!("traces are lost until the collector takes them: {why}");
            }
            None if failed_before => log::info!("the collector takes traces again"),
            Some(_) | None => {}
        }
    }

    fn count(&self, outcome: SpanOutcome, number: usize) {
        let metrics: &Metrics = self.outbound.metrics();
        metrics.count_spans(outcome, number);
    }

    /// A thread that panicked while it held the lock leaves whole spans behind.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets another task begin, also when this one is dropped with its runtime.
struct Served<'a> {
    shared: &'a Shared,
    /// It has said so itself.
    over: bool,
}

impl Drop for Served<'_> {
    fn drop(&mut self) {
        if !self.over {
            self.shared.lock().served = false;
        }
    }
}

#[cfg(test)]
mod tests;
