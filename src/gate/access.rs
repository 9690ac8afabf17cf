//! Steps *authenticate* and *authorize*: from what was presented to a permit.

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::location::LocationId;
use super::refusal::Refusal;
use crate::config::Allow;
use crate::cookies;
use crate::identity::Identity;

/// Proof that a request was authorised, and for which location. Only the gate makes one, and nothing is
/// forwarded without one.
#[derive(Clone, Debug)]
pub struct Permit {
    location: LocationId,
    caller: Option<Caller>,
    preflight: bool,
}

/// A verified caller.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Who it is.
    pub identity: Arc<Identity>,
    /// What proved it.
    pub source: Source,
}

/// What a credential came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The session cookie.
    Cookie,
    /// `Authorization: Bearer`.
    Bearer,
}

/// The tokens that a request carries, unverified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presented<'a> {
    /// Value of the session cookie.
    pub cookie: Option<&'a str>,
    /// Token of `Authorization: Bearer`.
    pub bearer: Option<&'a str>,
}

impl Permit {
    pub(super) fn new(location: LocationId, caller: Option<Caller>) -> Self {
        Self { location, caller, preflight: false }
    }

    /// For a preflight that the upstream is to answer. Nobody was verified, so only what makes a preflight is
    /// forwarded: see [`super::cors`].
    pub(super) fn preflight(location: LocationId) -> Self {
        Self { location, caller: None, preflight: true }
    }

    /// The location for which it was given.
    pub fn location(&self) -> LocationId {
        self.location
    }

    /// Whether it is for a preflight, and for nothing else that the caller sent with it.
    pub fn is_preflight(&self) -> bool {
        self.preflight
    }

    /// Who called; nobody at public locations.
    pub fn identity(&self) -> Option<&Arc<Identity>> {
        self.caller.as_ref().map(|caller| &caller.identity)
    }

    /// Whether `Authorization` was ours, so that it ends here.
    pub fn consumed_authorization(&self) -> bool {
        self.caller.as_ref().is_some_and(|caller| caller.source == Source::Bearer)
    }
}

impl<'a> Presented<'a> {
    /// Collects the tokens. Which of several would count is not guessed.
    pub fn find(headers: &'a HeaderMap, cookie_name: &str) -> Result<Self, Refusal> {
        let mut authorizations = headers.get_all(AUTHORIZATION).iter();
        let authorization = authorizations.next();
        let mut sessions = cookies::values(headers, cookie_name);
        let session = sessions.next();
        if authorizations.next().is_some() || sessions.next().is_some() {
            return Err(Refusal::AmbiguousCredential);
        }
        let bearer = authorization.and_then(|value| bearer_token(value.as_bytes()));
        // Bytes that are no text are no token either; the empty string stands for a bad one.
        let text = |bytes: &'a [u8]| std::str::from_utf8(bytes).unwrap_or_default();
        Ok(Self { cookie: session.map(text), bearer: bearer.map(text) })
    }
}

/// `Bearer` in any case, then at least one blank (RFC 9110, section 11.4; RFC 6750, section 2.1).
fn bearer_token(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"bearer") || !matches!(rest.first(), None | Some(b' ')) {
        return None;
    }
    Some(rest.trim_ascii())
}

/// Whether a list admits somebody.
pub fn is_allowed(allow: &Allow, identity: &Identity) -> bool {
    let listed = |list: &[String], value: &str| list.iter().any(|entry| entry == value);
    if identity.service_account {
        return listed(&allow.service_accounts, &identity.email);
    }
    if listed(&allow.emails, &identity.email) {
        return true;
    }
    if allow.workspace_only {
        identity.hosted_domain.as_deref().is_some_and(|domain| listed(&allow.domains, domain))
    } else {
        listed(&allow.domains, identity.domain())
    }
}

#[cfg(test)]
mod tests;
