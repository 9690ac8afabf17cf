//! The credential that a request to one of our own endpoints carries, and whose it is.

use std::sync::Arc;

use super::Login;
use super::visit::{Ambiguous, Visit};
use crate::cookies;
use crate::identity::{Credential, Identity, VerifyError};
use crate::time::UnixTime;

/// How many sessions are signed out at once. Each may cost a call to Google or two, and a request has room for
/// thousands; the gate accepts none of several anyway.
const MAX_SESSIONS: usize = 8;

/// What became of a look at the caller's credentials.
#[derive(Debug)]
pub(super) enum Found {
    /// There is none.
    Nothing,
    /// There are several of one kind.
    Ambiguous,
    /// There is a good one.
    Good(Arc<Identity>),
    /// There is one, and it is not good.
    Bad(VerifyError),
}

impl Login {
    /// Who the session cookie says the caller is.
    pub(super) async fn by_cookie(&self, visit: &Visit<'_>, now: UnixTime) -> Found {
        match self.session_token(visit) {
            Err(Ambiguous) => Found::Ambiguous,
            Ok(None) => Found::Nothing,
            Ok(Some(token)) => self.check(token, visit, now).await,
        }
    }

    /// Who the session cookie or, when that is missing or no longer good, the bearer token says the caller is.
    pub(super) async fn by_cookie_or_bearer(&self, visit: &Visit<'_>, now: UnixTime) -> Found {
        let Ok(bearer) = visit.bearer() else { return Found::Ambiguous };
        let by_cookie = self.by_cookie(visit, now).await;
        match (by_cookie, bearer) {
            (Found::Nothing | Found::Bad(_), Some(token)) => self.check(token, visit, now).await,
            (found, _) => found,
        }
    }

    async fn check(&self, token: &str, visit: &Visit<'_>, now: UnixTime) -> Found {
        let Some(credential) = Credential::parse(token) else { return Found::Bad(VerifyError::Malformed) };
        match self.provider.verify(credential, visit.client, now).await {
            Ok(identity) => Found::Good(identity),
            Err(error) => Found::Bad(error),
        }
    }

    /// The content of the session cookie. An empty one is what a deleted cookie leaves in sloppy clients.
    fn session_token<'a>(&self, visit: &Visit<'a>) -> Result<Option<&'a str>, Ambiguous> {
        let mut values = cookies::values(visit.headers, &self.names.session);
        let Some(value) = values.next() else { return Ok(None) };
        if values.next().is_some() {
            return Err(Ambiguous);
        }
        // What is no text is no token either: an empty string says so to whoever parses it.
        let token = std::str::from_utf8(value).unwrap_or_default();
        Ok((!value.is_empty()).then_some(token))
    }

    /// Every token that the caller presented as a session, or else as a bearer, up to a handful: they are signed
    /// out.
    pub(super) fn tokens<'a>(&self, visit: &Visit<'a>) -> Vec<&'a str> {
        let sessions: Vec<&str> = cookies::values(visit.headers, &self.names.session)
            .filter_map(|value| std::str::from_utf8(value).ok())
            .filter(|token| !token.is_empty())
            .take(MAX_SESSIONS)
            .collect();
        if sessions.is_empty() { visit.bearer().ok().flatten().into_iter().collect() } else { sessions }
    }
}
