//! Tokens minted by Google's metadata server, for the service account that the gateway runs as.

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use serde_json::Value;

use super::{MintError, Minted, TokenMinter};
use crate::metadata::MetadataServer;
use crate::time::UnixTime;

#[async_trait]
impl TokenMinter for MetadataServer {
    async fn mint(&self, audience: &str, now: UnixTime) -> Result<Minted, MintError> {
        let failed = |why: String| MintError { audience: audience.to_owned(), why };
        let token = self.identity(audience).await.map_err(failed)?;
        read(&token, audience, now).map_err(|why| failed(why.to_owned()))
    }
}

/// Accepts nothing but one JWT for this audience: an error page must never travel on as a token.
fn read(body: &[u8], audience: &str, now: UnixTime) -> Result<Minted, &'static str> {
    let token = std::str::from_utf8(body).map_err(|_| "the metadata server's answer is not text")?.trim();
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("the metadata server's answer is not a JWT");
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok().filter(|bytes| !bytes.is_empty());
    let (Some(_), Some(payload), Some(_)) = (decode(header), decode(payload), decode(signature)) else {
        return Err("the metadata server's answer is not a JWT");
    };
    let claims: Value =
        serde_json::from_slice(&payload).map_err(|_| "the payload of the minted token is not JSON")?;
    if claims.get("aud").and_then(Value::as_str) != Some(audience) {
        return Err("the minted token is for another audience");
    }
    let expires =
        claims.get("exp").and_then(Value::as_u64).map(UnixTime).ok_or("the minted token has no expiry")?;
    if expires <= now {
        return Err("the minted token has expired already");
    }
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| "the minted token cannot stand in a header")?;
    bearer.set_sensitive(true);
    Ok(Minted { bearer, minted: now, expires })
}

#[cfg(test)]
mod tests;
