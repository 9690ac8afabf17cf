//! The engine of all schemes: an HMAC (RFC 2104) over pieces of the request, as an [`HmacScheme`] describes it.

use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{HeaderMap, HeaderName};
use ring::hmac::{self, Algorithm, Context, Key, Tag};

use super::{Incoming, WebhookError};
use crate::config::{HmacAlgorithm, HmacEncoding, HmacScheme, KeyForm, SignedPart, TimestampPlace};
use crate::secret::{Secret, same};
use crate::time::UnixTime;

/// Most elements of a signature's header. Senders that change their secret send two or three.
const MAX_ELEMENTS: usize = 32;
/// Longest id of a delivery, in bytes.
pub(super) const MAX_ID: usize = 256;
/// Digits of a Unix time in milliseconds, from the year 2001 to the year 2286.
const MILLISECONDS: usize = 13;
/// Most digits of a time in seconds; they last until the year 33658.
const MAX_DIGITS: usize = 12;
/// Padding may be there or not, whatever the sender's library does.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The scheme that Slack and Zoom call `v0`: hexadecimal HMAC-SHA256 over `v0:TIME:BODY`, good for five minutes.
pub(super) fn v0(signature: HeaderName, timestamp: HeaderName) -> HmacScheme {
    let text = |text: &str| SignedPart::Text(text.to_owned());
    HmacScheme {
        header: signature,
        algorithm: HmacAlgorithm::Sha256,
        encoding: HmacEncoding::Hex,
        prefix: "v0=".to_owned(),
        separator: None,
        signed: vec![text("v0:"), SignedPart::Timestamp, text(":"), SignedPart::Body],
        timestamp: Some(TimestampPlace::Header(timestamp)),
        tolerance: Duration::from_secs(300),
        key: KeyForm::Text,
        id_header: None,
    }
}

/// That the request was signed with one of the secrets.
pub(super) struct Proof {
    key: Key,
    /// As [`super::Verified::Message`] says, as far as the headers tell.
    pub(super) delivery: Option<String>,
}

impl Proof {
    /// Signs with the key that the sender used, in hexadecimal digits.
    pub(super) fn sign(&self, message: &[u8]) -> String {
        hex(hmac::sign(&self.key, message).as_ref())
    }
}

/// Checks form, then time, then signatures.
pub(super) fn prove(
    scheme: &HmacScheme,
    secrets: &[&Secret],
    incoming: &Incoming<'_>,
    now: UnixTime,
) -> Result<Proof, WebhookError> {
    check_description(scheme)?;
    let elements = elements(scheme, incoming.headers)?;
    let timestamp = timestamp(scheme, &elements, incoming.headers)?;
    if let Some((header, text)) = timestamp {
        check_time(moment(header, text)?, scheme.tolerance.as_secs(), now)?;
    }
    let signatures = signatures(scheme, &elements)?;
    let pieces = pieces(scheme, timestamp.map(|(_, text)| text), incoming)?;
    let id = delivery_id(scheme, incoming.headers)?;

    let mut usable = false;
    for key in secrets.iter().filter_map(|secret| key(scheme, secret)) {
        usable = true;
        let tag = sign(&key, &pieces);
        // Signed once and compared often: `ring::hmac::verify` would read the body anew for each signature in the
        // header, and anybody can send many.
        if signatures.iter().any(|signature| same(signature, tag.as_ref())) {
            let delivery = id.or_else(|| timestamp.map(|_| hex(tag.as_ref())));
            return Ok(Proof { key, delivery });
        }
    }
    Err(if usable { WebhookError::NoMatch } else { WebhookError::UnusableSecret })
}

/// What a description must sign for the signature to mean anything.
fn check_description(scheme: &HmacScheme) -> Result<(), WebhookError> {
    let signs_time = scheme.signed.iter().any(|part| match (part, &scheme.timestamp) {
        (SignedPart::Timestamp, _) => true,
        (SignedPart::Header(signed), Some(TimestampPlace::Header(header))) => signed == header,
        (SignedPart::Text(_) | SignedPart::Header(_) | SignedPart::Body, _) => false,
    });
    if !scheme.signed.contains(&SignedPart::Body) {
        Err(WebhookError::Contradiction("the scheme does not sign the body"))
    } else if signs_time != scheme.timestamp.is_some() {
        Err(WebhookError::Contradiction(
            "the scheme has a time that is not signed, or signs one it does not have",
        ))
    } else {
        Ok(())
    }
}

/// The elements of the signature's header, without what surrounds them.
fn elements<'a>(scheme: &HmacScheme, headers: &'a HeaderMap) -> Result<Vec<&'a str>, WebhookError> {
    let header = &scheme.header;
    let value = single(headers, header)?.ok_or_else(|| WebhookError::Missing(header.clone()))?;
    let text = str::from_utf8(value)
        .ok()
        .filter(|text| text.is_ascii())
        .ok_or_else(|| malformed(header, "is not text"))?;
    let Some(separator) = scheme.separator else { return Ok(vec![text]) };
    let elements: Vec<&str> = text.split(separator).take(MAX_ELEMENTS + 1).map(str::trim_ascii).collect();
    if elements.len() > MAX_ELEMENTS {
        return Err(malformed(header, "has more than 32 elements"));
    }
    Ok(elements)
}

/// The time of signing as it was written, and the header where it stands.
fn timestamp<'a>(
    scheme: &'a HmacScheme,
    elements: &[&'a str],
    headers: &'a HeaderMap,
) -> Result<Option<(&'a HeaderName, &'a [u8])>, WebhookError> {
    match &scheme.timestamp {
        None => Ok(None),
        Some(TimestampPlace::Header(header)) => {
            let value = single(headers, header)?.ok_or_else(|| WebhookError::Missing(header.clone()))?;
            Ok(Some((header, value)))
        }
        Some(TimestampPlace::Element(prefix)) => {
            let mut found = elements.iter().filter_map(|element| element.strip_prefix(prefix.as_str()));
            match (found.next(), found.next()) {
                (Some(text), None) => Ok(Some((&scheme.header, text.as_bytes()))),
                (Some(_), Some(_)) => Err(malformed(&scheme.header, "has more than one time of signing")),
                (None, _) => Err(malformed(&scheme.header, "has no time of signing")),
            }
        }
    }
}

/// Whole seconds since 1970 in decimal digits, and nothing else.
fn moment(header: &HeaderName, text: &[u8]) -> Result<UnixTime, WebhookError> {
    let fault = |why| Err(malformed(header, why));
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return fault("has a time of signing that is not a number of seconds since 1970");
    }
    if text.len() == MILLISECONDS {
        return fault("has a time of signing in milliseconds, and seconds are expected");
    }
    let seconds =
        str::from_utf8(text).ok().filter(|text| text.len() <= MAX_DIGITS).and_then(|text| text.parse().ok());
    seconds.map_or_else(|| fault("has a time of signing that is too large"), |seconds| Ok(UnixTime(seconds)))
}

fn check_time(signed: UnixTime, tolerance: u64, now: UnixTime) -> Result<(), WebhookError> {
    let (age, ahead) = (now.since(signed).as_secs(), signed.since(now).as_secs());
    if age > tolerance {
        Err(WebhookError::TooOld { age, tolerance })
    } else if ahead > tolerance {
        Err(WebhookError::TooNew { ahead, tolerance })
    } else {
        Ok(())
    }
}

/// The signatures among the elements, decoded; elements of other kinds are none of our business.
fn signatures(scheme: &HmacScheme, elements: &[&str]) -> Result<Vec<Vec<u8>>, WebhookError> {
    let ours: Vec<&str> =
        elements.iter().filter_map(|element| element.strip_prefix(scheme.prefix.as_str())).collect();
    if ours.is_empty() {
        return Err(malformed(&scheme.header, "has no signature of the expected kind"));
    }
    let length = algorithm(scheme.algorithm).digest_algorithm().output_len();
    let decoded: Vec<Vec<u8>> = ours
        .into_iter()
        .filter_map(|text| match scheme.encoding {
            HmacEncoding::Hex => from_hex(text),
            HmacEncoding::Base64 => BASE64.decode(text).ok(),
        })
        .filter(|signature| signature.len() == length)
        .collect();
    if decoded.is_empty() {
        return Err(malformed(
            &scheme.header,
            "has a signature of the wrong length or with characters it cannot have",
        ));
    }
    Ok(decoded)
}

/// What is signed, in order and as it came.
fn pieces<'a>(
    scheme: &'a HmacScheme,
    timestamp: Option<&'a [u8]>,
    incoming: &Incoming<'a>,
) -> Result<Vec<&'a [u8]>, WebhookError> {
    let piece = |part: &'a SignedPart| match part {
        SignedPart::Text(text) => Ok(text.as_bytes()),
        SignedPart::Timestamp => {
            timestamp.ok_or(WebhookError::Contradiction("a time is signed that does not exist"))
        }
        SignedPart::Header(name) => {
            single(incoming.headers, name)?.ok_or_else(|| WebhookError::Missing(name.clone()))
        }
        SignedPart::Body => Ok(incoming.body),
    };
    scheme.signed.iter().map(piece).collect()
}

/// The sender's id of the delivery. A sender that leaves it out is not refused: the header is seldom signed, so who
/// wants a replay to look new only has to change it.
fn delivery_id(scheme: &HmacScheme, headers: &HeaderMap) -> Result<Option<String>, WebhookError> {
    let Some(header) = &scheme.id_header else { return Ok(None) };
    let Some(value) = single(headers, header)?.filter(|value| !value.is_empty()) else { return Ok(None) };
    let is_id = value.len() <= MAX_ID && value.iter().all(u8::is_ascii_graphic);
    let id = str::from_utf8(value).ok().filter(|_| is_id);
    id.map_or_else(
        || Err(malformed(header, "is longer than 256 bytes, or has characters that an id does not have")),
        |id| Ok(Some(id.to_owned())),
    )
}

/// The key of a secret. An empty one would let everybody sign.
fn key(scheme: &HmacScheme, secret: &Secret) -> Option<Key> {
    let text = secret.expose();
    let bytes = match &scheme.key {
        KeyForm::Text => text.as_bytes().to_vec(),
        KeyForm::Base64 { prefix } => {
            BASE64.decode(text.strip_prefix(prefix.as_str()).unwrap_or(text)).ok()?
        }
    };
    (!bytes.is_empty()).then(|| Key::new(algorithm(scheme.algorithm), &bytes))
}

fn sign(key: &Key, pieces: &[&[u8]]) -> Tag {
    let mut context = Context::with_key(key);
    for piece in pieces {
        context.update(piece);
    }
    context.sign()
}

fn algorithm(algorithm: HmacAlgorithm) -> Algorithm {
    match algorithm {
        HmacAlgorithm::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        HmacAlgorithm::Sha256 => hmac::HMAC_SHA256,
        HmacAlgorithm::Sha512 => hmac::HMAC_SHA512,
    }
}

/// The value of a header that must not be there twice, since we and others might each read another one.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a [u8]>, WebhookError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(http::HeaderValue::as_bytes)),
        (_, Some(_)) => Err(WebhookError::Several(name.clone())),
    }
}

fn malformed(header: &HeaderName, why: &'static str) -> WebhookError {
    WebhookError::Malformed { header: header.clone(), why }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    if rest.is_empty() { bytes } else { None }
}
