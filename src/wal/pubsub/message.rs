//! Messages as Pub/Sub sends them, which may hold anything: whoever may publish to the topic chose the bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use thiserror::Error;

use super::super::Entry;

/// Largest push that is read: a message of 10 MB in Base64, its attributes, and what stands around it.
const MAX_PUSH: usize = 15_000_000;

/// An entry that Pub/Sub has pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The entry.
    pub entry: Entry,
    /// Which attempt this is, from 1; told only where the subscription has a dead-letter policy.
    pub attempt: Option<u32>,
    /// Pub/Sub's id of the message.
    pub message_id: String,
    /// Name of the subscription.
    pub subscription: String,
}

/// Why a push holds no entry.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum PushError {
    /// The body is no push of Pub/Sub's.
    #[error("the body is no push message of Pub/Sub: {0}")]
    NoMessage(&'static str),
    /// It is a message of Pub/Sub's, but holds no entry. It would come again for ever: it has to be acknowledged, since
    /// Pub/Sub knows no status for what is beyond repair.
    #[error("message {} holds no entry: {}", .0.message_id, .0.why)]
    Unreadable(Unreadable),
}

/// A message that holds no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Pub/Sub's id of the message.
    pub message_id: String,
    /// What is wrong with it; nothing of its content.
    pub why: &'static str,
    /// What should be Base64.
    text: String,
}

impl Unreadable {
    /// What can be saved of it: the data, or the text that is not even Base64.
    pub(super) fn data(&self) -> Bytes {
        let bytes = STANDARD.decode(&self.text).unwrap_or_else(|_| self.text.as_bytes().to_vec());
        let kept = usize::try_from(super::LARGEST_ENTRY).map_or(bytes.len(), |limit| limit.min(bytes.len()));
        Bytes::from(bytes).slice(..kept)
    }
}

/// `PubsubMessage`. A push brings some fields under two names, of which the second is ignored like all that is unknown.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Wire {
    data: Option<String>,
    pub(super) message_id: Option<String>,
}

impl Wire {
    pub(super) fn id(&self) -> String {
        self.message_id.clone().unwrap_or_default()
    }

    /// The entry in it.
    pub(super) fn entry(self) -> Result<Entry, Unreadable> {
        let message_id = self.id();
        let text = self.data.unwrap_or_default();
        let unreadable = |text, why| Unreadable { message_id, why, text };
        if text.is_empty() {
            return Err(unreadable(text, "it has no data"));
        }
        let Ok(bytes) = STANDARD.decode(&text) else {
            return Err(unreadable(text, "its data is not standard Base64"));
        };
        Entry::decode(&Bytes::from(bytes)).map_err(|malformed| unreadable(text, malformed.0))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Push {
    message: Wire,
    #[serde(default)]
    subscription: Option<String>,
    #[serde(default)]
    delivery_attempt: Option<u32>,
}

/// Reads the body of a push in the wrapped form
/// (<https://docs.cloud.google.com/pubsub/docs/push#receive_push>).
pub fn read_push(body: &[u8]) -> Result<Pushed, PushError> {
    if body.len() > MAX_PUSH {
        return Err(PushError::NoMessage("it is larger than a message can be"));
    }
    let push: Push =
        serde_json::from_slice(body).map_err(|_| PushError::NoMessage("it is not the JSON of one"))?;
    let message_id = push.message.id();
    if message_id.is_empty() {
        return Err(PushError::NoMessage("it has no message id"));
    }
    let entry = push.message.entry().map_err(PushError::Unreadable)?;
    Ok(Pushed {
        entry,
        attempt: push.delivery_attempt.filter(|attempt| *attempt > 0),
        message_id,
        subscription: push.subscription.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests;
