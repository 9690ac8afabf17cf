//! Signed senders: whether a message comes from whom the location trusts, decided over the bytes as they came.
//!
//! Every scheme is an [`HmacScheme`] that one engine (`hmac`) checks. The schemes with a name differ from one that is
//! described in the file only in what they add after the signature was found good: requests for proof that are
//! answered and not recorded, and an id of the delivery that stands in the body.

mod github;
mod hmac;
mod shopify;
mod slack;
mod standard;
mod stripe;
mod zoom;

use http::{HeaderMap, HeaderName};
use thiserror::Error;

use crate::config::{HmacScheme, Scheme};
use crate::reply::Reply;
use crate::secret::Secret;
use crate::time::UnixTime;

/// A request as it came: nothing may be decoded or normalised before its signature was checked.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// All headers.
    pub headers: &'a HeaderMap,
    /// The whole body.
    pub body: &'a [u8],
}

/// What a request with a good signature is.
#[derive(Clone, Debug)]
pub enum Verified {
    /// A message.
    Message {
        /// Which delivery it is, the same over retries and replays: the sender's own id where the scheme has one;
        /// else the signature in hexadecimal digits where the time is signed along, which knows replays only.
        ///
        /// GitHub's and Shopify's ids, and those of an `id_header` that is not signed, can be changed by whoever holds
        /// a signed message. They tell retries apart from news; they do not keep replays out.
        delivery: Option<String>,
    },
    /// The sender asked for proof that we hold the secret, or that our TLS works. This is the answer; nothing is to be
    /// recorded.
    Answer(Reply),
}

/// Why a request is not believed. The text is for the log: it holds neither signature nor secret nor what was signed.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum WebhookError {
    /// A header that the scheme needs is not there.
    #[error("the header {0} is missing; is the sender told to sign?")]
    Missing(HeaderName),
    /// A header that must be single is not.
    #[error("the header {0} was sent more than once")]
    Several(HeaderName),
    /// A header cannot be read.
    #[error("the header {header} {why}")]
    Malformed {
        /// Which one.
        header: HeaderName,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Signed too long ago.
    #[error(
        "the message was signed {age} s ago and {tolerance} s are allowed: it is a replay, or a clock is wrong"
    )]
    TooOld {
        /// Seconds since it was signed.
        age: u64,
        /// Seconds that are allowed.
        tolerance: u64,
    },
    /// Signed in the future.
    #[error("the message is dated {ahead} s ahead and {tolerance} s are allowed: check the clocks")]
    TooNew {
        /// Seconds until the time of signing.
        ahead: u64,
        /// Seconds that are allowed.
        tolerance: u64,
    },
    /// The signature is in order and belongs to another message or secret.
    #[error(
        "no signature matches: the sender signs with another secret, or the message was changed on its way"
    )]
    NoMatch,
    /// There is no secret to compare with.
    #[error("the signing secret cannot be used: it is empty, or not in the form that the scheme expects")]
    UnusableSecret,
    /// A request for proof with a good signature that asks for what we do not sign or repeat.
    #[error("the sender asks for proof, but its {0} is missing, too long, or not of the expected characters")]
    Challenge(&'static str),
    /// The description of the scheme contradicts itself.
    #[error("BUG: {0}")]
    Contradiction(&'static str),
}

impl WebhookError {
    /// Whether the secret that we hold may be an old one: the caller then reads it again, once, and tries again.
    pub fn may_be_the_secret(&self) -> bool {
        match self {
            Self::NoMatch | Self::UnusableSecret => true,
            Self::Missing(_)
            | Self::Several(_)
            | Self::Malformed { .. }
            | Self::TooOld { .. }
            | Self::TooNew { .. }
            | Self::Challenge(_)
            | Self::Contradiction(_) => false,
        }
    }
}

/// Checks a request against a scheme at the time `now`, with all secrets that are good at the moment: two while the
/// sender changes from one to the other.
///
/// The secrets are tried in order; how many there are and which one matched may show in the time it takes, nothing
/// about their content does.
pub fn verify(
    scheme: &Scheme,
    secrets: &[&Secret],
    incoming: &Incoming<'_>,
    now: UnixTime,
) -> Result<Verified, WebhookError> {
    if *scheme == Scheme::Slack && slack::is_unsigned_check(incoming) {
        return Ok(Verified::Answer(slack::check_answer()));
    }
    let proof = hmac::prove(described(scheme), secrets, incoming, now)?;
    match scheme {
        Scheme::Slack => slack::outcome(proof, incoming.body),
        Scheme::Stripe => Ok(stripe::outcome(proof, incoming.body)),
        Scheme::Zoom => zoom::outcome(proof, incoming.body),
        Scheme::Github | Scheme::Shopify | Scheme::StandardWebhooks | Scheme::Hmac(_) => {
            Ok(Verified::Message { delivery: proof.delivery })
        }
    }
}

/// The header without which no request of this scheme is believed, so that one that lacks it need not be read.
/// Slack has none, since its check of our certificate may come without a signature.
pub fn needs(scheme: &Scheme) -> Option<&HeaderName> {
    match scheme {
        Scheme::Slack => None,
        Scheme::Github
        | Scheme::Stripe
        | Scheme::Shopify
        | Scheme::Zoom
        | Scheme::StandardWebhooks
        | Scheme::Hmac(_) => Some(&described(scheme).header),
    }
}

fn described(scheme: &Scheme) -> &HmacScheme {
    match scheme {
        Scheme::Slack => &slack::SCHEME,
        Scheme::Github => &github::SCHEME,
        Scheme::Stripe => &stripe::SCHEME,
        Scheme::Shopify => &shopify::SCHEME,
        Scheme::Zoom => &zoom::SCHEME,
        Scheme::StandardWebhooks => &standard::SCHEME,
        Scheme::Hmac(described) => described,
    }
}

#[cfg(test)]
mod tests;
