//! The connections of callers, counted around Pingora's own handling of them.

use std::sync::Arc;

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::Stream;
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use super::Proxy;
use crate::telemetry::metrics::Metrics;

/// Counts the connections that it hands on to the proxy.
pub struct Connections {
    proxy: Arc<HttpProxy<Proxy>>,
    metrics: Arc<Metrics>,
}

impl Connections {
    /// Hands connections on to this proxy.
    pub fn new(proxy: HttpProxy<Proxy>, metrics: Arc<Metrics>) -> Self {
        Self { proxy: Arc::new(proxy), metrics }
    }
}

#[async_trait]
impl ServerApp for Connections {
    /// Between two requests of a connection Pingora takes it back for a moment and hands it over again.
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let _open = Open::new(&self.metrics);
        self.proxy.process_new(stream, shutdown).await
    }

    async fn cleanup(&self) {
        self.proxy.cleanup().await;
    }
}

/// A connection is open for as long as this lives.
struct Open<'a>(&'a Metrics);

impl<'a> Open<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.connections().inc();
        Self(metrics)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections().dec();
    }
}
