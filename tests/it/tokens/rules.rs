//! What a token was good for elsewhere says nothing here (CVE-2021-32701, CVE-2026-33496).

use portcullis::dev::google::Options;

use super::{ADA, FORBIDDEN};
use crate::harness::gateway::Setup;
use crate::harness::http::Client;
use crate::harness::upstream::Upstream;
use crate::harness::world::{PARTNER, Plan, World, stand_in};

const GRACE: &str = "grace@example.com";
const BOB: &str = "bob@example.com";

const LOCATIONS: &str = "
  - { path: /ada, access: google, allow: { emails: [ada@example.com] }, upstream: up }
  - { path: /other, access: google, allow: { domains: [other.example] }, upstream: up }
  - { path: /robots, access: google, allow: { service_accounts: [robot@example-project.iam.gserviceaccount.com] }, upstream: up }
  - { path: /workspace, access: google, allow: { domains: [example.com], workspace_only: true }, upstream: up }
  - { path: /both, access: google, allow: { domains: [example.com], emails: [bob@example.com], workspace_only: true }, upstream: up }
";

fn world() -> World {
    Plan { locations: LOCATIONS, further: "login: { flow: id_token }\n".to_owned(), ..Plan::default() }
        .start()
}

#[tokio::test]
async fn the_rule_is_asked_on_every_request() {
    let world = world();
    for token in [world.access(GRACE), world.id_token(GRACE, |_| {})] {
        let mut table = world.table();
        for round in 0..3 {
            table.passes("lax", world.client().get("/x").bearer(&token)).await;
            for path in ["/ada", "/ada/x", "/other", "/robots"] {
                let name = format!("{path} in round {round}");
                table.refused(&name, world.client().get(path).bearer(&token), FORBIDDEN.0, FORBIDDEN.1).await;
                table
                    .refused(&name, world.client().get(path).session(&token), FORBIDDEN.0, FORBIDDEN.1)
                    .await;
            }
        }
        table.finish().await;
    }
    // The other way round: being refused here is no reason to be refused there.
    let token = world.access("mallory@other.example");
    let mut table = world.table();
    for _ in 0..2 {
        table.refused("strict first", world.client().get("/ada").bearer(&token), 403, "forbidden").await;
        table.passes("then the right one", world.client().get("/other").bearer(&token)).await;
        table.refused("and the lax one", world.client().get("/x").bearer(&token), 403, "forbidden").await;
    }
    table.finish().await;
}

/// A consumer account on a company's address survives its owner's leaving: it has no `hd`.
#[tokio::test]
async fn a_workspace_is_asked_for_where_it_is_meant() {
    let world = world();
    let mut table = world.table();
    let get = |path: &str, token: &str| world.client().get(path).bearer(token);
    table.passes("a member", get("/workspace", &world.id_token(ADA, |_| {}))).await;
    let bob = world.id_token(BOB, |_| {});
    table.refused("no hd", get("/workspace", &bob), 403, "forbidden").await;
    table.passes("no hd, where it is not asked for", get("/x", &bob)).await;
    table.passes("no hd, but by name", get("/both", &bob)).await;
    // Access tokens never carry it, so they never prove it.
    table.refused("an access token", get("/workspace", &world.access(ADA)), 403, "forbidden").await;
    table
        .passes(
            "a member's spelling",
            get("/workspace", &world.id_token(ADA, |c| c["hd"] = "EXAMPLE.com".into())),
        )
        .await;
    for hd in [
        "example.com.evil.test",
        "evilexample.com",
        "sub.example.com",
        "other.example",
        "",
        "*",
        " example.com",
    ] {
        let token = world.id_token(ADA, |claims| claims["hd"] = hd.into());
        table.refused(&format!("hd {hd:?}"), get("/workspace", &token), 403, "forbidden").await;
    }
    let token = world.id_token(ADA, |claims| claims["hd"] = serde_json::json!(["example.com"]));
    table.refused("hd as a list", get("/workspace", &token), 403, "forbidden").await;
    table.finish().await;
}

/// What one gateway accepts for its clients, another with other clients does not.
#[tokio::test]
async fn another_gateway_with_another_client_refuses_the_same_string() {
    let (google, _task) = stand_in(Options::default());
    let upstream = Upstream::start();
    let yaml = Plan::default().yaml(&google, &upstream);
    let other = yaml
        .replace(portcullis::dev::google::CLIENT_ID, "9999-other.apps.googleusercontent.com")
        .replace(&format!("  accepted_clients: [{PARTNER}]\n"), "");
    let (one, two) = (Setup::new(&yaml).start(), Setup::new(&other).start());
    let ada = google.account(ADA).unwrap();
    let spec = portcullis::dev::google::AccessTokenSpec::person(ada, portcullis::dev::google::CLIENT_ID);
    let tokens = [
        google.issue_access_token(&spec),
        google.issue_id_token(&google.claims(ada, portcullis::dev::google::CLIENT_ID), None),
        google.issue_id_token(&google.claims(ada, PARTNER), None),
    ];
    for token in &tokens {
        assert_eq!(Client::new(one.address()).get("/x").bearer(token).send().await.status, 200);
        upstream.forget();
        assert_eq!(Client::new(two.address()).get("/x").bearer(token).send().await.status, 401);
        upstream.assert_untouched();
    }
    // The refusal there has not spoilt it here.
    for token in &tokens {
        assert_eq!(Client::new(one.address()).get("/x").bearer(token).send().await.status, 200);
    }
}
