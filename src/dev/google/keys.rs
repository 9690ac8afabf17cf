//! The keys that sign ID tokens, and the two forms in which Google publishes them.
//!
//! Two committed RSA keys take turns. Each turn has a `kid` of its own, so that after a rotation a verifier
//! with an older set meets an unknown one, as it does at Google.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use serde_json::{Value, json};

// Public on purpose: see keys/README.md. Nothing trusts them but a gateway pointed at this stand-in.
const ONE: (&[u8], &str) = (include_bytes!("keys/one.der"), include_str!("keys/one.pem"));
const TWO: (&[u8], &str) = (include_bytes!("keys/two.der"), include_str!("keys/two.pem"));

struct Key {
    pair: RsaKeyPair,
    certificate: &'static str,
}

impl Key {
    fn new((pkcs8, certificate): (&[u8], &'static str)) -> Result<Self, ring::error::KeyRejected> {
        Ok(Self { pair: RsaKeyPair::from_pkcs8(pkcs8)?, certificate })
    }
}

pub(super) struct Keys {
    one: Key,
    two: Key,
    turn: AtomicU64,
    random: SystemRandom,
}

impl Keys {
    pub(super) fn new() -> Result<Self, ring::error::KeyRejected> {
        Ok(Self {
            one: Key::new(ONE)?,
            two: Key::new(TWO)?,
            turn: AtomicU64::new(1),
            random: SystemRandom::new(),
        })
    }

    /// The next key signs from now on. The one before stays published, the one before that does not.
    pub(super) fn rotate(&self) {
        self.turn.fetch_add(1, Ordering::SeqCst);
    }

    fn key(&self, turn: u64) -> &Key {
        if turn.is_multiple_of(2) { &self.one } else { &self.two }
    }

    fn kid(&self, turn: u64) -> String {
        let mut input = self.key(turn).pair.public_key().as_ref().to_vec();
        input.extend_from_slice(&turn.to_be_bytes());
        digest(&SHA256, &input).as_ref().iter().take(20).map(|byte| format!("{byte:02x}")).collect()
    }

    /// The current turn and the one before.
    fn published(&self) -> [u64; 2] {
        let turn = self.turn.load(Ordering::SeqCst);
        [turn, turn.saturating_sub(1)]
    }

    /// `{"alg":"RS256","kid":…,"typ":"JWT"}` for the key that signs now.
    pub(super) fn header(&self) -> Value {
        json!({"alg": "RS256", "kid": self.kid(self.turn.load(Ordering::SeqCst)), "typ": "JWT"})
    }

    /// A JWT in compact form, signed with the current key whatever the header says.
    pub(super) fn sign(&self, header: &Value, claims: &Value) -> String {
        let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
        let mut token = format!("{}.{}", encode(header), encode(claims));
        let pair = &self.key(self.turn.load(Ordering::SeqCst)).pair;
        let mut signature = vec![0; pair.public().modulus_len()];
        // Signing fails only when the system has no randomness for blinding. Then the signature stays zero,
        // and the token is refused like any forged one.
        if pair.sign(&RSA_PKCS1_SHA256, &self.random, token.as_bytes(), &mut signature).is_err() {
            signature.fill(0);
        }
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        token
    }

    /// Header and claims of a token that a published key has signed.
    pub(super) fn verify(&self, token: &str) -> Option<(Value, Value)> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = decode(token)?;
        let kid = header.get("kid")?.as_str()?;
        let turn = self.published().into_iter().find(|&turn| self.kid(turn) == kid)?;
        let public = self.key(turn).pair.public_key().as_ref();
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public)
            .verify(signed.as_bytes(), &signature)
            .ok()?;
        Some((header, claims))
    }

    /// The JWK set (RFC 7517) of `/oauth2/v3/certs`.
    pub(super) fn jwks(&self) -> Value {
        let keys = self.published().map(|turn| {
            let public = PublicKeyComponents::<Vec<u8>>::from(self.key(turn).pair.public_key());
            json!({
                "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid(turn),
                "n": URL_SAFE_NO_PAD.encode(public.n), "e": URL_SAFE_NO_PAD.encode(public.e),
            })
        });
        json!({ "keys": keys })
    }

    /// The map from `kid` to X.509 certificate of `/oauth2/v1/certs`.
    pub(super) fn certificates(&self) -> Value {
        self.published()
            .into_iter()
            .map(|turn| (self.kid(turn), Value::from(self.key(turn).certificate)))
            .collect()
    }
}

/// Header and claims of a JWT, unverified.
pub(crate) fn decode(token: &str) -> Option<(Value, Value)> {
    let mut parts = token.split('.');
    let (header, claims) = (parts.next()?, parts.next()?);
    if parts.next().is_none() || parts.next().is_some() {
        return None;
    }
    let object = |part: &str| {
        let json = URL_SAFE_NO_PAD.decode(part).ok()?;
        serde_json::from_slice::<Value>(&json).ok().filter(Value::is_object)
    };
    Some((object(header)?, object(claims)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_and_verifies_across_one_rotation() {
        let keys = Keys::new().unwrap();
        let token = keys.sign(&keys.header(), &json!({"sub": "1"}));
        assert_eq!(keys.verify(&token).unwrap().1, json!({"sub": "1"}));
        keys.rotate();
        assert!(keys.verify(&token).is_some(), "the previous key is still published");
        keys.rotate();
        assert!(keys.verify(&token).is_none(), "an older one is not");
    }

    #[test]
    fn a_changed_token_does_not_verify() {
        let keys = Keys::new().unwrap();
        let token = keys.sign(&keys.header(), &json!({"sub": "1"}));
        let (head, signature) = token.rsplit_once('.').unwrap();
        let (header, _) = head.split_once('.').unwrap();
        let claims = URL_SAFE_NO_PAD.encode(r#"{"sub":"2"}"#);
        assert!(keys.verify(&format!("{header}.{claims}.{signature}")).is_none());
        for broken in ["", ".", "..", "a.b.c", "e30.e30.", &format!("{head}."), &format!("{token}.x")] {
            assert!(keys.verify(broken).is_none(), "{broken}");
        }
    }

    #[test]
    fn two_keys_are_published_in_both_forms() {
        let keys = Keys::new().unwrap();
        let kids = |keys: &Keys| -> Vec<String> {
            let set = keys.jwks();
            set["keys"]
                .as_array()
                .unwrap()
                .iter()
                .map(|key| key["kid"].as_str().unwrap().to_owned())
                .collect()
        };
        let before = kids(&keys);
        assert_eq!(before.len(), 2);
        assert_ne!(before[0], before[1]);
        assert!(
            before.iter().all(|kid| keys.certificates()[kid].as_str().unwrap().contains("BEGIN CERTIFICATE"))
        );
        keys.rotate();
        assert_eq!(kids(&keys)[1], before[0]);
        assert!(!before.contains(&kids(&keys)[0]));
        assert_eq!(keys.jwks()["keys"][0]["e"], "AQAB");
    }
}
