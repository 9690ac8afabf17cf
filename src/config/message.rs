//! Requests whose body the gateway reads itself, and the log that keeps them.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

/// What happens to a request whose body the gateway reads itself.
#[derive(Clone, Debug)]
pub struct Message {
    /// The location's name in the log: its path, after its host if it has one. Unique.
    pub key: String,
    /// Largest body in bytes.
    pub max_body: u64,
    /// What the sender gets at once; without it, there is no log, and the sender waits for the upstream's answer.
    pub reply: Option<FixedReply>,
    /// Whether messages are delivered one after the other.
    pub ordered: bool,
    /// Headers of the sender that the upstream gets, besides `Content-Type`.
    pub keep: Vec<HeaderName>,
    /// What the upstream's statuses mean, where that is not the default. What comes first counts.
    pub rules: Vec<(StatusRange, Meaning)>,
}

/// An answer that is always the same.
#[derive(Clone, Debug)]
pub struct FixedReply {
    /// From 200 to 299.
    pub status: StatusCode,
    /// Headers, `Content-Type` included.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The body.
    pub body: Bytes,
}

/// A status, or a class of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StatusRange {
    /// This one.
    One(StatusCode),
    /// Those with this first digit.
    Class(u16),
}

impl StatusRange {
    /// Whether it holds a status.
    pub fn holds(self, status: StatusCode) -> bool {
        match self {
            Self::One(one) => one == status,
            Self::Class(digit) => status.as_u16() / 100 == digit,
        }
    }
}

/// What a status of the upstream means for a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is delivered.
    Settle,
    /// It is tried again.
    Retry,
    /// No further attempt would help.
    DeadLetter,
}

/// A jq program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterSource {
    /// The file it was read from, or the key of the file that holds it.
    pub name: String,
    /// The program.
    pub text: String,
}

/// The write-ahead log.
#[derive(Clone, Debug)]
pub struct Wal {
    /// Where entries are kept.
    pub store: WalStore,
    /// When delivery is tried again, and when it is given up.
    pub retry: Retry,
}

/// Where entries are kept until the upstream has accepted them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WalStore {
    /// A directory on this machine.
    Disk(DiskStore),
    /// Google Pub/Sub.
    PubSub(PubSubStore),
}

/// A log in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskStore {
    /// The directory; made when it is missing.
    pub directory: PathBuf,
    /// Bytes of entries, dead letters included, above which nothing more is recorded.
    pub max_size: u64,
}

/// A log in Google Pub/Sub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PubSubStore {
    /// `projects/P/topics/T`.
    pub topic: String,
    /// How entries come back.
    pub delivery: PubSubDelivery,
    /// Where entries go that no upstream will take: `projects/P/topics/D`. Without one they are logged and dropped.
    pub dead_letter_topic: Option<String>,
}

/// How entries come back from Pub/Sub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PubSubDelivery {
    /// Pub/Sub calls the gateway's playback endpoint.
    Push {
        /// The only account whose tokens are accepted there.
        account: String,
        /// The only audience they may have.
        audience: String,
    },
    /// The gateway asks.
    Pull {
        /// `projects/P/subscriptions/S`.
        subscription: String,
    },
}

/// When delivery is tried again, and when it is given up. With Pub/Sub push, its subscription decides instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Wait after the first failure; it doubles with each further one.
    pub first: Duration,
    /// Longest wait.
    pub longest: Duration,
    /// Age at which an entry becomes a dead letter.
    pub max_age: Duration,
    /// Attempts after which an entry becomes a dead letter; no limit when absent.
    pub max_attempts: Option<u32>,
    /// Deliveries under way at once.
    pub concurrency: usize,
}
