//! Making a session of Google's answer.
//!
//! The answer counts only in the browser that asked: its `state` must be that of an open attempt (RFC 6749, section
//! 10.12). Then the token is verified like any other and becomes the session cookie, whatever was in that before.

use std::sync::Arc;

use super::attempt::Attempt;
use super::cookies::{Outcome, SameSite, set};
use super::presented::Found;
use super::refuse::{self, Refusal};
use super::return_path::ReturnPath;
use super::start::{Reason, Why, ask_again};
use super::visit::{Fields, Visit};
use super::{Login, method_not_allowed, see_other};
use crate::config::Flow;
use crate::identity::claims::verify_nonce;
use crate::identity::{Credential, Identity, Kind, VerifyError};
use crate::pages::{Action, sign_in_link};
use crate::reply::Reply;
use crate::telemetry::Audit;
use crate::time::UnixTime;

/// Browsers drop a cookie whose name and value are longer than this together (RFC 6265bis, section 5.6), and say
/// nothing.
const MAX_COOKIE: usize = 4096;

impl Login {
    /// `/session`
    pub(super) async fn session(&self, visit: &Visit<'_>, now: UnixTime) -> Reply {
        if self.flow != Flow::AccessToken {
            return refuse::answer(visit, &Refusal::NOT_IN_THIS_FLOW, None);
        }
        if visit.method != http::Method::POST {
            return method_not_allowed(visit, "POST");
        }
        if !visit.is_same_origin() {
            return refuse::answer(visit, &Refusal::CROSS_SITE, None);
        }
        match visit.form() {
            Some(form) => self.finish(visit, &form, now).await,
            None => refuse::answer(visit, &Refusal::NOT_A_FORM, None),
        }
    }

    /// Ends an attempt with what Google answered.
    pub(super) async fn finish(&self, visit: &Visit<'_>, form: &Fields, now: UnixTime) -> Reply {
        let attempt = form.get("state").and_then(|state| Attempt::find(visit.headers, &self.names, state));
        let Some(attempt) = attempt else {
            return self.stale(visit, &ReturnPath::root(), now).await;
        };
        if attempt.is_over(now) {
            let reply = self.stale(visit, &attempt.return_path, now).await;
            return self.forget(reply, &attempt);
        }
        let from_google =
            form.get("iss").is_some_and(|issuer| self.issuers.iter().any(|known| known == issuer));
        if form.has("iss") && !from_google {
            return self.fail(visit, &attempt, &Refusal::WRONG_ISSUER, now);
        }
        if form.has("error") {
            let reply = self.declined(visit, &attempt, form.get("error").unwrap_or_default(), now).await;
            return self.forget(reply, &attempt);
        }
        match self.verify(visit, form, &attempt, now).await {
            Ok((token, identity)) => self.sign_in(&attempt, token, &identity, now),
            // The attempt stays open, so that sending the form once more helps.
            Err(refusal) if refusal.retry_after.is_some() => {
                let retry = sign_in_link(attempt.return_path.as_str(), false);
                refuse::answer(visit, &refusal, Some(Action { label: "Try again", href: &retry }))
            }
            Err(refusal) => self.fail(visit, &attempt, &refusal, now),
        }
    }

    async fn verify<'f>(
        &self,
        visit: &Visit<'_>,
        form: &'f Fields,
        attempt: &Attempt,
        now: UnixTime,
    ) -> Result<(&'f str, Arc<Identity>), Refusal> {
        let (field, kind) = match self.flow {
            Flow::AccessToken => ("access_token", Kind::AccessToken),
            Flow::IdToken => ("id_token", Kind::IdToken),
        };
        let token = form.get(field).ok_or(Refusal::INCOMPLETE)?;
        if self.names.session.len() + token.len() > MAX_COOKIE {
            return Err(Refusal::TOO_LONG);
        }
        let credential = Credential::parse(token).filter(|credential| credential.kind() == kind);
        let credential = credential.ok_or(Refusal::from(&VerifyError::Malformed))?;
        let identity = self.provider.verify(credential, visit.client, now).await;
        let identity = identity.map_err(|error| Refusal::from(&error))?;
        if identity.expires <= now {
            return Err(Refusal::from(&VerifyError::Expired));
        }
        // An ID token that was issued for another sign-in proves nothing about this one.
        let replayed = match (self.flow, attempt.nonce.as_deref()) {
            (Flow::AccessToken, _) => false,
            (Flow::IdToken, Some(nonce)) => !verify_nonce(token, nonce),
            (Flow::IdToken, None) => true,
        };
        if replayed { Err(Refusal::from(&VerifyError::Invalid("nonce"))) } else { Ok((token, identity)) }
    }

    fn sign_in(&self, attempt: &Attempt, token: &str, identity: &Identity, now: UnixTime) -> Reply {
        let life = identity.expires.since(now).as_secs();
        let reply = see_other(attempt.return_path.as_str())
            .cookie(&set(&self.names.session, token, life, SameSite::Lax))
            .cookie(&self.names.set_hint(&identity.email))
            .cookie(&self.names.set_last(Outcome::SignedIn, now))
            .audit(Audit::SignIn { who: identity.email.clone() });
        self.forget(reply, attempt)
    }

    /// Google answered with an error (RFC 6749, section 4.2.2.1; OpenID Connect Core, section 3.1.2.6). Its description
    /// is not shown: it can be anybody's words.
    async fn declined(&self, visit: &Visit<'_>, attempt: &Attempt, error: &str, now: UnixTime) -> Reply {
        let reply = match error {
            "access_denied" => self.button(visit, Reason::Cancelled, &attempt.return_path),
            "interaction_required" | "login_required" | "consent_required" | "account_selection_required" => {
                match self.flow {
                    Flow::AccessToken => self.button_or_onward(visit, &attempt.return_path, now).await,
                    Flow::IdToken => ask_again(Why::Attention, &attempt.return_path),
                }
            }
            "temporarily_unavailable" | "server_error" => self.refuse(visit, attempt, &Refusal::UNAVAILABLE),
            _ => self.refuse(visit, attempt, &Refusal::REFUSED_BY_GOOGLE),
        };
        reply.cookie(&self.names.set_last(Outcome::Failed, now))
    }

    /// The answer belongs to no open attempt. Who has a session by now goes on; all others get the button, never a
    /// redirect to Google, since that is where they came from.
    async fn stale(&self, visit: &Visit<'_>, return_path: &ReturnPath, now: UnixTime) -> Reply {
        if self.flow == Flow::IdToken {
            return ask_again(Why::Stale, return_path);
        }
        match self.by_cookie(visit, now).await {
            Found::Good(_) => see_other(return_path.as_str()),
            Found::Nothing | Found::Ambiguous | Found::Bad(_) => {
                self.button(visit, Reason::Stale, return_path)
            }
        }
    }

    fn fail(&self, visit: &Visit<'_>, attempt: &Attempt, refusal: &Refusal, now: UnixTime) -> Reply {
        let reply = self.refuse(visit, attempt, refusal);
        self.forget(reply.cookie(&self.names.set_last(Outcome::Failed, now)), attempt)
    }

    fn refuse(&self, visit: &Visit<'_>, attempt: &Attempt, refusal: &Refusal) -> Reply {
        let again = sign_in_link(attempt.return_path.as_str(), true);
        refuse::answer(visit, refusal, Some(Action { label: "Sign in again", href: &again }))
    }

    fn forget(&self, reply: Reply, attempt: &Attempt) -> Reply {
        reply.cookie(&attempt.forget(&self.names, self.attempt_same_site()))
    }
}
