//! The metadata server as Cloud Run offers it: it speaks for the gateway's service account.

use axum::response::Response;
use http::header::{ETAG, HeaderName, LOCATION, SERVER};
use http::{HeaderValue, StatusCode};
use serde_json::json;

use super::people::{GATEWAY, PROJECT, PROJECT_NUMBER, Person};
use super::tokens::{AccessTokenSpec, minted_claims};
use super::{Asked, Shared};
use crate::dev::page;

/// Proves that the answer comes from a metadata server.
pub(super) const FLAVOR: HeaderName = HeaderName::from_static("metadata-flavor");

const SCOPES: [&str; 2] =
    ["https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/userinfo.email"];

/// Everything below `/computeMetadata/`.
pub(super) fn answer(shared: &Shared, asked: &Asked) -> Response {
    dressed(route(shared, asked))
}

/// The root, which libraries ask to find out whether they run on Google Cloud.
pub(super) fn root() -> Response {
    dressed(text("computeMetadata/\n"))
}

/// Adds the headers that every answer of the metadata server carries.
pub(super) fn dressed(mut response: Response) -> Response {
    let fixed = [
        (FLAVOR, "Google"),
        (SERVER, "Metadata Server for Serverless"),
        (ETAG, "5f6e7d8c9b0a1f2e"),
        (HeaderName::from_static("x-xss-protection"), "0"),
        (HeaderName::from_static("x-frame-options"), "SAMEORIGIN"),
    ];
    for (name, value) in fixed {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn text(body: impl Into<String>) -> Response {
    page::answer(StatusCode::OK, "application/text", body.into())
}

fn not_found() -> Response {
    let body = "<!DOCTYPE html>\n<html lang=en>\n<title>Error 404 (Not Found)!!1</title>\n<p><b>404.</b> That’s an error.</html>\n";
    page::answer(StatusCode::NOT_FOUND, "text/html; charset=UTF-8", body)
}

fn forbidden(text: &'static str) -> Response {
    page::answer(StatusCode::FORBIDDEN, "text/html; charset=UTF-8", text)
}

fn route(shared: &Shared, asked: &Asked) -> Response {
    // A request that a proxy passed on is not the machine's own.
    if asked.parts.headers.contains_key("x-forwarded-for") {
        return forbidden("Forbidden");
    }
    match asked.header("metadata-flavor") {
        None => return forbidden("Missing required header \"Metadata-Flavor\": \"Google\""),
        Some("Google") => {}
        Some(_) => return not_found(),
    }
    if !asked.is_read() {
        return page::text(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let path = asked.parts.uri.path();
    let Some(path) = path.strip_prefix("/computeMetadata/v1") else { return not_found() };
    match path {
        "/" => text("instance/\nproject/\nuniverse/\n"),
        "/instance/" => text("id\nregion\nservice-accounts/\nzone\n"),
        "/instance/service-accounts/" => text(format!("default/\n{GATEWAY}/\n")),
        "/instance/id" => text("00f1e2d3c4b5a69788796a5b4c3d2e1f"),
        "/instance/region" => text(format!("projects/{PROJECT_NUMBER}/regions/europe-west1")),
        "/instance/zone" => text(format!("projects/{PROJECT_NUMBER}/zones/europe-west1-1")),
        "/project/" => text("numeric-project-id\nproject-id\n"),
        "/project/project-id" => text(PROJECT),
        "/project/numeric-project-id" => text(PROJECT_NUMBER),
        "/universe/" => text("universe-domain\n"),
        "/universe/universe-domain" => text("googleapis.com"),
        "" | "/instance" | "/instance/service-accounts" | "/project" | "/universe" => with_slash(asked),
        _ => match path.strip_prefix("/instance/service-accounts/") {
            Some(rest) => service_account(shared, asked, rest),
            None => not_found(),
        },
    }
}

/// A directory without its slash is told where it is.
fn with_slash(asked: &Asked) -> Response {
    let mut response = page::text(StatusCode::MOVED_PERMANENTLY, "");
    let query = asked.parts.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    page::set(&mut response, LOCATION, &format!("{}/{query}", asked.parts.uri.path()));
    response
}

fn service_account(shared: &Shared, asked: &Asked, rest: &str) -> Response {
    let (name, what) = rest.split_once('/').map_or((rest, None), |(name, what)| (name, Some(what)));
    if name != "default" && name != GATEWAY {
        return not_found();
    }
    let Some(account) = shared.account(GATEWAY) else { return not_found() };
    match what {
        None => with_slash(asked),
        Some("") if asked.parameter("recursive").is_some_and(|value| value.eq_ignore_ascii_case("true")) => {
            let body = json!({"aliases": ["default"], "email": account.email, "scopes": SCOPES});
            page::answer(StatusCode::OK, "application/json", body.to_string())
        }
        Some("") => text("aliases\nemail\nidentity\nscopes\ntoken\n"),
        Some("email") => text(account.email.clone()),
        Some("aliases") => text("default\n"),
        Some("scopes") => text(format!("{}\n", SCOPES.join("\n"))),
        Some("token") => token(shared, asked, account),
        Some("identity") => identity(shared, asked, account),
        Some(_) => not_found(),
    }
}

fn token(shared: &Shared, asked: &Asked, account: &Person) -> Response {
    let lifetime = shared.lifetime();
    let scope =
        asked.parameter("scopes").map(|scopes| scopes.replace(',', " ")).unwrap_or_else(|| SCOPES.join(" "));
    let spec = AccessTokenSpec { scope, lifetime, ..AccessTokenSpec::service_account(account) };
    let token = shared.grants.issue(&spec, asked.now);
    let body = json!({"access_token": token, "expires_in": lifetime.as_secs(), "token_type": "Bearer"});
    page::answer(StatusCode::OK, "application/json", body.to_string())
}

fn identity(shared: &Shared, asked: &Asked, account: &Person) -> Response {
    let Some(audience) = asked.parameter("audience").filter(|audience| !audience.is_empty()) else {
        return page::answer(
            StatusCode::BAD_REQUEST,
            "text/html; charset=UTF-8",
            "non-empty audience parameter required\n",
        );
    };
    let full = match asked.parameter("format").as_deref() {
        None | Some("standard") => false,
        Some("full") => true,
        Some(_) => {
            return page::answer(StatusCode::BAD_REQUEST, "text/html; charset=UTF-8", "invalid format\n");
        }
    };
    let claims = minted_claims(account, &audience, full, asked.now, shared.lifetime());
    let token = shared.keys.sign(&shared.keys.header(), &claims);
    page::answer(StatusCode::OK, "text/html", token)
}
