//! Google's public keys, and ID tokens verified with them (RFC 7515, RFC 7517, RFC 7519).
//!
//! Only RS256 is accepted, whatever the token's header asks for. The keys are fetched when they are needed
//! and kept for as long as Google says; when a fetch fails, the old ones stay in use.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, Method, StatusCode};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;
use tokio::sync::Mutex;
use url::Url;

use super::VerifyError;
use super::claims::Claims;
use crate::outbound::{Call, Outbound, Service};
use crate::time::UnixTime;

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 256 * 1024;
/// An unknown key id makes us ask again, but at most this often, whoever sends it.
const FORCED_INTERVAL: Duration = Duration::from_secs(60);
/// How soon a fetch is tried again after one failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Life of the keys when Google does not say, and the limits on what it says.
const DEFAULT_LIFE: u64 = 3600;
const LIFE_LIMITS: (u64, u64) = (60, 86_400);

/// The keys, and where they come from.
#[derive(Debug)]
pub struct Jwks {
    outbound: Arc<Outbound>,
    url: Url,
    keys: ArcSwap<KeySet>,
    /// When the next fetch may start. Held during a fetch, so that there is only one.
    next_fetch: Mutex<UnixTime>,
}

#[derive(Debug, Default)]
struct KeySet {
    keys: Vec<Key>,
    fresh_until: UnixTime,
}

#[derive(Debug)]
struct Key {
    id: String,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

impl Jwks {
    /// Keys of this address, where Google publishes a JWK set.
    pub fn new(outbound: Arc<Outbound>, url: Url) -> Self {
        Self { outbound, url, keys: ArcSwap::default(), next_fetch: Mutex::new(UnixTime(0)) }
    }

    /// Verifies signature, issuer and times of an ID token. The audience is the caller's business.
    pub(crate) async fn verify(self: &Arc<Self>, token: &str, now: UnixTime) -> Result<Claims, VerifyError> {
        let parts = Parts::read(token)?;
        let keys = self.keys_for(&parts.key_id, now).await?;
        let key = keys.find(&parts.key_id).ok_or(VerifyError::Invalid("it is signed with an unknown key"))?;
        key.verify(parts.signed, &parts.signature)?;
        let claims = Claims::from_json(&parts.payload)
            .ok_or(VerifyError::Invalid("its payload is not a JSON object"))?;
        claims.check_id_token(now)?;
        Ok(claims)
    }

    /// Fetches the keys when there are none that are fresh.
    pub async fn prefetch(&self, now: UnixTime) {
        if self.keys.load().fresh_until <= now {
            // A failure is logged where it happens, and tried again by the first request. Nobody had a key in mind, so the
            // first token with a key that is too new for this set need not wait.
            let _ = self.fetch(now, Duration::ZERO).await;
        }
    }

    async fn keys_for(self: &Arc<Self>, key_id: &str, now: UnixTime) -> Result<Arc<KeySet>, VerifyError> {
        let keys = self.keys.load_full();
        if keys.find(key_id).is_some() {
            if keys.fresh_until <= now {
                self.refresh_in_background(now);
            }
            return Ok(keys);
        }
        self.fetch(now, FORCED_INTERVAL).await?;
        Ok(self.keys.load_full())
    }

    /// Known keys stay good while newer ones are fetched, so nobody waits for that.
    fn refresh_in_background(self: &Arc<Self>, now: UnixTime) {
        if self.next_fetch.try_lock().is_ok_and(|next| *next <= now) {
            let jwks = Arc::clone(self);
            tokio::spawn(async move { jwks.fetch(now, RETRY_INTERVAL).await });
        }
    }

    /// Fetches unless that was done a moment ago. `interval` is the pause after a fetch that succeeded.
    async fn fetch(&self, now: UnixTime, interval: Duration) -> Result<(), VerifyError> {
        let before = self.keys.load_full();
        let mut next = self.next_fetch.lock().await;
        let current = self.keys.load_full();
        if !Arc::ptr_eq(&before, &current) {
            return Ok(());
        }
        if now < *next {
            let why = "Google's keys could not be fetched a moment ago".to_owned();
            return if current.keys.is_empty() { Err(VerifyError::Unavailable(why)) } else { Ok(()) };
        }
        *next = now.plus(RETRY_INTERVAL);
        match self.download(now).await {
            Ok(keys) => {
                self.keys.store(Arc::new(keys));
                *next = now.plus(interval);
                Ok(())
            }
            Err(why) => {
                log::warn!("Google's public keys could not be fetched: {why}");
                if current.keys.is_empty() { Err(VerifyError::Unavailable(why)) } else { Ok(()) }
            }
        }
    }

    async fn download(&self, now: UnixTime) -> Result<KeySet, String> {
        let call = Call {
            service: Service::Certs,
            method: Method::GET,
            url: self.url.clone(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: TIMEOUT,
            max_answer: MAX_ANSWER,
        };
        let answer = self.outbound.call(call).await.map_err(|error| error.to_string())?;
        if answer.status != StatusCode::OK {
            return Err(format!("certs answered {}", answer.status.as_u16()));
        }
        let life = Duration::from_secs(max_age(&answer.headers));
        KeySet::read(&answer.body, now.plus(life))
    }
}

impl KeySet {
    fn read(json: &[u8], fresh_until: UnixTime) -> Result<Self, String> {
        let set: JwkSet =
            serde_json::from_slice(json).map_err(|_| "certs did not answer with a JWK set".to_owned())?;
        let keys: Vec<Key> = set.keys.iter().filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err("certs answered without a usable RSA key".to_owned());
        }
        Ok(Self { keys, fresh_until })
    }

    fn find(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }
}

impl Key {
    /// An RSA key for signatures; others in the set are none of our business.
    fn read(jwk: &serde_json::Value) -> Option<Self> {
        let text = |name: &str| jwk.get(name).and_then(serde_json::Value::as_str);
        if text("kty")? != "RSA"
            || text("alg").is_some_and(|alg| alg != "RS256")
            || text("use").is_some_and(|u| u != "sig")
        {
            return None;
        }
        Some(Self {
            id: text("kid")?.to_owned(),
            modulus: URL_SAFE_NO_PAD.decode(text("n")?).ok()?,
            exponent: URL_SAFE_NO_PAD.decode(text("e")?).ok()?,
        })
    }

    fn verify(&self, signed: &str, signature: &[u8]) -> Result<(), VerifyError> {
        RsaPublicKeyComponents { n: &self.modulus, e: &self.exponent }
            .verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), signature)
            .map_err(|_| VerifyError::Invalid("its signature is wrong"))
    }
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

/// A compact JWS (RFC 7515, section 7.1), taken apart but not yet believed.
struct Parts<'a> {
    key_id: String,
    signed: &'a str,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl<'a> Parts<'a> {
    fn read(token: &'a str) -> Result<Self, VerifyError> {
        let (signed, signature) = token.rsplit_once('.').ok_or(VerifyError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(VerifyError::Malformed)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| VerifyError::Malformed);
        let header = Claims::from_json(&decode(header)?).ok_or(VerifyError::Malformed)?;
        if header.text("alg") != Some("RS256") {
            return Err(VerifyError::Invalid("it is not signed with RS256"));
        }
        // Extensions that must be understood (RFC 7515, section 4.1.11): there are none that we understand.
        if header.has("crit") {
            return Err(VerifyError::Invalid("its header asks for an unknown extension"));
        }
        let key_id = header.text("kid").ok_or(VerifyError::Invalid("it names no key"))?.to_owned();
        Ok(Self { key_id, signed, payload: decode(payload)?, signature: decode(signature)? })
    }
}

/// `max-age` of `Cache-Control` (RFC 9111, section 5.2.2.1), within sensible limits.
fn max_age(headers: &HeaderMap) -> u64 {
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let age = directives
        .flat_map(|value| value.split(','))
        .find_map(|directive| directive.trim().strip_prefix("max-age=")?.parse().ok());
    age.unwrap_or(DEFAULT_LIFE).clamp(LIFE_LIMITS.0, LIFE_LIMITS.1)
}

#[cfg(test)]
mod tests;
