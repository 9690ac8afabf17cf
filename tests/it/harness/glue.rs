//! What depends on how the rest of the project spells things: the line that announces the listener, the
//! shape of the configuration, and where tokens come from.
//!
//! [`StandIn`] is the project's own stand-in for Google, on the fixtures' runtime.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis::dev::google::{self, AccessTokenSpec, GATEWAY, Options, Person};
use serde_json::Value;

use super::upstream::Upstream;
use super::{background, canary};

/// The OAuth client of the gateways under test.
pub(crate) const CLIENT: &str = "1234-tests.apps.googleusercontent.com";
/// The gateway's own health endpoint: public, and never forwarded.
pub(crate) const HEALTH: &str = "/.portcullis/health";
/// The session cookie.
pub(crate) const COOKIE: &str = "__Host-portcullis";
/// The only e-mail domain that is admitted.
pub(crate) const DOMAIN: &str = "example.com";
/// What tokens begin with: access tokens, and JSON Web Tokens. No output of a gateway may hold either.
pub(crate) const TOKENS: [&str; 2] = ["ya29.", "eyJ"];

/// The address in a line such as `listening on 127.0.0.1:41234`; the operators' listener does not count.
pub(crate) fn announced(line: &str) -> Option<SocketAddr> {
    if line.contains("admin") || line.contains("operators") {
        return None;
    }
    let rest = line.split_once("listening on ")?.1;
    let address: String =
        rest.chars().take_while(|letter| letter.is_ascii_hexdigit() || ".:[]".contains(*letter)).collect();
    address.parse().ok()
}

/// A gateway before one upstream: `/public/` for everybody, the rest for members of the domain.
pub(crate) fn configuration(standin: &StandIn, upstream: &Upstream, further_locations: &str) -> String {
    format!(
        "log: {{ format: text, level: debug, requests: all }}
accept_risks: [public_token]
{google}
allow: {{ domains: [{DOMAIN}] }}
upstreams:
  up: {{ url: \"{url}\" }}
locations:
  - {{ path: /public/, access: public, upstream: up }}
  - {{ path: /, access: google, upstream: up }}
{further_locations}",
        google = standin.yaml(),
        url = upstream.url(),
    )
}

/// Stands in for Google. Dereferences to the stand-in itself, with its switches and its record of calls.
pub(crate) struct StandIn(google::StandIn);

impl std::ops::Deref for StandIn {
    type Target = google::StandIn;

    fn deref(&self) -> &google::StandIn {
        &self.0
    }
}

impl StandIn {
    pub(crate) fn start() -> Self {
        Self::with(Options::default())
    }

    pub(crate) fn with(options: Options) -> Self {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        Self(background::started(async move { google::StandIn::start(loopback, options).await.unwrap() }))
    }

    /// An access token of somebody for our client: of a person of the stand-in, or else of a Workspace member
    /// who is made up. For a service account, what its metadata server hands out.
    pub(crate) fn issue(&self, email: &str) -> String {
        let account = self.somebody(email);
        let robot = email.ends_with(".gserviceaccount.com");
        self.issue_spec(&if robot {
            AccessTokenSpec::service_account(&account)
        } else {
            AccessTokenSpec::person(&account, CLIENT)
        })
    }

    /// An access token that says anything.
    pub(crate) fn issue_spec(&self, spec: &AccessTokenSpec) -> String {
        planted(self.0.issue_access_token(spec))
    }

    /// An account of the stand-in, or one that is made up.
    pub(crate) fn somebody(&self, email: &str) -> Person {
        self.0.account(email).cloned().unwrap_or_else(|| Person {
            email: email.to_owned(),
            name: String::new(),
            sub: "110248495921238986420".to_owned(),
            hosted_domain: email.rsplit_once('@').map(|(_, domain)| domain.to_owned()),
            email_verified: true,
            note: "",
        })
    }

    /// The `google` section of a configuration.
    pub(crate) fn yaml(&self) -> String {
        format!(
            "google:
  client_id: {CLIENT}
  endpoints:
    authorization: {}
    tokeninfo: {}
    certs: {}
    revocation: {}
    metadata: {}",
            self.authorization(),
            self.tokeninfo(),
            self.certs(),
            self.revocation(),
            self.metadata().as_str().trim_end_matches('/'),
        )
    }
}

/// Has the tests' searches for leaks look for a token as well.
fn planted(token: String) -> String {
    canary::plant(&token);
    token
}

/// The claims of a JSON Web Token, whoever signed it.
pub(crate) fn claims(token: &str) -> Option<Value> {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The audience of a header value that holds a token minted for the gateway's own account; nothing for any
/// other value.
pub(crate) fn minted_for(value: &str) -> Option<String> {
    let claims = claims(value.strip_prefix("Bearer ")?)?;
    (claims["email"] == GATEWAY).then(|| claims["aud"].as_str().map(str::to_owned))?
}

#[test]
fn the_listener_is_found_in_every_form_of_the_line() {
    let address = Some("127.0.0.1:41234".parse().unwrap());
    for line in [
        "listening on 127.0.0.1:41234\n",
        "[2026-01-01T00:00:00Z INFO portcullis] listening on 127.0.0.1:41234 (HTTP/1.1 and h2c)",
        r#"{"severity":"INFO","message":"listening on 127.0.0.1:41234"}"#,
    ] {
        assert_eq!(announced(line), address, "{line}");
    }
    assert_eq!(announced("admin listening on 127.0.0.1:9090"), None);
    assert_eq!(announced("listening on a socket"), None);
}
