//! Where an upstream is: its addresses, looked up without blocking, and the connection's settings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use http::HeaderValue;
use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorType};
use tokio::net::lookup_host;
use url::{Host, Url};

use super::upgrade::UpgradeConnector;
use crate::config::{Location, Protocol, Timeouts, Upstream};

/// How long addresses are used before they are looked up again, which no request waits for.
const FRESH: Duration = Duration::from_secs(30);
/// Limit on one look-up.
const LOOKUP: Duration = Duration::from_secs(5);
/// Requests at once on one HTTP/2 connection to an upstream; Cloud Run's own limit.
const H2_STREAMS: usize = 100;

/// All upstreams, in the order of the configuration.
pub(super) struct Peers(Vec<Arc<Peer>>);

struct Peer {
    /// `Host` of requests to it.
    authority: HeaderValue,
    host: String,
    port: u16,
    tls: bool,
    protocol: Protocol,
    addresses: ArcSwapOption<Addresses>,
    refreshing: AtomicBool,
}

struct Addresses {
    list: Vec<SocketAddr>,
    /// When they were looked up; nothing for an address that was written in the configuration.
    found: Option<Instant>,
}

impl Peers {
    pub(super) fn new(upstreams: &[Upstream]) -> Self {
        Self(upstreams.iter().map(|upstream| Arc::new(Peer::new(upstream))).collect())
    }

    /// The peer for a request. `tries` are the connections to it that failed.
    pub(super) async fn peer(
        &self,
        location: &Location,
        upgrade: bool,
        tries: usize,
    ) -> Result<Box<HttpPeer>, String> {
        let peer = self.0.get(location.upstream).ok_or("BUG: no such upstream")?;
        let addresses = peer.addresses().await?;
        let index = tries.checked_rem(addresses.list.len()).unwrap_or_default();
        let address = addresses.list.get(index).ok_or_else(|| format!("{} has no address", peer.host))?;
        Ok(Box::new(peer.http_peer(*address, upgrade, &location.timeouts)))
    }

    /// `Host` of requests to a location's upstream.
    pub(super) fn authority(&self, location: &Location) -> pingora::Result<HeaderValue> {
        let peer = self.0.get(location.upstream);
        let peer = peer.ok_or_else(|| Error::explain(ErrorType::InternalError, "BUG: no such upstream"))?;
        Ok(peer.authority.clone())
    }

    /// How many addresses are known of a location's upstream.
    pub(super) fn addresses(&self, location: &Location) -> usize {
        let known = self.0.get(location.upstream).and_then(|peer| peer.addresses.load_full());
        known.map_or(0, |addresses| addresses.list.len())
    }
}

impl Peer {
    fn new(upstream: &Upstream) -> Self {
        let url = &upstream.url;
        let port = url.port_or_known_default().unwrap_or(80);
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(SocketAddr::from((address, port))),
            Some(Host::Ipv6(address)) => Some(SocketAddr::from((address, port))),
            Some(Host::Domain(_)) | None => None,
        };
        let known = literal.map(|address| Arc::new(Addresses { list: vec![address], found: None }));
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        Self {
            authority: authority(url),
            host: host.to_owned(),
            port,
            tls: url.scheme() == "https",
            protocol: upstream.protocol,
            addresses: ArcSwapOption::new(known),
            refreshing: AtomicBool::new(false),
        }
    }

    async fn addresses(self: &Arc<Self>) -> Result<Arc<Addresses>, String> {
        match self.addresses.load_full() {
            Some(known) => {
                if known.found.is_some_and(|found| found.elapsed() > FRESH) {
                    self.refresh_in_background();
                }
                Ok(known)
            }
            None => self.look_up().await,
        }
    }

    fn refresh_in_background(self: &Arc<Self>) {
        if self.refreshing.swap(true, Ordering::AcqRel) {
            return;
        }
        let peer = Arc::clone(self);
        tokio::spawn(async move {
            if let Err(why) = peer.look_up().await {
                log::warn!("{why}; the addresses known so far are used");
            }
            peer.refreshing.store(false, Ordering::Release);
        });
    }

    async fn look_up(&self) -> Result<Arc<Addresses>, String> {
        let host = (self.host.as_str(), self.port);
        let found = tokio::time::timeout(LOOKUP, lookup_host(host)).await;
        let list: Vec<SocketAddr> = match found {
            Ok(Ok(addresses)) => addresses.collect(),
            Ok(Err(error)) => return Err(format!("{} cannot be looked up: {error}", self.host)),
            Err(_) => return Err(format!("{} was not looked up within {LOOKUP:?}", self.host)),
        };
        if list.is_empty() {
            return Err(format!("{} has no address", self.host));
        }
        let addresses = Arc::new(Addresses { list, found: Some(Instant::now()) });
        self.addresses.store(Some(Arc::clone(&addresses)));
        Ok(addresses)
    }

    fn http_peer(&self, address: SocketAddr, upgrade: bool, timeouts: &Timeouts) -> HttpPeer {
        let mut peer = HttpPeer::new(address, self.tls, self.host.clone());
        let options = &mut peer.options;
        options.connection_timeout = Some(timeouts.connect);
        options.total_connection_timeout = Some(timeouts.connect);
        options.read_timeout = Some(timeouts.read);
        options.write_timeout = Some(timeouts.write);
        options.idle_timeout = Some(timeouts.idle);
        options.max_h2_streams = H2_STREAMS;
        if upgrade {
            options.custom_l4 = Some(Arc::new(UpgradeConnector(timeouts.connect)));
            // Such a connection is of no use to other requests, so it has a pool of its own and leaves it at once.
            options.idle_timeout = Some(Duration::ZERO);
            peer.group_key = 1;
        }
        let options = &mut peer.options;
        options.alpn = match self.protocol {
            // WebSockets start as an upgrade of HTTP/1.1.
            _ if upgrade => ALPN::H1,
            Protocol::Auto if self.tls => ALPN::H2H1,
            Protocol::Auto | Protocol::Http1 => ALPN::H1,
            Protocol::Http2 => ALPN::H2,
        };
        peer
    }
}

/// Host and, where it is not the scheme's own, port.
fn authority(url: &Url) -> HeaderValue {
    let host = url.host_str().unwrap_or_default();
    let text = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    // A URL's host is ASCII: names are punycoded.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_keeps_a_port_that_is_not_the_scheme_s() {
        let authority = |url: &str| authority(&url.parse().unwrap());
        assert_eq!(authority("https://up.example"), "up.example");
        assert_eq!(authority("https://up.example:443"), "up.example");
        assert_eq!(authority("http://up.example:8080"), "up.example:8080");
        assert_eq!(authority("http://[::1]:80"), "[::1]");
    }

    fn upstream(url: &str, protocol: Protocol) -> Upstream {
        Upstream {
            name: "up".to_owned(),
            url: url.parse().unwrap(),
            audience: None,
            token_header: http::HeaderName::from_static("x-serverless-authorization"),
            protocol,
            timeouts: TIMEOUTS,
        }
    }

    const TIMEOUTS: Timeouts = Timeouts {
        connect: Duration::from_secs(1),
        read: Duration::from_secs(2),
        write: Duration::from_secs(3),
        idle: Duration::from_secs(4),
    };

    fn alpn(url: &str, protocol: Protocol, upgrade: bool) -> ALPN {
        let peer = Peer::new(&upstream(url, protocol));
        peer.http_peer("127.0.0.1:1".parse().unwrap(), upgrade, &TIMEOUTS).options.alpn
    }

    #[test]
    fn the_version_of_http_follows_scheme_setting_and_upgrade() {
        assert_eq!(alpn("https://a.example", Protocol::Auto, false), ALPN::H2H1);
        assert_eq!(alpn("https://a.example", Protocol::Auto, true), ALPN::H1);
        assert_eq!(alpn("http://a.example", Protocol::Auto, false), ALPN::H1);
        assert_eq!(alpn("https://a.example", Protocol::Http1, false), ALPN::H1);
        assert_eq!(alpn("http://a.example", Protocol::Http2, false), ALPN::H2);
    }

    #[tokio::test]
    async fn an_address_in_the_configuration_is_used_as_it_is() {
        for (url, expected) in [("http://127.0.0.1:9", "127.0.0.1:9"), ("https://[::1]", "[::1]:443")] {
            let peer = Arc::new(Peer::new(&upstream(url, Protocol::Auto)));
            let addresses = peer.addresses().await.unwrap();
            assert_eq!(addresses.list, [expected.parse().unwrap()]);
            assert!(addresses.found.is_none());
        }
    }

    #[tokio::test]
    async fn a_name_without_an_address_is_an_error_that_names_it() {
        let peer = Arc::new(Peer::new(&upstream("http://no-such-host.invalid", Protocol::Auto)));
        assert!(peer.addresses().await.err().unwrap().contains("no-such-host.invalid"));
    }
}
