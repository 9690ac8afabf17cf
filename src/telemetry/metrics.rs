//! Counters, in the text format of Prometheus. No label has an unbounded set of values.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::outbound::Service;

/// How an outbound call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome {
    /// An answer that is neither of the following.
    Ok,
    /// Status 4xx.
    ClientError,
    /// Status 5xx.
    ServerError,
    /// No complete answer.
    Failed,
}

impl CallOutcome {
    const ALL: [Self; 4] = [Self::Ok, Self::ClientError, Self::ServerError, Self::Failed];

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Failed => "failed",
        }
    }
}

/// How an answer came about; the label of the request counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Forwarded, and answered by the upstream.
    Forwarded,
    /// Answered by the gateway itself.
    Answered,
    /// Refused.
    Refused,
    /// Forwarded, but the upstream failed.
    Failed,
}

impl Outcome {
    const ALL: [Self; 4] = [Self::Forwarded, Self::Answered, Self::Refused, Self::Failed];

    fn name(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// All counters of the process.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [AtomicU64; Outcome::ALL.len()],
    calls: [[AtomicU64; CallOutcome::ALL.len()]; Service::ALL.len()],
}

impl Metrics {
    /// Counts a request.
    pub fn count_request(&self, outcome: Outcome) {
        if let Some(counter) = self.requests.get(outcome as usize) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Counts an outbound call.
    pub fn count_call(&self, service: Service, outcome: CallOutcome) {
        if let Some(counter) = self.calls.get(service as usize).and_then(|row| row.get(outcome as usize)) {
            counter.fetch_add(1, Relaxed);
        }
    }

    /// Everything, as `text/plain; version=0.0.4`.
    pub fn render(&self) -> String {
        let mut text = String::new();
        text.push_str("# HELP portcullis_requests_total Requests by how they were answered.\n");
        text.push_str("# TYPE portcullis_requests_total counter\n");
        for (outcome, counter) in Outcome::ALL.iter().zip(&self.requests) {
            let (name, value) = (outcome.name(), counter.load(Relaxed));
            let _ = writeln!(text, "portcullis_requests_total{{outcome=\"{name}\"}} {value}");
        }
        text.push_str(
            "# HELP portcullis_outbound_calls_total Calls to other services by service and outcome.\n",
        );
        text.push_str("# TYPE portcullis_outbound_calls_total counter\n");
        for (service, row) in Service::ALL.iter().zip(&self.calls) {
            for (outcome, counter) in CallOutcome::ALL.iter().zip(row) {
                let (service, outcome, value) = (service.name(), outcome.name(), counter.load(Relaxed));
                let _ = writeln!(
                    text,
                    "portcullis_outbound_calls_total{{service=\"{service}\",outcome=\"{outcome}\"}} {value}"
                );
            }
        }
        text.push_str(
            "# HELP portcullis_build_info The running version.\n# TYPE portcullis_build_info gauge\n",
        );
        let _ = writeln!(text, "portcullis_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION"));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_is_rendered_under_its_own_name() {
        let metrics = Metrics::default();
        metrics.count_request(Outcome::Refused);
        metrics.count_call(Service::Metadata, CallOutcome::Failed);
        metrics.count_call(Service::Metadata, CallOutcome::Failed);
        let text = metrics.render();
        assert!(text.contains("portcullis_requests_total{outcome=\"refused\"} 1\n"), "{text}");
        for service in Service::ALL {
            // Each has a row of its own: the order of the list is that of the type.
            assert_eq!(Service::ALL.get(service as usize), Some(&service));
            assert!(
                text.contains(&format!("{{service=\"{}\",outcome=\"ok\"}} 0\n", service.name())),
                "{text}"
            );
        }
        assert!(text.contains("portcullis_requests_total{outcome=\"forwarded\"} 0\n"), "{text}");
        assert!(
            text.contains("portcullis_outbound_calls_total{service=\"metadata\",outcome=\"failed\"} 2\n"),
            "{text}"
        );
    }
}
