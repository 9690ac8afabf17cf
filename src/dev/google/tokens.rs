//! The tokens of the stand-in: access tokens are looked up here, ID tokens are claims that get signed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};

use super::people::Person;
use crate::time::UnixTime;

/// The issuer, which real libraries insist on: not the stand-in's own address.
pub const ISSUER: &str = "https://accounts.google.com";

/// What an access token says. Tests make any they like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessTokenSpec {
    /// E-mail address; told when the scope has `email`.
    pub email: Option<String>,
    /// Whether the address was verified.
    pub email_verified: bool,
    /// The stable id; told when the scope has `openid` or `profile`, and for service accounts.
    pub sub: Option<String>,
    /// The client that the token was issued to.
    pub aud: String,
    /// The authorised party; the audience when absent.
    pub azp: Option<String>,
    /// Scopes, separated by spaces, in short or long form.
    pub scope: String,
    /// Life from now on.
    pub lifetime: Duration,
}

impl AccessTokenSpec {
    /// What a person gets from sign-in with the given client, for an hour.
    pub fn person(person: &Person, client_id: &str) -> Self {
        Self {
            email: Some(person.email.clone()),
            email_verified: person.email_verified,
            sub: Some(person.sub.clone()),
            aud: client_id.to_owned(),
            azp: None,
            scope: "openid email".to_owned(),
            lifetime: Duration::from_secs(3600),
        }
    }

    /// What a service account gets from its metadata server: its own numeric id as audience.
    pub fn service_account(account: &Person) -> Self {
        let scope = "openid email https://www.googleapis.com/auth/cloud-platform".to_owned();
        Self { scope, ..Self::person(account, &account.sub) }
    }
}

/// Sets a member of a JSON object.
pub(super) fn put(object: &mut Value, name: &str, value: impl Into<Value>) {
    if let Some(members) = object.as_object_mut() {
        members.insert(name.to_owned(), value.into());
    }
}

/// The scopes as Google tells them: the two short names in their long form.
pub(super) fn long_scope(scope: &str) -> String {
    let long = |name: &str| match name {
        "email" | "profile" => format!("https://www.googleapis.com/auth/userinfo.{name}"),
        _ => name.to_owned(),
    };
    scope.split_ascii_whitespace().map(long).collect::<Vec<_>>().join(" ")
}

fn has(scope: &str, wanted: &[&str]) -> bool {
    scope
        .split(' ')
        .any(|scope| wanted.contains(&scope.rsplit_once("userinfo.").map_or(scope, |(_, name)| name)))
}

pub(super) struct Grant {
    spec: AccessTokenSpec,
    expires: UnixTime,
}

impl Grant {
    /// The answer of tokeninfo: every value is a string.
    pub(super) fn tokeninfo(&self, now: UnixTime) -> Value {
        let spec = &self.spec;
        let mut answer = json!({
            "azp": spec.azp.as_ref().unwrap_or(&spec.aud),
            "aud": spec.aud,
            "scope": spec.scope,
            "exp": self.expires.0.to_string(),
            "expires_in": self.expires.since(now).as_secs().to_string(),
            "access_type": "online",
        });
        if let Some(sub) = self.sub() {
            put(&mut answer, "sub", sub);
        }
        if let Some(email) = self.email() {
            put(&mut answer, "email", email);
            put(&mut answer, "email_verified", spec.email_verified.to_string());
        }
        answer
    }

    pub(super) fn email(&self) -> Option<&str> {
        self.spec.email.as_deref().filter(|_| has(&self.spec.scope, &["email"]))
    }

    pub(super) fn sub(&self) -> Option<&str> {
        self.spec.sub.as_deref().filter(|_| has(&self.spec.scope, &["openid", "profile"]))
    }

    pub(super) fn email_verified(&self) -> bool {
        self.spec.email_verified
    }

    /// Whether it opens Google's APIs for this account.
    pub(super) fn is_for_apis_of(&self, email: &str) -> bool {
        let wanted = "https://www.googleapis.com/auth/cloud-platform";
        self.spec.email.as_deref() == Some(email) && self.spec.scope.split(' ').any(|scope| scope == wanted)
    }
}

/// The access tokens that are good.
#[derive(Default)]
pub(super) struct Grants {
    live: Mutex<HashMap<String, Grant>>,
    issued: AtomicU64,
}

const SWEEP_AT: usize = 10_000;

impl Grants {
    pub(super) fn issue(&self, spec: &AccessTokenSpec, now: UnixTime) -> String {
        // The counter keeps tokens apart even where the system has no randomness; nothing here is worth guessing.
        let mut random = [0; 48];
        if SystemRandom::new().fill(&mut random).is_err() {
            random.fill(0);
        }
        let number = self.issued.fetch_add(1, Ordering::Relaxed);
        let token = format!("ya29.stand-in-{number}-{}", URL_SAFE_NO_PAD.encode(random));
        let spec = AccessTokenSpec { scope: long_scope(&spec.scope), ..spec.clone() };
        let grant = Grant { expires: now.plus(spec.lifetime), spec };
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        if live.len() >= SWEEP_AT && number.is_multiple_of(1000) {
            live.retain(|_, grant| grant.expires > now);
        }
        live.insert(token.clone(), grant);
        token
    }

    /// What `read` makes of a token that is good now.
    pub(super) fn read<T>(&self, token: &str, now: UnixTime, read: impl FnOnce(&Grant) -> T) -> Option<T> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.get(token).filter(|grant| grant.expires > now).map(read)
    }

    /// Whether there was such a token.
    pub(super) fn revoke(&self, token: &str) -> bool {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(token).is_some()
    }
}

/// The claims of an ID token for a person who signed in with `client_id`.
pub(super) fn sign_in_claims(
    person: &Person,
    client_id: &str,
    scope: &str,
    now: UnixTime,
    life: Duration,
) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "azp": client_id,
        "aud": client_id,
        "sub": person.sub,
        "iat": now.0,
        "exp": now.plus(life).0,
    });
    let scope = long_scope(scope);
    if has(&scope, &["email"]) {
        put(&mut claims, "email", person.email.as_str());
        put(&mut claims, "email_verified", person.email_verified);
    }
    if has(&scope, &["profile"]) {
        put(&mut claims, "name", person.name.as_str());
    }
    if let Some(domain) = &person.hosted_domain {
        put(&mut claims, "hd", domain.as_str());
    }
    claims
}

/// The claims of an ID token that the metadata server mints. Only the full format names the account.
pub(super) fn minted_claims(
    account: &Person,
    audience: &str,
    full: bool,
    now: UnixTime,
    life: Duration,
) -> Value {
    let mut claims = json!({
        "iss": ISSUER,
        "azp": account.sub,
        "aud": audience,
        "sub": account.sub,
        "iat": now.0,
        "exp": now.plus(life).0,
    });
    if full {
        put(&mut claims, "email", account.email.as_str());
        put(&mut claims, "email_verified", true);
    }
    claims
}

#[cfg(test)]
mod tests {
    use super::super::people::people;
    use super::*;

    fn spec(scope: &str) -> AccessTokenSpec {
        let ada = people("example.com").remove(0);
        AccessTokenSpec { scope: scope.to_owned(), ..AccessTokenSpec::person(&ada, "client") }
    }

    #[test]
    fn tokeninfo_tells_only_what_the_scope_covers() {
        let now = UnixTime(1000);
        let grants = Grants::default();
        let info = |scope: &str| {
            grants.read(&grants.issue(&spec(scope), now), now, |grant| grant.tokeninfo(now)).unwrap()
        };
        let both = info("openid email");
        assert_eq!(both["scope"], "openid https://www.googleapis.com/auth/userinfo.email");
        assert_eq!(both["email_verified"], "true");
        assert_eq!(both["exp"], "4600");
        assert_eq!(both["expires_in"], "3600");
        assert!(both.as_object().unwrap().values().all(Value::is_string));
        assert!(info("openid").get("email").is_none());
        assert!(info("email").get("sub").is_none());
    }

    #[test]
    fn a_token_ends() {
        let grants = Grants::default();
        let token = grants.issue(&spec("email"), UnixTime(1000));
        assert!(grants.read(&token, UnixTime(4599), |_| ()).is_some());
        assert!(grants.read(&token, UnixTime(4600), |_| ()).is_none());
        assert!(grants.revoke(&token));
        assert!(!grants.revoke(&token));
        assert!(grants.read(&token, UnixTime(1000), |_| ()).is_none());
    }
}
