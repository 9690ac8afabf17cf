//! Google's metadata server, which mints ID tokens for the service account that the gateway runs as
//! (<https://docs.cloud.google.com/run/docs/container-contract#metadata-server>).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde_json::Value;
use url::Url;

use super::{MintError, Minted, TokenMinter};
use crate::outbound::{Answer, Call, Outbound, Service};
use crate::time::UnixTime;

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 32 * 1024;
const IDENTITY: &str = "/computeMetadata/v1/instance/service-accounts/default/identity";
const PROJECT_ID: &str = "/computeMetadata/v1/project/project-id";

/// A client of the metadata server.
pub struct MetadataServer {
    outbound: Arc<Outbound>,
    base: Url,
}

impl MetadataServer {
    /// `base` is scheme, host and port of the server.
    pub fn new(outbound: Arc<Outbound>, base: Url) -> Self {
        Self { outbound, base }
    }

    /// The project that the gateway runs in, for the names of traces in the log.
    pub async fn project_id(&self) -> Option<String> {
        let answer = self.get(PROJECT_ID, &[]).await.ok()?;
        let id = std::str::from_utf8(&answer.body).ok()?.trim();
        let plausible =
            !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-:.".contains(&byte));
        plausible.then(|| id.to_owned())
    }

    /// A good answer, which proves by `Metadata-Flavor` that it comes from a metadata server.
    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Answer, String> {
        let mut url = self.base.clone();
        url.set_path(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut headers = HeaderMap::new();
        headers.insert("metadata-flavor", HeaderValue::from_static("Google"));
        let call = Call {
            service: Service::Metadata,
            method: Method::GET,
            url,
            headers,
            body: Bytes::new(),
            timeout: TIMEOUT,
            max_answer: MAX_ANSWER,
        };
        let answer = self.outbound.call(call).await.map_err(|error| {
            format!("{error}; away from Google Cloud there is no metadata server: see `audience: none` and `portcullis dev`")
        })?;
        if answer.status != StatusCode::OK {
            return Err(status_text(answer.status));
        }
        if answer.headers.get("metadata-flavor").is_none_or(|flavor| flavor != "Google") {
            return Err(
                "the answer does not come from a metadata server (no Metadata-Flavor: Google)".to_owned()
            );
        }
        Ok(answer)
    }
}

#[async_trait]
impl TokenMinter for MetadataServer {
    async fn mint(&self, audience: &str, now: UnixTime) -> Result<Minted, MintError> {
        let failed = |why: String| MintError { audience: audience.to_owned(), why };
        // `full` carries the e-mail address, which `standard` may leave out.
        let query = [("audience", audience), ("format", "full")];
        let answer = self.get(IDENTITY, &query).await.map_err(failed)?;
        read(&answer.body, audience, now).map_err(|why| failed(why.to_owned()))
    }
}

/// Accepts nothing but one JWT for this audience: an error page must never travel on as a token.
fn read(body: &[u8], audience: &str, now: UnixTime) -> Result<Minted, &'static str> {
    let token = std::str::from_utf8(body).map_err(|_| "the metadata server's answer is not text")?.trim();
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err("the metadata server's answer is not a JWT");
    };
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok().filter(|bytes| !bytes.is_empty());
    let (Some(_), Some(payload), Some(_)) = (decode(header), decode(payload), decode(signature)) else {
        return Err("the metadata server's answer is not a JWT");
    };
    let claims: Value =
        serde_json::from_slice(&payload).map_err(|_| "the payload of the minted token is not JSON")?;
    if claims.get("aud").and_then(Value::as_str) != Some(audience) {
        return Err("the minted token is for another audience");
    }
    let expires =
        claims.get("exp").and_then(Value::as_u64).map(UnixTime).ok_or("the minted token has no expiry")?;
    if expires <= now {
        return Err("the minted token has expired already");
    }
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| "the minted token cannot stand in a header")?;
    bearer.set_sensitive(true);
    Ok(Minted { bearer, minted: now, expires })
}

fn status_text(status: StatusCode) -> String {
    match status {
        StatusCode::NOT_FOUND => {
            "the metadata server answered 404: no service account is attached".to_owned()
        }
        other => format!("the metadata server answered {}", other.as_u16()),
    }
}

#[cfg(test)]
mod tests;
