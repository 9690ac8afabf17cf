//! Three endpoints that take a token: tokeninfo, userinfo, revocation.

use axum::response::Response;
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};

use super::tokens::put;
use super::{Asked, ErrorShape, ISSUER, Shared};
use crate::dev::page;
use crate::time::UnixTime;

/// `GET ?access_token=`/`?id_token=`, the same as a form, or a POST with `Authorization: Bearer` and no body.
pub(super) fn tokeninfo(shared: &Shared, asked: &Asked) -> Response {
    if !asked.is_read() && !asked.is_post() {
        return page::text(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let given = |name: &str| asked.parameter(name).or_else(|| asked.field(name).filter(|_| asked.is_post()));
    let access_token = given("access_token");
    let found = if let Some(token) = given("id_token") {
        id_token(shared, &token, asked.now)
    } else if let Some(token) = access_token.as_deref().or_else(|| asked.bearer()) {
        shared.grants.read(token, asked.now, |grant| grant.tokeninfo(asked.now))
    } else {
        let text = "either access_token, id_token, or token_handle required";
        return page::json(StatusCode::BAD_REQUEST, &json!({ "error_description": text }));
    };
    match found {
        Some(answer) => page::json(StatusCode::OK, &answer),
        None => page::json(StatusCode::BAD_REQUEST, &invalid(shared.options.tokeninfo_error)),
    }
}

fn invalid(shape: ErrorShape) -> Value {
    match shape {
        ErrorShape::WithCode => json!({"error": "invalid_token", "error_description": "Invalid Value"}),
        ErrorShape::DescriptionOnly => json!({"error_description": "Invalid Value"}),
    }
}

/// Claims and header members in one object, every value a string.
fn id_token(shared: &Shared, token: &str, now: UnixTime) -> Option<Value> {
    let (header, claims) = shared.keys.verify(token)?;
    let good = claims.get("iss").and_then(Value::as_str) == Some(ISSUER)
        && claims.get("exp").and_then(Value::as_u64).is_some_and(|exp| exp > now.0);
    if !good {
        return None;
    }
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let members = [&claims, &header].into_iter().filter_map(Value::as_object).flatten();
    Some(members.map(|(name, value)| (name.clone(), Value::from(text(value)))).collect())
}

/// Who is behind an access token. Says nothing about the client that it was issued to.
pub(super) fn userinfo(shared: &Shared, asked: &Asked) -> Response {
    let found = asked.bearer().and_then(|token| {
        shared.grants.read(token, asked.now, |grant| {
            let person = grant.sub().or(grant.email()).and_then(|hint| shared.account(hint));
            let mut answer = json!({ "sub": grant.sub() });
            if let Some(email) = grant.email() {
                put(&mut answer, "email", email);
                put(&mut answer, "email_verified", grant.email_verified());
            }
            if let Some(domain) = person.and_then(|person| person.hosted_domain.as_deref()) {
                put(&mut answer, "hd", domain);
            }
            answer
        })
    });
    match found {
        Some(answer) => page::json(StatusCode::OK, &answer),
        None => {
            let body = json!({"error": "invalid_request", "error_description": "Invalid Credentials"});
            let mut response = page::json(StatusCode::UNAUTHORIZED, &body);
            page::set(
                &mut response,
                WWW_AUTHENTICATE,
                "Bearer realm=\"https://accounts.google.com/\", error=\"invalid_request\"",
            );
            response
        }
    }
}

/// RFC 7009, but with Google's error for a token that it does not know. ID tokens cannot be revoked.
pub(super) fn revoke(shared: &Shared, asked: &Asked) -> Response {
    if !asked.is_post() {
        return page::text(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let token = asked.field("token").or_else(|| asked.parameter("token"));
    if token.is_some_and(|token| shared.grants.revoke(&token)) {
        return page::json(StatusCode::OK, &json!({}));
    }
    let body = json!({"error": "invalid_token", "error_description": "Token expired or revoked"});
    page::json(StatusCode::BAD_REQUEST, &body)
}
