//! What the gate would do with a request, rule by rule, without sending one: for `portcullis explain`.

use std::fmt::Write as _;

use http::Method;

use super::access::is_allowed;
use super::intake::Own;
use super::location::{LocationId, Route, Router, rewrite, takes};
use super::refusal::{Refusal, capitalised};
use super::request::{Path, check_query, host_name, is_host};
use super::route;
use crate::config::{Access, Allow, Config, Location, Origin, Origins, PreflightBy, RESERVED_PREFIX};
use crate::identity::Identity;
use crate::time::UnixTime;

/// A request that nobody sent.
#[derive(Debug)]
pub struct Question<'a> {
    /// Request method.
    pub method: &'a Method,
    /// Path, with query if wanted.
    pub target: &'a str,
    /// Host, when locations depend on it.
    pub host: &'a str,
    /// E-mail address of the caller; nobody when absent.
    pub caller: Option<&'a str>,
}

/// Says which location takes the request, what each rule says, and what the upstream would get.
pub fn explain(config: &Config, question: &Question<'_>) -> String {
    let mut text = String::new();
    let (raw, query) = match question.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (question.target, None),
    };
    let _ = writeln!(text, "{} {}", question.method, question.target);
    if matches!(*question.method, Method::CONNECT | Method::TRACE) {
        return text + "admit         refused: this method is never passed on\n";
    }
    if !question.host.is_empty() && !is_host(question.host) {
        return text
            + "admit         refused with 400 bad_request: the host is not a name, with a port or without\n";
    }
    let path = match check_query(query).and_then(|()| Path::parse(raw)) {
        Ok(path) => path,
        Err(why) => return text + &format!("admit         refused with 400 bad_request: {why}\n"),
    };
    let _ = writeln!(text, "admit         the path is {}", path.decoded);
    if Own::of(&path.decoded).is_some() {
        return text + &format!("route         one of the gateway's own endpoints ({RESERVED_PREFIX}/…)\n");
    }
    let Some(location) = explain_route(&mut text, config, question, &path) else { return text };
    explain_cors(&mut text, location);
    explain_limits(&mut text, config, location);
    if !explain_access(&mut text, config, location, question.caller) {
        return text;
    }
    explain_forward(&mut text, config, location, raw, query, question.caller);
    text
}

fn explain_route<'a>(
    text: &mut String,
    config: &'a Config,
    question: &Question<'_>,
    path: &Path<'_>,
) -> Option<&'a Location> {
    let router = Router::new(&config.locations);
    let host = host_name(question.host);
    let taken = match router.route(&host, &path.decoded, question.method) {
        Route::Found(id) => Some(id),
        Route::WrongMethod(_) | Route::NotFound => None,
    };
    for (index, location) in config.locations.iter().enumerate() {
        let mark = if taken == Some(LocationId(index)) {
            "takes it"
        } else {
            let winner = taken.and_then(|id| config.locations.get(id.0));
            why_not(location, winner, question, &host, path)
        };
        let _ = writeln!(text, "              {:<32} {mark}", describe(location));
    }
    match route(&router, &config.locations, question.host, path, question.method) {
        Ok(id) => {
            let location = config.locations.get(id.0)?;
            let _ = writeln!(text, "route         location {}", describe(location));
            Some(location)
        }
        Err(refusal) => {
            let row = refusal.row();
            let why = if let Refusal::NotCanonical(why) = &refusal {
                format!(": {why}")
            } else if let Refusal::MethodNotAllowed(allow) = &refusal {
                format!(" (Allow: {allow})")
            } else {
                String::new()
            };
            let _ = writeln!(text, "route         refused with {} {}{why}", row.status.as_u16(), row.code);
            None
        }
    }
}

fn explain_limits(text: &mut String, config: &Config, location: &Location) {
    let (all, here) = (&config.limits, &location.limits);
    for (rate, whose) in [
        (all.per_address, "one address, everywhere"),
        (here.per_address, "one address, here"),
        (here.total, "everybody, here"),
        (
            all.per_identity.filter(|_| matches!(location.access, Access::Google(_))),
            "one account, everywhere",
        ),
        (here.per_identity, "one account, here"),
    ] {
        if let Some(rate) = rate {
            let _ = writeln!(
                text,
                "limits        {rate} for {whose}, {} at once; then 429 rate_limited",
                rate.burst
            );
        }
    }
}

fn describe(location: &Location) -> String {
    let mut name = location.name.clone();
    if let Some(host) = &location.host {
        name = format!("{host} {name}");
    }
    if !location.methods.is_empty() {
        let methods: Vec<&str> = location.methods.iter().map(Method::as_str).collect();
        name = format!("{name} [{}]", methods.join(", "));
    }
    name
}

fn why_not(
    location: &Location,
    winner: Option<&Location>,
    question: &Question<'_>,
    host: &str,
    path: &Path<'_>,
) -> &'static str {
    if location.host.as_deref().is_some_and(|wanted| wanted != host) {
        return if host.is_empty() { "another host: none is given with --host" } else { "another host" };
    }
    if !location.path.takes(&path.decoded) {
        "another path"
    } else if !takes(&location.methods, question.method) {
        "another method"
    } else if winner.is_some_and(|winner| winner.host != location.host) {
        "matches too; the location with this host comes first"
    } else if winner.is_some_and(|winner| winner.path == location.path) {
        "matches too; the location with this method comes first"
    } else {
        "matches too; a longer or exact path comes first"
    }
}

fn explain_cors(text: &mut String, location: &Location) {
    let Some(cors) = &location.cors else { return };
    let pages = match &cors.origins {
        Origins::Any => "every site".to_owned(),
        Origins::Listed(list) => list.iter().map(Origin::as_str).collect::<Vec<_>>().join(", "),
    };
    let cookies = if cors.credentials { "with cookies" } else { "without cookies" };
    let preflight = match cors.preflight {
        PreflightBy::Gateway => "their preflights are answered here, before anybody is authenticated",
        PreflightBy::Upstream => "their preflights go to the upstream, and nobody is authenticated for those",
    };
    let _ = writeln!(text, "              pages of {pages} may call, {cookies}; {preflight}");
}

fn explain_access(text: &mut String, config: &Config, location: &Location, caller: Option<&str>) -> bool {
    let allow = match &location.access {
        Access::Public => {
            let _ = writeln!(text, "authenticate  not asked for: the location is public");
            return true;
        }
        Access::Webhook(_) => {
            let _ = writeln!(
                text,
                "authenticate  by the message's signature: refused with 403 bad_signature unless it is good"
            );
            return true;
        }
        Access::Google(allow) => allow,
    };
    let Some(email) = caller else {
        let _ = writeln!(
            text,
            "authenticate  no credential: pages are sent to Google sign-in (302), all else gets 401"
        );
        let _ = writeln!(text, "              who would pass: {}", describe_allow(allow));
        return false;
    };
    let hosted = email.rsplit_once('@').map(|(_, domain)| domain).filter(|_| allow.workspace_only);
    let Some(identity) = Identity::new(email, None, hosted, UnixTime(u64::MAX)) else {
        let _ = writeln!(text, "authenticate  {email} is not an e-mail address that Google verifies");
        return false;
    };
    let proof = match (&config.public_url, identity.service_account) {
        (_, false) => "a session cookie or a bearer token".to_owned(),
        (None, true) => "an access token (ID tokens of service accounts need public_url)".to_owned(),
        (Some(url), true) => format!("an access token, or an ID token with the audience {}", url.as_str()),
    };
    let _ = writeln!(text, "authenticate  {} by {proof}", identity.email);
    let none = Allow { workspace_only: allow.workspace_only, ..Allow::default() };
    for (list, entries, alone) in [
        ("emails", &allow.emails, Allow { emails: allow.emails.clone(), ..none.clone() }),
        ("domains", &allow.domains, Allow { domains: allow.domains.clone(), ..none.clone() }),
        (
            "service_accounts",
            &allow.service_accounts,
            Allow { service_accounts: allow.service_accounts.clone(), ..none },
        ),
    ] {
        let says = if is_allowed(&alone, &identity) { "admits" } else { "does not admit" };
        let _ = writeln!(text, "              {list:<18} [{}] {says}", entries.join(", "));
    }
    let passes = is_allowed(allow, &identity);
    let verdict = if passes { "passes" } else { "refused with 403 forbidden" };
    let assumed = if hosted.is_some() && !identity.service_account {
        " (if Google calls the account a member of that Workspace)"
    } else {
        ""
    };
    let _ = writeln!(text, "authorize     {verdict}{assumed}");
    passes
}

fn describe_allow(allow: &Allow) -> String {
    let mut parts = Vec::new();
    for (what, entries) in [
        ("domains", &allow.domains),
        ("emails", &allow.emails),
        ("service accounts", &allow.service_accounts),
    ] {
        if !entries.is_empty() {
            parts.push(format!("{what} {}", entries.join(", ")));
        }
    }
    if allow.workspace_only {
        parts.push("members of the Workspace only".to_owned());
    }
    parts.join("; ")
}

fn explain_forward(
    text: &mut String,
    config: &Config,
    location: &Location,
    raw: &str,
    query: Option<&str>,
    caller: Option<&str>,
) {
    let Some(upstream) = config.upstreams.get(location.upstream) else { return };
    match &upstream.audience {
        Some(audience) => {
            let _ = writeln!(text, "mint          a token for {audience}");
        }
        None => {
            let _ = writeln!(text, "mint          no token: the upstream's audience is none");
        }
    }
    let target = rewrite(location, raw, query).unwrap_or_else(|| match query {
        Some(query) => format!("{raw}?{query}"),
        None => raw.to_owned(),
    });
    let base = upstream.url.as_str().trim_end_matches('/');
    let _ = writeln!(text, "forward       {base}{target}  (upstream {})", upstream.name);
    let _ = writeln!(text, "              Host: {}", base.split("://").nth(1).unwrap_or_default());
    if upstream.audience.is_some() {
        let name = canonical_name(upstream.token_header.as_str());
        let _ = writeln!(text, "              {name}: Bearer <the minted token>");
    }
    if let (Some(email), Access::Google(_)) = (caller, &location.access) {
        let email = email.to_ascii_lowercase();
        let _ = writeln!(text, "              X-Goog-Authenticated-User-Email: accounts.google.com:{email}");
        let _ = writeln!(
            text,
            "              X-Goog-Authenticated-User-Id: accounts.google.com:<the account's id>"
        );
    }
    for header in [
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Real-IP",
        "X-Request-Id",
        "traceparent",
    ] {
        let _ = writeln!(text, "              {header}: …");
    }
}

/// `x-serverless-authorization` as people write it.
fn canonical_name(name: &str) -> String {
    name.split('-').map(capitalised).collect::<Vec<String>>().join("-")
}

#[cfg(test)]
mod tests;
