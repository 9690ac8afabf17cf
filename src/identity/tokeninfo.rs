//! Google's tokeninfo, the only way to learn whom an opaque access token belongs to
//! (<https://docs.cloud.google.com/docs/authentication/token-types>).

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use super::VerifyError;
use super::claims::Claims;
use crate::outbound::{Call, Outbound, Service};

const TIMEOUT: Duration = Duration::from_secs(5);
const MAX_ANSWER: usize = 64 * 1024;

/// Asks for the claims of an access token. The token travels in a header, as in Google's own libraries: a
/// URL would end up in logs.
pub(crate) async fn ask(outbound: &Outbound, endpoint: &Url, token: &str) -> Result<Claims, VerifyError> {
    let mut bearer = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| VerifyError::Malformed)?;
    bearer.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, bearer);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded;charset=UTF-8"));
    let call = Call {
        service: Service::TokenInfo,
        method: Method::POST,
        url: endpoint.clone(),
        headers,
        body: Bytes::new(),
        timeout: TIMEOUT,
        max_answer: MAX_ANSWER,
    };
    let answer = outbound.call(call).await.map_err(|error| VerifyError::Unavailable(error.to_string()))?;
    read(answer.status, &answer.body)
}

/// Only 400 and 401 say something about the token; the text of the error has no fixed shape. All else says
/// that Google could not answer, which must not count as a verdict.
fn read(status: StatusCode, body: &[u8]) -> Result<Claims, VerifyError> {
    match status {
        StatusCode::OK => {
            let claims = Claims::from_json(body).ok_or_else(|| {
                VerifyError::Unavailable("the answer of tokeninfo is not a JSON object".to_owned())
            })?;
            if claims.has("error") || claims.has("error_description") {
                return Err(VerifyError::Invalid("tokeninfo reports an error"));
            }
            Ok(claims)
        }
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => Err(VerifyError::Expired),
        other => Err(VerifyError::Unavailable(format!("tokeninfo answered {}", other.as_u16()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_400_and_401_are_verdicts() {
        for status in [400, 401] {
            assert_eq!(read(StatusCode::from_u16(status).unwrap(), b"").unwrap_err(), VerifyError::Expired);
        }
        for status in [204, 301, 302, 403, 404, 429, 500, 502, 503, 504] {
            let error = read(StatusCode::from_u16(status).unwrap(), b"{}").unwrap_err();
            assert!(matches!(error, VerifyError::Unavailable(_)), "{status}: {error}");
        }
    }

    #[test]
    fn what_is_no_object_says_nothing_about_the_token() {
        for body in ["", "<html>", "[]", "\"ok\"", "{\"aud\":", "null"] {
            let error = read(StatusCode::OK, body.as_bytes()).unwrap_err();
            assert!(matches!(error, VerifyError::Unavailable(_)), "{body}: {error}");
        }
    }

    #[test]
    fn an_error_with_status_200_is_no_identity() {
        let body = br#"{"error":"invalid_token","exp":"9999999999"}"#;
        assert!(matches!(read(StatusCode::OK, body).unwrap_err(), VerifyError::Invalid(_)));
    }
}
