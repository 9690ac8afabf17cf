//! The caller of the playback endpoint: Google Pub/Sub, which brings an ID token of the subscription's service account
//! (<https://docs.cloud.google.com/pubsub/docs/authenticate-push-subscriptions>).

use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::credential::{Credential, Kind};
use super::jwks::Jwks;
use super::{VerifyError, claims::Claims};
use crate::time::UnixTime;

/// Who may call the playback endpoint.
#[derive(Debug)]
pub struct PushCaller {
    keys: Arc<Jwks>,
    account: String,
    audience: String,
}

impl PushCaller {
    /// Accepts tokens of `account` for `audience`, compared whole, and no others.
    pub fn new(keys: Arc<Jwks>, account: String, audience: String) -> Self {
        Self { keys, account, audience }
    }

    /// Checks the `Authorization` header: the token's signature by Google, its issuer and times, `aud`, `email` and
    /// `email_verified`. A token of the same account for another audience is as bad as any other: everybody who receives
    /// one could bring it here.
    pub async fn check(&self, headers: &HeaderMap, now: UnixTime) -> Result<(), VerifyError> {
        let token = bearer(headers).ok_or(VerifyError::Malformed)?;
        let claims = self.keys.verify(token, now).await?;
        self.check_claims(&claims, now)
    }

    fn check_claims(&self, claims: &Claims, now: UnixTime) -> Result<(), VerifyError> {
        if claims.time("exp").is_none_or(|expires| expires <= now) {
            return Err(VerifyError::Expired);
        }
        if claims.text("aud") != Some(self.audience.as_str()) {
            return Err(VerifyError::WrongAudience);
        }
        // In a JWT it is a boolean; the string of tokeninfo has no place here.
        if !claims.is_true("email_verified") {
            return Err(VerifyError::NoVerifiedEmail);
        }
        if claims.text("email") != Some(self.account.as_str()) {
            return Err(VerifyError::Invalid("it belongs to another account than the one that may push"));
        }
        Ok(())
    }
}

/// The only bearer token of the only `Authorization` header, if it is a JWT.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let credential = Credential::parse(token).filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
    (credential.kind() == Kind::IdToken).then(|| credential.token())
}

#[cfg(test)]
mod tests;
