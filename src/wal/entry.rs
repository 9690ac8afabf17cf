//! An entry, and the bytes it is kept as: one line of JSON that describes the request, then the body as it is.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use ring::digest::{Context, SHA256};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::time::UnixTime;

/// The format's version, in every entry.
const VERSION: u32 = 1;
/// Longest description that is read: the head of a request is at most 64 KiB, and JSON may escape every byte.
const MAX_DESCRIPTION: usize = 1024 * 1024;

/// A request that was accepted, as the upstream will see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Which entry; the `Idempotency-Key` of its deliveries.
    pub id: EntryId,
    /// The location that accepted it, by its key in the log.
    pub location: String,
    /// Whether entries of this location are delivered one after the other.
    pub ordered: bool,
    /// Request method.
    pub method: Method,
    /// Path at the upstream, percent-encoded.
    pub path: String,
    /// Query, as it was sent.
    pub query: Option<String>,
    /// `Content-Type` and the headers that the location keeps.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// Who sent it, where the location asks.
    pub sender: Option<Sender>,
    /// When it was accepted.
    pub received: UnixTime,
}

/// The identity of a sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// E-mail address.
    pub email: String,
    /// The account's number at Google, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
}

/// 128 bits, written as 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntryId(pub(crate) [u8; 16]);

impl EntryId {
    /// A new one. Nothing when the system has no random numbers.
    pub fn random() -> Option<Self> {
        let mut bytes = [0; 16];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self(bytes))
    }

    /// The one for a sender's own id of a delivery, so that its retries and replays are known for the same.
    pub fn of_delivery(location: &str, delivery: &str) -> Self {
        let mut context = Context::new(&SHA256);
        for part in [location, delivery] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut bytes = [0; 16];
        for (to, from) in bytes.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self(bytes)
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for EntryId {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Self, Malformed> {
        let digits = text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let number = u128::from_str_radix(text, 16).ok().filter(|_| digits);
        number.map(|number| Self(number.to_be_bytes())).ok_or(Malformed("an id is 32 hexadecimal digits"))
    }
}

/// Why bytes are no entry.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not an entry of the write-ahead log: {0}")]
pub struct Malformed(pub &'static str);

/// The line before the body.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    id: String,
    location: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ordered: bool,
    method: String,
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    query: Option<String>,
    headers: Vec<(String, String)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sender: Option<Sender>,
    received: u64,
    body: u64,
}

impl Entry {
    /// The bytes it is kept as.
    pub fn encode(&self) -> Vec<u8> {
        let headers = self.headers.iter();
        let description = Description {
            version: VERSION,
            id: self.id.to_string(),
            location: self.location.clone(),
            ordered: self.ordered,
            method: self.method.to_string(),
            path: self.path.clone(),
            query: self.query.clone(),
            headers: headers.map(|(name, value)| (name.to_string(), text_of(value))).collect(),
            sender: self.sender.clone(),
            received: self.received.0,
            body: self.body.len() as u64,
        };
        // Serialising plain structs fails only for maps with non-string keys, of which there are none.
        let mut bytes = serde_json::to_vec(&description).unwrap_or_default();
        bytes.reserve_exact(1 + self.body.len());
        bytes.push(b'\n');
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Reads what [`Entry::encode`] wrote, and trusts nothing in it.
    pub fn decode(bytes: &Bytes) -> Result<Self, Malformed> {
        let end = bytes.iter().take(MAX_DESCRIPTION).position(|byte| *byte == b'\n');
        let end = end.ok_or(Malformed("it has no line of JSON"))?;
        let line = bytes.get(..end).unwrap_or_default();
        let it: Description =
            serde_json::from_slice(line).map_err(|_| Malformed("its line is not the JSON of an entry"))?;
        if it.version != VERSION {
            return Err(Malformed("its version is not known"));
        }
        let body = bytes.slice(end + 1..);
        if body.len() as u64 != it.body {
            return Err(Malformed("its body is shorter or longer than it says"));
        }
        let mut headers = HeaderMap::with_capacity(it.headers.len());
        for (name, value) in &it.headers {
            let name =
                HeaderName::try_from(name).map_err(|_| Malformed("it has a header name that is none"))?;
            let value = value_of(value).ok_or(Malformed("it has a header value that is none"))?;
            headers.append(name, value);
        }
        Ok(Self {
            id: it.id.parse()?,
            location: it.location,
            ordered: it.ordered,
            method: Method::from_bytes(it.method.as_bytes()).map_err(|_| Malformed("its method is none"))?,
            path: it.path,
            query: it.query,
            headers,
            body,
            sender: it.sender,
            received: UnixTime(it.received),
        })
    }
}

/// Bytes of a header value as the characters of the same numbers (ISO 8859-1), since they need not be UTF-8.
fn text_of(value: &HeaderValue) -> String {
    value.as_bytes().iter().map(|byte| char::from(*byte)).collect()
}

fn value_of(text: &str) -> Option<HeaderValue> {
    let bytes: Option<Vec<u8>> = text.chars().map(|c| u8::try_from(u32::from(c)).ok()).collect();
    HeaderValue::from_bytes(&bytes?).ok()
}

#[cfg(test)]
mod tests;
