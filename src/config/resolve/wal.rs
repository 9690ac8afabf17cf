//! The write-ahead log.

use std::path::PathBuf;
use std::time::Duration;

use super::Resolver;
use super::value::{duration_to, size};
use crate::config::mirror;
use crate::config::problem::{Fault, Spanned, shown};
use crate::config::{DiskStore, PubSubDelivery, PubSubStore, Retry, Wal, WalStore};

/// Bytes that a log on disk may have.
const MAX_SIZE: u64 = 1 << 30;
/// Least that it may be limited to: one entry of the largest kind must fit.
const LEAST_MAX_SIZE: u64 = 1 << 20;
/// What `retry` leaves out.
const RETRY: Retry = Retry {
    first: Duration::from_secs(1),
    longest: Duration::from_mins(10),
    max_age: Duration::from_hours(7 * 24),
    max_attempts: None,
    concurrency: 16,
};
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_hours(24);
/// What a log should never have to hold longer.
const LONGEST_AGE: Duration = Duration::from_hours(30 * 24);
/// Most deliveries under way at once.
const MAX_CONCURRENCY: u64 = 1000;

impl Resolver<'_> {
    pub(super) fn wal(&mut self, section: Option<&Spanned<mirror::Wal>>) -> Option<Wal> {
        let Spanned { value: file, place } = section?;
        let retry = self.retry(file.retry.as_ref());
        let store = match (&file.pubsub, &file.disk) {
            (Some(pubsub), None) => self.pubsub(pubsub).map(WalStore::PubSub),
            (None, Some(disk)) => self.disk(disk).map(WalStore::Disk),
            (None, None) => {
                if !self.blamed(&place.key) {
                    let fault = Fault::new("does not say where entries are kept");
                    self.refuse(place, fault.help("set `pubsub` or `disk`"));
                }
                None
            }
            (Some(_), Some(disk)) => {
                let fault = Fault::new("is a second log beside `pubsub`");
                self.refuse(&disk.place, fault.help("keep one of them"));
                None
            }
        }?;
        if let (WalStore::PubSub(PubSubStore { delivery: PubSubDelivery::Push { .. }, .. }), Some(retry)) =
            (&store, &file.retry)
        {
            let fault = Fault::new(
                "has no effect: with push, Pub/Sub's subscription says when delivery is tried again",
            );
            self.refuse(&retry.place, fault.help("leave it out, and set the subscription's retry policy"));
        }
        Some(Wal { store, retry })
    }

    fn pubsub(&mut self, section: &Spanned<mirror::PubSub>) -> Option<PubSubStore> {
        let Spanned { value: file, place } = section;
        if file.topic.is_none() {
            self.missing(place, "topic", "write `projects/PROJECT/topics/TOPIC`");
        }
        let topic = self.value(file.topic.as_ref(), resource("topics"));
        let dead_letter_topic = self.value(file.dead_letter_topic.as_ref(), resource("topics"));
        if let (Some(entry), true) = (&file.dead_letter_topic, topic.is_some() && dead_letter_topic == topic)
        {
            self.refuse(
                &entry.place,
                Fault::new("is the topic itself: dead letters would come back for ever"),
            );
        }
        let delivery = match (&file.push_account, &file.push_audience, &file.subscription) {
            (None, None, Some(subscription)) => PubSubDelivery::Pull {
                subscription: self.value(Some(subscription), resource("subscriptions"))?,
            },
            (None, None, None) => {
                let fault = Fault::new("does not say how entries come back");
                let help = "set `push_account` and `push_audience` as in the push subscription, or `subscription` to pull";
                self.refuse(place, fault.help(help));
                return None;
            }
            (account, audience, subscription) => {
                if let Some(entry) = subscription {
                    let fault = Fault::new("has no effect beside `push_account` and `push_audience`");
                    self.refuse(&entry.place, fault.help("keep push or pull"));
                }
                if account.is_none() {
                    self.missing(
                        place,
                        "push_account",
                        "without it, anybody's account could play entries back",
                    );
                }
                if audience.is_none() {
                    self.missing(
                        place,
                        "push_audience",
                        "without it, a token for another service would be accepted",
                    );
                }
                let account = self.value(account.as_ref(), push_account);
                let audience = self.value(audience.as_ref(), push_audience);
                PubSubDelivery::Push { account: account?, audience: audience? }
            }
        };
        Some(PubSubStore { topic: topic?, delivery, dead_letter_topic })
    }

    fn disk(&mut self, section: &Spanned<mirror::Disk>) -> Option<DiskStore> {
        let Spanned { value: file, place } = section;
        if file.directory.is_none() {
            self.missing(place, "directory", "such as `/var/lib/portcullis/wal`");
        }
        let max_size = self.value(file.max_size.as_ref(), |text| match size(text)? {
            size if size < LEAST_MAX_SIZE => Err(Fault::new(format!("{} is less than 1MiB", shown(text)))),
            size => Ok(size),
        });
        let directory = self.value(file.directory.as_ref(), |text| {
            if text.is_empty() { Err(Fault::new("names no directory")) } else { Ok(PathBuf::from(text)) }
        });
        Some(DiskStore { directory: directory?, max_size: max_size.unwrap_or(MAX_SIZE) })
    }

    fn retry(&mut self, section: Option<&Spanned<mirror::Retry>>) -> Retry {
        let Some(Spanned { value: file, .. }) = section else { return RETRY };
        let first = self.value(file.first.as_ref(), duration_to(SECOND, DAY)).unwrap_or(RETRY.first);
        let longest =
            self.value(file.longest.as_ref(), duration_to(SECOND, DAY)).unwrap_or(RETRY.longest.max(first));
        if let Some(entry) = file.longest.as_ref().filter(|_| longest < first) {
            self.refuse(&entry.place, Fault::new("is shorter than `first`"));
        }
        let max_age =
            self.value(file.max_age.as_ref(), duration_to(SECOND, LONGEST_AGE)).unwrap_or(RETRY.max_age);
        let max_attempts = file.max_attempts.as_ref().and_then(|entry| {
            let attempts = u32::try_from(entry.value).ok().filter(|attempts| *attempts > 0);
            if attempts.is_none() {
                self.refuse(&entry.place, Fault::new("must be at least 1").help("leave it out for no limit"));
            }
            attempts
        });
        let concurrency = file.concurrency.as_ref().map_or(RETRY.concurrency, |entry| {
            if !(1..=MAX_CONCURRENCY).contains(&entry.value) {
                let what = format!("must be from 1 to {MAX_CONCURRENCY}, not {}", entry.value);
                self.refuse(&entry.place, Fault::new(what));
            }
            usize::try_from(entry.value).unwrap_or(RETRY.concurrency)
        });
        Retry { first, longest, max_age, max_attempts, concurrency }
    }
}

/// The name of a Pub/Sub topic or subscription (<https://docs.cloud.google.com/pubsub/docs/pubsub-basics#resource_names>).
fn resource(kind: &'static str) -> impl Fn(&str) -> Result<String, Fault> {
    move |text| {
        let parts: Vec<&str> = text.split('/').collect();
        let word = |word: &str, odd: &[u8]| {
            word.bytes().all(|b| b.is_ascii_alphanumeric() || odd.contains(&b)) && !word.is_empty()
        };
        let fits = match parts.as_slice() {
            ["projects", project, plural, name] => {
                *plural == kind
                    && word(project, b"-.:")
                    && word(name, b"-_.~+")
                    && (3..=255).contains(&name.len())
                    && name.starts_with(|c: char| c.is_ascii_alphabetic())
            }
            _ => false,
        };
        if fits {
            return Ok(text.to_owned());
        }
        Err(Fault::new(format!("{} is not the name of one of Pub/Sub's {kind}", shown(text)))
            .help(format!("write `projects/PROJECT/{kind}/NAME`")))
    }
}

/// The account that Pub/Sub signs its tokens for.
fn push_account(text: &str) -> Result<String, Fault> {
    let lower = text.to_ascii_lowercase();
    let fits = lower.split_once('@').is_some_and(|(name, domain)| {
        !name.is_empty() && !domain.contains('@') && domain.ends_with(".gserviceaccount.com")
    });
    if fits && !lower.chars().any(char::is_whitespace) {
        return Ok(lower);
    }
    Err(Fault::new(format!("{} is not a service account", shown(text)))
        .help("write the e-mail address that the push subscription's tokens are for, `NAME@PROJECT.iam.gserviceaccount.com`"))
}

fn push_audience(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.len() > 1024 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Fault::new(format!("{} is not an audience", shown(text)))
            .help("write what the push subscription has; without one, that is the URL it pushes to"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_are_named_in_full() {
        assert!(resource("topics")("projects/example/topics/gateway-wal").is_ok());
        for text in [
            "",
            "gateway-wal",
            "projects/p/subscriptions/abc",
            "projects/p/topics/ab",
            "projects/p/topics/1abc",
            "projects/p/topics/a/b",
        ] {
            assert!(resource("topics")(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_service_accounts_push() {
        assert_eq!(
            push_account("GW@p.iam.gserviceaccount.com"),
            Ok("gw@p.iam.gserviceaccount.com".to_owned())
        );
        for text in [
            "",
            "ada@example.com",
            "@p.iam.gserviceaccount.com",
            "a@b@p.iam.gserviceaccount.com",
            "a b@p.iam.gserviceaccount.com",
        ] {
            assert!(push_account(text).is_err(), "{text}");
        }
    }
}
