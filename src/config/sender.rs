//! Signed senders, and where their secrets are.

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;

use crate::secret::Secret;

/// A signed sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// How the sender signs.
    pub scheme: Scheme,
    /// Index into [`super::Config::secrets`] of the signing secret.
    pub secret: usize,
    /// That of another secret that is good as well while the sender changes from one to the other.
    pub previous_secret: Option<usize>,
}

/// How a sender signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Slack's `v0`.
    Slack,
    /// GitHub's `X-Hub-Signature-256`.
    Github,
    /// Stripe's `Stripe-Signature`.
    Stripe,
    /// Shopify's `X-Shopify-Hmac-SHA256`.
    Shopify,
    /// Zoom's `v0`.
    Zoom,
    /// <https://www.standardwebhooks.com>, symmetric.
    StandardWebhooks,
    /// As described in the file.
    Hmac(Box<HmacScheme>),
}

/// An HMAC signature, described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HmacScheme {
    /// Header that carries the signature or several.
    pub header: HeaderName,
    /// The hash function.
    pub algorithm: HmacAlgorithm,
    /// How the signature is written.
    pub encoding: HmacEncoding,
    /// What stands before each signature, such as `sha256=` or `v1,`; elements that begin otherwise are ignored.
    pub prefix: String,
    /// What separates the elements of the header, such as `,`; without it, the whole header is one.
    pub separator: Option<char>,
    /// What is signed, in order.
    pub signed: Vec<SignedPart>,
    /// Where the time of signing stands; without one, old messages can be sent again for ever.
    pub timestamp: Option<TimestampPlace>,
    /// How far the time of signing may be from now, either way.
    pub tolerance: Duration,
    /// How the bytes of the key come from the secret.
    pub key: KeyForm,
    /// Header that identifies a delivery, constant over the sender's retries.
    pub id_header: Option<HeaderName>,
}

/// Hash function of an HMAC (RFC 2104).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HmacAlgorithm {
    /// SHA-1, for senders that know no better.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

/// How a signature is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HmacEncoding {
    /// Hexadecimal digits in either case.
    Hex,
    /// Standard Base64 (RFC 4648, section 4), padded or not.
    Base64,
}

/// A piece of what is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedPart {
    /// These characters.
    Text(String),
    /// The time of signing as the sender wrote it.
    Timestamp,
    /// The value of a header as the sender wrote it.
    Header(HeaderName),
    /// The body's bytes.
    Body,
}

/// Where the time of signing stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimestampPlace {
    /// In a header of its own.
    Header(HeaderName),
    /// In an element of the signature's header that begins with this, such as `t=`.
    Element(String),
}

/// How the bytes of the key come from the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyForm {
    /// The secret's own bytes.
    Text,
    /// Base64 after this prefix, which may be missing, such as `whsec_`.
    Base64 {
        /// The prefix.
        prefix: String,
    },
}

/// A secret that the file refers to. Its value is never part of the file.
#[derive(Clone, Debug)]
pub struct SecretRef {
    /// Its name in the file.
    pub name: String,
    /// Where its value is.
    pub source: SecretSource,
    /// How long a value is used before it is read again.
    pub refresh: Duration,
}

impl SecretRef {
    /// Whether another file refers to the same secret in the same way. Variables do not change while a process runs.
    pub fn is_same(&self, other: &Self) -> bool {
        let same_source = match (&self.source, &other.source) {
            (SecretSource::SecretManager(own), SecretSource::SecretManager(other)) => own == other,
            (SecretSource::File(own), SecretSource::File(other)) => own == other,
            (
                SecretSource::Environment { variable: own, .. },
                SecretSource::Environment { variable: other, .. },
            ) => own == other,
            (
                SecretSource::SecretManager(_) | SecretSource::File(_) | SecretSource::Environment { .. },
                _,
            ) => false,
        };
        same_source && self.name == other.name && self.refresh == other.refresh
    }
}

/// Where the value of a secret is.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// A version in Google's Secret Manager: `projects/P/secrets/S/versions/V`, or with `locations/L` after the
    /// project for a regional secret.
    SecretManager(String),
    /// A file, read anew after `refresh`.
    File(PathBuf),
    /// An environment variable, read at start.
    Environment {
        /// Name of the variable.
        variable: String,
        /// What it held.
        value: Secret,
    },
}
