//! Why we say no, and what the caller is told: one table, and one function that turns a row into a reply.
//!
//! The table is an exhaustive `match`: a new refusal does not compile until somebody has chosen its status.

mod form;
mod from;

use std::borrow::Cow;

use http::header::{ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, StatusCode};

use super::rate::Exceeded;
use super::request::NotCanonical;
use crate::identity::VerifyError;
use crate::pages;
use crate::reply::{Problem, Reply};

pub use form::{Asker, Form};

/// Why a request is not (or not successfully) forwarded. A closed set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The request head has no canonical form.
    NotCanonical(NotCanonical),
    /// Several `Authorization` headers, or several session cookies.
    AmbiguousCredential,
    /// The request head is larger than is sensible.
    HeadTooLarge,
    /// The body is larger than the location takes.
    BodyTooLarge(u64),
    /// The body did not come.
    BodyTimeout,
    /// The request was malformed in a way that showed only while it was forwarded.
    Malformed,
    /// No location has this path.
    NoLocation,
    /// The location does not take this method; the value is for `Allow`.
    MethodNotAllowed(String),
    /// No credential.
    Unauthenticated,
    /// A credential that is not good (any more).
    InvalidCredential(VerifyError),
    /// Too many unknown tokens came from this address.
    Throttled,
    /// More requests than a configured limit lets through.
    RateLimited(Exceeded),
    /// The gateway holds as many bodies as it may.
    BuffersFull,
    /// Signed in, but not allowed here.
    Forbidden {
        /// Who is signed in.
        email: Box<str>,
    },
    /// A page of another origin tries to open a WebSocket with this browser's session.
    CrossOrigin,
    /// A page whose origin may not call here asks whether it may; why is for the log.
    PreflightRefused(String),
    /// Google could not be asked.
    ProviderUnavailable(String),
    /// No token could be minted for the upstream.
    MintUnavailable(String),
    /// As many requests are under way at the upstream as may be.
    UpstreamBusy(String),
    /// The upstream cannot be reached.
    UpstreamUnreachable(String),
    /// The upstream did not answer in time.
    UpstreamTimeout,
    /// The upstream's answer is not HTTP, or broke off.
    UpstreamInvalid(String),
    /// Cloud Run's front door refused the token that we minted.
    UpstreamRefusedToken,
    /// No signature of the message is good; why is for the log.
    BadSignature(String),
    /// The signing secret could not be read.
    SecretUnavailable(String),
    /// The body is not what its type says.
    InvalidBody(String),
    /// The body has a `Content-Encoding` that is not understood.
    UnsupportedEncoding,
    /// The body is too large when it is decompressed.
    DecodedTooLarge,
    /// The location's adapter does not want the message: its own words.
    AdapterRejected(String),
    /// The location's adapter failed.
    AdapterFailed(String),
    /// Too many messages wait for an adapter.
    AdapterBusy(String),
    /// The write-ahead log has as many bytes as it may have.
    WalFull(String),
    /// The write-ahead log could not keep the message.
    WalUnavailable(String),
    /// Somebody else than the push subscription calls the playback endpoint.
    PushRefused(VerifyError),
    /// A mistake of ours.
    Internal(String),
}

/// What the caller is told, but for its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Status for everybody but gRPC.
    pub status: StatusCode,
    /// Stable code for programs, logs and metrics.
    pub code: &'static str,
    /// A title for people.
    pub title: &'static str,
    /// Status for gRPC (<https://grpc.github.io/grpc/core/md_doc_statuscodes.html>).
    pub grpc: u8,
    /// Seconds to wait before another try, where trying again makes sense.
    pub retry_after: Option<u32>,
}

const fn row(status: StatusCode, code: &'static str, title: &'static str, grpc: u8) -> Row {
    Row { status, code, title, grpc, retry_after: None }
}

const fn later(status: StatusCode, code: &'static str, title: &'static str, grpc: u8, seconds: u32) -> Row {
    Row { status, code, title, grpc, retry_after: Some(seconds) }
}

impl Refusal {
    /// The table.
    #[expect(clippy::too_many_lines, reason = "one row a refusal, in one place")]
    pub fn row(&self) -> Row {
        use StatusCode as S;
        match self {
            Self::NotCanonical(_) | Self::Malformed => {
                row(S::BAD_REQUEST, "bad_request", "This request is malformed", 3)
            }
            Self::AmbiguousCredential => {
                row(S::BAD_REQUEST, "ambiguous_credential", "More than one credential was sent", 3)
            }
            Self::HeadTooLarge => row(
                S::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "headers_too_large",
                "The request headers are too large",
                8,
            ),
            Self::BodyTooLarge(_) => {
                row(S::PAYLOAD_TOO_LARGE, "too_large", "The request body is too large", 8)
            }
            Self::BodyTimeout => {
                row(S::REQUEST_TIMEOUT, "request_timeout", "The request did not arrive in time", 4)
            }
            Self::NoLocation => row(S::NOT_FOUND, "no_location", "There is nothing here", 12),
            Self::MethodNotAllowed(_) => {
                row(S::METHOD_NOT_ALLOWED, "method_not_allowed", "This method is not allowed here", 12)
            }
            Self::Unauthenticated => row(S::UNAUTHORIZED, "unauthenticated", "Sign-in is required", 16),
            Self::InvalidCredential(_) => {
                row(S::UNAUTHORIZED, "invalid_credential", "Sign-in is required again", 16)
            }
            Self::Throttled => later(
                S::TOO_MANY_REQUESTS,
                "rate_limited",
                "Too many failed attempts from your address",
                8,
                60,
            ),
            Self::RateLimited(exceeded) => {
                later(S::TOO_MANY_REQUESTS, "rate_limited", "Too many requests", 8, exceeded.seconds)
            }
            Self::BuffersFull => {
                later(S::SERVICE_UNAVAILABLE, "buffers_full", "Too many messages at the moment", 8, 1)
            }
            Self::Forbidden { .. } => row(S::FORBIDDEN, "forbidden", "This account has no access", 7),
            Self::CrossOrigin => row(S::FORBIDDEN, "cross_origin", "This page may not connect here", 7),
            Self::PreflightRefused(_) => {
                row(S::FORBIDDEN, "preflight_refused", "Pages of this origin may not call this", 7)
            }
            Self::ProviderUnavailable(_) => later(
                S::SERVICE_UNAVAILABLE,
                "provider_unavailable",
                "Google cannot be reached at the moment",
                14,
                5,
            ),
            Self::MintUnavailable(_) => later(
                S::SERVICE_UNAVAILABLE,
                "mint_unavailable",
                "The service cannot be reached at the moment",
                14,
                5,
            ),
            Self::UpstreamBusy(_) => {
                later(S::SERVICE_UNAVAILABLE, "upstream_busy", "The service is busy at the moment", 14, 1)
            }
            Self::UpstreamUnreachable(_) => {
                row(S::BAD_GATEWAY, "upstream_unreachable", "The service cannot be reached at the moment", 14)
            }
            Self::UpstreamTimeout => {
                row(S::GATEWAY_TIMEOUT, "upstream_timeout", "The service did not answer in time", 4)
            }
            Self::UpstreamInvalid(_) => {
                row(S::BAD_GATEWAY, "upstream_invalid", "The service gave no valid answer", 14)
            }
            Self::UpstreamRefusedToken => {
                row(S::BAD_GATEWAY, "upstream_refused_token", "The service does not accept this gateway", 14)
            }
            Self::BadSignature(_) => row(S::FORBIDDEN, "bad_signature", "The signature is not good", 7),
            Self::SecretUnavailable(_) => later(
                S::SERVICE_UNAVAILABLE,
                "secret_unavailable",
                "The signature cannot be checked at the moment",
                14,
                5,
            ),
            Self::InvalidBody(_) => row(S::BAD_REQUEST, "invalid_body", "The request body is not valid", 3),
            Self::UnsupportedEncoding => row(
                S::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_encoding",
                "The body's encoding is not supported",
                3,
            ),
            Self::DecodedTooLarge => {
                row(S::PAYLOAD_TOO_LARGE, "decoded_too_large", "The decompressed body is too large", 8)
            }
            Self::AdapterRejected(_) => {
                row(S::UNPROCESSABLE_ENTITY, "adapter_rejected", "The message is not wanted here", 3)
            }
            Self::AdapterFailed(_) => {
                row(S::INTERNAL_SERVER_ERROR, "adapter_failed", "The message could not be adapted", 13)
            }
            Self::AdapterBusy(_) => {
                later(S::SERVICE_UNAVAILABLE, "adapter_busy", "Too many messages at the moment", 14, 5)
            }
            Self::WalFull(_) => {
                later(S::SERVICE_UNAVAILABLE, "wal_full", "The message cannot be kept at the moment", 8, 60)
            }
            Self::WalUnavailable(_) => later(
                S::SERVICE_UNAVAILABLE,
                "wal_unavailable",
                "The message cannot be kept at the moment",
                14,
                5,
            ),
            Self::PushRefused(_) => {
                row(S::FORBIDDEN, "push_refused", "Only the push subscription may call this", 7)
            }
            Self::Internal(_) => {
                row(S::INTERNAL_SERVER_ERROR, "internal", "Something went wrong in the gateway", 13)
            }
        }
    }

    /// What the caller may know, in a sentence that says what to do where there is something to do.
    pub fn detail(&self) -> String {
        match self {
            Self::NotCanonical(why) => format!("{}.", capitalised(&why.to_string())),
            Self::Malformed => "The request is not valid HTTP.".to_owned(),
            Self::AmbiguousCredential => {
                "Send one Authorization header and one session cookie at the most.".to_owned()
            }
            Self::HeadTooLarge => "Send fewer or shorter headers and cookies.".to_owned(),
            Self::BodyTooLarge(limit) => format!("At most {limit} bytes are accepted here."),
            Self::BodyTimeout => "The rest of the request did not arrive in time.".to_owned(),
            Self::NoLocation => "No service is configured for this path.".to_owned(),
            Self::MethodNotAllowed(allow) => format!("Allowed are: {allow}."),
            Self::Unauthenticated => {
                "Send a Google access token or ID token in the Authorization header as a Bearer token.".to_owned()
            }
            Self::InvalidCredential(why) => format!("{}. Get a new token and try again.", capitalised(&why.to_string())),
            Self::Throttled => "Wait a minute before trying another token.".to_owned(),
            Self::RateLimited(Exceeded { whose, rate, seconds }) => {
                format!("At most {rate} requests are accepted for {}. Try again in {seconds} s.", whose.name())
            }
            Self::BuffersFull => "The gateway is receiving as much as it can hold. Try again in a moment.".to_owned(),
            Self::Forbidden { email } => format!("{email} is signed in, but is not allowed here."),
            Self::CrossOrigin => "WebSockets are accepted from pages of this site, and of those it names, only.".to_owned(),
            Self::PreflightRefused(_) => "The origin of the page is not among those that are allowed here.".to_owned(),
            Self::ProviderUnavailable(_) => {
                "Your credential could not be checked. It may well be good; try again in a moment.".to_owned()
            }
            Self::MintUnavailable(_) => {
                "The gateway could not get its own credential for the service. Try again in a moment.".to_owned()
            }
            Self::UpstreamBusy(_) => "The service behind this gateway has too much to do. Try again in a moment.".to_owned(),
            Self::UpstreamUnreachable(_) => "The service behind this gateway does not answer.".to_owned(),
            Self::UpstreamTimeout => "The service behind this gateway took too long.".to_owned(),
            Self::UpstreamInvalid(_) => "The service behind this gateway broke off or sent something else than HTTP.".to_owned(),
            Self::UpstreamRefusedToken => {
                "The service behind this gateway refused the gateway's own credential; its operator has to let the gateway in.".to_owned()
            }
            Self::BadSignature(_) => {
                "The message must be signed with the secret that is configured here, and be fresh.".to_owned()
            }
            Self::SecretUnavailable(_) => {
                "The gateway could not read the signing secret. The signature may well be good; try again in a moment.".to_owned()
            }
            Self::InvalidBody(why) => format!("{}.", capitalised(why)),
            Self::UnsupportedEncoding => "Send the body plain, or compressed with gzip or deflate.".to_owned(),
            Self::DecodedTooLarge => "Send a smaller body.".to_owned(),
            Self::AdapterRejected(why) => why.clone(),
            Self::AdapterFailed(_) => {
                "The program that adapts messages here failed. Its operator finds the reason in the log under this request id.".to_owned()
            }
            Self::AdapterBusy(_) => "Try again in a moment.".to_owned(),
            Self::WalFull(_) | Self::WalUnavailable(_) => {
                "Nothing was kept. Send the message again later.".to_owned()
            }
            Self::PushRefused(why) => format!("{}.", capitalised(&why.to_string())),
            Self::Internal(_) => "The gateway made a mistake. Its log says more under this request id.".to_owned(),
        }
    }

    /// What the log says besides the code: what the caller may not know, or was told in other words.
    pub fn cause(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::ProviderUnavailable(cause)
            | Self::PreflightRefused(cause)
            | Self::MintUnavailable(cause)
            | Self::UpstreamBusy(cause)
            | Self::UpstreamUnreachable(cause)
            | Self::UpstreamInvalid(cause)
            | Self::BadSignature(cause)
            | Self::SecretUnavailable(cause)
            | Self::InvalidBody(cause)
            | Self::AdapterRejected(cause)
            | Self::AdapterFailed(cause)
            | Self::AdapterBusy(cause)
            | Self::WalFull(cause)
            | Self::WalUnavailable(cause)
            | Self::Internal(cause) => Some(cause.into()),
            Self::UpstreamRefusedToken => Some(
                "Cloud Run refused the minted token: check the audience, and that the gateway's service account has roles/run.invoker".into(),
            ),
            Self::NotCanonical(why) => Some(why.to_string().into()),
            Self::RateLimited(Exceeded { whose, rate, .. }) => {
                Some(format!("more than {rate} for {}", whose.name()).into())
            }
            Self::InvalidCredential(why) | Self::PushRefused(why) => Some(why.to_string().into()),
            Self::AmbiguousCredential
            | Self::HeadTooLarge
            | Self::BodyTooLarge(_)
            | Self::BodyTimeout
            | Self::Malformed
            | Self::NoLocation
            | Self::MethodNotAllowed(_)
            | Self::Unauthenticated
            | Self::Throttled
            | Self::BuffersFull
            | Self::Forbidden { .. }
            | Self::CrossOrigin
            | Self::UnsupportedEncoding
            | Self::DecodedTooLarge
            | Self::UpstreamTimeout => None,
        }
    }

    /// Whether somebody who is known was kept out.
    pub fn is_denial(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::CrossOrigin)
    }

    /// Whether signing in (again) is the way on.
    pub fn asks_for_sign_in(&self) -> bool {
        matches!(self, Self::Unauthenticated | Self::InvalidCredential(_))
    }

    /// The answer in the form that the caller understands.
    pub fn reply(&self, asker: &Asker<'_>) -> Reply {
        let row = self.row();
        let detail = self.detail();
        let problem =
            Problem { title: row.title, detail: &detail, code: row.code, request_id: asker.request_id };
        let mut reply = match asker.form {
            Form::Grpc => return Reply { close: self.ends_connection(), ..self.grpc_reply(row) },
            Form::Page => self.page(row, &problem, asker.return_path),
            Form::Problem => Reply::problem(row.status, &problem),
        };
        if let Some(seconds) = row.retry_after {
            reply = reply.header(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Self::MethodNotAllowed(allow) = self
            && let Ok(allow) = HeaderValue::from_str(allow)
        {
            reply = reply.header(ALLOW, allow);
        }
        if let Some(challenge) = self.challenge() {
            reply = reply.header(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        reply.close = self.ends_connection();
        reply
    }

    /// Whether nobody can or wants to say where the next request on the connection begins.
    fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::NotCanonical(NotCanonical::Framing)
                | Self::BodyTooLarge(_)
                | Self::BuffersFull
                | Self::HeadTooLarge
                | Self::BodyTimeout
                | Self::Malformed
        )
    }

    /// RFC 6750, section 3: no error code when no credential was sent.
    fn challenge(&self) -> Option<&'static str> {
        if let Self::InvalidCredential(_) = self {
            return Some("Bearer error=\"invalid_token\"");
        }
        self.asks_for_sign_in().then_some("Bearer")
    }

    fn page(&self, row: Row, problem: &Problem<'_>, return_path: &str) -> Reply {
        let Problem { code, request_id, .. } = *problem;
        if let Self::Forbidden { email } = self {
            return pages::forbidden(&pages::Forbidden { email, return_path, code, request_id });
        }
        let again = [pages::Action { label: "Sign in", href: &pages::sign_in_link(return_path, false) }];
        let actions = if self.asks_for_sign_in() { again.as_slice() } else { &[] };
        pages::problem(row.status, problem, actions)
    }

    /// Trailers-only: status 200 and the outcome in the headers
    /// (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
    fn grpc_reply(&self, row: Row) -> Reply {
        let status = HeaderValue::from(u16::from(row.grpc));
        Reply::new(StatusCode::OK)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .header(HeaderName::from_static("grpc-status"), status)
            .header(HeaderName::from_static("grpc-message"), HeaderValue::from_static(row.title))
    }
}

/// The text with its first letter in upper case.
pub(super) fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

#[cfg(test)]
mod tests;
