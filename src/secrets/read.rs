//! Reading a value from where it is.

use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde_json::Value;
use url::Url;

use super::SecretError;
use crate::config::SecretSource;
use crate::google_api::{ApiError, GoogleApi, Request};
use crate::outbound::Service;
use crate::secret::Secret;
use crate::time::UnixTime;

/// Largest value, as in Secret Manager.
const MAX_VALUE: usize = 64 * 1024;
/// Largest answer of Secret Manager: the value in Base64, and what stands around it.
const MAX_ANSWER: usize = 128 * 1024;

/// Google's Secret Manager, read over REST
/// (<https://docs.cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets.versions/access>).
#[derive(Debug)]
pub struct SecretManager {
    api: Arc<GoogleApi>,
    endpoint: Option<Url>,
}

impl SecretManager {
    /// `endpoint` is scheme, host and port where they are not Google's own; then it serves regional secrets as well.
    pub fn new(api: Arc<GoogleApi>, endpoint: Option<Url>) -> Self {
        Self { api, endpoint }
    }

    /// Where a version is read.
    fn url(&self, name: &str) -> Option<Url> {
        let mut url = match (&self.endpoint, location(name)) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, Some(location)) => {
                Url::parse(&format!("https://secretmanager.{location}.rep.googleapis.com/")).ok()?
            }
            (None, None) => Url::parse("https://secretmanager.googleapis.com/").ok()?,
        };
        url.set_path(&format!("/v1/{name}:access"));
        Some(url)
    }

    async fn access(&self, name: &str, now: UnixTime, timeout: Duration) -> Result<Secret, SecretError> {
        let url =
            self.url(name).ok_or_else(|| unusable(format!("{name} is no name of a secret's version")))?;
        let request = Request {
            service: Service::SecretManager,
            method: Method::GET,
            url,
            body: Bytes::new(),
            timeout,
            max_answer: MAX_ANSWER,
        };
        let answer = self.api.call(request, now).await.map_err(|error| explain(name, &error))?;
        text_of(payload(&answer).map_err(unusable)?)
    }
}

/// `L` of `projects/P/locations/L/secrets/S/versions/V`.
fn location(name: &str) -> Option<&str> {
    let mut parts = name.split('/').skip(2);
    let location = (parts.next()? == "locations").then(|| parts.next())?;
    location.filter(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    })
}

pub(super) async fn value(
    source: &SecretSource,
    manager: &SecretManager,
    now: UnixTime,
    limit: Duration,
) -> Result<Secret, SecretError> {
    match source {
        SecretSource::SecretManager(name) => manager.access(name, now, limit).await,
        SecretSource::File(path) => file(path, limit).await,
        SecretSource::Environment { value, .. } => text_of(value.expose().as_bytes().to_vec()),
    }
}

async fn file(path: &Path, limit: Duration) -> Result<Secret, SecretError> {
    let owned = path.to_owned();
    let read = tokio::task::spawn_blocking(move || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        std::fs::File::open(owned)?.take(MAX_VALUE as u64 + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    });
    let path = path.display();
    match tokio::time::timeout(limit, read).await {
        Ok(Ok(Ok(bytes))) => text_of(bytes),
        Ok(Ok(Err(error))) => Err(unusable(format!(
            "the file {path} cannot be read: {error}; mount it there, and let the gateway's user read it"
        ))),
        // A mounted secret is fetched when it is read, and that may take its time.
        Ok(Err(_)) | Err(_) => {
            Err(SecretError::Unreachable(format!("the file {path} was not read within {limit:?}")))
        }
    }
}

fn unusable(why: impl Into<String>) -> SecretError {
    SecretError::Unusable(why.into())
}

/// What Secret Manager's refusal means for the operator.
fn explain(name: &str, error: &ApiError) -> SecretError {
    if error.retryable() {
        return SecretError::Unreachable(error.to_string());
    }
    let secret = name.split("/versions/").next().unwrap_or(name);
    unusable(match error.status() {
        Some(403) => format!(
            "{error}; grant roles/secretmanager.secretAccessor on {secret} to the gateway's service account, or \
             correct the name"
        ),
        Some(404) => format!("{error}; create {secret} and add a version, or correct the name"),
        Some(400) => format!("{error}; enable the version {name}, or name another"),
        Some(401) => format!("{error}; the gateway's service account must be able to get access tokens"),
        Some(_) | None => format!("{error}; Secret Manager should answer for {name}"),
    })
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    payload: Payload,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload {
    /// Standard Base64; left out when it is empty.
    #[serde(default)]
    data: String,
    /// An int64, which JSON carries as a string.
    #[serde(default)]
    data_crc32c: Value,
}

/// The bytes of a version, as they were stored.
fn payload(answer: &[u8]) -> Result<Vec<u8>, &'static str> {
    let answer: Answer =
        serde_json::from_slice(answer).map_err(|_| "the answer is none of Secret Manager's")?;
    let bytes = STANDARD
        .decode(answer.payload.data)
        .map_err(|_| "Secret Manager's answer holds no standard Base64")?;
    let sum = match &answer.payload.data_crc32c {
        Value::String(text) => text.parse().ok(),
        Value::Number(number) => number.as_u64(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    if sum != Some(u64::from(crc32c::crc32c(&bytes))) {
        return Err(
            "the value was damaged on its way: its checksum is missing or wrong; start again, and look \
                    at whatever stands between the gateway and Secret Manager if that does not help",
        );
    }
    Ok(bytes)
}

/// A value without the newline that `echo` leaves at its end.
fn text_of(bytes: Vec<u8>) -> Result<Secret, SecretError> {
    if bytes.len() > MAX_VALUE {
        return Err(unusable(format!("its value is longer than {MAX_VALUE} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| unusable("its value is not text in UTF-8"))?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |text| text.strip_suffix('\r').unwrap_or(text));
    if text.is_empty() {
        return Err(unusable("its value is empty; add a version that is not"));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_checksum_is_castagnoli_s() {
        for (data, sum) in [("123456789", 3_808_858_755_u32), ("my super secret data", 2_525_891_252)] {
            assert_eq!(crc32c::crc32c(data.as_bytes()), sum);
        }
    }

    #[test]
    fn a_payload_is_taken_only_with_its_checksum() {
        let read = |payload: Value| payload_of(&json!({"name": "n", "payload": payload}));
        assert_eq!(
            read(json!({"data": "bXkgc3VwZXIgc2VjcmV0IGRhdGE=", "dataCrc32c": "2525891252"})).unwrap(),
            b"my super secret data"
        );
        for wrong in [
            json!({"data": "bXkgc3VwZXIgc2VjcmV0IGRhdGE="}),
            json!({"data": "bXkgc3VwZXIgc2VjcmV0IGRhdGE=", "dataCrc32c": "2525891253"}),
            json!({"data": "bXkgc3VwZXIgc2VjcmV0IGRhdGE=", "dataCrc32c": "-1"}),
            json!({"data": "bXkgc3VwZXIgc2VjcmV0IGRhdGE", "dataCrc32c": "2525891252"}),
            json!({"data": 7, "dataCrc32c": "0"}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
        // Nothing, with the right checksum: empty, which the reader of text refuses.
        assert_eq!(read(json!({"dataCrc32c": "0"})).unwrap(), b"");
        assert!(payload(b"<html>").is_err() && payload(b"[]").is_err());
    }

    fn payload_of(answer: &Value) -> Result<Vec<u8>, &'static str> {
        payload(answer.to_string().as_bytes())
    }

    #[test]
    fn one_newline_is_none_of_the_value() {
        let read = |bytes: &[u8]| text_of(bytes.to_vec()).map(|secret| secret.expose().to_owned());
        assert_eq!(read(b"a").unwrap(), "a");
        assert_eq!(read(b"a\n").unwrap(), "a");
        assert_eq!(read(b"a\r\n").unwrap(), "a");
        assert_eq!(read(b" a \n\n").unwrap(), " a \n");
        for nothing in [b"".as_slice(), b"\n", b"\r\n"] {
            assert!(read(nothing).unwrap_err().to_string().contains("empty"));
        }
        assert!(read(b"\xff").unwrap_err().to_string().contains("UTF-8"));
        assert!(read(&vec![b'a'; MAX_VALUE]).is_ok() && read(&vec![b'a'; MAX_VALUE + 1]).is_err());
    }

    #[test]
    fn regional_secrets_have_hosts_of_their_own() {
        let api = || Arc::new(GoogleApi::without_token(Arc::default()));
        let google = SecretManager::new(api(), None);
        let url = |name: &str| google.url(name).unwrap().to_string();
        assert_eq!(
            url("projects/p/secrets/s/versions/latest"),
            "https://secretmanager.googleapis.com/v1/projects/p/secrets/s/versions/latest:access"
        );
        assert_eq!(
            url("projects/p/locations/europe-west1/secrets/s/versions/3"),
            "https://secretmanager.europe-west1.rep.googleapis.com\
             /v1/projects/p/locations/europe-west1/secrets/s/versions/3:access"
        );
        // A location that is none does not choose a host.
        assert!(
            url("projects/p/locations/evil.com#/secrets/s/versions/3")
                .starts_with("https://secretmanager.googleapis.com/")
        );
        let own = SecretManager::new(api(), Some(Url::parse("http://127.0.0.1:9/").unwrap()));
        assert_eq!(
            own.url("projects/p/locations/l/secrets/s/versions/3").unwrap().as_str(),
            "http://127.0.0.1:9/v1/projects/p/locations/l/secrets/s/versions/3:access"
        );
    }

    #[test]
    fn refusals_say_what_to_do() {
        let refused = |status: u16| ApiError::Refused {
            service: "secret_manager",
            status,
            code: None,
            message: "why".to_owned(),
        };
        let name = "projects/p/secrets/s/versions/latest";
        for (status, advice) in [
            (403, "roles/secretmanager.secretAccessor on projects/p/secrets/s "),
            (404, "create"),
            (400, "enable"),
        ] {
            let SecretError::Unusable(text) = explain(name, &refused(status)) else { panic!("{status}") };
            assert!(text.contains(advice), "{text}");
        }
        for later in [refused(500), refused(503), refused(429), ApiError::NoToken(String::new())] {
            assert!(matches!(explain(name, &later), SecretError::Unreachable(_)), "{later}");
        }
    }
}
