//! The cookies of sign-in: their names, and how they are set and deleted.
//!
//! | cookie | holds | for |
//! |---|---|---|
//! | the session | the token | as long as the token lives |
//! | an attempt | state, nonce, where to return | 10 minutes |
//! | the hint | the e-mail address that signed in last | 30 days |
//! | the last result | whether sign-in just went well or failed | 5 minutes |
//!
//! A browser deletes a cookie only when told so with the attributes it accepts for the name (RFC 6265bis, section
//! 4.1.3: `__Host-` wants Secure and Path=/), so setting and deleting share one function.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;

use crate::config::{OWN_COOKIES, OwnCookies};
use crate::cookies;
use crate::time::UnixTime;

const HINT_LIFE: u64 = 30 * 24 * 60 * 60;
/// How long a result is remembered.
const RESULT_LIFE: u64 = 300;
/// The longest e-mail address (RFC 5321, section 4.5.3.1.3, less the angle brackets).
const MAX_EMAIL: usize = 254;

/// When a browser sends a cookie along with requests that another site caused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SameSite {
    /// Only when it opens a page with GET.
    Lax,
    /// Always. Google's form post needs that.
    None,
}

impl fmt::Display for SameSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lax => "Lax",
            Self::None => "None",
        })
    }
}

/// The text of a `Set-Cookie` header. `value` must be of cookie octets, which tokens and base64url are.
pub(super) fn set(name: &str, value: &str, max_age: u64, same_site: SameSite) -> String {
    format!("{name}={value}; Path=/; Max-Age={max_age}; Secure; HttpOnly; SameSite={same_site}")
}

/// The text of a `Set-Cookie` header that deletes a cookie.
pub(super) fn delete(name: &str, same_site: SameSite) -> String {
    set(name, "", 0, same_site)
}

/// How sign-in ended last in this browser. Kept against loops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// There is a new session.
    SignedIn,
    /// There is none.
    Failed,
}

/// The names of all cookies of sign-in, which follow the session cookie's in having a `__Host-` prefix or not.
#[derive(Clone, Debug)]
pub struct CookieNames {
    pub(super) session: String,
    pub(super) hint: String,
    pub(super) last: String,
    /// What the names of attempts start with.
    pub(super) attempt: String,
}

impl CookieNames {
    /// The names that go with a session cookie of this name.
    pub fn of(session: &str) -> Self {
        let prefix = if session.starts_with("__Host-") { "__Host-" } else { "" };
        let OwnCookies { attempt, hint, last } = OWN_COOKIES;
        Self {
            session: session.to_owned(),
            hint: format!("{prefix}{hint}"),
            last: format!("{prefix}{last}"),
            attempt: format!("{prefix}{attempt}-"),
        }
    }

    /// Whether a cookie belongs to the gateway, and is none of an upstream's business.
    pub fn own(&self, name: &[u8]) -> bool {
        [&self.session, &self.hint, &self.last].iter().any(|own| own.as_bytes() == name)
            || name.starts_with(self.attempt.as_bytes())
    }

    pub(super) fn set_hint(&self, email: &str) -> String {
        set(&self.hint, &URL_SAFE_NO_PAD.encode(email), HINT_LIFE, SameSite::Lax)
    }

    /// The account that signed in here last. It comes from the browser and is no more than a hint.
    pub(super) fn hint(&self, headers: &HeaderMap) -> Option<String> {
        let bytes = URL_SAFE_NO_PAD.decode(cookies::single(headers, &self.hint)?).ok()?;
        let email = String::from_utf8(bytes).ok()?;
        let plausible = email.len() <= MAX_EMAIL
            && email.contains('@')
            && !email.chars().any(|letter| letter.is_control() || letter.is_whitespace());
        plausible.then_some(email)
    }

    pub(super) fn set_last(&self, outcome: Outcome, now: UnixTime) -> String {
        let word = match outcome {
            Outcome::SignedIn => "ok",
            Outcome::Failed => "failed",
        };
        set(&self.last, &format!("{word}.{}", now.0), RESULT_LIFE, SameSite::Lax)
    }

    /// How sign-in ended last, unless that is long ago.
    pub(super) fn last(&self, headers: &HeaderMap, now: UnixTime) -> Option<(Outcome, UnixTime)> {
        let (word, at) = cookies::single(headers, &self.last)?.split_once('.')?;
        let at = UnixTime(at.parse().ok()?);
        let outcome = match word {
            "ok" => Outcome::SignedIn,
            "failed" => Outcome::Failed,
            _ => return None,
        };
        (now.since(at).as_secs() < RESULT_LIFE).then_some((outcome, at))
    }
}
