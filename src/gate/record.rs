//! Step *record*: requests whose body is read here. A message's signature is verified over the bytes that came, its
//! adapter makes the body, and the log keeps it; the sender is answered when the entry is durable, and not before.
//! Where there is no log, the message is delivered at once, and the sender gets the upstream's answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ALT_SVC, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE,
    PROXY_AUTHORIZATION, RETRY_AFTER, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::access::Caller;
use super::location::{LocationId, rewrite};
use super::refusal::Refusal;
use super::request::RequestView;
use crate::adapt::{AdaptError, Adapters, Output, Request};
use crate::config::{Access, Location, Message, Scheme, Upstream, Webhook};
use crate::identity::{PushCaller, VerifyError};
use crate::playback::{Courier, Outcome, SendError, target};
use crate::reply::Reply;
use crate::secret::Secret;
use crate::secrets::Secrets;
use crate::time::UnixTime;
use crate::wal::pubsub::{PubSub, PushError, read_push};
use crate::wal::{Entry, EntryId, Sender, Wal, WalError};
use crate::webhook::{Incoming, Verified, WebhookError, verify};

/// Largest push of Pub/Sub: a message of 10 MB in Base64, its attributes, and what stands around it. What is larger is
/// refused, and Pub/Sub would bring it again and again.
const MAX_PUSH: u64 = 15_000_000;
/// A program's name for a message that must not be kept twice
/// (<https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/>).
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The entry's id, for `portcullis wal show`.
const ENTRY: HeaderName = HeaderName::from_static("x-portcullis-entry");
/// Request headers that no adapter sees.
const CREDENTIALS: [HeaderName; 4] =
    [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION, HeaderName::from_static("x-serverless-authorization")];
/// Response headers that speak of the connection to the upstream, or of its origin, and not of the answer.
const NOT_PASSED: [HeaderName; 10] = [
    ALT_SVC,
    CONNECTION,
    CONTENT_LENGTH,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-authenticate"),
];

/// What the step needs.
pub struct Recorder {
    /// The signing secrets.
    pub secrets: Arc<Secrets>,
    /// The adapters.
    pub adapters: Arc<Adapters>,
    /// Which adapter a location has.
    pub adapter_of: HashMap<LocationId, usize>,
    /// The log.
    pub wal: Option<Arc<dyn Wal>>,
    /// Delivers what is not kept.
    pub courier: Arc<Courier>,
    /// Where Pub/Sub pushes entries back.
    pub push: Option<Push>,
}

/// The playback endpoint.
#[derive(Clone)]
pub struct Push {
    /// Who may call it.
    pub caller: Arc<PushCaller>,
    /// Takes the dead letters.
    pub log: Arc<PubSub>,
}

/// A request that was let in as far as its head goes, and whose body is read next.
#[derive(Clone, Debug)]
pub struct Pending {
    pub(super) what: What,
    /// Largest body in bytes.
    pub limit: u64,
}

/// What the body is.
#[derive(Clone, Debug)]
pub(super) enum What {
    /// A message for a location. The caller is known where the location asks who it is; a signature is verified later.
    Message { location: LocationId, caller: Option<Caller> },
    /// An entry of the log that Pub/Sub brings back.
    Playback,
}

impl Pending {
    pub(super) fn message(location: LocationId, message: &Message, caller: Option<Caller>) -> Self {
        Self { what: What::Message { location, caller }, limit: message.max_body }
    }
}

impl Recorder {
    /// The caller of the playback endpoint, by its head alone. Nothing when there is no such endpoint.
    pub(super) async fn admit_push(
        &self,
        view: &RequestView<'_>,
        now: UnixTime,
    ) -> Option<Result<Pending, Refusal>> {
        let push = self.push.as_ref()?;
        Some(match push.caller.check(view.headers, now).await {
            Ok(()) => Ok(Pending { what: What::Playback, limit: MAX_PUSH }),
            Err(error @ VerifyError::Unavailable(_)) => Err(Refusal::ProviderUnavailable(error.to_string())),
            Err(error) => Err(Refusal::PushRefused(error)),
        })
    }

    /// A message, from its signature to the answer.
    pub(super) async fn message(
        &self,
        (id, location, upstream): (LocationId, &Location, &Upstream),
        caller: Option<&Caller>,
        view: &RequestView<'_>,
        now: UnixTime,
    ) -> Result<Reply, Refusal> {
        let message = location.message.as_ref();
        let message =
            message.ok_or_else(|| Refusal::Internal("BUG: the location reads no bodies".to_owned()))?;
        let mut delivery = idempotency_key(view, caller);
        if let Access::Webhook(webhook) = &location.access {
            match self.verify(webhook, view, now).await? {
                Verified::Answer(reply) => return Ok(reply),
                Verified::Message { delivery: theirs } => delivery = theirs,
            }
        }
        let fixed = || message.reply.as_ref().map_or_else(|| Reply::new(StatusCode::OK), fixed_reply);
        let Some((headers, body)) = self.adapt(id, message, view).await? else { return Ok(fixed()) };
        let raw = view.path.raw;
        let entry = Entry {
            id: match &delivery {
                // A sender may use one id for what it sends to several of its hooks.
                Some(delivery) => {
                    let scope = format!("{} {raw}?{}", message.key, view.query.unwrap_or_default());
                    EntryId::of_delivery(&scope, delivery)
                }
                None => EntryId::random().ok_or_else(|| Refusal::Internal("no random numbers".to_owned()))?,
            },
            location: message.key.clone(),
            ordered: message.ordered,
            method: view.method.clone(),
            path: rewrite(location, raw, None).unwrap_or_else(|| raw.to_owned()),
            query: view.query.map(str::to_owned),
            headers,
            body,
            sender: caller.map(sender),
            received: now,
        };
        // What could not be played back as it came must not be kept.
        target(location, upstream, &entry.path, entry.query.as_deref()).map_err(|_| Refusal::Malformed)?;
        match &self.wal {
            Some(wal) if message.reply.is_some() => {
                let id = HeaderValue::try_from(entry.id.to_string());
                wal.record(entry).await?;
                Ok(id.into_iter().fold(fixed(), |reply, id| reply.header(ENTRY, id)))
            }
            _ => self.pass(&entry, now).await,
        }
    }

    /// The signature, with another look at the secret when it does not fit: it may have been changed a moment ago.
    async fn verify(
        &self,
        webhook: &Webhook,
        view: &RequestView<'_>,
        now: UnixTime,
    ) -> Result<Verified, Refusal> {
        let indices = || std::iter::once(webhook.secret).chain(webhook.previous_secret);
        let first = self.verify_once(&webhook.scheme, indices(), view, now).await?;
        match first {
            Err(error) if error.may_be_the_secret() => {
                let mut changed = false;
                for index in indices() {
                    changed |= self.secrets.reread(index, now).await;
                }
                if !changed {
                    return Err(error.into());
                }
                self.verify_once(&webhook.scheme, indices(), view, now).await?.map_err(Into::into)
            }
            outcome => outcome.map_err(Into::into),
        }
    }

    async fn verify_once(
        &self,
        scheme: &Scheme,
        indices: impl Iterator<Item = usize>,
        view: &RequestView<'_>,
        now: UnixTime,
    ) -> Result<Result<Verified, WebhookError>, Refusal> {
        let (mut values, mut missing) = (Vec::new(), None);
        for index in indices {
            match self.secrets.value(index, now).await {
                Ok(value) => values.push(value),
                Err(error) => missing = Some(error.to_string()),
            }
        }
        let known: Vec<&Secret> = values.iter().map(Arc::as_ref).collect();
        let outcome = verify(scheme, &known, &Incoming { headers: view.headers, body: &view.body }, now);
        match (&outcome, missing) {
            // The secret that would have fitted may be the one that could not be read.
            (Err(error), Some(why)) if error.may_be_the_secret() => Err(Refusal::SecretUnavailable(why)),
            _ => Ok(outcome),
        }
    }

    /// Headers and body of the entry. Nothing when the adapter drops the message.
    async fn adapt(
        &self,
        id: LocationId,
        message: &Message,
        view: &RequestView<'_>,
    ) -> Result<Option<(HeaderMap, Bytes)>, Refusal> {
        let mut headers = HeaderMap::new();
        for name in &message.keep {
            for value in view.headers.get_all(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        let Some(adapter) = self.adapter_of.get(&id) else {
            for name in [CONTENT_TYPE, CONTENT_ENCODING] {
                if let Some(value) = view.headers.get(&name) {
                    headers.insert(name, value.clone());
                }
            }
            return Ok(Some((headers, view.body.clone())));
        };
        let seen = without_credentials(view.headers);
        let request = Request {
            method: view.method.as_str(),
            path: &view.path.decoded,
            query: view.query,
            headers: &seen,
            body: &view.body,
        };
        Ok(match self.adapters.run(*adapter, &request).await? {
            Output::Nothing => None,
            Output::Json(body) => {
                headers.remove(CONTENT_ENCODING);
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                Some((headers, body))
            }
        })
    }

    /// Delivers at once, and answers what the upstream answers.
    async fn pass(&self, entry: &Entry, now: UnixTime) -> Result<Reply, Refusal> {
        let answer = self.courier.send(entry, 1, now).await?;
        let mut reply = Reply::new(answer.status);
        reply.headers = answer
            .headers
            .iter()
            .filter(|(name, _)| !NOT_PASSED.contains(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Ok(reply.body(answer.body))
    }

    /// An entry that Pub/Sub brings back. Pub/Sub takes 204 for "done" and all else for "later"; it knows no "never", so
    /// what no attempt would help is a dead letter and done.
    pub(super) async fn play_back(&self, view: &RequestView<'_>, now: UnixTime) -> Result<Reply, Refusal> {
        let log = &self.push.as_ref().ok_or(Refusal::NoLocation)?.log;
        let done = Reply::new(StatusCode::NO_CONTENT);
        let pushed = match read_push(&view.body) {
            Ok(pushed) => pushed,
            Err(PushError::Unreadable(message)) => {
                log::error!("{}; it is a dead letter", PushError::Unreadable(message.clone()));
                log.dead_letter_unreadable(&message).await?;
                return Ok(done);
            }
            Err(error @ PushError::NoMessage(_)) => return Err(Refusal::InvalidBody(error.to_string())),
        };
        let attempt = pushed.attempt.unwrap_or(1);
        let outcome = self.courier.deliver(&pushed.entry, attempt, now).await;
        self.courier.note(&pushed.entry, attempt, &outcome);
        match outcome {
            Outcome::Settled => Ok(done),
            Outcome::Retry { .. } => {
                let later = Reply::new(StatusCode::SERVICE_UNAVAILABLE);
                Ok(later.header(RETRY_AFTER, HeaderValue::from_static("5")))
            }
            Outcome::Dead { why } => {
                log.dead_letter(&pushed.entry, pushed.attempt, &why).await?;
                Ok(done)
            }
        }
    }
}

fn fixed_reply(fixed: &crate::config::FixedReply) -> Reply {
    let headers = fixed.headers.iter().cloned();
    headers
        .fold(Reply::new(fixed.status), |reply, (name, value)| reply.header(name, value))
        .body(fixed.body.clone())
}

fn sender(caller: &Caller) -> Sender {
    let identity = &caller.identity;
    Sender { email: identity.email.to_string(), subject: identity.subject.as_deref().map(str::to_owned) }
}

/// A program's own name for its message, which counts for that program alone.
fn idempotency_key(view: &RequestView<'_>, caller: Option<&Caller>) -> Option<String> {
    let key = view.headers.get(IDEMPOTENCY_KEY)?.to_str().ok().filter(|key| !key.is_empty())?;
    caller.map(|caller| format!("{} {key}", caller.identity.email))
}

fn without_credentials(headers: &HeaderMap) -> Cow<'_, HeaderMap> {
    if !CREDENTIALS.iter().any(|name| headers.contains_key(name)) {
        return Cow::Borrowed(headers);
    }
    let mut headers = headers.clone();
    for name in &CREDENTIALS {
        headers.remove(name);
    }
    Cow::Owned(headers)
}

impl From<WebhookError> for Refusal {
    fn from(error: WebhookError) -> Self {
        Self::BadSignature(error.to_string())
    }
}

impl From<AdaptError> for Refusal {
    fn from(error: AdaptError) -> Self {
        match error {
            AdaptError::BadBody(why) => Self::InvalidBody(why),
            AdaptError::UnsupportedEncoding => Self::UnsupportedEncoding,
            AdaptError::TooLarge => Self::DecodedTooLarge,
            AdaptError::Rejected(why) => Self::AdapterRejected(why),
            error @ (AdaptError::Failed(_) | AdaptError::TimedOut(..) | AdaptError::Crashed(_)) => {
                Self::AdapterFailed(error.to_string())
            }
            error @ AdaptError::Busy => Self::AdapterBusy(error.to_string()),
        }
    }
}

impl From<WalError> for Refusal {
    fn from(error: WalError) -> Self {
        match error {
            WalError::Full { .. } => Self::WalFull(error.to_string()),
            WalError::TooLarge { limit, .. } => Self::BodyTooLarge(limit),
            WalError::Unavailable(why) => Self::WalUnavailable(why),
        }
    }
}

impl From<SendError> for Refusal {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Misfit(why) | SendError::Unknown(why) => Self::Internal(why),
            SendError::Mint(why) => Self::MintUnavailable(why),
            SendError::Unreachable(why) => Self::UpstreamUnreachable(why),
            SendError::TimedOut => Self::UpstreamTimeout,
            SendError::RefusedToken => Self::UpstreamRefusedToken,
        }
    }
}

#[cfg(test)]
mod tests;
