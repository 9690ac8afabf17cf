//! Secret Manager over REST, as far as the gateway needs it: `projects.secrets.versions.access`.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::json;

use super::people::{PROJECT, PROJECT_NUMBER};
use super::{Asked, Shared, StandIn, api};
use crate::dev::page;

/// State of a version of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// It can be read.
    Enabled,
    /// It cannot be read at present.
    Disabled,
    /// Its value is gone.
    Destroyed,
}

#[derive(Default)]
pub(super) struct SecretManager(Mutex<BTreeMap<String, Secret>>);

#[derive(Default)]
struct Secret {
    versions: Vec<(Vec<u8>, VersionState)>,
    denied: bool,
    damaged: bool,
}

impl SecretManager {
    fn with<T>(&self, secret: &str, change: impl FnOnce(&mut Secret) -> T) -> Option<T> {
        let mut secrets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.get_mut(&by_id(secret)).map(change)
    }
}

/// The project by its name, not by its number: both are good in a request.
fn by_id(name: &str) -> String {
    name.replacen(&format!("projects/{PROJECT_NUMBER}/"), &format!("projects/{PROJECT}/"), 1)
}

/// Secrets. Names are such as `projects/example-project/secrets/slack`.
impl StandIn {
    /// Adds a version, and the secret if there is none of this name. Returns the number of the version.
    pub fn add_secret_version(&self, secret: &str, value: &[u8]) -> usize {
        let mut secrets = self.0.secrets.0.lock().unwrap_or_else(PoisonError::into_inner);
        let secret = secrets.entry(by_id(secret)).or_default();
        secret.versions.push((value.to_vec(), VersionState::Enabled));
        secret.versions.len()
    }

    /// Enables, disables or destroys a version; says whether there is one.
    pub fn set_secret_version(&self, secret: &str, version: usize, state: VersionState) -> bool {
        let change = |secret: &mut Secret| match secret.versions.get_mut(version.wrapping_sub(1)) {
            Some(found) => {
                found.1 = state;
                true
            }
            None => false,
        };
        self.0.secrets.with(secret, change).unwrap_or(false)
    }

    /// Takes the gateway's right to read a secret, or gives it back.
    pub fn deny_secret(&self, secret: &str, denied: bool) {
        self.0.secrets.with(secret, |secret| secret.denied = denied);
    }

    /// Sends a secret with a wrong checksum, or no longer.
    pub fn damage_secret(&self, secret: &str, damaged: bool) {
        self.0.secrets.with(secret, |secret| secret.damaged = damaged);
    }

    /// Deletes a secret with all its versions; says whether there was one.
    pub fn delete_secret(&self, secret: &str) -> bool {
        let mut secrets = self.0.secrets.0.lock().unwrap_or_else(PoisonError::into_inner);
        secrets.remove(&by_id(secret)).is_some()
    }
}

/// `GET /v1/projects/P/secrets/S/versions/V:access`.
pub(super) fn answer(shared: &Shared, asked: &Asked) -> Response {
    if let Err(refused) = api::check(shared, asked) {
        return *refused;
    }
    let path = asked.parts.uri.path();
    let name = path.strip_prefix("/v1/").and_then(|name| name.strip_suffix(":access"));
    let Some((secret, version)) = name.and_then(|name| name.split_once("/versions/")) else {
        return api::not_found("The requested URL was not found on this server.");
    };
    if !asked.is_read() {
        return page::text(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    shared.secrets.with(secret, |found| access(found, secret, version)).unwrap_or_else(|| gone(secret))
}

fn numbered(name: &str) -> String {
    by_id(name).replacen(&format!("projects/{PROJECT}/"), &format!("projects/{PROJECT_NUMBER}/"), 1)
}

fn gone(secret: &str) -> Response {
    api::not_found(&format!("Secret [{}] not found or has no versions.", numbered(secret)))
}

fn access(found: &Secret, secret: &str, version: &str) -> Response {
    if found.denied {
        let message = format!(
            "Permission 'secretmanager.versions.access' denied for resource '{secret}/versions/{version}' (or it \
             may not exist)."
        );
        return api::error(StatusCode::FORBIDDEN, "PERMISSION_DENIED", &message);
    }
    let number = match version {
        // The newest, whatever its state.
        "latest" => Some(found.versions.len()),
        number => number.parse().ok(),
    };
    let chosen = number.and_then(|number: usize| Some((number, found.versions.get(number.checked_sub(1)?)?)));
    let Some((number, (value, state))) = chosen else {
        return gone(secret);
    };
    let name = format!("{}/versions/{number}", numbered(secret));
    if *state != VersionState::Enabled {
        let state = format!("{state:?}").to_uppercase();
        let message = format!("Secret Version [{name}] is in {state} state.");
        return api::error(StatusCode::BAD_REQUEST, "FAILED_PRECONDITION", &message);
    }
    let sum = crc32c::crc32c(value) ^ u32::from(found.damaged);
    let payload = json!({"data": STANDARD.encode(value), "dataCrc32c": sum.to_string()});
    page::json(StatusCode::OK, &json!({"name": name, "payload": payload}))
}
