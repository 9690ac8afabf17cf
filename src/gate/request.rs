//! Step *admit*: one canonical view of a request, on which everything later decides.
//!
//! A path that two readers could understand differently (`..`, `%2f`, `;`, …) is refused, not repaired: the
//! upstream might read it the other way. A location can opt in to some forms; such a path must then lead to
//! that location in every reading (see [`Path::readings`]).

use std::borrow::Cow;
use std::net::IpAddr;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method};
use percent_encoding::percent_decode;

use crate::config::AllowEncoded;

/// What the gate knows of a request. Borrowed from the connection's own request header.
#[derive(Clone, Debug)]
pub struct RequestView<'a> {
    /// Request method.
    pub method: &'a Method,
    /// The canonical path.
    pub path: Path<'a>,
    /// The query as it was sent, without `?`.
    pub query: Option<&'a str>,
    /// Host as the caller named it, with port; empty when there was none.
    pub host: &'a str,
    /// Headers as they were sent.
    pub headers: &'a HeaderMap,
    /// The caller's address: the peer's, or what a trusted front end says.
    pub client: IpAddr,
    /// Whether the caller reached us, or the front end, over TLS.
    pub https: bool,
    /// Id of this request.
    pub request_id: &'a str,
    /// The body, where it is ours to read (the gateway's own endpoints); else empty.
    pub body: Bytes,
}

/// A path in its canonical form, with the form that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// As it was sent, and as it is forwarded.
    pub raw: &'a str,
    /// Percent-decoded once.
    pub decoded: Cow<'a, str>,
    /// Which forms occur that only some locations allow.
    pub forms: AllowEncoded,
}

/// Why a path, or another part of the request head, has no canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    /// Not origin-form, nor absolute-form for this host (RFC 9112, section 3.2).
    #[error("the request target is not a path on this host")]
    Target,
    /// Bytes that are not UTF-8, raw or decoded.
    #[error("the path is not valid UTF-8")]
    Encoding,
    /// `%` that is not followed by two hexadecimal digits.
    #[error("the path has an incomplete percent-encoding")]
    Escape,
    /// Control characters, raw white space, `#` or NUL.
    #[error("the path has a character that cannot stand in a path")]
    Character,
    /// `.` or `..`, in any spelling.
    #[error("the path has a dot segment")]
    DotSegment,
    /// `\`, raw or encoded.
    #[error("the path has a backslash")]
    Backslash,
    /// `%2F`.
    #[error("the path has an encoded slash")]
    EncodedSlash,
    /// `;`, raw or encoded.
    #[error("the path has a semicolon")]
    Semicolon,
    /// A second round of percent-encoding.
    #[error("the path is percent-encoded twice")]
    DoubleEncoding,
    /// `//`.
    #[error("the path has an empty segment")]
    DoubleSlash,
    /// It leads to another location when it is read another way.
    #[error("the path leads to different places depending on who reads it")]
    Ambiguous,
    /// The host name has characters that no host name has, or there is more than one.
    #[error("the host name is not valid")]
    Host,
    /// Two readers could see the end of the body, and so the next request, in different places.
    #[error("the length of the body is ambiguous")]
    Framing,
}

impl<'a> RequestView<'a> {
    /// Whether this is a browser loading a page, which can be sent to sign-in: `GET` or `HEAD` with
    /// `Sec-Fetch-Mode: navigate` or, from browsers that do not send it, an `Accept` that asks for HTML.
    pub fn is_navigation(&self) -> bool {
        if !matches!(*self.method, Method::GET | Method::HEAD) || self.headers.contains_key(UPGRADE) {
            return false;
        }
        match self.headers.get("sec-fetch-mode") {
            Some(mode) => mode == "navigate",
            None => self.accepts_html() && !self.headers.contains_key("x-requested-with"),
        }
    }

    /// Whether `Accept` names `text/html`.
    pub fn accepts_html(&self) -> bool {
        self.headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).any(|accept| {
            accept.split(',').any(|range| {
                range.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/html"))
            })
        })
    }

    /// Whether this is a gRPC call, whose errors travel in trailers.
    pub fn is_grpc(&self) -> bool {
        self.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
    }

    /// Whether this is a WebSocket handshake (RFC 6455, section 4.1).
    pub fn is_websocket(&self) -> bool {
        self.headers.get(UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
    }
}

impl<'a> Path<'a> {
    /// `/`.
    pub fn root() -> Self {
        Self { raw: "/", decoded: Cow::Borrowed("/"), forms: AllowEncoded::default() }
    }

    /// Reads the path of a request target. `raw` is the path alone, without query.
    pub fn parse(raw: &'a str) -> Result<Self, NotCanonical> {
        if !raw.starts_with('/') {
            return Err(NotCanonical::Target);
        }
        if raw.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'#' || byte == b'?') {
            return Err(NotCanonical::Character);
        }
        let decoded = decode(raw)?;
        check_decoded(&decoded)?;
        let forms = AllowEncoded {
            slash: raw.len() != decoded.len() && contains_encoded(raw, b'/'),
            semicolon: decoded.contains(';'),
            percent: raw.len() != decoded.len() && has_escape(decoded.as_bytes()),
            double_slash: decoded.contains("//"),
        };
        Ok(Self { raw, decoded, forms })
    }

    /// The first form that occurs and is not allowed.
    pub fn refused_form(&self, allowed: AllowEncoded) -> Option<NotCanonical> {
        let forms = self.forms;
        [
            (forms.slash && !allowed.slash, NotCanonical::EncodedSlash),
            (forms.semicolon && !allowed.semicolon, NotCanonical::Semicolon),
            (forms.percent && !allowed.percent, NotCanonical::DoubleEncoding),
            (forms.double_slash && !allowed.double_slash, NotCanonical::DoubleSlash),
        ]
        .into_iter()
        .find_map(|(refused, why)| refused.then_some(why))
    }

    /// Whether the path is the same to every reader, which nearly all are.
    pub fn is_plain(&self) -> bool {
        self.forms == AllowEncoded::default() && !self.has_encoded_end()
    }

    /// Whether there is an encoded `?` or `#`: data to most, but some decode first and then see the path's end.
    fn has_encoded_end(&self) -> bool {
        self.raw.len() != self.decoded.len() && self.decoded.contains(['?', '#'])
    }

    /// The other ways in which an upstream could read this path: encoded slashes kept as data, decoded once
    /// more, cut at an encoded `?` or `#`, matrix parameters cut off, empty segments merged, and any of these
    /// together.
    pub fn readings(&self) -> Vec<String> {
        let mut texts = vec![self.decoded.to_string()];
        if self.forms.slash {
            let kept = self.raw.replace("%2F", "_").replace("%2f", "_");
            texts.push(percent_decode(kept.as_bytes()).decode_utf8_lossy().into_owned());
        }
        if self.forms.percent {
            texts.push(percent_decode(self.decoded.as_bytes()).decode_utf8_lossy().into_owned());
        }
        let mut readings = Vec::new();
        for text in &texts {
            for text in [text, cut_at_end(text)] {
                let bare = without_parameters(text);
                readings.extend([merge_slashes(text), merge_slashes(&bare), text.to_owned(), bare]);
            }
        }
        readings.sort_unstable();
        readings.dedup();
        readings.retain(|reading| *reading != self.decoded);
        readings
    }
}

fn decode(raw: &str) -> Result<Cow<'_, str>, NotCanonical> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut rest = raw.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        let digits = rest.get(at + 1..at + 3).ok_or(NotCanonical::Escape)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(NotCanonical::Escape);
        }
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    percent_decode(raw.as_bytes()).decode_utf8().map_err(|_| NotCanonical::Encoding)
}

/// What is wrong at every location, whoever reads it.
fn check_decoded(decoded: &str) -> Result<(), NotCanonical> {
    if decoded.contains('\\') {
        return Err(NotCanonical::Backslash);
    }
    if decoded.chars().any(char::is_control) {
        return Err(NotCanonical::Character);
    }
    if has_dot_segment(decoded) {
        return Err(NotCanonical::DotSegment);
    }
    // What a second decoding would reveal is refused even where double encoding is allowed.
    if has_escape(decoded.as_bytes()) {
        let again = percent_decode(decoded.as_bytes()).decode_utf8_lossy();
        // A third round is nobody's way to write a path.
        if has_escape(again.as_bytes())
            || again.contains('\\')
            || again.chars().any(char::is_control)
            || has_dot_segment(&again)
        {
            return Err(NotCanonical::DoubleEncoding);
        }
    }
    Ok(())
}

fn has_dot_segment(path: &str) -> bool {
    // Most paths have no segment that starts with a dot, and one search tells.
    path.contains("/.")
        && path.split('/').any(|segment| {
            // What some upstreams cut off, once they have decoded it (CVE-2024-38474).
            let name = segment.split([';', '?', '#']).next().unwrap_or_default();
            // Trailing dots and blanks are dropped by some file systems, so `...` and `.. ` are as good as `..`.
            !name.is_empty() && name.starts_with('.') && name.chars().all(|c| c == '.' || c == ' ')
        })
}

fn contains_encoded(raw: &str, wanted: u8) -> bool {
    raw.as_bytes().windows(3).any(|window| match window {
        [b'%', high, low] => hex(*high).zip(hex(*low)).is_some_and(|(high, low)| high * 16 + low == wanted),
        _ => false,
    })
}

fn has_escape(bytes: &[u8]) -> bool {
    bytes.windows(3).any(
        |window| matches!(window, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit()),
    )
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn without_parameters(path: &str) -> String {
    let segments: Vec<&str> =
        path.split('/').map(|segment| segment.split(';').next().unwrap_or_default()).collect();
    segments.join("/")
}

fn cut_at_end(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or_default()
}

fn merge_slashes(path: &str) -> String {
    let mut merged = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !merged.ends_with('/') {
            merged.push(c);
        }
    }
    merged
}

/// Refuses headers with which two readers could disagree on where the body ends (RFC 9112, section 6.3).
///
/// Pingora reads lists such as `gzip, chunked` and repeated equal lengths, and passes them on as they are. It
/// is right to do so, but an upstream that reads less carefully would take the rest of the body for the next
/// request on a connection that it shares with others. An underscore makes a name another header to us, but
/// not to upstreams with CGI-like environments.
pub fn check_framing(headers: &HeaderMap) -> Result<(), NotCanonical> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let clear = match (codings.next(), lengths.next()) {
        (None, None) => true,
        (Some(coding), None) => coding.as_bytes().eq_ignore_ascii_case(b"chunked"),
        (None, Some(length)) => !length.is_empty() && length.as_bytes().iter().all(u8::is_ascii_digit),
        (Some(_), Some(_)) => false,
    };
    let several = codings.next().is_some() || lengths.next().is_some();
    let alias = |name: &str| matches!(name, "transfer_encoding" | "content_length");
    if !clear || several || headers.keys().any(|name| alias(name.as_str())) {
        return Err(NotCanonical::Framing);
    }
    Ok(())
}

/// An encoded query is the upstream's business, but raw control characters and fragments are nobody's.
pub fn check_query(query: Option<&str>) -> Result<(), NotCanonical> {
    let odd = |byte: u8| byte <= b' ' || byte == 0x7f || byte == b'#';
    if query.is_some_and(|query| query.bytes().any(odd)) { Err(NotCanonical::Character) } else { Ok(()) }
}

/// A request target split into path and query. Absolute-form is accepted for the host that the request
/// names; its scheme and authority are then dropped (RFC 9112, section 3.2.2).
pub fn split_target<'a>(target: &'a [u8], host: &str) -> Result<(&'a str, Option<&'a str>), NotCanonical> {
    let target = std::str::from_utf8(target).map_err(|_| NotCanonical::Encoding)?;
    let origin_form = if target.starts_with('/') { target } else { strip_authority(target, host)? };
    Ok(match origin_form.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (origin_form, None),
    })
}

fn strip_authority<'a>(target: &'a str, host: &str) -> Result<&'a str, NotCanonical> {
    let (scheme, rest) = target.split_once("://").ok_or(NotCanonical::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(NotCanonical::Target);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if authority.is_empty() || !authority.eq_ignore_ascii_case(host) {
        return Err(NotCanonical::Target);
    }
    Ok(if path.is_empty() { "/" } else { path })
}

/// A host name without port and trailing dot, in lower case; borrowed when it already is.
pub fn host_name(host: &str) -> Cow<'_, str> {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None => host.split(':').next().unwrap_or(host),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(name.to_ascii_lowercase())
    } else {
        Cow::Borrowed(name)
    }
}

/// Whether this can stand in `Host`: `uri-host [ ":" port ]` (RFC 9110, section 7.2), without userinfo.
pub fn is_host(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(v6) => match v6.split_once(']') {
            Some((address, rest)) => {
                if address.parse::<std::net::Ipv6Addr>().is_err() {
                    return false;
                }
                ("v6", rest.strip_prefix(':'))
            }
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && port
            .is_none_or(|port| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
