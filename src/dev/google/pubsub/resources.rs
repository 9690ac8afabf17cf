//! Making, reading and deleting topics and subscriptions over REST.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::super::{Asked, Shared, api};
use super::{PushSpec, SubscriptionSpec, gone, lock};
use crate::dev::page;

pub(super) fn answer(shared: &Arc<Shared>, asked: &Asked, name: &str) -> Response {
    let topic = name.contains("/topics/");
    match asked.parts.method {
        Method::PUT if topic => {
            if lock(&shared.pubsub).topics.contains_key(name) {
                return exists(name);
            }
            lock(&shared.pubsub).topics.insert(name.to_owned(), Vec::new());
            page::json(StatusCode::OK, &json!({ "name": name }))
        }
        Method::PUT => create(shared, asked, name),
        Method::GET if topic => match lock(&shared.pubsub).topics.contains_key(name) {
            true => page::json(StatusCode::OK, &json!({ "name": name })),
            false => gone(name),
        },
        Method::GET => match lock(&shared.pubsub).subscriptions.get(name) {
            Some(found) => page::json(StatusCode::OK, &shown(name, &found.spec)),
            None => gone(name),
        },
        Method::DELETE => {
            let mut store = lock(&shared.pubsub);
            let found = if topic {
                store.topics.remove(name).is_some()
            } else {
                store.subscriptions.remove(name).is_some()
            };
            drop(store);
            shared.pubsub.changed.send_replace(());
            if found { page::json(StatusCode::OK, &json!({})) } else { gone(name) }
        }
        _ => page::text(StatusCode::METHOD_NOT_ALLOWED, ""),
    }
}

fn exists(name: &str) -> Response {
    let message = format!(
        "Resource already exists in the project (resource={}).",
        name.rsplit('/').next().unwrap_or(name)
    );
    api::error(StatusCode::CONFLICT, "ALREADY_EXISTS", &message)
}

fn create(shared: &Arc<Shared>, asked: &Asked, name: &str) -> Response {
    let body: Value = match serde_json::from_slice(&asked.body) {
        Ok(body) => body,
        Err(problem) => return api::invalid(&format!("Invalid JSON payload received. {problem}")),
    };
    let spec = match read(&body) {
        Ok(spec) => spec,
        Err(problem) => return api::invalid(problem),
    };
    if !lock(&shared.pubsub).topics.contains_key(&spec.topic) {
        return gone(&spec.topic);
    }
    if lock(&shared.pubsub).subscriptions.contains_key(name) {
        return exists(name);
    }
    let answer = shown(name, &spec);
    super::control::subscribe(shared, name, spec);
    page::json(StatusCode::OK, &answer)
}

fn read(body: &Value) -> Result<SubscriptionSpec, &'static str> {
    let text = |path: &str| body.pointer(path).and_then(Value::as_str);
    let mut spec = SubscriptionSpec::pull(text("/topic").ok_or("The subscription has no topic.")?);
    match body.get("ackDeadlineSeconds").map(Value::as_u64) {
        None | Some(Some(0)) => {}
        Some(Some(seconds @ 10..=600)) => spec.ack_deadline = Duration::from_secs(seconds),
        Some(_) => return Err("ack_deadline_seconds must be between 10 and 600."),
    }
    spec.ordered = body.get("enableMessageOrdering").and_then(Value::as_bool).unwrap_or(false);
    if let Some(endpoint) = text("/pushConfig/pushEndpoint").filter(|endpoint| !endpoint.is_empty()) {
        let endpoint: url::Url = endpoint.parse().map_err(|_| "Invalid push endpoint.")?;
        let account = text("/pushConfig/oidcToken/serviceAccountEmail").unwrap_or_default().to_owned();
        let audience = text("/pushConfig/oidcToken/audience").filter(|audience| !audience.is_empty());
        // By default the endpoint itself.
        let audience = audience.unwrap_or(endpoint.as_str()).to_owned();
        spec.push = Some(PushSpec { endpoint, account, audience });
    }
    if body.get("retryPolicy").is_some_and(|policy| !policy.is_null()) {
        let least = seconds(text("/retryPolicy/minimumBackoff"), 10)?;
        spec.backoff = Some((least, seconds(text("/retryPolicy/maximumBackoff"), 600)?));
    }
    if let Some(topic) = text("/deadLetterPolicy/deadLetterTopic") {
        let most = body.pointer("/deadLetterPolicy/maxDeliveryAttempts").and_then(Value::as_u64).unwrap_or(5);
        let most = u32::try_from(most).ok().filter(|most| (5..=100).contains(most));
        spec.dead_letter = Some((topic.to_owned(), most.ok_or("max_delivery_attempts must be 5 to 100.")?));
    }
    Ok(spec)
}

/// A duration of protobuf in JSON, such as `10s`.
fn seconds(text: Option<&str>, default: u64) -> Result<Duration, &'static str> {
    let Some(text) = text else { return Ok(Duration::from_secs(default)) };
    let number: Option<f64> = text.strip_suffix('s').and_then(|number| number.parse().ok());
    let duration = number.and_then(|number| Duration::try_from_secs_f64(number).ok());
    duration.filter(|it| *it <= Duration::from_secs(600)).ok_or("A back-off must be between 0s and 600s.")
}

fn shown(name: &str, spec: &SubscriptionSpec) -> Value {
    let mut shown = Map::new();
    let mut put = |key: &str, value: Value| drop(shown.insert(key.to_owned(), value));
    put("name", json!(name));
    put("topic", json!(spec.topic));
    put("ackDeadlineSeconds", json!(spec.ack_deadline.as_secs()));
    put("messageRetentionDuration", json!("604800s"));
    put("state", json!("ACTIVE"));
    let push = spec.push.as_ref().map(|push| {
        json!({
            "pushEndpoint": push.endpoint.as_str(),
            "oidcToken": {"serviceAccountEmail": push.account, "audience": push.audience},
        })
    });
    put("pushConfig", push.unwrap_or_else(|| json!({})));
    if spec.ordered {
        put("enableMessageOrdering", json!(true));
    }
    if let Some((topic, most)) = &spec.dead_letter {
        put("deadLetterPolicy", json!({"deadLetterTopic": topic, "maxDeliveryAttempts": most}));
    }
    if let Some((least, most)) = &spec.backoff {
        let text = |wait: &Duration| format!("{}s", wait.as_secs_f64());
        put("retryPolicy", json!({"minimumBackoff": text(least), "maximumBackoff": text(most)}));
    }
    Value::Object(shown)
}
