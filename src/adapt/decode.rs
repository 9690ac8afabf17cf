//! Undoing `Content-Encoding` (RFC 9110, section 8.4), and percent-encoding.

use std::io::Read as _;

use bytes::Bytes;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::input::Unreadable;

/// The body behind its `Content-Encoding`, which may have at most `most` bytes.
pub(super) fn body(encoding: &str, body: Bytes, most: usize) -> Result<Bytes, Unreadable> {
    let encoding = encoding.trim();
    let is = |name: &str| encoding.eq_ignore_ascii_case(name);
    let mut decoded = Vec::new();
    // One byte more than allowed shows that there is more.
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let result = if encoding.is_empty() || is("identity") {
        return if body.len() > most { Err(Unreadable::TooLarge) } else { Ok(body) };
    } else if is("gzip") || is("x-gzip") {
        MultiGzDecoder::new(&*body).take(limit).read_to_end(&mut decoded)
    } else if is("deflate") && is_zlib(&body) {
        ZlibDecoder::new(&*body).take(limit).read_to_end(&mut decoded)
    } else if is("deflate") {
        // Some senders leave out the zlib header that the name stands for.
        DeflateDecoder::new(&*body).take(limit).read_to_end(&mut decoded)
    } else {
        return Err(Unreadable::Encoding);
    };
    match result {
        Ok(_) if decoded.len() > most => Err(Unreadable::TooLarge),
        Ok(_) => Ok(decoded.into()),
        Err(_) => Err(Unreadable::Bad("the body is not what its Content-Encoding says".to_owned())),
    }
}

/// RFC 1950, section 2.2: the method is 8, and the first two bytes are a multiple of 31.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [first, second, ..] if first & 0x0F == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0)
}

/// Names and values of `application/x-www-form-urlencoded` (URL Standard, section 5.1), but strictly: a stray `%` or
/// bytes that are no UTF-8 are refused rather than replaced. Nothing when they are.
pub(super) fn form(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let pairs = bytes.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    let split = |pair: &[u8]| {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let (name, value) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        Some((percent(name)?, percent(value)?))
    };
    pairs.map(split).collect()
}

fn percent(bytes: &[u8]) -> Option<String> {
    let digit =
        |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        decoded.push(match byte {
            b'%' => digit(rest.next())? << 4 | digit(rest.next())?,
            b'+' => b' ',
            other => *other,
        });
    }
    String::from_utf8(decoded).ok()
}
