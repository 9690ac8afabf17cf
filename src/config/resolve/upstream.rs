//! The services behind the gateway.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::HeaderName;

use super::location::rewrite;
use super::value::{choice, identifier, timeout};
use super::{Resolver, address};
use crate::config::mirror::{self, List};
use crate::config::problem::{Fault, Place, Spanned, did_you_mean, shown};
use crate::config::read::Named;
use crate::config::{Address, Balance, HealthCheck, InFlightLimit, Protocol, Timeouts, Upstream};
#[cfg(feature = "dev")]
use {crate::config::UpstreamTls, url::Url};

/// Ways to choose among addresses.
const BALANCE: [(&str, Balance); 2] =
    [("round_robin", Balance::RoundRobin), ("least_connections", Balance::LeastConnections)];
/// Most addresses of an upstream; the proxy notes those that it has tried as the bits of a number.
const MAX_ADDRESSES: usize = 64;
/// Most requests that may be under way or waiting.
const MAX_REQUESTS: u64 = 1_000_000;

/// Header of the minted token; Cloud Run looks at it before `Authorization`, and removes it.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-serverless-authorization");
/// Limits on waiting that the file leaves out.
pub(super) const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    read: Duration::from_secs(60),
    write: Duration::from_secs(60),
    idle: Duration::from_secs(90),
};
/// Headers with a meaning of their own to HTTP or to us, which a token would break.
const TAKEN_HEADERS: [&str; 25] = [
    "accept",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "origin",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-real-ip",
    "x-request-id",
    "traceparent",
];
/// Families of headers that the gateway writes itself.
const TAKEN_PREFIXES: [&str; 4] =
    ["x-forwarded-", "x-goog-authenticated-user-", "x-goog-iap-", "x-portcullis-"];

/// The upstreams in the order of the file; one that could not be resolved keeps its place.
pub(super) type Upstreams = Vec<(Spanned<String>, Option<Upstream>)>;

impl Resolver<'_> {
    pub(super) fn upstreams(&mut self, section: Option<&Spanned<Named<mirror::Upstream>>>) -> Upstreams {
        let entries = section.map(|section| section.value.0.as_slice()).unwrap_or_default();
        let resolved = entries.iter().map(|(name, file)| {
            let valid = self.value(Some(name), identifier("an upstream"));
            let upstream =
                file.as_ref().and_then(|file| self.upstream(&name.place, name.value.clone(), file));
            (name.clone(), valid.and(upstream))
        });
        resolved.collect()
    }

    fn upstream(&mut self, place: &Place, name: String, file: &mirror::Upstream) -> Option<Upstream> {
        if file.url.is_none() {
            self.missing(place, "url", "write its origin, such as `https://camunda-abc-ew.a.run.app`");
        }
        let url = self.value(file.url.as_ref(), address::upstream);
        let audience = self.value(file.audience.as_ref(), audience);
        let token_header = self.value(file.token_header.as_ref(), token_header);
        let protocols = [("auto", Protocol::Auto), ("http1", Protocol::Http1), ("http2", Protocol::Http2)];
        let protocol = self.value(file.protocol.as_ref(), choice(&protocols));
        let timeouts = self.timeouts(file.timeouts.as_ref(), TIMEOUTS);
        let addresses = self.addresses(file.addresses.as_ref());
        let balance = self.value(file.balance.as_ref(), choice(&BALANCE));
        let health_check = self.health_check(file.health_check.as_ref());
        let tls = self.tls(file.tls.as_ref(), url.as_ref());
        let limit = self.limit(file);
        let url = url?;
        Some(Upstream {
            addresses: addresses.unwrap_or_else(|| vec![address::of_url(&url)]),
            balance: balance.unwrap_or(Balance::RoundRobin),
            health_check,
            tls,
            limit,
            name,
            audience: audience.unwrap_or_else(|| Some(url.origin().ascii_serialization())),
            url,
            token_header: token_header.unwrap_or(TOKEN_HEADER),
            protocol: protocol.unwrap_or(Protocol::Auto),
            timeouts,
        })
    }

    /// The limits of a section, laid over others.
    pub(super) fn timeouts(
        &mut self,
        section: Option<&Spanned<mirror::Timeouts>>,
        under: Timeouts,
    ) -> Timeouts {
        let Some(Spanned { value: file, .. }) = section else { return under };
        Timeouts {
            connect: self.value(file.connect.as_ref(), timeout).unwrap_or(under.connect),
            read: self.value(file.read.as_ref(), timeout).unwrap_or(under.read),
            write: self.value(file.write.as_ref(), timeout).unwrap_or(under.write),
            idle: self.value(file.idle.as_ref(), timeout).unwrap_or(under.idle),
        }
    }

    /// Where to connect, where the file says more than the URL.
    fn addresses(&mut self, entry: Option<&Spanned<List<String>>>) -> Option<Vec<Address>> {
        let entry = entry?;
        if entry.value.is_empty() || entry.value.len() > MAX_ADDRESSES {
            let fault = Fault::new(format!("holds {} addresses", entry.value.len()));
            let help = format!("write 1 to {MAX_ADDRESSES}, or leave it out: then it is the host of `url`");
            self.refuse(&entry.place, fault.help(help));
            return None;
        }
        let mut addresses = Vec::new();
        for item in &entry.value {
            let Some(address) = self.value(Some(item), address::dial) else { continue };
            if addresses.contains(&address) {
                self.refuse(&item.place, Fault::new(format!("{} is there twice", shown(&item.value))));
            }
            addresses.push(address);
        }
        Some(addresses)
    }

    fn health_check(&mut self, section: Option<&Spanned<mirror::HealthCheck>>) -> Option<HealthCheck> {
        let Spanned { value: file, place } = section?;
        if file.path.is_none() {
            self.missing(place, "path", "write what is asked for, such as `/health`");
        }
        let path = self.value(file.path.as_ref(), health_path);
        let duration = |seconds| Duration::from_secs(seconds);
        Some(HealthCheck {
            path: path.unwrap_or_else(|| "/".to_owned()),
            interval: self.value(file.interval.as_ref(), timeout).unwrap_or(duration(5)),
            timeout: self.value(file.timeout.as_ref(), timeout).unwrap_or(duration(1)),
            healthy: self.within(file.healthy.as_ref(), 1..=100).unwrap_or(1),
            unhealthy: self.within(file.unhealthy.as_ref(), 1..=100).unwrap_or(3),
            expect: self.within(file.expect.as_ref(), 200..=599).unwrap_or(200),
        })
    }

    fn limit(&mut self, file: &mirror::Upstream) -> Option<InFlightLimit> {
        let requests = self.within(file.max_in_flight.as_ref(), 1..=MAX_REQUESTS);
        let queue = file.queue.as_ref().map(|section| section.value.clone()).unwrap_or_default();
        if let Some(section) = &file.queue
            && file.max_in_flight.is_none()
        {
            let fault = Fault::new("without `max_in_flight`, nobody ever waits");
            self.refuse(&section.place, fault.help("set `max_in_flight` too, or leave `queue` out"));
        }
        let length = self.within(queue.length.as_ref(), 0..=MAX_REQUESTS).unwrap_or(100);
        let wait = self.value(queue.wait.as_ref(), timeout).unwrap_or(Duration::from_secs(5));
        Some(InFlightLimit { requests: requests?, queue: length, wait })
    }

    /// A whole number within bounds.
    pub(super) fn within<T: TryFrom<u64>>(
        &mut self,
        entry: Option<&Spanned<u64>>,
        bounds: RangeInclusive<u64>,
    ) -> Option<T> {
        let entry = entry?;
        let number = T::try_from(entry.value).ok().filter(|_| bounds.contains(&entry.value));
        if number.is_none() {
            let what = format!("must be from {} to {}, not {}", bounds.start(), bounds.end(), entry.value);
            self.refuse(&entry.place, Fault::new(what));
        }
        number
    }

    /// The index of the upstream that a location names.
    pub(super) fn named_upstream(&mut self, entry: &Spanned<String>, upstreams: &Upstreams) -> Option<usize> {
        let found = upstreams.iter().position(|(name, _)| name.value == entry.value);
        let unreadable = self.problems.iter().any(|problem| problem.key() == "upstreams");
        if found.is_none() && !unreadable {
            let names = upstreams.iter().map(|(name, _)| name.value.as_str());
            let fault = Fault::new(format!("there is no upstream {}", shown(&entry.value)));
            let help = did_you_mean(&entry.value, names.clone()).or_else(|| {
                let names: Vec<&str> = names.collect();
                (!names.is_empty()).then(|| format!("the upstreams are {}", names.join(", ")))
            });
            self.refuse(&entry.place, fault.maybe_help(help));
        }
        found
    }
}

/// What a health check asks for.
fn health_path(text: &str) -> Result<String, Fault> {
    if text.contains(['?', '#']) {
        return Err(Fault::new(format!("{} has a query or a fragment", shown(text))));
    }
    rewrite(text)
}

impl Upstream {
    /// Puts another service in its place: a plain one, at the address of the URL.
    #[cfg(feature = "dev")]
    pub(crate) fn replace(&mut self, url: Url) {
        self.addresses = vec![address::of_url(&url)];
        self.url = url;
        self.tls = UpstreamTls::default();
        self.health_check = None;
    }
}

/// The audience of the minted token; `none` for no token.
fn audience(text: &str) -> Result<Option<String>, Fault> {
    if text == "none" {
        return Ok(None);
    }
    if text.is_empty() || text.len() > 1024 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Fault::new(format!("{} is not an audience", shown(text)))
            .help("write the upstream's URL, or `none` to send no token"));
    }
    Ok(Some(text.to_owned()))
}

/// The header that carries the minted token.
fn token_header(text: &str) -> Result<HeaderName, Fault> {
    let name: HeaderName =
        text.parse().map_err(|_| Fault::new(format!("{} is not the name of a header", shown(text))))?;
    // Some servers read any punctuation as `-`, so a caller's header could pass for this one.
    if !name.as_str().bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(Fault::new(format!("{} has more than letters, digits and `-`", shown(text))));
    }
    let taken = TAKEN_HEADERS.contains(&name.as_str())
        || TAKEN_PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix));
    if taken {
        return Err(Fault::new(format!("{} has another meaning", shown(text)))
            .help("use `X-Serverless-Authorization`, `Authorization` or a name of the upstream's own"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_headers_do_not_take_over_http() {
        assert!(token_header("Authorization").is_ok());
        assert!(token_header("X-My-Token").is_ok());
        for text in [
            "",
            "a b",
            "Host",
            "content_length",
            "X_My_Token",
            "x.my.token",
            "Connection",
            "Cookie",
            "TE",
            "X-Forwarded-For",
        ] {
            assert!(token_header(text).is_err(), "{text}");
        }
    }

    #[cfg(feature = "dev")]
    #[test]
    fn what_is_replaced_is_not_reached_by_any_other_way() {
        let text = "version: 1\nupstreams: { a: { url: 'https://a.example', addresses: ['10.0.0.1:1', 'unix:/a'],\n\
                    tls: { server_name: b.example }, health_check: { path: / } } }\n\
                    locations: [{ path: /, access: public, upstream: a }]";
        let config = crate::config::parse(text, "test.yaml", &crate::config::Environment::empty());
        let mut upstream = config.unwrap().upstreams.remove(0);
        upstream.replace("http://127.0.0.1:9".parse().unwrap());
        assert_eq!(upstream.addresses, [Address::Host("127.0.0.1".to_owned(), 9)]);
        assert!(upstream.health_check.is_none() && upstream.tls.server_name.is_none());
        assert_eq!(upstream.url.as_str(), "http://127.0.0.1:9/");
    }

    #[test]
    fn an_audience_is_one_word() {
        assert_eq!(audience("none"), Ok(None));
        assert_eq!(audience("32555-abc"), Ok(Some("32555-abc".to_owned())));
        assert!(audience("").is_err() && audience("a b").is_err());
    }
}
