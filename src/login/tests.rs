//! Sign-in with plain values: a provider that knows a handful of tokens, and a browser that is a cookie jar.

mod browser;
mod ending;
mod finishing;
mod starting;

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::*;
use crate::identity::{Credential, Identity, VerifyError};
use crate::secret::Secret;

pub(super) const NOW: UnixTime = UnixTime(1_795_000_000);
pub(super) const ORIGIN: &str = "https://gw.example.com";
pub(super) const ADA: &str = "ya29.ada-ada-ada-ada-ada";
pub(super) const BOB: &str = "ya29.bob-bob-bob-bob-bob";
pub(super) const SESSION: &str = "__Host-portcullis";

/// Knows Ada's and Bob's tokens for an hour from `NOW` and believes every ID token; all else is as its name says.
#[derive(Default)]
pub(super) struct Google {
    pub(super) signed_out: Mutex<Vec<String>>,
    pub(super) revoked: Mutex<Vec<String>>,
    pub(super) revocation_fails: bool,
}

#[async_trait]
impl IdentityProvider for Google {
    fn recall(&self, _: Credential<'_>, _: UnixTime) -> Option<Result<Arc<Identity>, VerifyError>> {
        None
    }

    async fn verify(
        &self,
        credential: Credential<'_>,
        _client: std::net::IpAddr,
        now: UnixTime,
    ) -> Result<Arc<Identity>, VerifyError> {
        let token = credential.token();
        if self.signed_out.lock().unwrap().iter().any(|out| out == token) {
            return Err(VerifyError::SignedOut);
        }
        let (email, life) = match token {
            ADA => ("ada@example.com", 3600),
            BOB => ("bob@example.com", 3600),
            "ya29.near-its-end-near" => ("ada@example.com", 200),
            token if token.starts_with("ya29.unavailable-token") => {
                return Err(VerifyError::Unavailable("secret detail".into()));
            }
            "ya29.throttled-tokens" => return Err(VerifyError::Throttled),
            "ya29.wrong-audience-x" => return Err(VerifyError::WrongAudience),
            "ya29.no-email-address" => return Err(VerifyError::NoVerifiedEmail),
            "ya29.invalid-tokens-x" => return Err(VerifyError::Invalid("aud")),
            token if token.starts_with("eyJ") => ("ada@example.com", 3600),
            _ => return Err(VerifyError::Expired),
        };
        let expires = UnixTime(NOW.0 + life);
        if expires <= now {
            return Err(VerifyError::Expired);
        }
        Ok(Arc::new(Identity::new(email, Some("1234567890"), Some("example.com"), expires).unwrap()))
    }

    fn sign_out(&self, credential: Credential<'_>, _now: UnixTime) {
        self.signed_out.lock().unwrap().push(credential.token().to_owned());
    }
}

#[async_trait]
impl Revoke for Google {
    async fn revoke(&self, token: &Secret) -> Result<(), String> {
        self.revoked.lock().unwrap().push(token.expose().to_owned());
        if self.revocation_fails { Err("status 503".into()) } else { Ok(()) }
    }
}

pub(super) fn login_as(flow: Flow, cookie: &str, google: Arc<Google>) -> Login {
    let authorization = Url::parse("https://accounts.google.com/o/oauth2/v2/auth").unwrap();
    let config =
        config::Google { client_id: "1234-abc.apps.googleusercontent.com".into(), accepted_clients: vec![] };
    let login = config::Login { flow, scopes: vec!["openid".into(), "email".into()], cookie: cookie.into() };
    Login::new(
        &config,
        &authorization,
        &login,
        Some("example.com".into()),
        Arc::<Google>::clone(&google),
        google,
    )
}

pub(super) fn login(flow: Flow) -> Login {
    login_as(flow, SESSION, Arc::default())
}

/// A request, in parts that can be changed one by one.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Ask {
    /// A browser opens a page.
    pub(super) fn page(target: &str) -> Self {
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let ask = Self {
            method: Method::GET,
            path: path.into(),
            query,
            headers: HeaderMap::new(),
            body: String::new(),
        };
        ask.with("accept", "text/html,application/xhtml+xml,*/*;q=0.8").with("sec-fetch-mode", "navigate")
    }

    /// A program asks.
    pub(super) fn program(target: &str) -> Self {
        let mut ask = Self::page(target).with("accept", "application/json");
        ask.headers.remove("sec-fetch-mode");
        ask
    }

    /// A page of ours posts a form.
    pub(super) fn form(path: &str, fields: &[(&str, &str)]) -> Self {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let ask = Self { method: Method::POST, body, ..Self::page(path) };
        ask.with("content-type", "application/x-www-form-urlencoded")
            .with("sec-fetch-site", "same-origin")
            .with("origin", ORIGIN)
    }

    pub(super) fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    /// Sets a header; an empty value removes it.
    pub(super) fn with(mut self, name: &'static str, value: &str) -> Self {
        if value.is_empty() {
            self.headers.remove(name);
        } else {
            self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        self
    }

    pub(super) fn cookie(mut self, name: &str, value: &str) -> Self {
        self.headers.append(COOKIE, HeaderValue::from_str(&format!("{name}={value}")).unwrap());
        self
    }

    pub(super) fn visit(&self) -> Visit<'_> {
        Visit {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            body: self.body.as_bytes(),
            origin: ORIGIN,
            client: [192, 0, 2, 1].into(),
            request_id: "req-1",
        }
    }

    pub(super) async fn to(&self, login: &Login, now: UnixTime) -> Reply {
        login.answer(Endpoint::of(&self.path).unwrap(), &self.visit(), now).await
    }
}

pub(super) fn text(reply: &Reply) -> String {
    String::from_utf8(reply.body.to_vec()).unwrap()
}

pub(super) fn location(reply: &Reply) -> String {
    reply.get(&LOCATION).map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
}

/// The query of the redirect to Google.
pub(super) fn question(reply: &Reply) -> BTreeMap<String, String> {
    assert_eq!(reply.status, 302);
    let url = Url::parse(&location(reply)).unwrap();
    assert_eq!(url.origin().ascii_serialization(), "https://accounts.google.com");
    assert_eq!(url.path(), "/o/oauth2/v2/auth");
    url.query_pairs().into_owned().collect()
}

/// Name, value and attributes of every cookie that is set.
pub(super) fn set_cookies(reply: &Reply) -> Vec<(String, String, String)> {
    let lines = reply.headers.iter().filter(|(name, _)| name == SET_COOKIE);
    lines
        .map(|(_, line)| {
            let line = line.to_str().unwrap();
            let (pair, attributes) = line.split_once("; ").unwrap();
            let (name, value) = pair.split_once('=').unwrap();
            (name.to_owned(), value.to_owned(), attributes.to_owned())
        })
        .collect()
}

/// An attempt as a cookie (name, value), begun `age` seconds ago.
pub(super) fn attempt(state: &str, return_path: &str, nonce: Option<&str>, age: u64) -> (String, String) {
    let created = NOW.0 - age;
    let json = serde_json::json!({"s": state, "r": return_path, "n": nonce, "q": true, "c": created});
    let name = format!("__Host-portcullis-attempt-{}", &state[..12]);
    (name, URL_SAFE_NO_PAD.encode(json.to_string()))
}
