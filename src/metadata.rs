//! Google's metadata server, which speaks for the service account that the gateway runs as
//! (<https://docs.cloud.google.com/run/docs/container-contract#metadata-server>).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use serde::Deserialize;
use url::Url;

use crate::outbound::{Answer, Call, Outbound, Service};
use crate::time::UnixTime;

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 32 * 1024;
/// Longest access token that is taken; Google reserves 2048 bytes.
const MAX_TOKEN: usize = 8 * 1024;
const IDENTITY: &str = "/computeMetadata/v1/instance/service-accounts/default/identity";
const TOKEN: &str = "/computeMetadata/v1/instance/service-accounts/default/token";
const PROJECT_ID: &str = "/computeMetadata/v1/project/project-id";

/// A client of the metadata server.
#[derive(Debug)]
pub struct MetadataServer {
    outbound: Arc<Outbound>,
    base: Url,
}

/// An access token of the gateway's own service account.
#[derive(Clone, Debug)]
pub struct AccessToken {
    /// `Bearer TOKEN`, marked as sensitive.
    pub bearer: HeaderValue,
    /// When it ends.
    pub expires: UnixTime,
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

    /// What should be an ID token for the audience; not looked at yet.
    pub(crate) async fn identity(&self, audience: &str) -> Result<Bytes, String> {
        // `full` carries the e-mail address, which `standard` may leave out.
        let query = [("audience", audience), ("format", "full")];
        Ok(self.get(IDENTITY, &query).await?.body)
    }

    /// An access token for Google's APIs. The server hands out the same one until shortly before its end. The error says
    /// why there is none; no part of it comes from a token.
    pub async fn access_token(&self, now: UnixTime) -> Result<AccessToken, String> {
        let answer = self.get(TOKEN, &[]).await?;
        read_token(&answer.body, now).map_err(str::to_owned)
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

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    /// Seconds that are left, which may be few: the token is not made for whoever asks.
    expires_in: u64,
    token_type: String,
}

fn read_token(body: &[u8], now: UnixTime) -> Result<AccessToken, &'static str> {
    let answer: TokenAnswer =
        serde_json::from_slice(body).map_err(|_| "the metadata server's answer is not an access token")?;
    let token = answer.access_token;
    if !answer.token_type.eq_ignore_ascii_case("bearer") {
        return Err("the metadata server's access token is not a bearer token");
    }
    // `b64token` of RFC 6750, section 2.1, roughly: no blanks, nothing that ends a header.
    if token.is_empty() || token.len() > MAX_TOKEN || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the metadata server's access token cannot stand in a header");
    }
    if answer.expires_in == 0 {
        return Err("the metadata server's access token has expired already");
    }
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| "the metadata server's access token cannot stand in a header")?;
    bearer.set_sensitive(true);
    Ok(AccessToken { bearer, expires: now.plus(Duration::from_secs(answer.expires_in)) })
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
mod tests {
    use super::*;

    const NOW: UnixTime = UnixTime(1_700_000_000);

    #[test]
    fn an_access_token_ends_when_the_server_says_and_stays_out_of_debug_output() {
        let body = br#"{"access_token":"ya29.c.secret","expires_in":3599,"token_type":"Bearer"}"#;
        let token = read_token(body, NOW).unwrap();
        assert_eq!(token.expires, UnixTime(NOW.0 + 3599));
        assert_eq!(token.bearer, "Bearer ya29.c.secret");
        assert!(!format!("{token:?}").contains("ya29"));
    }

    #[test]
    fn nothing_but_a_bearer_token_is_taken() {
        for body in [
            "",
            "<html>",
            "{}",
            r#"{"access_token":"a","token_type":"Bearer"}"#,
            r#"{"access_token":"a","expires_in":"3599","token_type":"Bearer"}"#,
            r#"{"access_token":"a","expires_in":-1,"token_type":"Bearer"}"#,
            r#"{"access_token":"a","expires_in":0,"token_type":"Bearer"}"#,
            r#"{"access_token":"","expires_in":1,"token_type":"Bearer"}"#,
            r#"{"access_token":"a b","expires_in":1,"token_type":"Bearer"}"#,
            r#"{"access_token":"a\r\nX-Evil: 1","expires_in":1,"token_type":"Bearer"}"#,
            r#"{"access_token":"a","expires_in":1,"token_type":"mac"}"#,
        ] {
            assert!(read_token(body.as_bytes(), NOW).is_err(), "{body}");
        }
        let long = format!(
            r#"{{"access_token":"{}","expires_in":1,"token_type":"Bearer"}}"#,
            "a".repeat(MAX_TOKEN + 1)
        );
        assert!(read_token(long.as_bytes(), NOW).is_err());
    }
}
