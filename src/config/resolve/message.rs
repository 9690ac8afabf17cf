//! Locations where the gateway reads the body itself: adapters, what the sender gets, and how messages are delivered.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode};

use super::Resolver;
use super::value::size;
use super::webhook::header_name;
use crate::config::mirror;
use crate::config::problem::{Fault, Spanned, shown};
use crate::config::read::{Adapt, Scalar};
use crate::config::{AdapterSource, FixedReply, Meaning, Message, StatusRange, WalStore};

/// Largest jq program.
const MAX_PROGRAM: u64 = 256 * 1024;
/// Largest body when the file does not say.
const MAX_BODY: u64 = 1 << 20;
/// Most that `max_body` may be, since the whole body is kept in memory.
const MOST_BODY: u64 = 32 << 20;
/// The same where bodies travel in messages of Pub/Sub, which have at most 10 MB in Base64.
const MOST_BODY_PUBSUB: u64 = 7 << 20;
/// Headers that an upstream never gets from a sender: they speak of the connection, or are the gateway's to say.
const NEVER_KEPT: [&str; 16] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "idempotency-key",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
    "x-serverless-authorization",
];
/// Families of such headers.
const NEVER_KEPT_PREFIXES: [&str; 4] =
    ["x-forwarded-", "x-goog-authenticated-user-", "x-goog-iap-", "x-portcullis-"];

impl Resolver<'_> {
    /// The program of a location.
    pub(super) fn adapter(&mut self, entry: Option<&Spanned<Adapt>>) -> Option<Arc<AdapterSource>> {
        let Spanned { value, place } = entry?;
        let source = match value {
            Adapt::Inline(program) => {
                Ok(AdapterSource { name: program.place.key.clone(), text: program.value.clone() })
            }
            Adapt::File(name) => {
                let path = self.folder.join(name);
                self.files.push(path.clone());
                read_program(&path, name)
            }
        };
        source.map(Arc::new).map_err(|fault| self.refuse(place, fault)).ok()
    }

    /// What happens to the bodies of a location, if the gateway reads them itself.
    pub(super) fn message(
        &mut self,
        file: &mirror::Location,
        key: String,
        store: Option<&WalStore>,
        reads: bool,
    ) -> Option<Message> {
        let recorded = file.wal.as_ref().is_some_and(|entry| entry.value);
        if let Some(entry) = file.reply.as_ref().filter(|_| !recorded) {
            let fault =
                Fault::new("has no effect without `wal: true`: the sender gets the upstream's answer");
            self.refuse(&entry.place, fault);
        }
        if let Some(entry) = file.playback.as_ref().filter(|_| !reads) {
            let fault = Fault::new("has no effect where requests are passed on as they come");
            self.refuse(
                &entry.place,
                fault.help("it is for locations with `webhook`, `adapt` or `wal: true`"),
            );
        }
        if !reads {
            return None;
        }
        let reply = recorded.then(|| self.reply(file.reply.as_ref()));
        let playback = file.playback.as_ref().map(|section| section.value.clone()).unwrap_or_default();
        if let Some(entry) = playback.ordered.as_ref().filter(|entry| entry.value && !recorded) {
            self.refuse(&entry.place, Fault::new("has no effect without `wal: true`"));
        }
        Some(Message {
            key,
            max_body: self.message_size(file.max_body.as_ref(), store.filter(|_| recorded)),
            reply,
            ordered: playback.ordered.as_ref().is_some_and(|entry| entry.value),
            keep: self.list(playback.keep.as_ref(), kept_header),
            rules: self.rules(&playback),
        })
    }

    fn message_size(&mut self, entry: Option<&Spanned<Scalar>>, store: Option<&WalStore>) -> u64 {
        let (most, name) = match store {
            Some(WalStore::PubSub(_)) => {
                (MOST_BODY_PUBSUB, "7MiB, since it has to fit into a message of Pub/Sub")
            }
            Some(WalStore::Disk(_)) | None => (MOST_BODY, "32MiB, since it is kept in memory whole"),
        };
        // That it is no size was noted where the location's own limit was read.
        let Some(wanted) = entry.and_then(|entry| size(&entry.value.0).ok()) else {
            return MAX_BODY.min(most);
        };
        if let Some(entry) = entry.filter(|_| wanted > most) {
            self.refuse(&entry.place, Fault::new(format!("is more than {name}")));
        }
        wanted.min(most)
    }

    /// What a sender gets at once.
    fn reply(&mut self, section: Option<&Spanned<mirror::Reply>>) -> FixedReply {
        let file = section.map(|section| section.value.clone()).unwrap_or_default();
        let status = file.status.as_ref().map_or(StatusCode::OK, |entry| {
            let status = u16::try_from(entry.value).ok().and_then(|status| StatusCode::from_u16(status).ok());
            status.filter(StatusCode::is_success).unwrap_or_else(|| {
                let fault = Fault::new(format!("{} is no status from 200 to 299", entry.value));
                self.refuse(
                    &entry.place,
                    fault.help("the message is kept by then, so the sender must not try again"),
                );
                StatusCode::OK
            })
        });
        let (kind, body) = match (&file.json, &file.text) {
            (Some(json), None) => (Some("application/json"), Bytes::from(json.value.0.clone())),
            (None, Some(text)) => (Some("text/plain; charset=utf-8"), Bytes::from(text.value.clone())),
            (None, None) => (None, Bytes::new()),
            (Some(_), Some(text)) => {
                self.refuse(
                    &text.place,
                    Fault::new("is a second body beside `json`").help("keep one of them"),
                );
                (None, Bytes::new())
            }
        };
        if let Some(entry) =
            file.status.as_ref().filter(|_| status == StatusCode::NO_CONTENT && !body.is_empty())
        {
            self.refuse(
                &entry.place,
                Fault::new("204 has no body").help("leave `json` or `text` out, or write `status: 200`"),
            );
        }
        let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
        for (name, value) in file.headers.iter().flat_map(|section| &section.value.0) {
            let named = self.value(Some(name), reply_header);
            let Some(value) = value else { continue };
            match HeaderValue::from_str(value) {
                Ok(value) => headers.extend(named.map(|name| (name, value))),
                Err(_) => self.refuse(&name.place, Fault::new("has a value that cannot stand in a header")),
            }
        }
        if let Some(kind) = kind.filter(|_| !headers.iter().any(|(name, _)| *name == CONTENT_TYPE)) {
            headers.push((CONTENT_TYPE, HeaderValue::from_static(kind)));
        }
        FixedReply { status, headers, body }
    }

    /// What the upstream's statuses mean: single ones before classes, so that the first that fits counts.
    fn rules(&mut self, file: &mirror::Playback) -> Vec<(StatusRange, Meaning)> {
        let mut rules: Vec<(StatusRange, Meaning)> = Vec::new();
        for (list, meaning) in [
            (&file.settle, Meaning::Settle),
            (&file.retry, Meaning::Retry),
            (&file.dead_letter, Meaning::DeadLetter),
        ] {
            for entry in list.iter().flat_map(|list| &list.value) {
                let Some(range) = self.value(Some(entry), status_range) else { continue };
                if rules.iter().any(|(known, _)| *known == range) {
                    self.refuse(&entry.place, Fault::new(format!("{} is said twice", shown(&entry.value.0))));
                    continue;
                }
                rules.push((range, meaning));
            }
        }
        rules.sort_by_key(|(range, _)| matches!(range, StatusRange::Class(_)));
        rules
    }
}

/// Reads a program of the operator's.
fn read_program(path: &Path, name: &str) -> Result<AdapterSource, Fault> {
    let fault = |why: String| Fault::new(format!("{} {why}", shown(name)));
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(MAX_PROGRAM + 1).read_to_string(&mut text));
    read.map_err(|error| {
        let inline = name
            .contains([' ', '|', '{'])
            .then_some("write a program in the file itself as `adapt: { jq: '…' }`");
        let help =
            inline.map_or_else(|| "the path begins at the directory of this file".to_owned(), str::to_owned);
        fault(format!("cannot be read: {error}")).help(help)
    })?;
    if text.len() as u64 > MAX_PROGRAM {
        return Err(fault(format!("is larger than {MAX_PROGRAM} bytes")));
    }
    Ok(AdapterSource { name: path.display().to_string(), text })
}

/// A header of the sender that the upstream may get.
fn kept_header(text: &str) -> Result<HeaderName, Fault> {
    let name = header_name(text)?;
    let dashed: String =
        name.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let never = NEVER_KEPT.contains(&dashed.as_str())
        || NEVER_KEPT_PREFIXES.iter().any(|prefix| dashed.starts_with(prefix));
    if never {
        return Err(Fault::new(format!("{} is never passed on from a sender", shown(text)))
            .help("it speaks of the connection, carries a credential, or is the gateway's to say"));
    }
    Ok(name)
}

fn reply_header(text: &str) -> Result<HeaderName, Fault> {
    let name = header_name(text)?;
    if [CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(&name) {
        return Err(Fault::new(format!("{} is written by the gateway itself", shown(text))));
    }
    Ok(name)
}

/// `404`, or `4xx` for all from 400 to 499.
fn status_range(text: &str) -> Result<StatusRange, Fault> {
    let fault = || {
        Fault::new(format!("{} is neither a status nor a class of them", shown(text)))
            .help("write a number from 200 to 599, or `4xx`")
    };
    if let Some(digit) = text.strip_suffix("xx") {
        return match digit {
            "2" | "3" | "4" | "5" => digit.parse().map(StatusRange::Class).map_err(|_| fault()),
            _ => Err(fault()),
        };
    }
    let status = text.parse().ok().and_then(|number: u16| StatusCode::from_u16(number).ok());
    status.filter(|status| (200..600).contains(&status.as_u16())).map(StatusRange::One).ok_or_else(fault)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_single_or_classes() {
        assert_eq!(status_range("404"), Ok(StatusRange::One(StatusCode::NOT_FOUND)));
        assert_eq!(status_range("4xx"), Ok(StatusRange::Class(4)));
        for text in ["", "xx", "1xx", "6xx", "4XX", "100", "600", "40", "abc"] {
            assert!(status_range(text).is_err(), "{text}");
        }
        assert!(StatusRange::Class(4).holds(StatusCode::NOT_FOUND));
        assert!(!StatusRange::Class(4).holds(StatusCode::OK));
    }

    #[test]
    fn a_sender_cannot_say_what_is_the_gateway_s() {
        assert!(kept_header("X-GitHub-Event").is_ok());
        for text in [
            "Authorization",
            "x_serverless_authorization",
            "X-Goog-Authenticated-User-Email",
            "Host",
            "Cookie",
            "a b",
        ] {
            assert!(kept_header(text).is_err(), "{text}");
        }
    }
}
