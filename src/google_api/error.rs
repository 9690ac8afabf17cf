//! Errors of Google's REST APIs, `{"error":{"code":404,"message":"…","status":"NOT_FOUND"}}`
//! (<https://docs.cloud.google.com/apis/design/errors#http_mapping>).

use http::StatusCode;
use serde::Deserialize;
use thiserror::Error;

/// Longest text of Google's that is passed on to the operator, in characters.
const MAX_MESSAGE: usize = 300;

/// Why a call of an API failed. The text is for the operator.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ApiError {
    /// It answered with another status than 200.
    #[error("{service} answered {status}{}: {message}", code.as_ref().map(|code| format!(" {code}")).unwrap_or_default())]
    Refused {
        /// Name of the API.
        service: &'static str,
        /// Status code.
        status: u16,
        /// Google's name of the error, such as `PERMISSION_DENIED`, where it gave one.
        code: Option<String>,
        /// What Google says of it.
        message: String,
    },
    /// There was no complete answer, so nobody knows what was done.
    #[error("{0}")]
    Unreachable(String),
    /// The gateway has no access token of its own.
    #[error("the gateway has no access token: {0}")]
    NoToken(String),
}

#[derive(Deserialize)]
struct Body {
    error: Details,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    message: String,
    #[serde(default)]
    status: String,
}

impl ApiError {
    pub(super) fn refused(service: &'static str, status: StatusCode, body: &[u8]) -> Self {
        let details = serde_json::from_slice(body).map(|body: Body| body.error).ok();
        let is_code =
            |code: &String| !code.is_empty() && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let code = details.as_ref().map(|details| details.status.clone()).filter(is_code);
        let message = details.map(|details| printable(&details.message)).filter(|text| !text.is_empty());
        let message = message.unwrap_or_else(|| "without saying why in Google's form".to_owned());
        Self::Refused { service, status: status.as_u16(), code, message }
    }

    /// The status code, if there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            Self::Unreachable(_) | Self::NoToken(_) => None,
        }
    }

    /// Whether the same call may succeed later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Refused { status: 409, code, .. } => code.as_deref() == Some("ABORTED"),
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 499..=599),
            Self::Unreachable(_) | Self::NoToken(_) => true,
        }
    }
}

/// One line of bounded length, without anything that a terminal would obey.
fn printable(text: &str) -> String {
    let clean = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = clean.take(MAX_MESSAGE + 1).collect();
    if short.chars().count() > MAX_MESSAGE {
        short = short.chars().take(MAX_MESSAGE).chain(['…']).collect();
    }
    short
}
