//! Who is calling: from a credential that was presented to an identity that was verified.
//!
//! Access tokens are opaque and go to Google's `tokeninfo`; ID tokens are verified here against Google's
//! public keys (`jwks`). What was learnt is kept in a `cache` of *facts* (who, for which client, until
//! when), never of decisions: whether somebody may pass is asked again on every request.

pub(crate) mod cache;
pub(crate) mod claims;
pub mod credential;
mod flight;
mod flood;
pub(crate) mod jwks;
mod push;
pub(crate) mod tokeninfo;
mod verified;
mod verifier;

use http::HeaderValue;
use thiserror::Error;

use crate::time::UnixTime;

pub use credential::{Credential, Kind};
pub(crate) use flood::network;
pub use jwks::Jwks;
pub use push::PushCaller;
pub use verifier::{IdentityProvider, Verifier};

/// A verified caller. Only this module makes one.
#[derive(Clone, Debug)]
pub struct Identity {
    /// E-mail address, lower-case, verified by Google.
    pub email: Box<str>,
    /// Google's stable id of the account (`sub`); absent from access tokens without the `openid` scope.
    pub subject: Option<Box<str>>,
    /// Google Workspace domain (`hd`). Access tokens never carry it.
    pub hosted_domain: Option<Box<str>>,
    /// Whether this is a service account.
    pub service_account: bool,
    /// When the token ends.
    pub expires: UnixTime,
    /// `accounts.google.com:EMAIL`, ready for `X-Goog-Authenticated-User-Email`.
    pub(crate) email_header: HeaderValue,
    /// `accounts.google.com:SUBJECT`, ready for `X-Goog-Authenticated-User-Id`.
    pub(crate) subject_header: Option<HeaderValue>,
}

/// Why a credential proves nothing about its bearer. The text is safe to log and to show: it never
/// contains the credential or unverified claims.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum VerifyError {
    /// It is not of a form that Google issues.
    #[error("the credential is not a Google token")]
    Malformed,
    /// It has ended, or Google does not know it (Google does not tell the two apart).
    #[error("the token has expired, was revoked or was never issued")]
    Expired,
    /// It was signed out here.
    #[error("the session was signed out")]
    SignedOut,
    /// A claim or the signature is not as it must be; the text names which.
    #[error("the token was not accepted: {0}")]
    Invalid(&'static str),
    /// It was issued to a client, or for an audience, that is not ours.
    #[error("the token was issued for another client or audience")]
    WrongAudience,
    /// Google has not verified the e-mail address, or there is none.
    #[error("the token carries no verified e-mail address")]
    NoVerifiedEmail,
    /// Too many unknown tokens came from this address; it is asked to wait.
    #[error("too many tokens from this address were rejected")]
    Throttled,
    /// Google could not be asked. Says nothing about the credential.
    #[error("the token could not be checked: {0}")]
    Unavailable(String),
}
