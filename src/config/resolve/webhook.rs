//! How a sender signs.

use std::time::Duration;

use http::HeaderName;

use super::Resolver;
use super::secret::Secrets;
use super::value::{choice, duration_to};
use crate::config::mirror;
use crate::config::problem::{Fault, Spanned, shown};
use crate::config::{
    HmacAlgorithm, HmacEncoding, HmacScheme, KeyForm, Scheme, SignedPart, TimestampPlace, Webhook,
};

/// How far the time of signing may be from now: what Slack, Stripe and Standard Webhooks recommend.
const TOLERANCE: Duration = Duration::from_mins(5);

impl Resolver<'_> {
    pub(super) fn webhook(
        &mut self,
        section: &Spanned<mirror::Webhook>,
        secrets: &Secrets,
    ) -> Option<Webhook> {
        let Spanned { value: file, place } = section;
        let simple = [
            (&file.slack, Scheme::Slack),
            (&file.github, Scheme::Github),
            (&file.stripe, Scheme::Stripe),
            (&file.shopify, Scheme::Shopify),
            (&file.zoom, Scheme::Zoom),
            (&file.standard_webhooks, Scheme::StandardWebhooks),
        ];
        let mut found: Vec<Option<Webhook>> = Vec::new();
        for (section, scheme) in simple {
            if let Some(Spanned { value: file, place }) = section {
                let scheme = Some(scheme);
                found.push(self.signed(
                    scheme,
                    file.secret.as_ref(),
                    file.previous_secret.as_ref(),
                    place,
                    secrets,
                ));
            }
        }
        if let Some(Spanned { value: file, place }) = &file.hmac {
            let scheme = self.hmac(file, place).map(|scheme| Scheme::Hmac(Box::new(scheme)));
            found.push(self.signed(
                scheme,
                file.secret.as_ref(),
                file.previous_secret.as_ref(),
                place,
                secrets,
            ));
        }
        if found.len() > 1 {
            self.refuse(
                place,
                Fault::new("names several schemes").help("give each sender a location of its own"),
            );
        }
        match found.into_iter().next() {
            Some(webhook) => webhook,
            None => {
                if !self.blamed(&place.key) {
                    let help = "name one of slack, github, stripe, shopify, zoom, standard_webhooks and hmac";
                    self.refuse(place, Fault::new("does not say how the sender signs").help(help));
                }
                None
            }
        }
    }

    fn signed(
        &mut self,
        scheme: Option<Scheme>,
        secret: Option<&Spanned<String>>,
        previous: Option<&Spanned<String>>,
        place: &crate::config::problem::Place,
        secrets: &Secrets,
    ) -> Option<Webhook> {
        if secret.is_none() {
            self.missing(place, "secret", "name one of the `secrets`");
        }
        let index = secret.and_then(|entry| self.named_secret(entry, secrets));
        let previous_index = previous.and_then(|entry| self.named_secret(entry, secrets));
        if let (Some(entry), true) = (previous, index.is_some() && index == previous_index) {
            self.refuse(&entry.place, Fault::new("is the same secret once more").help("leave it out"));
        }
        Some(Webhook { scheme: scheme?, secret: index?, previous_secret: previous_index })
    }

    fn hmac(&mut self, file: &mirror::Hmac, place: &crate::config::problem::Place) -> Option<HmacScheme> {
        if file.header.is_none() {
            self.missing(
                place,
                "header",
                "name the header that carries the signature, such as `X-Signature`",
            );
        }
        let algorithms = [
            ("sha256", HmacAlgorithm::Sha256),
            ("sha512", HmacAlgorithm::Sha512),
            ("sha1", HmacAlgorithm::Sha1),
        ];
        let encodings = [("hex", HmacEncoding::Hex), ("base64", HmacEncoding::Base64)];
        let algorithm = self.value(file.algorithm.as_ref(), choice(&algorithms));
        let encoding = self.value(file.encoding.as_ref(), choice(&encodings));
        let header = self.value(file.header.as_ref(), header_name);
        let separator = self.value(file.separator.as_ref(), separator);
        let signed = self.value(file.signed.as_ref(), signed_parts).unwrap_or_else(|| vec![SignedPart::Body]);
        let timestamp = self.timestamp(file, separator);
        let key = self.key_form(file);
        if !self.blamed(&place.member("signed")) {
            self.check_timestamp(file, &signed, timestamp.is_some());
        }
        let longest = Duration::from_hours(24);
        let tolerance = self.value(file.tolerance.as_ref(), duration_to(Duration::from_secs(1), longest));
        Some(HmacScheme {
            header: header?,
            algorithm: algorithm.unwrap_or(HmacAlgorithm::Sha256),
            encoding: encoding.unwrap_or(HmacEncoding::Hex),
            prefix: file.prefix.as_ref().map(|entry| entry.value.clone()).unwrap_or_default(),
            separator,
            signed,
            timestamp,
            tolerance: tolerance.unwrap_or(TOLERANCE),
            key,
            id_header: self.value(file.id_header.as_ref(), header_name),
        })
    }

    fn timestamp(&mut self, file: &mirror::Hmac, separator: Option<char>) -> Option<TimestampPlace> {
        match (&file.timestamp_header, &file.timestamp_element) {
            (Some(_), Some(entry)) => {
                let fault = Fault::new("is a second place for the time beside `timestamp_header`");
                self.refuse(&entry.place, fault.help("keep one of them"));
                None
            }
            (Some(entry), None) => self.value(Some(entry), header_name).map(TimestampPlace::Header),
            (None, Some(entry)) => {
                if separator.is_none() && file.separator.is_none() {
                    let fault = Fault::new("needs a `separator`: the header would be one element");
                    self.refuse(&entry.place, fault.help("write `separator: ','`, or what the sender uses"));
                }
                Some(TimestampPlace::Element(entry.value.clone()))
            }
            (None, None) => None,
        }
    }

    fn key_form(&mut self, file: &mirror::Hmac) -> KeyForm {
        let prefix = file.key_prefix.as_ref();
        let base64 =
            self.value(file.key.as_ref(), choice(&[("text", false), ("base64", true)])).unwrap_or(false);
        if base64 {
            return KeyForm::Base64 { prefix: prefix.map(|entry| entry.value.clone()).unwrap_or_default() };
        }
        if let Some(entry) = prefix {
            self.refuse(&entry.place, Fault::new("has no effect without `key: base64`"));
        }
        KeyForm::Text
    }

    /// A time that is not signed proves nothing, and a signed one must be found somewhere.
    fn check_timestamp(&mut self, file: &mirror::Hmac, signed: &[SignedPart], known: bool) {
        let signs = signed.contains(&SignedPart::Timestamp);
        let named = file.timestamp_header.as_ref().or(file.timestamp_element.as_ref());
        if let (Some(entry), Some(_), false) = (&file.signed, named.filter(|_| known), signs) {
            let fault = Fault::new("does not hold `{timestamp}`: a time that is not signed proves nothing");
            self.refuse(&entry.place, fault.help("add it where the sender has it, or leave the time out"));
        }
        if let (Some(entry), None, Some(_)) = (named, &file.signed, Some(())) {
            let fault = Fault::new("is not signed: `signed` is only the body");
            self.refuse(
                &entry.place,
                fault.help("write what is signed, such as `signed: '{timestamp}.{body}'`"),
            );
        }
        if let (Some(entry), None, true) = (&file.signed, named, signs) {
            let fault = Fault::new("holds `{timestamp}`, but it is not said where that stands");
            self.refuse(&entry.place, fault.help("set `timestamp_header` or `timestamp_element`"));
        }
        if let Some(entry) = file.tolerance.as_ref().filter(|_| named.is_none()) {
            self.refuse(&entry.place, Fault::new("has no effect without a time of signing"));
        }
    }
}

/// The name of a header.
pub(super) fn header_name(text: &str) -> Result<HeaderName, Fault> {
    text.parse().map_err(|_| Fault::new(format!("{} is not the name of a header", shown(text))))
}

fn separator(text: &str) -> Result<char, Fault> {
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(one), None) if one.is_ascii() && !one.is_ascii_alphanumeric() => Ok(one),
        _ => Err(Fault::new(format!("{} is not one character that separates", shown(text)))
            .help("such as `','` or `' '`, in quotes")),
    }
}

/// Text with `{body}`, `{timestamp}` and `{header:NAME}` in it.
fn signed_parts(text: &str) -> Result<Vec<SignedPart>, Fault> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        if !before.is_empty() {
            parts.push(SignedPart::Text(before.to_owned()));
        }
        let (name, tail) = after
            .split_once('}')
            .ok_or_else(|| Fault::new(format!("{} holds a `{{` without `}}`", shown(text))))?;
        parts.push(match (name, name.strip_prefix("header:")) {
            ("body", _) => SignedPart::Body,
            ("timestamp", _) => SignedPart::Timestamp,
            (_, Some(header)) => SignedPart::Header(header_name(header.trim())?),
            _ => {
                let what = format!("{} is none of body, timestamp and header:NAME", shown(name));
                return Err(Fault::new(what).help("such as `{timestamp}.{body}`"));
            }
        });
        rest = tail;
    }
    if !rest.is_empty() {
        parts.push(SignedPart::Text(rest.to_owned()));
    }
    if !parts.contains(&SignedPart::Body) {
        return Err(Fault::new(format!(
            "{} does not hold `{{body}}`: the message would not be signed",
            shown(text)
        )));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_is_read_in_order() {
        let text = |text: &str| SignedPart::Text(text.to_owned());
        let id = SignedPart::Header(HeaderName::from_static("webhook-id"));
        assert_eq!(
            signed_parts("{header:webhook-id}.{timestamp}.{body}").unwrap(),
            [id, text("."), SignedPart::Timestamp, text("."), SignedPart::Body]
        );
        assert_eq!(signed_parts("v0:{body}!").unwrap(), [text("v0:"), SignedPart::Body, text("!")]);
        for wrong in ["", "{timestamp}", "{body", "{bodies}", "{header:a b}{body}"] {
            assert!(signed_parts(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn separators_are_single_signs() {
        assert_eq!(separator(","), Ok(','));
        assert_eq!(separator(" "), Ok(' '));
        for wrong in ["", ", ", "a", "7", "…"] {
            assert!(separator(wrong).is_err(), "{wrong}");
        }
    }
}
