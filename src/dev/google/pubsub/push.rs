//! Push: the messages of a subscription are sent to its endpoint, with an ID token of its service account.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method};
use ring::digest::{SHA256, digest};
use serde_json::json;
use tokio::time::Instant;

use super::super::Shared;
use super::super::people::Person;
use super::super::tokens::minted_claims;
use super::store::Handed;
use super::{PushSpec, lock};
use crate::outbound::{Call, Outbound, Service};
use crate::time::UnixTime;

/// Messages on their way at once.
const AT_ONCE: usize = 32;
/// What Pub/Sub takes for an acknowledgement, and nothing else.
const ACKNOWLEDGED: [u16; 5] = [102, 200, 201, 202, 204];

/// Pushes until the subscription, or the stand-in, is gone.
pub(super) async fn run(shared: Weak<Shared>, name: String) {
    let outbound = Arc::new(Outbound::default());
    let Some(mut changed) = shared.upgrade().map(|shared| shared.pubsub.changed.subscribe()) else { return };
    loop {
        changed.mark_unchanged();
        let Some(next) = shared.upgrade().and_then(|shared| hand_out(&shared, &name, &outbound)) else {
            return;
        };
        tokio::select! {
            changed = changed.changed() => if changed.is_err() { return },
            () = sleep_until(next) => {}
        }
    }
}

async fn sleep_until(next: Option<Instant>) {
    match next {
        Some(next) => tokio::time::sleep_until(next).await,
        None => std::future::pending().await,
    }
}

/// Sends what is due. Returns when there is something to do again, or nothing when the subscription is gone.
fn hand_out(shared: &Arc<Shared>, name: &str, outbound: &Arc<Outbound>) -> Option<Option<Instant>> {
    let mut store = lock(&shared.pubsub);
    let push = store.subscriptions.get(name)?.spec.push.clone()?;
    let out = store.subscriptions.get(name).map_or(0, |it| it.counters.under_way);
    let handed = store.hand_out(name, AT_ONCE.saturating_sub(out), Instant::now());
    let subscription = store.subscriptions.get_mut(name)?;
    subscription.counters.under_way += handed.len();
    subscription.counters.sent += handed.len();
    let full = subscription.counters.under_way >= AT_ONCE;
    let next = subscription.next_due().filter(|_| !full);
    let timeout = subscription.spec.ack_deadline;
    for message in handed {
        let (shared, outbound, push, name) =
            (Arc::clone(shared), Arc::clone(outbound), push.clone(), name.to_owned());
        drop(tokio::spawn(async move {
            let call = Call {
                service: Service::PubSub,
                method: Method::POST,
                url: push.endpoint.clone(),
                headers: headers(&shared, &push),
                body: body(&name, &message),
                timeout,
                max_answer: 1 << 20,
            };
            let status = outbound.call(call).await.map(|answer| answer.status.as_u16()).unwrap_or_default();
            concluded(&shared, &name, &message.ack, status);
        }));
    }
    Some(next)
}

fn concluded(shared: &Shared, name: &str, ack: &str, status: u16) {
    let mut store = lock(&shared.pubsub);
    let good = ACKNOWLEDGED.contains(&status);
    if good {
        store.acknowledge(name, ack);
    } else {
        store.refuse(name, ack, Instant::now());
    }
    if let Some(subscription) = store.subscriptions.get_mut(name) {
        let counters = &mut subscription.counters;
        counters.under_way = counters.under_way.saturating_sub(1);
        *(if good { &mut counters.acknowledged } else { &mut counters.refused }) += 1;
        counters.last_status = Some(status);
    }
    drop(store);
    shared.pubsub.changed.send_replace(());
}

fn headers(shared: &Shared, push: &PushSpec) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let agent = "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)";
    headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    let account = shared.account(&push.account).cloned().unwrap_or_else(|| stranger(&push.account));
    let claims = minted_claims(&account, &push.audience, true, UnixTime::now(), shared.lifetime());
    let token = shared.keys.sign(&shared.keys.header(), &claims);
    if let Ok(value) = HeaderValue::from_str(&format!("Bearer {token}")) {
        headers.insert(AUTHORIZATION, value);
    }
    headers
}

/// A service account of another project, with a numeric id that is always the same.
fn stranger(email: &str) -> Person {
    let digits = digest(&SHA256, email.as_bytes())
        .as_ref()
        .iter()
        .take(20)
        .map(|b| char::from(b'0' + b % 10))
        .collect::<String>();
    Person {
        email: email.to_owned(),
        name: String::new(),
        sub: format!("1{digits}"),
        hosted_domain: None,
        email_verified: true,
        note: "",
    }
}

/// The wrapped form, with the twin names that Pub/Sub sends.
pub(super) fn body(name: &str, handed: &Handed) -> Bytes {
    let mut message = handed.message.json();
    for (camel, snake) in [("messageId", "message_id"), ("publishTime", "publish_time")] {
        if let Some(value) = message.get(camel).cloned() {
            message.insert(snake.to_owned(), value);
        }
    }
    let mut body = json!({"message": message, "subscription": name});
    if let (Some(attempt), Some(body)) = (handed.attempt, body.as_object_mut()) {
        body.insert("deliveryAttempt".to_owned(), json!(attempt));
    }
    Bytes::from(body.to_string())
}
