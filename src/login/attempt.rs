//! One try to sign in, remembered by the browser between leaving for Google and coming back: the `state` of RFC 6749,
//! section 10.12, and what belongs to it.
//!
//! Each try has a cookie of its own, so that several tabs do not get into each other's way. The cookie is neither
//! signed nor encrypted: it proves that the answer came back to the browser that asked, and whoever can write this
//! browser's cookies needs no forged one. What is read from it is checked like any other input.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderMap;
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use super::cookies::{CookieNames, SameSite, delete, set};
use super::return_path::ReturnPath;
use crate::time::UnixTime;
use crate::{cookies, secret};

/// How many attempts a browser may have open.
pub(super) const MAX_OPEN: usize = 4;
/// How long an attempt is good for, in seconds.
pub(super) const LIFE: u64 = 600;
/// A cookie is this long at the most, name included. Four of them must fit beside a session and the upstream's own.
const MAX_COOKIE: usize = 1024;
/// How much of the state names the cookie.
const NAME_PART: usize = 12;
/// Length of 128 bits in base64url.
const STATE_LENGTH: usize = 22;

/// One try to sign in.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Attempt {
    /// Comes back from Google unchanged.
    pub(super) state: String,
    /// Where to go afterwards.
    pub(super) return_path: ReturnPath,
    /// Comes back within the ID token, in the flow that has one.
    pub(super) nonce: Option<String>,
    /// Whether Google was asked to show nothing (`prompt=none`).
    pub(super) silent: bool,
    /// When it began.
    pub(super) created: UnixTime,
}

/// What stands in the cookie. Short names, for it travels with every request.
#[derive(Serialize, Deserialize)]
struct Stored {
    s: String,
    r: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<String>,
    #[serde(default)]
    q: bool,
    c: u64,
}

impl Attempt {
    /// A new attempt, or nothing when the system has no randomness to give.
    pub(super) fn new(return_path: ReturnPath, nonce: bool, silent: bool, created: UnixTime) -> Option<Self> {
        let nonce = if nonce { Some(random()?) } else { None };
        Some(Self { state: random()?, return_path, nonce, silent, created })
    }

    /// Whether the attempt took too long to still be believed.
    pub(super) fn is_over(&self, now: UnixTime) -> bool {
        now.since(self.created).as_secs() > LIFE
    }

    /// The `Set-Cookie` text that makes the browser remember this attempt. A return path that does not fit is
    /// forgotten, and with it this attempt's.
    pub(super) fn remember(&mut self, names: &CookieNames, same_site: SameSite) -> String {
        let name = cookie_name(names, &self.state);
        let mut value = self.encode();
        if name.len() + 1 + value.len() > MAX_COOKIE {
            self.return_path = ReturnPath::root();
            value = self.encode();
        }
        set(&name, &value, LIFE, same_site)
    }

    /// The `Set-Cookie` text that makes the browser forget this attempt.
    pub(super) fn forget(&self, names: &CookieNames, same_site: SameSite) -> String {
        delete(&cookie_name(names, &self.state), same_site)
    }

    /// The attempt of this browser that a `state` belongs to, however old.
    pub(super) fn find(headers: &HeaderMap, names: &CookieNames, state: &str) -> Option<Self> {
        if !is_state(state) {
            return None;
        }
        let attempt = Self::decode(cookies::single(headers, &cookie_name(names, state))?.as_bytes())?;
        secret::same(attempt.state.as_bytes(), state.as_bytes()).then_some(attempt)
    }

    fn encode(&self) -> String {
        let stored = Stored {
            s: self.state.clone(),
            r: self.return_path.as_str().to_owned(),
            n: self.nonce.clone(),
            q: self.silent,
            c: self.created.0,
        };
        // Plain strings and numbers always serialise.
        URL_SAFE_NO_PAD.encode(serde_json::to_vec(&stored).unwrap_or_default())
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let json = URL_SAFE_NO_PAD.decode(value).ok()?;
        let Stored { s, r, n, q, c } = serde_json::from_slice(&json).ok()?;
        let sound = is_state(&s) && n.as_deref().is_none_or(is_state);
        sound.then(|| Self {
            state: s,
            return_path: ReturnPath::parse(&r),
            nonce: n,
            silent: q,
            created: UnixTime(c),
        })
    }
}

/// The attempts that a browser has open.
pub(super) struct Open<'a>(Vec<(&'a str, Option<Attempt>)>);

impl<'a> Open<'a> {
    /// Reads them from a request, oldest first, and what cannot be read before that.
    pub(super) fn of(headers: &'a HeaderMap, names: &CookieNames) -> Self {
        let mut open: Vec<(&str, Option<Attempt>)> = cookies::pairs(headers)
            .filter(|(name, _)| name.starts_with(names.attempt.as_bytes()) && name.iter().all(is_name_byte))
            .filter_map(|(name, value)| Some((std::str::from_utf8(name).ok()?, Attempt::decode(value))))
            .collect();
        open.sort_by_key(|(_, attempt)| attempt.as_ref().map(|attempt| attempt.created));
        Self(open)
    }

    /// How many there are that may still come to an end.
    pub(super) fn count(&self, now: UnixTime) -> usize {
        self.0
            .iter()
            .filter(|(_, attempt)| attempt.as_ref().is_some_and(|attempt| !attempt.is_over(now)))
            .count()
    }

    /// Whether one began silently within the last `seconds`.
    pub(super) fn any_silent(&self, seconds: u64, now: UnixTime) -> bool {
        let recent = |attempt: &Attempt| attempt.silent && now.since(attempt.created).as_secs() < seconds;
        self.0.iter().any(|(_, attempt)| attempt.as_ref().is_some_and(recent))
    }

    /// The `Set-Cookie` texts that make room for one more.
    pub(super) fn make_room(&self, same_site: SameSite) -> Vec<String> {
        let surplus = (self.0.len() + 1).saturating_sub(MAX_OPEN);
        self.0.iter().take(surplus).map(|(name, _)| delete(name, same_site)).collect()
    }

    /// The `Set-Cookie` texts that forget them all.
    pub(super) fn forget_all(&self, same_site: SameSite) -> Vec<String> {
        self.0.iter().map(|(name, _)| delete(name, same_site)).collect()
    }
}

fn random() -> Option<String> {
    let mut bytes = [0; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Only what [`random`] can have made. Whatever names a cookie must not carry anything else.
fn is_state(text: &str) -> bool {
    text.len() == STATE_LENGTH && text.bytes().all(|byte| is_name_byte(&byte))
}

fn is_name_byte(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || *byte == b'-' || *byte == b'_'
}

fn cookie_name(names: &CookieNames, state: &str) -> String {
    format!("{}{}", names.attempt, state.get(..NAME_PART).unwrap_or_default())
}
