//! Sign-in of people without a client secret, and all that belongs to the session cookie.
//!
//! The session *is* Google's token, in a cookie that scripts cannot read. It is obtained in one of the two ways that
//! need no secret: an access token in the fragment of the callback page's address (RFC 6749, section 4.2), or an ID
//! token in a form post (OpenID Connect Core, section 3.2, with OAuth 2.0 Form Post Response Mode).
//!
//! - `start` sends the browser to Google, and remembers that in an `attempt`;
//! - `callback` takes Google's answer, `session` makes a session of it;
//! - `logout` ends it, `whoami` tells what it says.
//!
//! Who may pass is not decided here, and no token is verified here: that is the identity provider's.

mod attempt;
mod callback;
mod cookies;
mod logout;
mod presented;
mod refuse;
mod return_path;
mod revoke;
mod session;
mod start;
mod visit;
mod whoami;

use std::sync::Arc;

use http::StatusCode;
use url::Url;

use self::cookies::SameSite;
use self::refuse::Refusal;
use crate::config::{self, Flow};
use crate::identity::IdentityProvider;
use crate::reply::Reply;
use crate::time::UnixTime;

pub use cookies::CookieNames;
pub use revoke::{GoogleRevocation, Revoke};
pub use visit::Visit;

/// Google's name in `iss` of an authorization response (RFC 9207).
const ISSUER: &str = "https://accounts.google.com";
const CALLBACK: &str = "/.portcullis/callback";
const LOGOUT: &str = "/.portcullis/logout";
const WHO_AM_I: &str = "/.portcullis/whoami";

/// Sign-in: what it was told, and whom it asks.
pub struct Login {
    names: CookieNames,
    flow: Flow,
    client_id: String,
    scope: String,
    authorization: Url,
    /// Whom an authorization response may name as its issuer.
    issuers: [String; 2],
    hosted_domain: Option<String>,
    provider: Arc<dyn IdentityProvider>,
    revoker: Arc<dyn Revoke>,
}

/// The gateway's own pages that belong to sign-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Starts sign-in.
    Login,
    /// Where Google sends the browser back.
    Callback,
    /// Where the callback page hands the token over.
    Session,
    /// Ends the session.
    Logout,
    /// Tells who the caller is.
    WhoAmI,
}

impl Endpoint {
    /// The endpoint at exactly this path.
    pub fn of(path: &str) -> Option<Self> {
        match path {
            "/.portcullis/login" => Some(Self::Login),
            CALLBACK => Some(Self::Callback),
            "/.portcullis/session" => Some(Self::Session),
            LOGOUT => Some(Self::Logout),
            WHO_AM_I => Some(Self::WhoAmI),
            _ => None,
        }
    }
}

impl Login {
    /// Sign-in as configured. `hosted_domain` is the one Google Workspace domain whose accounts are admitted, if there
    /// is just one: Google then offers no others. `revoker` is asked when somebody withdraws the gateway's access.
    pub fn new(
        google: &config::Google,
        authorization: &Url,
        login: &config::Login,
        hosted_domain: Option<String>,
        provider: Arc<dyn IdentityProvider>,
        revoker: Arc<dyn Revoke>,
    ) -> Self {
        let authorization = authorization.clone();
        Self {
            names: CookieNames::of(&login.cookie),
            flow: login.flow,
            client_id: google.client_id.clone(),
            scope: login.scopes.join(" "),
            issuers: [ISSUER.to_owned(), authorization.origin().ascii_serialization()],
            authorization,
            hosted_domain,
            provider,
            revoker,
        }
    }

    /// Answers a request to one of our own endpoints.
    pub async fn answer(&self, endpoint: Endpoint, visit: &Visit<'_>, now: UnixTime) -> Reply {
        match endpoint {
            Endpoint::Login => self.login(visit, now).await,
            Endpoint::Callback => self.callback(visit, now).await,
            Endpoint::Session => self.session(visit, now).await,
            Endpoint::Logout => self.logout(visit, now).await,
            Endpoint::WhoAmI => self.who_am_i(visit, now).await,
        }
    }

    /// Google's form post comes from another site, and only a cookie without restriction comes along with it.
    fn attempt_same_site(&self) -> SameSite {
        match self.flow {
            Flow::AccessToken => SameSite::Lax,
            Flow::IdToken => SameSite::None,
        }
    }
}

/// A redirect that makes a GET of whatever the request was (RFC 9110, section 15.4.4).
fn see_other(path: &str) -> Reply {
    Reply::redirect(StatusCode::SEE_OTHER, path)
}

/// The refusal of a method that an endpoint does not take.
fn method_not_allowed(visit: &Visit<'_>, allow: &'static str) -> Reply {
    refuse::answer(visit, &Refusal::METHOD_NOT_ALLOWED, None)
        .header(http::header::ALLOW, http::HeaderValue::from_static(allow))
}

#[cfg(test)]
mod tests;
