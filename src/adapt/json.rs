//! JSON in, JSON out. jaq reads and writes a superset (comments, `NaN`, byte strings, keys of any type); here it is held
//! to RFC 8259.

use std::borrow::Cow;
use std::io;

use jaq_json::Val;
use jaq_json::write::Pp;
use serde::de::IgnoredAny;

/// Deepest nesting that is read. Reading recurses.
const MAX_DEPTH: usize = 1000;
/// Longest number that is read, in characters: the time for reading a long integer grows with its square.
const MAX_NUMBER: usize = 1000;

/// Reads one value. Integers and decimals stay as they are written; half a surrogate pair, which has no form in UTF-8,
/// becomes U+FFFD as in jq. The error is for the sender.
pub(super) fn read(bytes: &[u8]) -> Result<Val, String> {
    // RFC 8259, section 8.1: a byte order mark may be ignored.
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|_| "the body is not JSON: it is not UTF-8".to_owned())?;
    // Does not recurse, and takes nothing but JSON.
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| format!("the body is not JSON: {error}"))?;
    let text = examined(text.as_bytes())?;
    jaq_json::read::parse_single(&text).map_err(|error| format!("the body is not JSON: {error}"))
}

/// Looks for what is too deep or too long, and replaces halves of surrogate pairs, in what is known to be JSON.
fn examined(bytes: &[u8]) -> Result<Cow<'_, [u8]>, String> {
    let mut bytes = Cow::Borrowed(bytes);
    let (mut index, mut depth, mut number, mut in_string) = (0, 0_usize, 0_usize, false);
    while let Some(byte) = bytes.get(index).copied() {
        let is_number = !in_string && matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
        number = if is_number { number + 1 } else { 0 };
        let mut step = 1;
        match byte {
            b'\\' => {
                let (length, lone) = escape(bytes.get(index..).unwrap_or_default());
                if lone && let Some(escape) = bytes.to_mut().get_mut(index..index + 6) {
                    escape.copy_from_slice(b"\\ufffd");
                }
                step = length;
            }
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(format!("the body is nested deeper than {MAX_DEPTH} levels"));
        }
        if number > MAX_NUMBER {
            return Err(format!("the body has a number of more than {MAX_NUMBER} characters"));
        }
        index += step;
    }
    Ok(bytes)
}

/// Length of the escape sequence at the start, a whole surrogate pair being one, and whether it is half a pair.
fn escape(bytes: &[u8]) -> (usize, bool) {
    let unit = |at: usize| {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    match (unit(0), unit(6)) {
        (None, _) => (2, false),
        (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => (12, false),
        (Some(0xD800..=0xDFFF), _) => (6, true),
        (Some(_), _) => (6, false),
    }
}

/// Writes one value without spaces. The error is for the operator.
pub(super) fn write(value: &Val, most: usize) -> Result<Vec<u8>, String> {
    let mut bounded = Bounded { bytes: Vec::new(), most };
    jaq_json::write::write(&mut bounded, &Pp::default(), 0, value)
        .map_err(|_| format!("has a result of more than {most} bytes"))?;
    let bytes = bounded.bytes;
    match std::str::from_utf8(&bytes).map(serde_json::from_str::<IgnoredAny>) {
        Ok(Ok(_)) => Ok(bytes),
        Ok(Err(_)) | Err(_) => Err(
            "has a result that JSON cannot express: NaN, an infinite number, bytes, or a key that is no string"
                .to_owned(),
        ),
    }
}

/// Writes one value on lines of its own, for people.
pub(super) fn write_for_people(value: &Val) -> String {
    let pretty = Pp { indent: Some("  ".to_owned()), sep_space: true, ..Pp::default() };
    let mut bytes = Vec::new();
    // A vector takes everything.
    let _ = jaq_json::write::write(&mut bytes, &pretty, 0, value);
    String::from_utf8_lossy(&bytes).into_owned()
}

struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, more: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + more.len() > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(more);
        Ok(more.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
