//! What Google says of a token: the claims of an ID token and the fields of a tokeninfo answer.
//!
//! The two spell the same things differently. tokeninfo writes every value as a string (`"true"`, `"1650056632"`),
//! a JWT has booleans and numbers; both spellings are read in both places, and no others.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde_json::{Map, Value};

use super::{Identity, VerifyError};
use crate::secret;
use crate::time::UnixTime;

/// `iss` of Google's ID tokens; the form without a scheme is historical and still legal.
const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];
/// How far Google's clock may be ahead of ours.
const SKEW_SECONDS: u64 = 300;
/// No Google ID token lives longer than this (the limit of Google's own libraries).
const MAX_LIFE_SECONDS: u64 = 86_400;

/// A JSON object with claims.
#[derive(Debug)]
pub(crate) struct Claims(Map<String, Value>);

impl Claims {
    /// Reads a JSON object; anything else is no set of claims.
    pub(crate) fn from_json(json: &[u8]) -> Option<Self> {
        match serde_json::from_slice(json) {
            Ok(Value::Object(map)) => Some(Self(map)),
            _ => None,
        }
    }

    /// A text claim. A list, such as an `aud` with several members, is not text and reads as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str().filter(|text| !text.is_empty())
    }

    /// A NumericDate: a number, or a string of digits.
    pub(crate) fn time(&self, name: &str) -> Option<UnixTime> {
        match self.0.get(name)? {
            Value::Number(number) => number.as_u64().map(UnixTime),
            Value::String(text) => text.parse().ok().map(UnixTime),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        }
    }

    /// Whether a claim is there at all.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Whether a claim is the boolean `true`.
    pub(crate) fn is_true(&self, name: &str) -> bool {
        self.0.get(name) == Some(&Value::Bool(true))
    }

    fn email_verified(&self) -> bool {
        match self.0.get("email_verified") {
            Some(Value::Bool(verified)) => *verified,
            Some(Value::String(text)) => text == "true",
            _ => false,
        }
    }

    /// Issuer and times of an ID token (OpenID Connect Core, section 3.1.3.7).
    pub(crate) fn check_id_token(&self, now: UnixTime) -> Result<(), VerifyError> {
        if !self.text("iss").is_some_and(|issuer| ISSUERS.contains(&issuer)) {
            return Err(VerifyError::Invalid("its issuer is not Google"));
        }
        let expires = self.time("exp").ok_or(VerifyError::Invalid("it has no expiry"))?;
        let issued = self.time("iat").ok_or(VerifyError::Invalid("it has no time of issue"))?;
        let latest = UnixTime(now.0.saturating_add(SKEW_SECONDS));
        if issued > latest || (self.has("nbf") && self.time("nbf").is_none_or(|start| start > latest)) {
            return Err(VerifyError::Invalid("it is not valid yet"));
        }
        if expires.since(issued).as_secs() > MAX_LIFE_SECONDS {
            return Err(VerifyError::Invalid("it lives longer than Google's tokens do"));
        }
        Ok(())
    }

    /// The identity that the claims describe. Issuer, audience and signature are the caller's business.
    pub(crate) fn identity(&self, now: UnixTime) -> Result<Identity, VerifyError> {
        let expires = self.time("exp").ok_or(VerifyError::Invalid("it has no expiry"))?;
        if expires <= now {
            return Err(VerifyError::Expired);
        }
        if !self.email_verified() {
            return Err(VerifyError::NoVerifiedEmail);
        }
        let email = self.text("email").ok_or(VerifyError::NoVerifiedEmail)?;
        Identity::new(email, self.text("sub"), self.text("hd"), expires).ok_or(VerifyError::NoVerifiedEmail)
    }
}

impl Identity {
    /// An identity with an address of exactly one `@` and without anything that could be read two ways.
    pub(crate) fn new(
        email: &str,
        subject: Option<&str>,
        hosted_domain: Option<&str>,
        expires: UnixTime,
    ) -> Option<Self> {
        let email = email.to_ascii_lowercase();
        let (local, domain) = email.split_once('@')?;
        if !is_local_part(local) || !is_domain(domain) {
            return None;
        }
        let email_header = HeaderValue::from_str(&format!("accounts.google.com:{email}")).ok()?;
        let subject_header = match subject {
            Some(subject) => Some(HeaderValue::from_str(&format!("accounts.google.com:{subject}")).ok()?),
            None => None,
        };
        Some(Self {
            service_account: domain == "gserviceaccount.com" || domain.ends_with(".gserviceaccount.com"),
            email: email.into(),
            subject: subject.map(Into::into),
            hosted_domain: hosted_domain.map(|domain| domain.to_ascii_lowercase().into()),
            expires,
            email_header,
            subject_header,
        })
    }

    /// The domain of the address.
    pub fn domain(&self) -> &str {
        self.email.rsplit_once('@').map_or("", |(_, domain)| domain)
    }
}

/// `dot-atom` of RFC 5322, section 3.2.3. Quoted local parts, which may hold an `@`, are not accepted.
fn is_local_part(local: &str) -> bool {
    !local.is_empty()
        && local.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(&byte))
}

fn is_domain(domain: &str) -> bool {
    domain.contains('.')
        && domain.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        })
}

/// Whether an ID token, verified before, carries this nonce (OpenID Connect Core, section 3.2.2.11).
pub(crate) fn verify_nonce(token: &str, nonce: &str) -> bool {
    let payload = token.split('.').nth(1).and_then(|payload| URL_SAFE_NO_PAD.decode(payload).ok());
    let claims = payload.and_then(|json| Claims::from_json(&json));
    let carried = claims.as_ref().and_then(|claims| claims.text("nonce")).unwrap_or_default();
    !nonce.is_empty() && secret::same(carried.as_bytes(), nonce.as_bytes())
}

#[cfg(test)]
mod tests;
