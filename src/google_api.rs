//! Calls to Google's REST APIs: they carry the access token of the gateway's own service account, and their errors are
//! read into something an operator can act on.
//!
//! There is one token for all of them. Near its end one request starts its renewal while others use what is still
//! valid; only without a valid token does anybody wait, and then all wait for the same answer.

mod error;
mod token;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::metadata::MetadataServer;
use crate::outbound::{Call, Outbound, Service};
use crate::time::UnixTime;

pub use error::ApiError;
use token::Token;

/// A client of Google's REST APIs.
pub struct GoogleApi {
    outbound: Arc<Outbound>,
    /// Nothing for emulators, which ask for none.
    token: Option<Arc<Token>>,
}

/// One call of an API.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which API, for the counters.
    pub service: Service,
    /// Request method.
    pub method: Method,
    /// Where to.
    pub url: Url,
    /// JSON, or nothing.
    pub body: Bytes,
    /// Limit on all of it, a token that has to be fetched included.
    pub timeout: Duration,
    /// Largest answer in bytes.
    pub max_answer: usize,
}

impl GoogleApi {
    /// A client that gets its token from the metadata server.
    pub fn new(outbound: Arc<Outbound>, metadata: Arc<MetadataServer>) -> Self {
        Self { outbound, token: Some(Arc::new(Token::new(metadata))) }
    }

    /// A client without a token, for emulators: they neither ask for one nor should ever see one.
    pub fn without_token(outbound: Arc<Outbound>) -> Self {
        Self { outbound, token: None }
    }

    /// The body of an answer with status 200. A token that is refused is fetched anew, once.
    pub async fn call(&self, request: Request, now: UnixTime) -> Result<Bytes, ApiError> {
        let deadline = Instant::now() + request.timeout;
        let Some(token) = &self.token else { return self.send(&request, None, deadline).await };
        let bearer = in_time(deadline, &request, token.bearer(now)).await?;
        match self.send(&request, Some(bearer.clone()), deadline).await {
            Err(ApiError::Refused { status: 401, .. }) => {
                let bearer = in_time(deadline, &request, token.another(&bearer, now)).await?;
                self.send(&request, Some(bearer), deadline).await
            }
            other => other,
        }
    }

    async fn send(
        &self,
        request: &Request,
        bearer: Option<HeaderValue>,
        deadline: Instant,
    ) -> Result<Bytes, ApiError> {
        let mut headers = HeaderMap::new();
        if !request.body.is_empty() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(bearer) = bearer {
            headers.insert(AUTHORIZATION, bearer);
        }
        let call = Call {
            service: request.service,
            method: request.method.clone(),
            url: request.url.clone(),
            headers,
            body: request.body.clone(),
            timeout: deadline.saturating_duration_since(Instant::now()),
            max_answer: request.max_answer,
        };
        let answer =
            self.outbound.call(call).await.map_err(|error| ApiError::Unreachable(error.to_string()))?;
        if answer.status == StatusCode::OK {
            return Ok(answer.body);
        }
        Err(ApiError::refused(request.service.name(), answer.status, &answer.body))
    }
}

/// Waits for a token no longer than the call may take.
async fn in_time(
    deadline: Instant,
    request: &Request,
    token: impl Future<Output = Result<HeaderValue, String>>,
) -> Result<HeaderValue, ApiError> {
    match timeout_at(deadline, token).await {
        Ok(outcome) => outcome.map_err(ApiError::NoToken),
        Err(_) => {
            Err(ApiError::NoToken(format!("the metadata server did not answer within {:?}", request.timeout)))
        }
    }
}

impl std::fmt::Debug for GoogleApi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GoogleApi").field("token", &self.token.is_some()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
