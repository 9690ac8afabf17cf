//! What is made from one reading of the configuration. A request takes the present edition when it begins and keeps it to
//! its end, so that a reload changes nothing under it.

use std::sync::Arc;

use super::health::HealthChecks;
use super::peer::Peers;
use crate::config::Config;
use crate::gate::Gate;
use crate::login::CookieNames;
use crate::mint::Mint;
use crate::telemetry::logger::RequestLog;
use crate::telemetry::metrics::{Locations, Metrics};
use crate::telemetry::spans::Spans;

/// The parts of the gateway that follow the configuration.
pub struct Edition {
    pub(super) config: Arc<Config>,
    pub(super) gate: Gate,
    pub(super) mint: Arc<Mint>,
    pub(super) cookies: CookieNames,
    pub(super) peers: Peers,
    pub(super) locations: Locations,
    pub(super) request_log: Option<RequestLog>,
    pub(super) spans: Option<Arc<Spans>>,
}

/// What an edition is put together from. `request_log` is absent in benchmarks, `spans` where traces go nowhere.
pub struct Parts<'a> {
    /// The configuration.
    pub config: Arc<Config>,
    /// Decides by that configuration.
    pub gate: Gate,
    /// Mints for its upstreams.
    pub mint: Arc<Mint>,
    /// Counts, over all editions.
    pub metrics: &'a Metrics,
    /// Writes the lines of requests.
    pub request_log: Option<RequestLog>,
    /// Records spans.
    pub spans: Option<Arc<Spans>>,
}

impl Edition {
    /// Puts the parts together. Upstreams that are the same as in the edition `before` keep what is known of them: their
    /// connections, the condition of their addresses, and the requests under way.
    pub fn new(parts: Parts<'_>, before: Option<&Self>) -> Self {
        let Parts { config, gate, mint, metrics, request_log, spans } = parts;
        Self {
            peers: Peers::new(&config.upstreams, before.map(|before| &before.peers)),
            cookies: CookieNames::of(&config.login.cookie),
            locations: metrics.locations(config.locations.iter().map(|location| location.name.as_str())),
            config,
            gate,
            mint,
            request_log,
            spans,
        }
    }

    /// The configuration.
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// The checks of upstreams, if the configuration wants any.
    pub fn health_checks(&self) -> Option<HealthChecks> {
        self.peers.health_checks()
    }
}
