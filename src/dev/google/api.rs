//! What Google's REST APIs have in common: errors, and the access token that they ask for.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::{Asked, GATEWAY, Shared};
use crate::dev::page;

/// `{"error":{"code":404,"message":"…","status":"NOT_FOUND"}}`.
pub(super) fn error(status: StatusCode, name: &str, message: &str) -> Response {
    page::json(status, &json!({"error": {"code": status.as_u16(), "message": message, "status": name}}))
}

pub(super) fn invalid(message: &str) -> Response {
    error(StatusCode::BAD_REQUEST, "INVALID_ARGUMENT", message)
}

pub(super) fn not_found(message: &str) -> Response {
    error(StatusCode::NOT_FOUND, "NOT_FOUND", message)
}

/// Whether the caller may be answered: it brings an access token that the metadata server gave to the gateway.
pub(super) fn check(shared: &Shared, asked: &Asked) -> Result<(), Box<Response>> {
    let refuse = |message| Err(Box::new(error(StatusCode::UNAUTHORIZED, "UNAUTHENTICATED", message)));
    let Some(token) = asked.bearer() else {
        return refuse(
            "Request is missing required authentication credential. Expected OAuth 2 access token.",
        );
    };
    let known = shared.grants.read(token, asked.now, |grant| grant.is_for_apis_of(GATEWAY));
    match known {
        None => refuse(
            "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or \
             other valid authentication credential.",
        ),
        Some(false) => Err(Box::new(error(
            StatusCode::FORBIDDEN,
            "PERMISSION_DENIED",
            "Request had insufficient authentication scopes.",
        ))),
        Some(true) => Ok(()),
    }
}
