//! A stand-in for Google on loopback: sign-in, tokeninfo, keys, revocation, the metadata server, Secret Manager and
//! Pub/Sub, in Google's own formats over plain HTTP/1.1.
//!
//! It is made for a developer's machine and for tests: it signs in whoever clicks, its keys are public, and it
//! misbehaves on demand ([`Fault`]). It is not an OAuth server for anything else: there is no token endpoint,
//! no consent, no password, and no secret.

mod api;
mod authorize;
mod calls;
mod chooser;
mod console;
mod gzip;
mod keys;
mod metadata;
mod people;
mod pubsub;
mod secret_manager;
mod switches;
mod tokeninfo;
mod tokens;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use url::Url;

pub use calls::Call;
pub(crate) use keys::decode;
pub use people::{GATEWAY, PROJECT, PROJECT_NUMBER, Person, ROBOT};
pub use pubsub::{Published, PushCounters, PushSpec, SubscriptionSpec};
pub use secret_manager::VersionState;
pub use switches::{Endpoint, Fault, Switch};
pub use tokens::{AccessTokenSpec, ISSUER};

use super::loopback::{self, Wire};
use super::page;
use crate::time::UnixTime;

/// The OAuth client that is used where none is named.
pub const CLIENT_ID: &str = "123456789012-portcullis.apps.googleusercontent.com";

/// How a stand-in is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Domain of most of the people.
    pub domain: String,
    /// The registered OAuth clients; any client when empty.
    pub clients: Vec<String>,
    /// The gateway that the index page's example calls; no example without one.
    pub gateway: Option<String>,
    /// The registered redirect URIs, compared exactly; without a list, any `http(s)` URL whose path is that of
    /// the gateway's callback.
    pub redirect_uris: Option<Vec<String>>,
    /// Life of the tokens that sign-in and the metadata server hand out.
    pub lifetime: Duration,
    /// Shape of tokeninfo's error.
    pub tokeninfo_error: ErrorShape,
    /// `max-age` of the published keys, in seconds.
    pub certs_max_age: u32,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            domain: "example.com".to_owned(),
            clients: Vec::new(),
            gateway: None,
            redirect_uris: None,
            lifetime: Duration::from_secs(3600),
            tokeninfo_error: ErrorShape::WithCode,
            certs_max_age: 20_000,
        }
    }
}

/// The two bodies that were seen with tokeninfo's status 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// `error` and `error_description`.
    WithCode,
    /// Only `error_description`.
    DescriptionOnly,
}

/// What all requests share.
struct Shared {
    options: Options,
    lifetime: Mutex<Duration>,
    people: Vec<Person>,
    service_accounts: Vec<Person>,
    keys: keys::Keys,
    grants: tokens::Grants,
    switches: switches::Switches,
    secrets: secret_manager::SecretManager,
    pubsub: pubsub::PubSub,
    calls: calls::Calls,
    address: OnceLock<SocketAddr>,
}

impl Shared {
    fn origin(&self) -> String {
        let address = self.address.get().copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        format!("http://{address}")
    }

    fn lifetime(&self) -> Duration {
        *self.lifetime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A person or service account by address or `sub`.
    fn account(&self, hint: &str) -> Option<&Person> {
        self.people.iter().chain(&self.service_accounts).find(|account| account.is(hint))
    }
}

/// A running stand-in. Clones are handles on the same one, which lives as long as the runtime it was started on.
#[derive(Clone)]
pub struct StandIn(Arc<Shared>);

impl StandIn {
    /// Binds `address`, which must be loopback (port 0 lets the system choose), and serves on the current runtime.
    pub async fn start(address: SocketAddr, options: Options) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            lifetime: Mutex::new(options.lifetime),
            people: people::people(&options.domain),
            service_accounts: people::service_accounts(),
            keys: keys::Keys::new().map_err(|rejected| io::Error::other(rejected.to_string()))?,
            grants: tokens::Grants::default(),
            switches: switches::Switches::default(),
            secrets: secret_manager::SecretManager::default(),
            pubsub: pubsub::PubSub::default(),
            calls: calls::Calls::default(),
            address: OnceLock::new(),
            options,
        });
        let router = Router::new().fallback(handle).with_state(Arc::clone(&shared));
        let bound = loopback::serve(address, router).await?;
        shared.address.get_or_init(|| bound);
        Ok(Self(shared))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address.get().copied().unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// Its origin, such as `http://127.0.0.1:40123/`; also the metadata server's.
    pub fn base_url(&self) -> Url {
        self.url("/")
    }

    /// Where browsers sign in.
    pub fn authorization(&self) -> Url {
        self.url("/o/oauth2/v2/auth")
    }

    /// Tells whom a token belongs to.
    pub fn tokeninfo(&self) -> Url {
        self.url("/tokeninfo")
    }

    /// The public keys as a JWK set.
    pub fn certs(&self) -> Url {
        self.url("/oauth2/v3/certs")
    }

    /// Revokes tokens.
    pub fn revocation(&self) -> Url {
        self.url("/revoke")
    }

    /// The metadata server's origin.
    pub fn metadata(&self) -> Url {
        self.url("/")
    }

    /// The origin of Secret Manager.
    pub fn secret_manager(&self) -> Url {
        self.url("/")
    }

    /// The origin of Pub/Sub.
    pub fn pubsub(&self) -> Url {
        self.url("/")
    }

    #[expect(clippy::expect_used, reason = "an IP address, a port and a constant path always make a URL")]
    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("{}{path}", self.0.origin())).expect("a URL")
    }

    /// The people that the chooser offers.
    pub fn people(&self) -> &[Person] {
        &self.0.people
    }

    /// A person or service account by e-mail address or `sub`.
    pub fn account(&self, hint: &str) -> Option<&Person> {
        self.0.account(hint)
    }

    /// A new access token that says what `spec` says.
    pub fn issue_access_token(&self, spec: &AccessTokenSpec) -> String {
        self.0.grants.issue(spec, UnixTime::now())
    }

    /// Any claims, signed RS256 with the current key. `header` replaces the usual one, so that forged tokens can
    /// be made.
    pub fn issue_id_token(&self, claims: &Value, header: Option<&Value>) -> String {
        header.map_or_else(
            || self.0.keys.sign(&self.0.keys.header(), claims),
            |header| self.0.keys.sign(header, claims),
        )
    }

    /// The claims of a good ID token, to be used as they are or changed: of a person for a client, or of a
    /// service account for an audience.
    pub fn claims(&self, account: &Person, audience: &str) -> Value {
        let (now, life) = (UnixTime::now(), self.0.lifetime());
        if account.is_service_account() {
            tokens::minted_claims(account, audience, true, now, life)
        } else {
            tokens::sign_in_claims(account, audience, "openid email", now, life)
        }
    }

    /// The header of a good ID token.
    pub fn id_token_header(&self) -> Value {
        self.0.keys.header()
    }

    /// Signs with the next key from now on. The key before stays published, the one before that does not.
    pub fn rotate_keys(&self) {
        self.0.keys.rotate();
    }

    /// Makes an access token unknown; says whether it was known.
    pub fn revoke(&self, token: &str) -> bool {
        self.0.grants.revoke(token)
    }

    /// Life of the tokens that are handed out from now on.
    pub fn set_lifetime(&self, lifetime: Duration) {
        *self.0.lifetime.lock().unwrap_or_else(PoisonError::into_inner) = lifetime;
    }

    /// Makes an endpoint misbehave.
    pub fn set_switch(&self, endpoint: Endpoint, switch: Switch) {
        self.0.switches.set(endpoint, switch);
    }

    /// Makes the next `calls` calls of an endpoint fail.
    pub fn fail_next(&self, endpoint: Endpoint, calls: u32, fault: Fault) {
        self.set_switch(endpoint, Switch { delay_ms: 0, fault: Some(fault), next: Some(calls) });
    }

    /// Makes an endpoint fail until it is switched again.
    pub fn fail(&self, endpoint: Endpoint, fault: Fault) {
        self.set_switch(endpoint, Switch { fault: Some(fault), ..Switch::default() });
    }

    /// Holds back every answer of an endpoint.
    pub fn delay(&self, endpoint: Endpoint, delay: Duration) {
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.set_switch(endpoint, Switch { delay_ms, ..Switch::default() });
    }

    /// Makes every endpoint behave again.
    pub fn clear_switches(&self) {
        self.0.switches.clear();
    }

    /// How often an endpoint was called, failures included.
    pub fn calls(&self, endpoint: Endpoint) -> usize {
        self.0.calls.count(endpoint)
    }

    /// The last thousand calls, oldest first.
    pub fn recent_calls(&self) -> Vec<Call> {
        self.0.calls.recent()
    }
}

impl std::fmt::Debug for StandIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StandIn").field("address", &self.address()).finish_non_exhaustive()
    }
}

/// One request, its body read.
struct Asked {
    parts: Parts,
    body: Bytes,
    now: UnixTime,
}

impl Asked {
    fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or_default()
    }

    /// The only value of a query parameter; the first of several.
    fn parameter(&self, name: &str) -> Option<String> {
        first(self.query().as_bytes(), name)
    }

    /// The first value of a form field.
    fn field(&self, name: &str) -> Option<String> {
        first(&self.body, name)
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok())
    }

    fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.header("authorization")?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }

    fn is_read(&self) -> bool {
        self.parts.method == Method::GET || self.parts.method == Method::HEAD
    }

    fn is_post(&self) -> bool {
        self.parts.method == Method::POST
    }
}

fn first(encoded: &[u8], wanted: &str) -> Option<String> {
    form_urlencoded::parse(encoded).find(|(name, _)| name == wanted).map(|(_, value)| value.into_owned())
}

/// Enough for a message of Pub/Sub that is too large.
const LARGEST_BODY: usize = 16 << 20;

async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let endpoint = Endpoint::of_path(parts.uri.path());
    shared.calls.add(endpoint, &parts);
    let Ok(body) = to_bytes(body, LARGEST_BODY).await else {
        return page::text(StatusCode::PAYLOAD_TOO_LARGE, "the body could not be read or is too large\n");
    };
    let mut asked = Asked { parts, body, now: UnixTime::now() };
    let Some(endpoint) = endpoint else { return console::answer(&shared, &asked) };
    let switch = shared.switches.take(endpoint);
    if switch.delay_ms > 0 {
        tokio::time::sleep(switch.delay()).await;
        asked.now = UnixTime::now();
    }
    let right = match &switch.fault {
        Some(fault) if fault.prevents(endpoint) => page::text(StatusCode::OK, ""),
        _ if endpoint == Endpoint::Pull => pubsub::pull(&shared, &asked).await,
        _ => answer(&shared, endpoint, &asked),
    };
    match switch.fault {
        Some(fault) => fault.apply(endpoint, right, &wire),
        None => right,
    }
}

fn answer(shared: &Arc<Shared>, endpoint: Endpoint, asked: &Asked) -> Response {
    match endpoint {
        Endpoint::Authorization => authorize::answer(shared, asked),
        Endpoint::Tokeninfo => tokeninfo::tokeninfo(shared, asked),
        Endpoint::Userinfo => tokeninfo::userinfo(shared, asked),
        Endpoint::Revocation => tokeninfo::revoke(shared, asked),
        Endpoint::Certs => certs(shared, asked),
        Endpoint::Discovery => page::json(StatusCode::OK, &discovery(&shared.origin())),
        Endpoint::Metadata => metadata::answer(shared, asked),
        Endpoint::SecretManager => secret_manager::answer(shared, asked),
        Endpoint::Publish
        | Endpoint::Pull
        | Endpoint::Acknowledge
        | Endpoint::ModifyAckDeadline
        | Endpoint::Topics => pubsub::answer(shared, endpoint, asked),
    }
}

fn certs(shared: &Shared, asked: &Asked) -> Response {
    let old = asked.parts.uri.path() == "/oauth2/v1/certs";
    let keys = if old { shared.keys.certificates() } else { shared.keys.jwks() };
    let mut response = page::json(StatusCode::OK, &keys);
    let age = shared.options.certs_max_age;
    page::set(&mut response, CACHE_CONTROL, &format!("public, max-age={age}, must-revalidate, no-transform"));
    response
}

/// Google's discovery document with the stand-in's addresses. The issuer stays Google's: tokens carry it.
fn discovery(origin: &str) -> Value {
    json!({
        "issuer": ISSUER,
        "authorization_endpoint": format!("{origin}/o/oauth2/v2/auth"),
        "device_authorization_endpoint": format!("{origin}/device/code"),
        "token_endpoint": format!("{origin}/token"),
        "userinfo_endpoint": format!("{origin}/v1/userinfo"),
        "revocation_endpoint": format!("{origin}/revoke"),
        "jwks_uri": format!("{origin}/oauth2/v3/certs"),
        "response_types_supported":
            ["code", "token", "id_token", "code token", "code id_token", "token id_token", "code token id_token", "none"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "scopes_supported": ["openid", "email", "profile"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic"],
        "claims_supported":
            ["aud", "email", "email_verified", "exp", "family_name", "given_name", "iat", "iss", "name", "picture", "sub"],
        "code_challenge_methods_supported": ["plain", "S256"],
        "grant_types_supported": [
            "authorization_code", "refresh_token",
            "urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:jwt-bearer"
        ],
        "authorization_response_iss_parameter_supported": true
    })
}
