//! The connections of callers, around Pingora's own handling of them: how many there may be, and how long one may stay
//! without asking for anything.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::apps::ServerApp;
use pingora::protocols::{ALPN, Stream};
use pingora::server::ShutdownWatch;
use pingora_proxy::HttpProxy;

use super::Proxy;
use crate::config::Limits;
use crate::identity::network;
use crate::telemetry::metrics::{Metrics, Reading};

/// What a connection of HTTP/2 begins with (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

tokio::task_local! {
    /// The connection whose HTTP/1 requests this task serves. Streams of HTTP/2 have tasks of their own.
    static WATCH: Arc<Watch>;
}

/// Counts and bounds the connections that it hands on to the proxy.
pub struct Connections {
    proxy: Arc<HttpProxy<Proxy>>,
    metrics: Arc<Metrics>,
    idle: Duration,
    places: Arc<Places>,
}

impl Connections {
    /// Hands connections on to this proxy. `most` is the limit on them, which may be lower than the configured one.
    pub fn new(proxy: HttpProxy<Proxy>, metrics: Arc<Metrics>, limits: &Limits, most: usize) -> Self {
        let places = Arc::new(Places {
            most,
            most_per_address: limits.connections_per_address,
            taken: AtomicUsize::new(0),
            by_address: Mutex::default(),
            refused: AtomicU64::new(0),
        });
        let counted = Arc::clone(&places);
        metrics.add_source(move || {
            vec![Reading::counter(
                "portcullis_connections_refused_total",
                "Connections that were closed at once, because there were as many as may be.",
                counted.refused.load(Ordering::Relaxed) as f64,
            )]
        });
        Self { proxy: Arc::new(proxy), metrics, idle: limits.idle, places }
    }

    /// Serves a connection, after a first look at what it speaks: Pingora's own look waits for ever.
    async fn serve(&self, mut stream: Stream, shutdown: &ShutdownWatch, watch: &Watch) -> Option<Stream> {
        let mut first = [0; PREFACE.len()];
        // Does nothing with TLS, where the handshake said what it speaks.
        stream.try_peek(&mut first).await.ok()?;
        if first == *PREFACE || matches!(stream.selected_alpn_proto(), Some(ALPN::H2)) {
            // From here on Pingora has a limit of its own.
            watch.requests.fetch_add(1, Ordering::AcqRel);
        }
        self.proxy.process_new(stream, shutdown).await
    }
}

#[async_trait]
impl ServerApp for Connections {
    /// Between two requests of a connection Pingora takes it back for a moment and hands it over again.
    async fn process_new(self: &Arc<Self>, stream: Stream, shutdown: &ShutdownWatch) -> Option<Stream> {
        let peer = stream.get_socket_digest().and_then(|digest| Some(digest.peer_addr()?.as_inet()?.ip()));
        let _place = self.places.take(peer)?;
        let _open = Open::new(&self.metrics);
        let watch = Arc::new(Watch::new());
        tokio::select! {
            stream = WATCH.scope(Arc::clone(&watch), self.serve(stream, shutdown, &watch)) => stream,
            () = watch.expires(self.idle) => None,
        }
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

/// How many connections there are, and may be.
struct Places {
    most: usize,
    most_per_address: Option<usize>,
    taken: AtomicUsize,
    /// Addresses with connections, where they are limited; no more entries than connections.
    by_address: Mutex<HashMap<IpAddr, usize>>,
    refused: AtomicU64,
}

/// A connection's place; free again when the value is dropped.
struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

impl Places {
    fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Option<Place> {
        let before = self.taken.fetch_add(1, Ordering::AcqRel);
        let mut place = Place { places: Arc::clone(self), address: None };
        let room = before < self.most;
        if room && let Some((most, peer)) = self.most_per_address.zip(peer) {
            let address = network(peer);
            let mut counts = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.get(&address).copied().unwrap_or_default();
            if count < most {
                counts.insert(address, count + 1);
                place.address = Some(address);
                return Some(place);
            }
        } else if room {
            return Some(place);
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.taken.fetch_sub(1, Ordering::AcqRel);
        let Some(address) = self.address else { return };
        let mut counts = self.places.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&address) {
            Some(count) if *count > 1 => *count -= 1,
            Some(_) | None => drop(counts.remove(&address)),
        }
    }
}

/// Since when an HTTP/1 connection has been without a request. The time in which a head arrives belongs to it: who sends
/// a byte now and then is not asking for anything.
struct Watch {
    began: Instant,
    requests: AtomicUsize,
    /// Milliseconds after `began`.
    idle_since: AtomicU64,
}

/// A request is under way on a connection for as long as this lives.
pub(super) struct Busy(Arc<Watch>);

impl Busy {
    /// A request of the connection that this task serves; nothing where that is one of HTTP/2.
    pub(super) fn now() -> Option<Self> {
        let watch = WATCH.try_with(Arc::clone).ok()?;
        watch.requests.fetch_add(1, Ordering::AcqRel);
        Some(Self(watch))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.idle_since.store(self.0.age(), Ordering::Release);
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Watch {
    fn new() -> Self {
        Self { began: Instant::now(), requests: AtomicUsize::new(0), idle_since: AtomicU64::new(0) }
    }

    fn age(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Ends when there was no request for so long. Wakes up once in that time, however many requests there are.
    async fn expires(&self, idle: Duration) {
        loop {
            let since =
                Duration::from_millis(self.age().saturating_sub(self.idle_since.load(Ordering::Acquire)));
            let busy = self.requests.load(Ordering::Acquire) > 0;
            let left = if busy { idle } else { idle.saturating_sub(since) };
            if left.is_zero() {
                return;
            }
            tokio::time::sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(most: usize, most_per_address: Option<usize>) -> Arc<Places> {
        Arc::new(Places {
            most,
            most_per_address,
            taken: AtomicUsize::new(0),
            by_address: Mutex::default(),
            refused: AtomicU64::new(0),
        })
    }

    #[test]
    fn places_come_back() {
        let places = places(2, None);
        let first = places.take(None).unwrap();
        let _second = places.take(None).unwrap();
        assert!(places.take(None).is_none() && places.take(None).is_none());
        assert_eq!(places.refused.load(Ordering::Relaxed), 2);
        drop(first);
        assert!(places.take(None).is_some());
    }

    #[test]
    fn an_address_has_places_of_its_own_and_leaves_nothing_behind() {
        let places = places(10, Some(1));
        let at = |text: &str| places.take(Some(text.parse().unwrap()));
        let held = at("2001:db8::1").unwrap();
        assert!(at("2001:db8::2").is_none(), "the same network");
        assert!(at("192.0.2.1").is_some());
        drop(held);
        assert!(at("2001:db8::2").is_some());
        assert!(places.by_address.lock().unwrap().is_empty());
        assert_eq!(places.taken.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_under_way_keeps_its_connection() {
        let watch = Arc::new(Watch::new());
        let busy = WATCH.scope(Arc::clone(&watch), async { Busy::now().unwrap() }).await;
        let idle = Duration::from_millis(50);
        assert!(tokio::time::timeout(idle * 20, watch.expires(idle)).await.is_err());
        drop(busy);
        assert!(Busy::now().is_none(), "outside of a connection there is none");
    }
}
