//! Withdrawing what somebody granted (RFC 7009;
//! <https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke>).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use crate::outbound::{Call, Outbound, Service};
use crate::secret::Secret;

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 16 * 1024;

/// Takes the gateway's access to an account away (RFC 7009).
#[async_trait]
pub trait Revoke: Send + Sync {
    /// Revokes an access token at Google. The error is for the log and must not contain the token.
    async fn revoke(&self, token: &Secret) -> Result<(), String>;
}

/// Google's revocation endpoint.
pub struct GoogleRevocation {
    outbound: Arc<Outbound>,
    endpoint: Url,
}

impl GoogleRevocation {
    /// Revokes at this endpoint.
    pub fn new(outbound: Arc<Outbound>, endpoint: Url) -> Self {
        Self { outbound, endpoint }
    }
}

#[async_trait]
impl Revoke for GoogleRevocation {
    async fn revoke(&self, token: &Secret) -> Result<(), String> {
        let form =
            form_urlencoded::Serializer::new(String::new()).append_pair("token", token.expose()).finish();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let call = Call {
            service: Service::Revocation,
            method: Method::POST,
            url: self.endpoint.clone(),
            headers,
            body: Bytes::from(form),
            timeout: TIMEOUT,
            max_answer: MAX_ANSWER,
        };
        let answer = self.outbound.call(call).await.map_err(|error| error.to_string())?;
        if answer.status.is_success() {
            Ok(())
        } else {
            Err(format!("revocation answered {}", answer.status.as_u16()))
        }
    }
}
