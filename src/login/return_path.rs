//! Where a caller is brought after sign-in: a path of this very origin, or `/`.
//!
//! Browsers read a `Location` leniently (WHATWG URL, "path absolute URL states"): they take `\` for `/`, drop tabs and
//! line breaks, and resolve dot segments, so that what looks like a path can name another host. Here nothing is
//! repaired; what is not plainly a path becomes `/`.

use percent_encoding::percent_decode_str;

use super::WHO_AM_I;
use crate::config::RESERVED_PREFIX;

/// Longer paths are not remembered: they would not fit into a cookie together with the rest.
const MAX: usize = 700;

/// An absolute path with an optional query, of visible ASCII, that every browser resolves to our own origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReturnPath(Box<str>);

impl ReturnPath {
    /// Takes a path as it came from outside; `/` in place of anything doubtful.
    pub(super) fn parse(text: &str) -> Self {
        if is_plain(text) { Self(text.into()) } else { Self::root() }
    }

    /// The start page.
    pub(super) fn root() -> Self {
        Self("/".into())
    }

    /// The path, ready for a `Location` header.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_plain(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('/') else { return false };
    text.len() <= MAX
        && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
        && starts_harmlessly(rest)
        && !has_dot_segment(text)
        && !is_own(text)
}

/// What follows the first slash must not be a second slash, a backslash, white space or a control character, however
/// often it is percent-encoded: some server or script behind us may decode it before it sends the browser on.
fn starts_harmlessly(rest: &str) -> bool {
    let Some(escape) = rest.strip_prefix('%') else {
        return rest.bytes().next().is_none_or(is_harmless);
    };
    let mut inner = escape;
    while let Some(next) = inner.strip_prefix("25") {
        inner = next;
    }
    match hex_pair(inner) {
        Some(byte) => is_harmless(byte),
        // Either an encoded percent sign, or no escape at all.
        None => inner.len() < escape.len(),
    }
}

fn hex_pair(text: &str) -> Option<u8> {
    let pair = text.get(..2).filter(|pair| pair.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u8::from_str_radix(pair, 16).ok()
}

fn is_harmless(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && byte != b'/' && byte != b'\\'
}

fn path_of(text: &str) -> &str {
    text.split(['?', '#']).next().unwrap_or_default()
}

/// `/..//evil.com` is resolved to the path `//evil.com`.
fn has_dot_segment(text: &str) -> bool {
    path_of(text).split('/').any(|segment| {
        let segment = segment.to_ascii_lowercase().replace("%2e", ".");
        segment == "." || segment == ".."
    })
}

/// Our own endpoints are no place to return to: sign-in would run in circles, or end in signing out.
fn is_own(text: &str) -> bool {
    let path = path_of(text);
    // The one endpoint of our own that is worth returning to.
    if path == WHO_AM_I {
        return false;
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy().to_ascii_lowercase();
    decoded.strip_prefix(RESERVED_PREFIX).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_paths_stay() {
        let long = format!("/{}", "a".repeat(MAX - 1));
        for path in [
            "/",
            "/app",
            "/app/?q=1&r=%2F%2Fevil.com#part",
            "/a//b",
            "/a%2Fb",
            "/%C3%A4pfel",
            "/%25",
            "/%2541",
            "/search?next=https://evil.com",
            "/user@evil.com",
            "/:80",
            "/...",
            "/.well-known/x",
            "/.portcullisx",
            "/?..//evil.com",
            "/.portcullis/whoami",
            "/.portcullis/whoami?x=1",
            &long,
        ] {
            assert_eq!(ReturnPath::parse(path).as_str(), path);
            let base = url::Url::parse("https://gw.example.com/.portcullis/session").unwrap();
            assert_eq!(base.join(path).unwrap().origin(), base.origin(), "{path}");
        }
    }

    const ELSEWHERE: &[&str] = &[
        "",
        "app",
        "?x",
        "#x",
        "//evil.com",
        "///evil.com",
        "/\\evil.com",
        "/\\/evil.com",
        "\\\\evil.com",
        "\\/evil.com",
        "/a\\b",
        "/a?b=\\",
        "/%5cevil.com",
        "/%5Cevil.com",
        "/%2fevil.com",
        "/%2Fevil.com",
        "/%09/evil.com",
        "/%0a/evil.com",
        "/%0d/evil.com",
        "/%0b/evil.com",
        "/%0c/evil.com",
        "/%00/evil.com",
        "/%20/evil.com",
        "/%7f/evil.com",
        "/%252fevil.com",
        "/%25252fevil.com",
        "/%255cevil.com",
        "/%2509/evil.com",
        "/%/evil.com",
        "/%zz",
        "/ /evil.com",
        "/\t/evil.com",
        "/\n/evil.com",
        "/\r/evil.com",
        "/\u{b}/evil.com",
        "/\0/evil.com",
        "/a\r\nSet-Cookie: x=1",
        "/a b",
        "/\u{a0}/evil.com",
        "/\u{3000}/evil.com",
        "/\u{2028}",
        "/\u{ff0f}evil.com",
        "/..//evil.com",
        "/.//evil.com",
        "/a/..//evil.com",
        "/%2e%2E//evil.com",
        "/a/%2e./b",
        "/.",
        "https://evil.com",
        "https:evil.com",
        "https:/evil.com",
        "https://evilexample.com",
        "https://example.com.evil.com",
        "https://example.com@evil.com",
        "https://example.com:443@evil.com",
        "https://gw.example.com/app",
        " /app",
        "\t//evil.com",
        "javascript:alert(document.cookie)",
        "JaVaScRiPt:%0aalert(1)",
        "javascript://gw.example.com/%0aalert(1)",
        "data:text/html,<script>alert(1)</script>",
        "vbscript:x",
        "blob:https://gw.example.com/x",
        "/.portcullis",
        "/.portcullis/",
        "/.portcullis/login?return=/.portcullis/login",
        "/.portcullis/logout",
        "/.PORTCULLIS/logout",
        "/%2eportcullis/logout",
        "/.portcullis%2flogout",
        "/.portcullis/whoami/x",
    ];

    #[test]
    fn all_else_becomes_the_start_page() {
        let long = format!("/{}", "a".repeat(MAX));
        for path in ELSEWHERE.iter().copied().chain([long.as_str()]) {
            assert_eq!(ReturnPath::parse(path).as_str(), "/", "{path:?}");
        }
    }
}
