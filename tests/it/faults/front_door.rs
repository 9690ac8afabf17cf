//! Answers of Cloud Run's own front door mean that our token was refused, which is not the caller's fault; those
//! of the service behind it are the caller's business.

use portcullis::dev::google::Endpoint;

use crate::harness::answer::Answer;
use crate::harness::world::{Plan, World};

const CHALLENGE: &str =
    "Bearer error=\"invalid_token\" error_description=\"The access token could not be verified\"";
const PAGE: &str = "<html><title>403 Forbidden</title>Your client does not have permission to get URL <code>/x</code> from this server.</html>";

fn refused(status: u16) -> Answer {
    let answer = Answer::new(status, PAGE)
        .header("Content-Type", "text/html; charset=UTF-8")
        .header("Server", "Google Frontend");
    if status == 401 { answer.header("WWW-Authenticate", CHALLENGE) } else { answer }
}

#[tokio::test]
async fn a_refusal_of_our_token_is_a_fault_of_the_gateway() {
    let world = World::start();
    for status in [401, 403] {
        world.upstream.on("/public/x", move |_| refused(status));
        world.upstream.forget();
        let response = world.client().get("/public/x").send().await;
        assert_eq!(response.status, 502, "{status}");
        assert_eq!(response.code(), "upstream_refused_token", "{status}");
        assert!(response.header("www-authenticate").is_none(), "a program must not refresh its own token");
        assert!(!response.text().contains("permission to get"), "{}", response.text());
        let page = world.client().get("/public/x").navigation().send().await;
        assert_eq!(page.status, 502);
        assert!(page.text().contains("upstream_refused_token"));
        world.gateway.says("roles/run.invoker");
    }
    // A token that is always refused is not minted anew for every request.
    assert!(world.google.calls(Endpoint::Metadata) <= 2, "{} mints", world.google.calls(Endpoint::Metadata));
    assert_eq!(world.client().get("/public/y").send().await.status, 200);
}

/// A name, a status, and header lines.
type Row = (&'static str, u16, Vec<(&'static str, &'static str)>);

#[tokio::test]
async fn the_services_own_refusals_pass_untouched() {
    let world = World::start();
    let basic = "Basic realm=\"x\"";
    let other = "Bearer error=\"invalid_token\", error_description=\"The token expired\"";
    let rows: Vec<Row> = vec![
        ("a bare 401", 401, vec![]),
        ("basic", 401, vec![("WWW-Authenticate", basic)]),
        ("the service's own bearer", 401, vec![("WWW-Authenticate", other)]),
        ("a bare 403", 403, vec![]),
        ("403 in HTML", 403, vec![("Content-Type", "text/html")]),
        (
            "403 in JSON through the front end",
            403,
            vec![("Content-Type", "application/json"), ("Server", "Google Frontend")],
        ),
        (
            "403 in HTML from the service, through the front end",
            403,
            vec![
                ("Content-Type", "text/html"),
                ("Server", "Google Frontend"),
                ("X-Cloud-Trace-Context", "0/0;o=1"),
            ],
        ),
        ("404", 404, vec![]),
        ("500", 500, vec![]),
    ];
    for (name, status, headers) in rows {
        let scripted: Vec<(String, String)> =
            headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        world.upstream.on("/public/x", move |_| {
            let answer = Answer::new(status, "the service's own words");
            scripted.iter().fold(answer, |answer, (name, value)| answer.header(name, value))
        });
        let response = world.client().get("/public/x").send().await;
        assert_eq!(response.status.as_u16(), status, "{name}");
        assert_eq!(response.text(), "the service's own words", "{name}");
        for (header, value) in headers {
            assert_eq!(response.header(header), Some(value), "{name}");
        }
    }
}

/// Where we send no token, whatever comes back is about the caller.
#[tokio::test]
async fn without_a_token_of_ours_even_the_front_door_speaks_to_the_caller() {
    let world = Plan { upstream: ", audience: none", ..Plan::default() }.start();
    for status in [401, 403] {
        world.upstream.on("/public/x", move |_| refused(status));
        let response = world.client().get("/public/x").send().await;
        assert_eq!(response.status.as_u16(), status);
        assert_eq!(response.text(), PAGE);
    }
}
