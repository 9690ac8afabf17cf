//! What sign-in says when it says no: a page for people, a problem document (RFC 9457) for programs.
//!
//! Where the gate refuses for the same reason, status and code are the same; the words are those of somebody who is
//! signing in.

use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};

use super::LOGOUT;
use super::visit::Visit;
use crate::identity::VerifyError;
use crate::pages::{self, Action};
use crate::reply::{Problem, Reply};

/// Why sign-in said no. Every text is our own: nothing that came from outside is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) code: &'static str,
    pub(super) title: &'static str,
    pub(super) detail: &'static str,
    /// `WWW-Authenticate`, with every 401 (RFC 9110, section 15.5.2).
    pub(super) challenge: Option<&'static str>,
    /// `Retry-After`, where waiting helps.
    pub(super) retry_after: Option<&'static str>,
}

impl Refusal {
    pub(super) const METHOD_NOT_ALLOWED: Self = Self::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "This does not work that way",
        "This address does not take requests with this method.",
    );
    pub(super) const NOT_IN_THIS_FLOW: Self = Self::new(
        StatusCode::NOT_FOUND,
        "no_location",
        "There is nothing here",
        "This address is not part of the way in which sign-in is set up here.",
    );
    pub(super) const CROSS_SITE: Self = Self::new(
        StatusCode::FORBIDDEN,
        "cross_origin",
        "This came from another site",
        "Only the pages of this very site may ask for this.",
    );
    pub(super) const NOT_A_FORM: Self = Self::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not_a_form",
        "This is not a form",
        "This address takes application/x-www-form-urlencoded only.",
    );
    pub(super) const AMBIGUOUS: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "ambiguous_credential",
        "There is more than one session",
        "The request carries several credentials of one kind, and it is not clear which one counts. Sign out, or \
         delete this site’s cookies, and try again.",
    );
    pub(super) const WRONG_ISSUER: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "wrong_issuer",
        "This answer is not from Google",
        "The answer to the sign-in names somebody else as its sender, so it was not used.",
    );
    pub(super) const INCOMPLETE: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "sign_in_incomplete",
        "Sign-in did not finish",
        "Google’s answer does not contain what is needed to sign you in. Please try again.",
    );
    pub(super) const TOO_LONG: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "token_too_long",
        "Sign-in did not finish",
        "Google’s token is longer than browsers keep. Please tell whoever runs this service.",
    );
    pub(super) const REFUSED_BY_GOOGLE: Self = Self::new(
        StatusCode::BAD_REQUEST,
        "sign_in_refused",
        "Google did not sign you in",
        "Google refused the request. If trying again does not help, please tell whoever runs this service.",
    );
    pub(super) const NO_CREDENTIAL: Self = Self::challenging(
        "Bearer",
        "unauthenticated",
        "You are not signed in",
        "A Google token is needed: as a bearer token, or in the session cookie.",
    );
    pub(super) const UNAVAILABLE: Self = Self {
        retry_after: Some("5"),
        ..Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "provider_unavailable",
            "Google cannot be reached just now",
            "This says nothing about your account. Please try again in a moment.",
        )
    };
    pub(super) const NO_RANDOMNESS: Self = Self::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "Something is wrong here",
        "The gateway could not start sign-in. Please try again.",
    );

    const fn new(status: StatusCode, code: &'static str, title: &'static str, detail: &'static str) -> Self {
        Self { status, code, title, detail, challenge: None, retry_after: None }
    }

    const fn challenging(
        challenge: &'static str,
        code: &'static str,
        title: &'static str,
        detail: &'static str,
    ) -> Self {
        let refusal = Self::new(StatusCode::UNAUTHORIZED, code, title, detail);
        Self { challenge: Some(challenge), ..refusal }
    }

    const fn invalid_credential(title: &'static str, detail: &'static str) -> Self {
        Self::challenging("Bearer error=\"invalid_token\"", "invalid_credential", title, detail)
    }
}

impl From<&VerifyError> for Refusal {
    fn from(error: &VerifyError) -> Self {
        match error {
            VerifyError::Malformed => Self::invalid_credential(
                "That is no Google token",
                "What came is not of the form that Google’s tokens have.",
            ),
            VerifyError::Expired => Self::invalid_credential(
                "The sign-in has expired",
                "Google no longer knows this sign-in: it has expired or was withdrawn.",
            ),
            VerifyError::SignedOut => Self::invalid_credential(
                "You are signed out",
                "This session was signed out. Please sign in again.",
            ),
            VerifyError::Invalid(_) => Self::invalid_credential(
                "The token was not accepted",
                "What came does not prove who you are.",
            ),
            VerifyError::WrongAudience => Self::invalid_credential(
                "The token is for somebody else",
                "It was issued to another application, and is not accepted here.",
            ),
            VerifyError::NoVerifiedEmail => Self::invalid_credential(
                "No verified e-mail address",
                "Google has not verified an e-mail address of this account, or did not tell it.",
            ),
            VerifyError::Throttled => Self {
                retry_after: Some("60"),
                ..Self::new(
                    StatusCode::TOO_MANY_REQUESTS,
                    "rate_limited",
                    "Too many attempts",
                    "Too many tokens from your address were refused. Please wait a moment.",
                )
            },
            VerifyError::Unavailable(_) => Self::UNAVAILABLE,
        }
    }
}

/// The answer that says so, with a link for people to what can be done about it.
pub(super) fn answer(visit: &Visit<'_>, refusal: &Refusal, action: Option<Action<'_>>) -> Reply {
    let Refusal { status, code, title, detail, challenge, retry_after } = *refusal;
    let problem = Problem { title, detail, code, request_id: visit.request_id };
    let mut reply = if visit.is_person() {
        pages::problem(status, &problem, action.as_slice())
    } else {
        Reply::problem(status, &problem)
    };
    if let Some(challenge) = challenge {
        reply = reply.header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    if let Some(seconds) = retry_after {
        reply = reply.header(RETRY_AFTER, HeaderValue::from_static(seconds));
    }
    reply
}

/// What helps against too many sessions.
pub(super) const SIGN_OUT: Action<'static> = Action { label: "Sign out", href: LOGOUT };
