//! Settings that are valid and risky, found in a configuration without problems.

use std::net::IpAddr;
use std::time::Duration;

use super::Resolver;
use super::value::choice;
use crate::config::mirror::{self, List};
use crate::config::problem::{Place, Spanned};
use crate::config::{Access, Address, Config, HmacAlgorithm, Location, LocationPath, Risk, Scheme, Warning};

/// Domains that hand out addresses to anybody, and whose addresses a Google account can have. Google's own are refused.
const CONSUMER_DOMAINS: [&str; 14] = [
    "aol.com",
    "gmx.de",
    "gmx.net",
    "hotmail.com",
    "icloud.com",
    "live.com",
    "mail.com",
    "me.com",
    "msn.com",
    "outlook.com",
    "proton.me",
    "protonmail.com",
    "web.de",
    "yahoo.com",
];
/// Ends of names that lead nowhere outside a private network (RFC 6762, RFC 6761, RFC 8375; Google Cloud, Kubernetes).
const PRIVATE_NAMES: [&str; 5] = [".local", ".localhost", ".home.arpa", ".internal", ".svc"];
/// A token that is believed for longer than this outlives its revocation noticeably.
const LONG_TRUST: Duration = Duration::from_mins(10);

/// Gathers warnings, but for those that are accepted.
struct Risks<'a> {
    name: &'a str,
    accepted: Vec<Risk>,
    found: Vec<Warning>,
}

impl Risks<'_> {
    fn warn(
        &mut self,
        here: &[Risk],
        risk: Risk,
        place: &Place,
        what: impl Into<String>,
        help: &'static str,
    ) {
        if !self.accepted.contains(&risk) && !here.contains(&risk) {
            let (file, place, what) = (self.name.to_owned(), place.clone(), what.into());
            self.found.push(Warning { file, place, risk, what, help });
        }
    }
}

impl Resolver<'_> {
    /// Checks that the names of accepted risks are such names.
    pub(super) fn check_accepted(&mut self, file: &mirror::File) {
        self.list(file.accept_risks.as_ref(), choice(&Risk::ALL));
        for location in file.locations.iter().flat_map(|list| &list.value) {
            self.list(location.value.accept_risks.as_ref(), choice(&Risk::ALL));
        }
    }

    /// The risks of a file called `name`, in which there is no problem, by position.
    pub(super) fn risks(&self, name: &str, file: &mirror::File, config: &Config) -> Vec<Warning> {
        let accepted = accepted(file.accept_risks.as_ref());
        let mut risks = Risks { name, accepted, found: Vec::new() };
        self.risks_of_the_whole(&mut risks, file, config);
        risks_of_upstreams(&mut risks, file, config);
        let entries = file.locations.iter().flat_map(|list| &list.value);
        for (entry, location) in entries.zip(&config.locations) {
            let here = accepted_at(&entry.value);
            risks_of_location(&mut risks, &here, &entry.value, location, config);
        }
        risks.found.sort_by_key(|warning| (warning.place.line, warning.place.column));
        risks.found
    }

    fn risks_of_the_whole(&self, risks: &mut Risks<'_>, file: &mirror::File, config: &Config) {
        if let (Some(admin), Some(entry)) = (config.admin, &file.admin)
            && admin.ip().is_unspecified()
        {
            let what = "metrics are answered on every interface, to whoever asks";
            risks.warn(
                &[],
                Risk::ExposedAdmin,
                &entry.place,
                what,
                "listen on a private address, such as 127.0.0.1",
            );
        }
        if let Some(entry) = file.cache.as_ref().and_then(|cache| cache.value.verified.as_ref())
            && config.cache.verified > LONG_TRUST
        {
            let what = "a token that is revoked may pass for longer than 10 minutes";
            risks.warn(&[], Risk::LongTrust, &entry.place, what, "write a minute or a few");
        }
        if let Some(disk) = file.wal.as_ref().and_then(|wal| wal.value.disk.as_ref())
            && self.environment.get("K_SERVICE").is_some()
        {
            let what = "Cloud Run's disk is memory that ends with the instance, and so do messages that were accepted";
            risks.warn(&[], Risk::VolatileLog, &disk.place, what, "keep the log in Pub/Sub: `wal.pubsub`");
        }
        risks_of_allow(risks, &[], file.allow.as_ref());
    }
}

fn accepted(list: Option<&Spanned<List<String>>>) -> Vec<Risk> {
    let names = list.iter().flat_map(|list| &list.value);
    names.filter_map(|name| choice(&Risk::ALL)(&name.value).ok()).collect()
}

fn accepted_at(location: &mirror::Location) -> Vec<Risk> {
    accepted(location.accept_risks.as_ref())
}

fn risks_of_allow(risks: &mut Risks<'_>, here: &[Risk], section: Option<&Spanned<mirror::Allow>>) {
    let domains = section.and_then(|section| section.value.domains.as_ref());
    for entry in domains.iter().flat_map(|list| &list.value) {
        let domain = entry.value.to_ascii_lowercase();
        if CONSUMER_DOMAINS.contains(&domain.as_str()) {
            let what = format!("anybody can have an address at {domain}");
            risks.warn(here, Risk::ConsumerDomain, &entry.place, what, "list single people under `emails`");
        }
    }
}

fn risks_of_upstreams(risks: &mut Risks<'_>, file: &mirror::File, config: &Config) {
    let entries = file.upstreams.iter().flat_map(|named| &named.value.0);
    for ((_, entry), upstream) in entries.zip(&config.upstreams) {
        let url = entry.as_ref().and_then(|entry| entry.url.as_ref());
        let outside = upstream.addresses.iter().any(|address| !is_private(address));
        if let Some(url) =
            url.filter(|_| upstream.url.scheme() == "http" && upstream.audience.is_some() && outside)
        {
            let what = "the minted token goes to this service in the clear";
            risks.warn(
                &[],
                Risk::ClearToken,
                &url.place,
                what,
                "write `https`, or `audience: none` for no token",
            );
        }
    }
}

fn risks_of_location(
    risks: &mut Risks<'_>,
    here: &[Risk],
    entry: &mirror::Location,
    location: &Location,
    config: &Config,
) {
    let token = config.upstreams.get(location.upstream).is_some_and(|upstream| upstream.audience.is_some());
    if let (Access::Public, Some(access), true) = (&location.access, &entry.access, token) {
        let what = "everybody reaches the service here, with a token of the gateway's";
        let help = "write `access: google`, or `audience: none` if the service asks for no token";
        risks.warn(here, Risk::PublicToken, &access.place, what, help);
    }
    if let (Access::Google(_), Some(path)) = (&location.access, &entry.path)
        && let Some(open) = open_bare_path(location, config)
    {
        let bare = path.value.trim_end_matches('/');
        let what = format!("{bare} without the final `/` belongs to {}, which is public", open.name);
        risks.warn(here, Risk::OpenBarePath, &path.place, what, "leave the final `/` out to take both");
    }
    risks_of_allow(risks, here, entry.allow.as_ref());
    if let (Access::Webhook(webhook), Some(section)) = (&location.access, &entry.webhook)
        && let (Scheme::Hmac(scheme), Some(hmac)) = (&webhook.scheme, &section.value.hmac)
    {
        if scheme.timestamp.is_none() && scheme.id_header.is_none() {
            let what = "whoever has kept a message can send it again, at any time";
            let help = "set `timestamp_header` or `id_header` if the sender has one";
            risks.warn(here, Risk::EndlessReplay, &hmac.place, what, help);
        }
        if let (HmacAlgorithm::Sha1, Some(entry)) = (scheme.algorithm, &hmac.value.algorithm) {
            let what = "SHA-1 is not to be used for new signatures";
            risks.warn(here, Risk::Sha1, &entry.place, what, "use `sha256` if the sender offers it");
        }
    }
}

/// The public location that takes the path of a protected prefix without its final `/`.
fn open_bare_path<'a>(location: &Location, config: &'a Config) -> Option<&'a Location> {
    let LocationPath::Prefix(path) = &location.path else { return None };
    let bare = path.strip_suffix('/').filter(|bare| !bare.is_empty())?;
    let takers = || config.locations.iter().filter(|other| other.path.takes(bare));
    // As the router chooses: first by host, then by length.
    let by_host: Vec<&Location> = takers().filter(|other| other.host == location.host).collect();
    let found =
        if by_host.is_empty() { takers().filter(|other| other.host.is_none()).collect() } else { by_host };
    let longest = found.iter().map(|other| other.path.rank()).max()?;
    let public = |other: &&Location| other.path.rank() == longest && matches!(other.access, Access::Public);
    found.into_iter().find(public)
}

/// Whether an address leads nowhere outside a machine or a private network.
fn is_private(address: &Address) -> bool {
    let Address::Host(host, _) = address else { return true };
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Err(_) => !host.contains('.') || PRIVATE_NAMES.iter().any(|end| host.ends_with(end)),
    }
}
