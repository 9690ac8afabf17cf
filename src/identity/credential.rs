//! What a caller presented, not yet verified.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The longest token that is looked at. Google reserves 2048 bytes for access tokens; ID tokens with a
/// profile stay below 2 KiB as well.
pub const MAX_TOKEN: usize = 8 * 1024;
/// Shorter strings cannot be Google tokens.
const MIN_TOKEN: usize = 16;

/// The two kinds of Google token that are accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An opaque OAuth access token.
    AccessToken,
    /// A JWT signed by Google (OpenID Connect).
    IdToken,
}

/// A token of plausible form. `Debug` leaves the token out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Credential<'a> {
    kind: Kind,
    token: &'a str,
}

impl<'a> Credential<'a> {
    /// Checks the syntax, so that noise reaches neither the caches nor Google: `b64token` of RFC 6750,
    /// section 2.1, of a sensible length. A token of three parts whose first one decodes to a JSON object is
    /// an ID token; all else is an access token.
    pub fn parse(token: &'a str) -> Option<Self> {
        if !(MIN_TOKEN..=MAX_TOKEN).contains(&token.len()) || !is_b64token(token.as_bytes()) {
            return None;
        }
        let kind = if looks_like_jwt(token) { Kind::IdToken } else { Kind::AccessToken };
        Some(Self { kind, token })
    }

    /// Which kind of token it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The token itself.
    pub fn token(&self) -> &'a str {
        self.token
    }
}

impl fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// `b64token = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="`.
fn is_b64token(token: &[u8]) -> bool {
    let body =
        token.iter().rposition(|&byte| byte != b'=').and_then(|last| token.get(..=last)).unwrap_or_default();
    !body.is_empty() && body.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

fn looks_like_jwt(token: &str) -> bool {
    let Some((header, rest)) = token.split_once('.') else { return false };
    // Every JSON object that starts with `{"` encodes to `eyJ`; white space before the name is legal.
    if !header.starts_with("ey") || !rest.contains('.') {
        return false;
    }
    URL_SAFE_NO_PAD.decode(header).is_ok_and(|json| json.first() == Some(&b'{'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(token: &str) -> Option<Kind> {
        Credential::parse(token).map(|credential| credential.kind())
    }

    #[test]
    fn tells_the_kinds_apart() {
        assert_eq!(kind("ya29.a0AfH6SMBx-1234_5678"), Some(Kind::AccessToken));
        assert_eq!(kind("ya29.c.b0AXv0zTPQ.more.dots"), Some(Kind::AccessToken));
        assert_eq!(kind("eyJhbGciOiJSUzI1NiJ9.eyJhIjoxfQ.c2ln"), Some(Kind::IdToken));
        assert_eq!(kind("eyJhbGciOiJub25lIn0.eyJhIjoxfQ."), Some(Kind::IdToken));
        assert_eq!(kind("eyNotBase64!.eyJhIjoxfQ.c2ln"), None);
    }

    #[test]
    fn refuses_what_is_no_token() {
        let long = "a".repeat(MAX_TOKEN + 1);
        for token in [
            "",
            "x",
            "short",
            "with space in the middle",
            "ünïcödé-token-abcdef",
            "====================",
            &long,
        ] {
            assert_eq!(kind(token), None, "{token}");
        }
        assert_eq!(kind(&"a".repeat(MAX_TOKEN)), Some(Kind::AccessToken));
    }

    #[test]
    fn debug_output_does_not_contain_the_token() {
        let credential = Credential::parse("ya29.secret-secret-secret").unwrap();
        assert!(!format!("{credential:?}").contains("secret"));
    }
}
