//! How an upstream is reached: the settings of connections to it, TLS included.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use pingora::protocols::ALPN;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::tls::CaType;
use pingora::upstreams::peer::HttpPeer;
use pingora::utils::tls::{CertKey, WrappedX509, parse_x509};
use pingora::{Error, ErrorType};
use rustls::pki_types::CertificateDer;
use url::Url;

use super::balance::{Attempts, Balancer};
use super::health::HealthChecks;
use super::limit::Limit;
use super::upgrade::UpgradeConnector;
use crate::config::{HealthCheck, Location, Protocol, Timeouts, Upstream};

/// Requests at once on one HTTP/2 connection to an upstream; Cloud Run's own limit.
const H2_STREAMS: usize = 100;

/// All upstreams, in the order of the configuration.
pub(super) struct Peers {
    list: Vec<Arc<Peer>>,
    /// The next number of a group of connections; none is given twice while the process runs.
    next_group: u64,
}

/// An upstream.
pub(super) struct Peer {
    pub(super) name: String,
    /// `Host` of requests to it.
    pub(super) authority: HeaderValue,
    pub(super) balancer: Balancer,
    pub(super) protocol: Protocol,
    pub(super) health_check: Option<HealthCheck>,
    pub(super) tls: bool,
    limit: Option<Limit>,
    /// The name to ask for and to be certified. Never empty: then nothing would be verified.
    server_name: String,
    ca: Option<Arc<CaType>>,
    certificate: Option<Arc<CertKey>>,
    /// Keeps its connections to itself: that an authority of one upstream has certified a connection means nothing to
    /// another, and Pingora's pool does not look at authorities.
    group: u64,
    /// What it was made from.
    upstream: Upstream,
}

impl Peers {
    /// Those of these upstreams. One that is as it was in `before` stays what it is, and one that is still reached in the
    /// same way keeps at least its connections.
    pub(super) fn new(upstreams: &[Upstream], before: Option<&Self>) -> Self {
        let known = before.map(|before| before.list.as_slice()).unwrap_or_default();
        let mut next_group = before.map_or(0, |before| before.next_group);
        let mut list = Vec::new();
        for upstream in upstreams {
            if let Some(same) = known.iter().find(|peer| is_same(&peer.upstream, upstream)) {
                list.push(Arc::clone(same));
                continue;
            }
            let alike = known.iter().find(|peer| is_reached_alike(&peer.upstream, upstream));
            let group = alike.map_or(next_group, |peer| peer.group);
            next_group = next_group.max(group + 1);
            list.push(Arc::new(Peer::new(upstream, group)));
        }
        Self { list, next_group }
    }

    fn of(&self, location: &Location) -> Result<&Arc<Peer>, &'static str> {
        self.list.get(location.upstream).ok_or("BUG: no such upstream")
    }

    /// The peer for a request's next attempt.
    pub(super) async fn peer(
        &self,
        location: &Location,
        upgrade: bool,
        attempts: &mut Attempts,
    ) -> Result<Box<HttpPeer>, String> {
        let peer = self.of(location)?;
        let address = peer.balancer.next(attempts).await?;
        Ok(Box::new(peer.http_peer(address, upgrade, &location.timeouts)))
    }

    /// `Host` of requests to a location's upstream.
    pub(super) fn authority(&self, location: &Location) -> pingora::Result<HeaderValue> {
        let peer = self.of(location).map_err(|why| Error::explain(ErrorType::InternalError, why))?;
        Ok(peer.authority.clone())
    }

    /// An attempt to connect failed; whether another makes sense.
    pub(super) fn failed(&self, location: &Location, attempts: &mut Attempts, why: &Error) -> bool {
        self.of(location).is_ok_and(|peer| peer.balancer.failed(attempts, why))
    }

    /// The bound on requests under way at a location's upstream.
    pub(super) fn limit(&self, location: &Location) -> Option<&Limit> {
        self.of(location).ok()?.limit.as_ref()
    }

    pub(super) fn health_checks(&self) -> Option<HealthChecks> {
        HealthChecks::of(&self.list)
    }
}

impl Peer {
    fn new(upstream: &Upstream, group: u64) -> Self {
        let url = &upstream.url;
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let tls = &upstream.tls;
        let ca: Arc<CaType> = tls.ca.iter().map(certificate).collect();
        let client = tls.client.as_ref().map(|client| {
            let chain = client.chain.iter().map(|one| one.to_vec()).collect();
            Arc::new(CertKey::new(chain, client.key.secret_der().to_vec()))
        });
        Self {
            name: upstream.name.clone(),
            authority: authority(url),
            balancer: Balancer::new(&upstream.addresses, upstream.balance),
            protocol: upstream.protocol,
            health_check: upstream.health_check.clone(),
            tls: url.scheme() == "https",
            limit: upstream.limit.map(Limit::new),
            server_name: tls.server_name.clone().unwrap_or_else(|| host.to_owned()),
            ca: (!ca.is_empty()).then_some(ca),
            certificate: client,
            group,
            upstream: upstream.clone(),
        }
    }

    pub(super) fn http_peer(&self, address: SocketAddr, upgrade: bool, timeouts: &Timeouts) -> HttpPeer {
        // Pingora makes peers for internet addresses and for paths only; the address is put in afterwards.
        let mut peer = HttpPeer::new((Ipv4Addr::UNSPECIFIED, 1), self.tls, self.server_name.clone());
        peer._address = address;
        peer.client_cert_key.clone_from(&self.certificate);
        peer.group_key = 2 * self.group;
        let options = &mut peer.options;
        options.ca.clone_from(&self.ca);
        options.connection_timeout = Some(timeouts.connect);
        options.total_connection_timeout = Some(timeouts.connect);
        options.read_timeout = Some(timeouts.read);
        options.write_timeout = Some(timeouts.write);
        options.idle_timeout = Some(timeouts.idle);
        options.max_h2_streams = H2_STREAMS;
        options.alpn = match self.protocol {
            // WebSockets start as an upgrade of HTTP/1.1.
            _ if upgrade => ALPN::H1,
            Protocol::Auto if self.tls => ALPN::H2H1,
            Protocol::Auto | Protocol::Http1 => ALPN::H1,
            Protocol::Http2 => ALPN::H2,
        };
        if upgrade {
            options.custom_l4 = Some(Arc::new(UpgradeConnector(timeouts.connect)));
            // Such a connection is of no use to other requests, so it has a pool of its own and leaves it at once.
            options.idle_timeout = Some(Duration::ZERO);
            peer.group_key += 1;
        }
        peer
    }
}

/// Whether two upstreams are the same as far as a peer is concerned. All is named, so that what is new is decided on.
fn is_same(one: &Upstream, other: &Upstream) -> bool {
    let Upstream {
        name: _,
        url: _,
        tls: _,
        audience: _,
        token_header: _,
        timeouts: _,
        protocol,
        addresses,
        balance,
        health_check,
        limit,
    } = one;
    is_reached_alike(one, other)
        && *protocol == other.protocol
        && *addresses == other.addresses
        && *balance == other.balance
        && *health_check == other.health_check
        && *limit == other.limit
}

/// Whether a connection for one may be used for the other. Pingora itself looks at the address and the name in TLS.
fn is_reached_alike(one: &Upstream, other: &Upstream) -> bool {
    one.name == other.name && one.url == other.url && one.tls == other.tls
}

/// A certificate as Pingora keeps it. The configuration has parsed it with the same parser, which does not return here
/// from what it cannot read.
fn certificate(der: &CertificateDer<'static>) -> WrappedX509 {
    WrappedX509::new(der.to_vec(), parse_x509)
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
    use pingora::upstreams::peer::Peer as _;

    use super::*;
    use crate::config::Environment;

    #[test]
    fn the_authority_keeps_a_port_that_is_not_the_scheme_s() {
        let authority = |url: &str| authority(&url.parse().unwrap());
        assert_eq!(authority("https://up.example"), "up.example");
        assert_eq!(authority("https://up.example:443"), "up.example");
        assert_eq!(authority("http://up.example:8080"), "up.example:8080");
        assert_eq!(authority("http://[::1]:80"), "[::1]");
    }

    fn peer(url: &str, more: &str, group: u64) -> Peer {
        let text = format!(
            "version: 1\nupstreams: {{ up: {{ url: '{url}'{more} }} }}\n\
             locations: [{{ path: /, access: public, upstream: up }}]"
        );
        let config = crate::config::parse(&text, "test.yaml", &Environment::empty()).unwrap();
        Peer::new(&config.upstreams[0], group)
    }

    fn address() -> SocketAddr {
        SocketAddr::Inet(([127, 0, 0, 1], 1).into())
    }

    const TIMEOUTS: Timeouts = Timeouts {
        connect: Duration::from_secs(1),
        read: Duration::from_secs(2),
        write: Duration::from_secs(3),
        idle: Duration::from_secs(4),
    };

    fn alpn(url: &str, protocol: &str, upgrade: bool) -> ALPN {
        let peer = peer(url, &format!(", protocol: {protocol}"), 0);
        peer.http_peer(address(), upgrade, &TIMEOUTS).options.alpn
    }

    #[test]
    fn the_version_of_http_follows_scheme_setting_and_upgrade() {
        assert_eq!(alpn("https://a.example", "auto", false), ALPN::H2H1);
        assert_eq!(alpn("https://a.example", "auto", true), ALPN::H1);
        assert_eq!(alpn("http://a.example", "auto", false), ALPN::H1);
        assert_eq!(alpn("https://a.example", "http1", false), ALPN::H1);
        assert_eq!(alpn("http://a.example", "http2", false), ALPN::H2);
    }

    #[test]
    fn connections_are_shared_with_no_other_upstream_and_with_no_upgrade() {
        let (one, other) = (peer("https://a.example", "", 0), peer("https://a.example", "", 1));
        let hash = |peer: &Peer, upgrade| peer.http_peer(address(), upgrade, &TIMEOUTS).reuse_hash();
        let mut hashes = vec![hash(&one, false), hash(&one, true), hash(&other, false), hash(&other, true)];
        assert_eq!(hashes[0], hash(&one, false));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 4);
    }

    fn upstreams(text: &str) -> Vec<Upstream> {
        let names = ["a", "b"].into_iter().filter(|name| text.contains(&format!("{name}: ")));
        let locations: Vec<_> =
            names.map(|name| format!("{{ path: /{name}, access: public, upstream: {name} }}")).collect();
        let text = format!("version: 1\nupstreams: {{ {text} }}\nlocations: [{}]", locations.join(", "));
        crate::config::parse(&text, "test.yaml", &Environment::empty()).unwrap().upstreams
    }

    #[test]
    fn what_is_the_same_after_a_reload_stays_and_no_group_is_given_twice() {
        let (one, two) = ("a: { url: 'https://a.example' }", "b: { url: 'https://b.example' }");
        let first = Peers::new(&upstreams(&format!("{one}, {two}")), None);
        let groups = |peers: &Peers| peers.list.iter().map(|peer| peer.group).collect::<Vec<_>>();
        assert_eq!(groups(&first), [0, 1]);
        let second = Peers::new(&upstreams(two), Some(&first));
        assert!(Arc::ptr_eq(&second.list[0], &first.list[1]));
        // Gone and come back, it may mean another host behind the same name.
        let third = Peers::new(&upstreams(&format!("{one}, {two}")), Some(&second));
        assert_eq!(groups(&third), [2, 1]);
        let more = "a: { url: 'https://a.example', max_in_flight: 3 }, b: { url: 'https://b.example:444' }";
        let fourth = Peers::new(&upstreams(more), Some(&third));
        assert!(!Arc::ptr_eq(&fourth.list[0], &third.list[0]));
        assert_eq!(groups(&fourth), [2, 3]);
    }

    #[test]
    fn the_name_to_be_certified_is_the_host_unless_another_is_set() {
        let sni = |url, more| peer(url, more, 0).http_peer(address(), false, &TIMEOUTS).sni;
        assert_eq!(sni("https://a.example:8443", ", addresses: ['10.0.0.1:1']"), "a.example");
        assert_eq!(sni("https://[::1]", ""), "::1");
        assert_eq!(sni("https://a.example", ", tls: { server_name: b.example }"), "b.example");
    }
}
