//! Reading the `Cookie` header (RFC 6265, section 5.4), and taking cookies out of it.
//!
//! Values stay what they are: bytes. Nothing is unquoted, decoded or repaired, since upstreams see the same bytes and
//! must not be told something else than what was looked at here. Setting cookies is no part of this.

use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

/// Every cookie of a request as (name, value), in order, over all `Cookie` lines: HTTP/2 allows several (RFC 9113,
/// section 8.2.3). A part without `=` is a value without a name, as browsers see it.
pub fn pairs(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    headers.get_all(COOKIE).iter().flat_map(|line| parts(line).filter_map(pair))
}

/// All values of the cookies with this name.
pub fn values<'a>(headers: &'a HeaderMap, name: &str) -> impl Iterator<Item = &'a [u8]> {
    pairs(headers).filter(move |(candidate, _)| *candidate == name.as_bytes()).map(|(_, value)| value)
}

/// The value of a cookie that is there exactly once and is plain ASCII text, as all of ours are.
pub fn single<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = values(headers, name);
    let value = found.next()?;
    if found.next().is_some() || !value.is_ascii() {
        return None;
    }
    std::str::from_utf8(value).ok()
}

/// The `Cookie` header without the cookies whose name `drop` picks, or nothing when none are left. The others keep
/// their bytes, their order and the white space between them; several lines become one.
pub fn without(headers: &HeaderMap, mut drop: impl FnMut(&[u8]) -> bool) -> Option<HeaderValue> {
    let mut rest: Vec<u8> = Vec::new();
    for line in headers.get_all(COOKIE) {
        let mut first_of_line = true;
        for part in parts(line) {
            if pair(part).is_some_and(|(name, _)| drop(name)) {
                continue;
            }
            if rest.is_empty() {
                rest.extend_from_slice(part.trim_ascii_start());
            } else {
                rest.extend_from_slice(if first_of_line { b"; " } else { b";" });
                rest.extend_from_slice(part);
            }
            first_of_line = false;
        }
    }
    if rest.trim_ascii().is_empty() {
        return None;
    }
    // The bytes come out of valid header values, so this cannot fail.
    HeaderValue::from_bytes(&rest).ok()
}

fn parts(line: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    line.as_bytes().split(|&byte| byte == b';')
}

fn pair(part: &[u8]) -> Option<(&[u8], &[u8])> {
    let part = part.trim_ascii();
    if part.is_empty() {
        return None;
    }
    let (name, value) = match part.iter().position(|&byte| byte == b'=') {
        Some(at) => (part.get(..at)?, part.get(at + 1..)?),
        None => (&[][..], part),
    };
    Some((name.trim_ascii(), value.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        headers
    }

    fn show(lines: &[&[u8]]) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        pairs(&headers(lines)).map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn reads_every_cookie_of_every_line() {
        let expect = |expected: &[(&str, &str)], lines: &[&[u8]]| {
            let expected: Vec<_> = expected.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            assert_eq!(show(lines), expected);
        };
        expect(&[], &[]);
        expect(&[], &[b"", b" ; ;;"]);
        expect(&[("a", "1"), ("b", "2")], &[b"a=1; b=2"]);
        expect(&[("a", "1"), ("b", "2"), ("a", "3")], &[b"a=1;b=2", b"a=3"]);
        expect(&[("a", "x=y==")], &[b"  a = x=y== "]);
        expect(&[("", "lonely"), ("", "__Host-x=1")], &[b"lonely; =__Host-x=1"]);
        expect(&[("q", "\"a b\"")], &[b"q=\"a b\""]);
        expect(&[("a", "\u{fffd}\u{fffd}")], &[b"a=\xff\xfe"]);
    }

    #[test]
    fn a_single_value_is_neither_doubled_nor_odd() {
        assert_eq!(single(&headers(&[b"a=1; s=token; b=2"]), "s"), Some("token"));
        assert_eq!(single(&headers(&[b"s=1; s=2"]), "s"), None);
        assert_eq!(single(&headers(&[b"s=1", b"s=1"]), "s"), None);
        assert_eq!(single(&headers(&[b"s=\xc3\xa4"]), "s"), None);
        assert_eq!(single(&headers(&[b"S=1; ss=2; =s"]), "s"), None);
        assert_eq!(values(&headers(&[b"s=1; t=2; s=3"]), "s").count(), 2);
    }

    #[test]
    fn others_stay_byte_for_byte() {
        let left = |lines: &[&[u8]]| {
            let kept = without(&headers(lines), |name| name.starts_with(b"ours"));
            kept.map(|value| value.as_bytes().to_vec())
        };
        type Case = (&'static [&'static [u8]], Option<&'static [u8]>);
        let cases: [Case; 12] = [
            (&[], None),
            (&[b"ours=1"], None),
            (&[b"ours=1; ours-2=x", b"ours=3"], None),
            (&[b"a=1; b=2"], Some(b"a=1; b=2")),
            (&[b"ours=1; a=\"x y\";  b=\xff=;c"], Some(b"a=\"x y\";  b=\xff=;c")),
            (&[b"a=1; ours=1; b=2"], Some(b"a=1; b=2")),
            (&[b"a=1;ours=1;b=2"], Some(b"a=1;b=2")),
            (&[b"a=1; ours=1"], Some(b"a=1")),
            (&[b"a=1", b"b=2; ours=1", b"c=3"], Some(b"a=1; b=2; c=3")),
            (&[b" ours = 1 ; a=1"], Some(b"a=1")),
            (&[b"Ours=1; xours=2"], Some(b"Ours=1; xours=2")),
            (&[b"ours"], Some(b"ours")),
        ];
        for (lines, expected) in cases {
            assert_eq!(left(lines).as_deref(), expected, "{lines:?}");
        }
    }
}
