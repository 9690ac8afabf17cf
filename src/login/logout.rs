//! Ending a session: here at once, and at Google too when asked.
//!
//! Google offers no sign-out to other sites (no `end_session_endpoint`), so whoever signs out here stays signed in
//! there. Withdrawing is another matter: it revokes the token (RFC 7009) and with it the consent.

use http::{Method, StatusCode};
use serde::Serialize;

use super::attempt::Open;
use super::cookies::{SameSite, delete};
use super::refuse::{self, Refusal};
use super::visit::Visit;
use super::{Login, method_not_allowed};
use crate::config::Flow;
use crate::identity::{Credential, Kind, VerifyError};
use crate::pages::{self, Withdrawal};
use crate::reply::Reply;
use crate::secret::Secret;
use crate::telemetry::Audit;
use crate::time::UnixTime;

#[derive(Serialize)]
struct SignedOut {
    signed_out: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked: Option<bool>,
}

impl Login {
    /// `/logout`
    pub(super) async fn logout(&self, visit: &Visit<'_>, now: UnixTime) -> Reply {
        if visit.reads() {
            return pages::sign_out(self.flow == Flow::AccessToken);
        }
        if visit.method != Method::POST {
            return method_not_allowed(visit, "GET, HEAD, POST");
        }
        if !visit.is_same_origin() {
            return refuse::answer(visit, &Refusal::CROSS_SITE, None);
        }
        let asked = visit.form().is_some_and(|form| form.has("revoke"));
        let mut withdrawal = if asked { Withdrawal::Done } else { Withdrawal::NotAsked };
        // With several session cookies, whichever of them counts must not survive.
        let mut ended = None;
        for token in self.tokens(visit) {
            let end = self.end(token, asked, visit, now).await;
            if !end.withdrawn {
                withdrawal = Withdrawal::Failed;
            }
            ended = ended.or(end.ended);
        }
        let mut reply = confirmation(visit, withdrawal);
        if let Some(Session { who }) = ended {
            reply = reply.audit(Audit::SignOut { who, revoked: revoked(withdrawal) });
        }
        for name in [&self.names.session, &self.names.hint, &self.names.last] {
            reply = reply.cookie(&delete(name, SameSite::Lax));
        }
        for cookie in Open::of(visit.headers, &self.names).forget_all(self.attempt_same_site()) {
            reply = reply.cookie(&cookie);
        }
        reply
    }

    /// Ends one token.
    async fn end(&self, token: &str, revoke: bool, visit: &Visit<'_>, now: UnixTime) -> End {
        let nothing = |withdrawn| End { ended: None, withdrawn };
        let Some(credential) = Credential::parse(token) else { return nothing(true) };
        let who = match self.provider.verify(credential, visit.client, now).await {
            Ok(identity) => Some(identity.email.clone()),
            // What cannot be checked just now may well be good in a moment.
            Err(VerifyError::Unavailable(_)) => None,
            // Nobody can use it anyway. Remembering whatever comes along would push out what has to be remembered.
            Err(
                VerifyError::Malformed
                | VerifyError::Expired
                | VerifyError::SignedOut
                | VerifyError::Invalid(_)
                | VerifyError::WrongAudience
                | VerifyError::NoVerifiedEmail,
            ) => return nothing(true),
            // Not checked and not remembered, so not revoked either.
            Err(VerifyError::Throttled) => return nothing(!revoke),
        };
        self.provider.sign_out(credential, now);
        let can = credential.kind() == Kind::AccessToken;
        let withdrawn = !revoke || (can && self.revoke(token, visit).await);
        End { ended: Some(Session { who }), withdrawn }
    }

    async fn revoke(&self, token: &str, visit: &Visit<'_>) -> bool {
        let revoked = self.revoker.revoke(&Secret::new(token)).await;
        if let Err(error) = &revoked {
            log::warn!(request_id = visit.request_id; "revoking a token at sign-out failed: {error}");
        }
        revoked.is_ok()
    }
}

/// What became of a token at sign-out.
struct End {
    /// The session that it was, if it was one.
    ended: Option<Session>,
    /// False when it should have been revoked and was not.
    withdrawn: bool,
}

/// A session that was ended.
struct Session {
    /// Whose it was, if Google could say.
    who: Option<Box<str>>,
}

/// Whether consent was withdrawn, if that was asked for.
fn revoked(withdrawal: Withdrawal) -> Option<bool> {
    match withdrawal {
        Withdrawal::NotAsked => None,
        Withdrawal::Done => Some(true),
        Withdrawal::Failed => Some(false),
    }
}

fn confirmation(visit: &Visit<'_>, withdrawal: Withdrawal) -> Reply {
    if visit.is_person() {
        return pages::signed_out(withdrawal);
    }
    Reply::json(StatusCode::OK, &SignedOut { signed_out: true, revoked: revoked(withdrawal) })
}
