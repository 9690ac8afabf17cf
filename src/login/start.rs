//! Sending the browser to Google (RFC 6749, section 4.2.1; OpenID Connect Core, section 3.2.2.1), and the page with
//! the button for when that must not happen by itself.

use http::StatusCode;

use super::attempt::{Attempt, MAX_OPEN, Open};
use super::cookies::Outcome;
use super::presented::Found;
use super::refuse::{self, Refusal};
use super::return_path::ReturnPath;
use super::visit::Visit;
use super::{CALLBACK, Login, method_not_allowed, see_other};
use crate::config::Flow;
use crate::identity::{Identity, VerifyError};
use crate::pages::{self, SignIn, sign_in_link};
use crate::reply::Reply;
use crate::time::UnixTime;

/// A session that ends sooner than this, in seconds, is renewed.
const NEAR_END: u64 = 300;
/// Who has just been signed in, and is not, would be sent round in circles.
const JUST: u64 = 30;
/// A silent attempt that is still open keeps another renewal from starting for this long: when Google does not answer,
/// the session is used for as long as it lasts.
const PATIENCE: u64 = 120;

/// How much of itself Google may show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prompt {
    /// Nothing (`prompt=none`).
    Nothing,
    /// What is needed.
    Needed,
    /// The choice of account (`prompt=select_account`).
    Choice,
}

/// Why the page with the button is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Signing in was asked for.
    Asked,
    /// Another account was asked for.
    Choice,
    /// Sign-in went well, and yet there is no session.
    NoCookie,
    /// Google wants to see the person.
    Attention,
    /// The person said no.
    Cancelled,
    /// The answer belongs to no attempt of this browser, or to one of long ago.
    Stale,
}

impl Reason {
    fn words(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Asked => (
                StatusCode::OK,
                "Please sign in",
                "This service is for people who are signed in with Google.",
            ),
            Self::Choice => (
                StatusCode::OK,
                "Use another account",
                "Google will ask which account you want to sign in with.",
            ),
            Self::NoCookie => (
                StatusCode::OK,
                "Please sign in once more",
                "You have just been signed in, but your browser did not keep the session. If this goes on, allow \
                 cookies for this site.",
            ),
            Self::Attention => (
                StatusCode::OK,
                "Please sign in again",
                "Google needs to hear from you before it can confirm who you are.",
            ),
            // Not a success, lest a program takes it for one, and no request for a credential either: access was
            // asked for, and denied by the one who may deny it.
            Self::Cancelled => (
                StatusCode::FORBIDDEN,
                "Sign-in was cancelled",
                "Nothing was shared with this site. You can try again at any time.",
            ),
            Self::Stale => (
                StatusCode::BAD_REQUEST,
                "Let’s start over",
                "Signing in took too long or was started in another window.",
            ),
        }
    }
}

/// Why `/login` shows the button, as it stands in its query.
///
/// Google's form post comes from another site, so the session cookie, which is SameSite=Lax, does not come along with
/// it. What depends on the session is therefore left to a GET that the browser makes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// As [`Reason::Attention`].
    Attention,
    /// As [`Reason::Stale`].
    Stale,
}

impl Why {
    fn name(self) -> &'static str {
        match self {
            Self::Attention => "attention",
            Self::Stale => "stale",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::Attention, Self::Stale].into_iter().find(|why| why.name() == name)
    }
}

/// To `/login`, which looks for a session and never goes on to Google by itself when it is told why.
pub(super) fn ask_again(why: Why, return_path: &ReturnPath) -> Reply {
    see_other(&format!("{}&why={}", sign_in_link(return_path.as_str(), false), why.name()))
}

impl Login {
    /// Sends a page navigation without a good credential to Google, to come back to the page it asked for: without
    /// anything to see (`prompt=none`) when the account is known. Shows the page with the button instead where that
    /// would run in circles, and to whatever is no page navigation, which is given no cookies.
    pub fn begin(&self, visit: &Visit<'_>, now: UnixTime) -> Reply {
        self.automatic(visit, ReturnPath::parse(&visit.target()), now)
    }

    /// Renews a session near its end, on a page navigation, by a way over Google that shows nothing. `identity` is
    /// the one of the session cookie. Nothing when that is not due, or was tried a moment ago.
    pub fn renew(&self, visit: &Visit<'_>, identity: &Identity, now: UnixTime) -> Option<Reply> {
        let due = identity.expires.since(now).as_secs() <= NEAR_END;
        if !due || identity.service_account || !visit.is_navigation() {
            return None;
        }
        let open = Open::of(visit.headers, &self.names);
        if self.names.last(visit.headers, now).is_some() || open.any_silent(PATIENCE, now) {
            return None;
        }
        let return_path = ReturnPath::parse(&visit.target());
        Some(self.redirect(visit, return_path, Prompt::Nothing, Some(&identity.email), now))
    }

    /// `/login`
    pub(super) async fn login(&self, visit: &Visit<'_>, now: UnixTime) -> Reply {
        if !visit.reads() {
            return method_not_allowed(visit, "GET, HEAD");
        }
        let fields = visit.fields();
        let return_path = fields.get("return").map_or_else(ReturnPath::root, ReturnPath::parse);
        let choose = fields.get("choose") == Some("1");
        let go = fields.get("go") == Some("1") && visit.is_navigation();
        if choose {
            if go {
                return self.redirect(visit, return_path, Prompt::Choice, None, now);
            }
            return self.button(visit, Reason::Choice, &return_path);
        }
        let why = fields.get("why").filter(|_| !go).and_then(Why::parse);
        if why == Some(Why::Attention) {
            return self.button_or_onward(visit, &return_path, now).await;
        }
        match self.by_cookie(visit, now).await {
            Found::Good(_) => return see_other(return_path.as_str()),
            Found::Bad(_) | Found::Nothing if why == Some(Why::Stale) => {
                return self.button(visit, Reason::Stale, &return_path);
            }
            Found::Ambiguous => return refuse::answer(visit, &Refusal::AMBIGUOUS, Some(refuse::SIGN_OUT)),
            Found::Bad(error @ (VerifyError::Unavailable(_) | VerifyError::Throttled)) => {
                return refuse::answer(visit, &Refusal::from(&error), None);
            }
            Found::Bad(_) | Found::Nothing => {}
        }
        if go {
            let hint = self.names.hint(visit.headers);
            return self.redirect(visit, return_path, Prompt::Needed, hint.as_deref(), now);
        }
        let full = Open::of(visit.headers, &self.names).count(now) >= MAX_OPEN;
        if full || matches!(self.names.last(visit.headers, now), Some((Outcome::Failed, _))) {
            return self.button(visit, Reason::Asked, &return_path);
        }
        self.automatic(visit, return_path, now)
    }

    fn automatic(&self, visit: &Visit<'_>, return_path: ReturnPath, now: UnixTime) -> Reply {
        if !visit.is_navigation() {
            return self.button(visit, Reason::Asked, &return_path);
        }
        let last = self.names.last(visit.headers, now);
        if last.is_some_and(|(outcome, at)| outcome == Outcome::SignedIn && now.since(at).as_secs() < JUST) {
            return self.button(visit, Reason::NoCookie, &return_path);
        }
        let hint = self.names.hint(visit.headers);
        let failed = last.is_some_and(|(outcome, _)| outcome == Outcome::Failed);
        let prompt = if hint.is_some() && !failed { Prompt::Nothing } else { Prompt::Needed };
        self.redirect(visit, return_path, prompt, hint.as_deref(), now)
    }

    fn redirect(
        &self,
        visit: &Visit<'_>,
        return_path: ReturnPath,
        prompt: Prompt,
        hint: Option<&str>,
        now: UnixTime,
    ) -> Reply {
        let (nonce, silent) = (self.flow == Flow::IdToken, prompt == Prompt::Nothing);
        let Some(mut attempt) = Attempt::new(return_path, nonce, silent, now) else {
            return refuse::answer(visit, &Refusal::NO_RANDOMNESS, None);
        };
        let same_site = self.attempt_same_site();
        let mut reply = Reply::redirect(StatusCode::FOUND, &self.question(visit, &attempt, prompt, hint));
        for cookie in Open::of(visit.headers, &self.names).make_room(same_site) {
            reply = reply.cookie(&cookie);
        }
        reply.cookie(&attempt.remember(&self.names, same_site))
    }

    /// The authorization request.
    fn question(&self, visit: &Visit<'_>, attempt: &Attempt, prompt: Prompt, hint: Option<&str>) -> String {
        let mut url = self.authorization.clone();
        let mut query = url.query_pairs_mut();
        query.append_pair("client_id", &self.client_id);
        query.append_pair("redirect_uri", &format!("{}{CALLBACK}", visit.origin));
        match self.flow {
            Flow::AccessToken => query.append_pair("response_type", "token"),
            Flow::IdToken => {
                query.append_pair("response_type", "id_token").append_pair("response_mode", "form_post")
            }
        };
        query.append_pair("scope", &self.scope);
        query.append_pair("state", &attempt.state);
        let optional = [
            ("nonce", attempt.nonce.as_deref()),
            ("hd", self.hosted_domain.as_deref()),
            ("login_hint", hint),
            (
                "prompt",
                match prompt {
                    Prompt::Nothing => Some("none"),
                    Prompt::Needed => None,
                    Prompt::Choice => Some("select_account"),
                },
            ),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        drop(query);
        url.into()
    }

    /// The page with the button.
    pub(super) fn button(&self, visit: &Visit<'_>, reason: Reason, return_path: &ReturnPath) -> Reply {
        self.button_or(visit, reason, return_path, None)
    }

    /// The page with the button because Google wants to see the person, who can go on while the session lasts.
    pub(super) async fn button_or_onward(
        &self,
        visit: &Visit<'_>,
        return_path: &ReturnPath,
        now: UnixTime,
    ) -> Reply {
        let good = matches!(self.by_cookie(visit, now).await, Found::Good(_));
        self.button_or(visit, Reason::Attention, return_path, good.then_some(return_path.as_str()))
    }

    /// The page with the button, and a way on for those who still have a session.
    fn button_or(
        &self,
        visit: &Visit<'_>,
        reason: Reason,
        return_path: &ReturnPath,
        onward: Option<&str>,
    ) -> Reply {
        let (status, heading, text) = reason.words();
        let choose = reason == Reason::Choice;
        let start = format!("{}&go=1", sign_in_link(return_path.as_str(), choose));
        let another = format!("{}&go=1", sign_in_link(return_path.as_str(), true));
        let known = !choose && self.names.hint(visit.headers).is_some();
        let another = known.then_some(another.as_str());
        pages::sign_in(status, &SignIn { heading, text, start: &start, onward, another, site: visit.site() })
    }
}
