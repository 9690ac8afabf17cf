//! Addresses: of listeners, of the gateway itself, of Google's endpoints, of upstreams.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use url::{Host, Url};

use crate::config::problem::{Fault, cut, shown};
use crate::config::{Address, Origin};

/// The address of Google's metadata server, which other clouds share.
const METADATA_V4: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// The same over IPv6, at Google and at AWS.
const METADATA_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)];
/// The names of the metadata server; the short one resolves inside Google's networks.
const METADATA_NAMES: [&str; 3] = ["metadata.google.internal", "metadata.goog", "metadata"];

/// Longest path of a Unix socket in bytes, without the NUL that ends it in `sockaddr_un`.
const MAX_SOCKET_PATH: usize = 107;

/// An address to listen on.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        let port = |port: &str| port.parse::<u16>().is_ok();
        let help = match text.rsplit_once(':') {
            None if port(text) => Some(format!("write the address too: `0.0.0.0:{text}`")),
            Some(("" | "*", number)) if port(number) => Some(format!("write `0.0.0.0:{number}`")),
            Some(("localhost", number)) if port(number) => Some(format!("write `127.0.0.1:{number}`")),
            _ => Some("write `IPv4:PORT` or `[IPv6]:PORT`, such as `0.0.0.0:8080`".to_owned()),
        };
        Fault::new(format!("{} is not an address to listen on", shown(text))).maybe_help(help)
    })
}

/// Whether two listeners would want the same port of the same address.
pub(super) fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && overlap
}

/// How callers name the gateway.
pub(super) fn public_url(text: &str) -> Result<Origin, Fault> {
    let url = web_url(text)?;
    bare(&url, text, "callers are sent to paths that the gateway chooses itself")?;
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(Fault::new(format!("{} is not https", shown(text)))
            .help("`http` is only for localhost, 127.0.0.1 and [::1]"));
    }
    Ok(Origin(url.origin().ascii_serialization().into()))
}

/// The origin of pages that may call from a browser, as the browser writes it.
pub(super) fn page_origin(text: &str) -> Result<Origin, Fault> {
    let fault = |what: &str| Fault::new(format!("{} {what}", shown(text)));
    if text == "null" {
        return Err(fault("is the origin of files and sandboxed frames, which anybody can make"));
    }
    if text.contains('*') {
        return Err(
            fault("has a wildcard").help("list each origin; one wildcard admits every forgotten subdomain")
        );
    }
    let url = web_url(text)?;
    bare(&url, text, "pages of an origin are not told apart")?;
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(fault("is not https").help(
            "anybody on the way can put pages under it; `http` is only for localhost, 127.0.0.1 and [::1]",
        ));
    }
    Ok(Origin(url.origin().ascii_serialization().into()))
}

/// An endpoint of Google.
pub(super) fn endpoint(text: &str) -> Result<Url, Fault> {
    let url = endpoint_url(text)?;
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(Fault::new(format!("{} is not https", shown(text)))
            .help("`http` is only for loopback addresses, such as an emulator's"));
    }
    Ok(url)
}

/// A service of Google whose paths are known.
pub(super) fn service(text: &str) -> Result<Url, Fault> {
    let url = endpoint(text)?;
    bare(&url, text, "its paths are known")?;
    Ok(url)
}

/// An emulator as the environment names it: `HOST:PORT`. It speaks plain HTTP and asks for no credential, so it must be
/// on this machine or in a private network.
pub(super) fn emulator_host(text: &str) -> Result<Url, Fault> {
    if text.contains("://") {
        return Err(Fault::new(format!("{} has a scheme", shown(text))).help("write `HOST:PORT`"));
    }
    let url = endpoint_url(&format!("http://{text}"))?;
    bare(&url, text, "its paths are known")?;
    Ok(url)
}

/// The metadata server.
pub(super) fn metadata(text: &str) -> Result<Url, Fault> {
    let url = endpoint_url(text)?;
    bare(&url, text, "its paths are known")?;
    if url.scheme() == "http" && !is_loopback(&url) && !is_metadata(&url) {
        return Err(Fault::new(format!("{} is not https", shown(text)))
            .help("`http` is only for loopback addresses, metadata.google.internal and 169.254.169.254"));
    }
    Ok(url)
}

/// The metadata server as the environment names it: `HOST` or `HOST:PORT`.
pub(super) fn metadata_host(text: &str) -> Result<Url, Fault> {
    if text.contains("://") {
        return Err(Fault::new(format!("{} has a scheme", shown(text))).help("write `HOST` or `HOST:PORT`"));
    }
    metadata(&format!("http://{text}"))
}

/// A service behind the gateway.
pub(super) fn upstream(text: &str) -> Result<Url, Fault> {
    let url = web_url(text)?;
    bare(&url, text, "set `rewrite` at a location to change the path")?;
    if is_metadata(&url) {
        return Err(metadata_is_no_upstream(text));
    }
    Ok(url)
}

fn metadata_is_no_upstream(text: &str) -> Fault {
    Fault::new(format!("{} is the metadata server", shown(text)))
        .help("what it answers are the gateway's own credentials, so it is never an upstream")
}

/// Where an upstream's URL leads.
pub(super) fn of_url(url: &Url) -> Address {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    Address::Host(host.to_owned(), url.port_or_known_default().unwrap_or(80))
}

/// Where to connect for an upstream: `HOST:PORT` or `unix:/PATH`.
pub(super) fn dial(text: &str) -> Result<Address, Fault> {
    let fault = |what: &str| Fault::new(format!("{} {what}", shown(text)));
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.starts_with('/') || path.starts_with("//") || path.ends_with('/') {
            return Err(fault("is not the path of a socket").help("write it in full: `unix:/run/app.sock`"));
        }
        if path.len() > MAX_SOCKET_PATH || path.contains('\0') {
            return Err(fault(&format!(
                "is longer than the {MAX_SOCKET_PATH} bytes that a socket's path may have"
            )));
        }
        return Ok(Address::Unix(path.into()));
    }
    if text.contains('@') {
        // Not repeated: what stands before the `@` may be a password.
        return Err(Fault::new("holds a user name or password").help("write only host and port"));
    }
    if text.contains("://") {
        return Err(fault("has a scheme").help("that of `url` is used; write `HOST:PORT`"));
    }
    let port = text.rsplit_once(':').filter(|(host, _)| !host.contains(':') || host.ends_with(']'));
    let port = port
        .and_then(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()).then(|| port.parse::<u16>().ok())?);
    let Some(port) = port.filter(|port| *port != 0) else {
        return Err(fault("has no port").help("write `HOST:PORT`, `[IPv6]:PORT` or `unix:/PATH`"));
    };
    let url = web_url(&format!("http://{text}")).map_err(|_| fault("is not `HOST:PORT`"))?;
    if url.path() != "/" || text.contains(['/', '?', '#']) {
        return Err(fault("has more than host and port"));
    }
    if is_metadata(&url) {
        return Err(metadata_is_no_upstream(text));
    }
    let Address::Host(host, _) = of_url(&url) else { return Err(fault("is not `HOST:PORT`")) };
    Ok(Address::Host(host, port))
}

/// A URL of the web, written the way it is meant: `url` repairs what browsers do, and here that hides slips.
fn web_url(text: &str) -> Result<Url, Fault> {
    let fault = |what: &str| Fault::new(format!("{} {what}", shown(text)));
    if !text.contains("://") {
        return Err(fault("has no scheme").help(format!("write `https://{}`", cut(text))));
    }
    let url = Url::parse(text).map_err(|error| fault(&format!("is not a URL: {error}")))?;
    let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase()).unwrap_or_default();
    if !matches!(scheme.as_str(), "http" | "https") {
        return Err(fault("is neither http nor https"));
    }
    if text.contains('\\') || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(fault("holds a backslash or a blank"));
    }
    let authority = text.split('/').nth(2).unwrap_or_default();
    if authority.is_empty() {
        return Err(fault("has no host"));
    }
    if authority.contains('@') {
        // Not repeated: what stands before the `@` may be a password.
        return Err(Fault::new("holds a user name or password").help("write only scheme, host and port"));
    }
    match url.host_str() {
        None | Some("") => Err(fault("has no host")),
        Some(host) if host.ends_with('.') => Err(fault("has a host that ends with a dot")),
        Some(_) if url.port() == Some(0) => Err(fault("has the port 0")),
        Some(_) => Ok(url),
    }
}

/// A URL without query and fragment.
fn endpoint_url(text: &str) -> Result<Url, Fault> {
    let url = web_url(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Fault::new(format!("{} has a query or a fragment", shown(text))));
    }
    Ok(url)
}

/// Refuses a path, a query and a fragment.
fn bare(url: &Url, text: &str, help: &str) -> Result<(), Fault> {
    let what = if url.path() != "/" {
        "a path"
    } else if url.query().is_some() {
        "a query"
    } else if url.fragment().is_some() {
        "a fragment"
    } else {
        return Ok(());
    };
    let origin = url.origin().ascii_serialization();
    Err(Fault::new(format!("{} has {what}", shown(text))).help(format!("write only `{origin}`; {help}")))
}

/// Whether the host is this machine.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

/// Whether the host is a metadata server, in any spelling. `url` has already read `0xA9FEA9FE` and its like as the
/// address that they are.
fn is_metadata(url: &Url) -> bool {
    let ip = match url.host() {
        Some(Host::Domain(name)) => return METADATA_NAMES.contains(&name),
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip),
        None => return false,
    };
    match ip {
        IpAddr::V4(ip) => ip == METADATA_V4,
        // The last four octets hold the IPv4 address in mapped, compatible and NAT64 addresses.
        IpAddr::V6(ip) => {
            METADATA_V6.contains(&ip)
                || ip.to_bits() & u128::from(u32::MAX) == u128::from(METADATA_V4.to_bits())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_is_what_browsers_send() {
        for (text, origin) in [
            ("https://GW.Example.com", "https://gw.example.com"),
            ("https://gw.example.com:443/", "https://gw.example.com"),
            ("https://gw.example.com:8443", "https://gw.example.com:8443"),
            ("https://bücher.example", "https://xn--bcher-kva.example"),
            ("http://LOCALHOST:80", "http://localhost"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
        ] {
            assert_eq!(public_url(text).map(|origin| origin.as_str().to_owned()), Ok(origin.to_owned()));
        }
    }

    #[test]
    fn upstreams_are_dialled_at_hosts_with_ports_and_at_sockets() {
        let host = |name: &str, port| Ok(Address::Host(name.to_owned(), port));
        assert_eq!(dial("10.0.0.1:8080"), host("10.0.0.1", 8080));
        assert_eq!(dial("App-2.internal:80"), host("app-2.internal", 80));
        assert_eq!(dial("[::1]:443"), host("::1", 443));
        assert_eq!(dial("unix:/run/app.sock"), Ok(Address::Unix("/run/app.sock".into())));
        for text in [
            "",
            ":80",
            "app",
            "app:",
            "app:0",
            "app:+80",
            "app:65536",
            "::1:80",
            "[::1]",
            "http://app:80",
            "app:80/x",
            "app/x:80",
            "user@app:80",
            "a b:80",
            "unix:run/app.sock",
            "unix:",
            "unix://run/app.sock",
            "unix:/run/",
            "unix:/a\0b",
            "metadata.google.internal:80",
            "169.254.169.254:80",
            "0xA9FEA9FE:8080",
        ] {
            assert!(dial(text).is_err(), "{text}");
        }
        assert!(dial(&format!("unix:/{}", "x".repeat(107))).is_err());
    }

    #[test]
    fn an_origin_is_nothing_but_an_origin() {
        for text in [
            "",
            "gw.example.com",
            "http://gw.example.com",
            "http://10.0.0.1",
            "https://gw.example.com/x",
            "https://gw.example.com?x",
            "https://gw.example.com#x",
            "https://user@gw.example.com",
            "https://@gw.example.com",
            "https://:pw@gw.example.com",
            "https:\\\\gw.example.com",
            "https://gw.example.com\\x",
            "https://gw.exa\tmple.com",
            "https://gw.example.com.",
            "https:///",
            "ftp://gw.example.com",
            "file:///etc/passwd",
        ] {
            assert!(public_url(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_password_is_not_repeated() {
        let fault = upstream("https://user:hunter2@example.com").unwrap_err();
        assert!(!format!("{fault:?}").contains("hunter2"));
    }

    #[test]
    fn the_metadata_server_is_no_upstream_in_any_spelling() {
        for host in [
            "metadata.google.internal",
            "METADATA.google.internal",
            "metadata.google.internal:80",
            "metadata.goog",
            "metadata",
            "169.254.169.254",
            "2852039166",
            "0xA9FEA9FE",
            "0251.0376.0251.0376",
            "169.254.43518",
            "169.254.169.254.",
            "metadata.google.internal.",
            "%6detadata.google.internal",
            "metadata。google。internal",
            "①⑥⑨.254.169.254",
            "[::ffff:169.254.169.254]",
            "[::169.254.169.254]",
            "[64:ff9b::a9fe:a9fe]",
            "[fd00:ec2::254]",
            "[fd00:0ec2:0:0:0:0:0:0254]",
            "[fd20:ce::254]",
        ] {
            assert!(upstream(&format!("http://{host}")).is_err(), "{host}");
        }
        assert!(upstream("http://169.254.169.253").is_ok());
    }

    #[test]
    fn endpoints_are_https_or_stay_on_this_machine() {
        assert!(endpoint("https://oauth2.example.com/tokeninfo").is_ok());
        assert!(endpoint("http://127.9.9.9:1/x").is_ok());
        assert!(endpoint("http://metadata.google.internal/x").is_err());
        assert!(endpoint("http://oauth2.example.com/tokeninfo").is_err());
        assert!(endpoint("https://oauth2.example.com/?a").is_err());
        assert!(metadata("http://169.254.169.254").is_ok());
        assert!(metadata("http://metadata.google.internal/computeMetadata").is_err());
        assert_eq!(metadata_host("localhost:8181").unwrap().as_str(), "http://localhost:8181/");
        assert!(metadata_host("http://localhost").is_err());
        assert!(metadata_host("example.com").is_err());
    }

    #[test]
    fn listeners_collide_on_a_port() {
        let socket = |text| socket(text).unwrap();
        assert!(collide(socket("0.0.0.0:80"), socket("127.0.0.1:80")));
        assert!(!collide(socket("127.0.0.2:80"), socket("127.0.0.1:80")));
        assert!(!collide(socket("0.0.0.0:0"), socket("0.0.0.0:0")));
        assert!(super::socket("[::]:8080").is_ok());
        assert!(super::socket("8080").is_err());
    }
}
