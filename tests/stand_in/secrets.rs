//! Secret Manager over REST.

use portcullis::dev::google::{AccessTokenSpec, GATEWAY, ROBOT, StandIn, VersionState};
use serde_json::json;

use super::{get, send, stand_in};

const SECRET: &str = "projects/example-project/secrets/slack";

/// The header that opens Google's APIs.
pub(super) fn bearer(google: &StandIn, email: &str) -> String {
    let spec = AccessTokenSpec::service_account(google.account(email).unwrap());
    format!("Authorization: Bearer {}\r\n", google.issue_access_token(&spec))
}

#[tokio::test]
async fn versions_are_read_in_googles_form() {
    let (google, address) = stand_in().await;
    let token = bearer(&google, GATEWAY);
    let path = |version: &str| format!("/v1/{SECRET}/versions/{version}:access");
    assert_eq!(google.add_secret_version(SECRET, b"123456789"), 1);
    assert_eq!(google.add_secret_version(SECRET, b"my super secret data"), 2);
    let latest = get(address, &path("latest"), &token).await;
    assert_eq!(latest.status, 200);
    let expected = json!({
        "name": "projects/123456789012/secrets/slack/versions/2",
        "payload": {"data": "bXkgc3VwZXIgc2VjcmV0IGRhdGE=", "dataCrc32c": "2525891252"},
    });
    assert_eq!(latest.json(), expected);
    assert_eq!(get(address, &path("1"), &token).await.json()["payload"]["dataCrc32c"], "3808858755");
    let by_number = path("2").replace("example-project", "123456789012");
    assert_eq!(get(address, &by_number, &token).await.json(), expected);
}

#[tokio::test]
async fn errors_are_googles() {
    let (google, address) = stand_in().await;
    let token = bearer(&google, GATEWAY);
    let path = format!("/v1/{SECRET}/versions/latest:access");
    let is = |answer: super::Answer, status: u16, name: &str, text: &str| {
        let error = answer.json()["error"].clone();
        assert_eq!((answer.status, &error["code"], &error["status"]), (status, &json!(status), &json!(name)));
        assert!(error["message"].as_str().unwrap().contains(text), "{error}");
    };
    is(get(address, &path, &token).await, 404, "NOT_FOUND", "not found or has no versions");
    google.add_secret_version(SECRET, b"v");
    is(get(address, &path, "").await, 401, "UNAUTHENTICATED", "missing");
    is(get(address, &path, "Authorization: Bearer x\r\n").await, 401, "UNAUTHENTICATED", "invalid");
    is(get(address, &path, &bearer(&google, ROBOT)).await, 403, "PERMISSION_DENIED", "scopes");
    assert_eq!(send(address, "POST", &path, &token, "").await.status, 405);
    for (state, text) in [(VersionState::Disabled, "DISABLED"), (VersionState::Destroyed, "DESTROYED")] {
        assert!(google.set_secret_version(SECRET, 1, state));
        is(get(address, &path, &token).await, 400, "FAILED_PRECONDITION", text);
    }
    assert!(google.set_secret_version(SECRET, 1, VersionState::Enabled));
    assert!(!google.set_secret_version(SECRET, 2, VersionState::Enabled));
    google.deny_secret(SECRET, true);
    is(get(address, &path, &token).await, 403, "PERMISSION_DENIED", "secretmanager.versions.access");
    google.deny_secret(SECRET, false);
    google.damage_secret(SECRET, true);
    let damaged = get(address, &path, &token).await.json()["payload"]["dataCrc32c"].clone();
    google.damage_secret(SECRET, false);
    assert_ne!(get(address, &path, &token).await.json()["payload"]["dataCrc32c"], damaged);
    assert!(google.delete_secret(SECRET) && !google.delete_secret(SECRET));
    assert_eq!(get(address, &path, &token).await.status, 404);
}
