//! Starting, and refusing to: exit code 2 for what the operator wrote, 1 for what the machine does not allow.

use std::net::TcpListener;

use crate::harness::gateway::{Gateway, Setup};
use crate::harness::glue::HEALTH;
use crate::harness::http::Client;
use crate::harness::upstream::Upstream;

const PLAIN: &str = "upstreams:\n  up: { url: 'http://127.0.0.1:9', audience: none }\nlocations:\n  - { path: /, access: public, upstream: up }\n";

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn run(setup: Setup, file: &str) -> Setup {
    setup.arguments(&["run", "--config", file])
}

#[tokio::test]
async fn the_port_of_the_environment_is_honoured() {
    let upstream = Upstream::start();
    let yaml = format!("version: 1\n{}", PLAIN.replace("http://127.0.0.1:9", &upstream.url()));
    let port = free_port();
    let setup = Setup::new(PLAIN).file("own.yaml", &yaml).env("PORT", &port.to_string());
    let gateway = run(setup, "own.yaml").start();
    assert_eq!(gateway.address().port(), port);
    assert!(gateway.address().ip().is_unspecified(), "reachable from outside the container");
    let address = ([127, 0, 0, 1], port).into();
    assert_eq!(Client::new(address).get(HEALTH).send().await.status, 200);
    assert_eq!(Client::new(address).get("/x").send().await.status, 200);
}

#[tokio::test]
async fn the_file_of_the_environment_is_used_and_health_needs_nobody() {
    let yaml = format!("version: 1\nlisten: 127.0.0.1:0\n{PLAIN}");
    let setup = Setup::new(PLAIN).file("else/where.yaml", &yaml).env("PORTCULLIS_CONFIG", "else/where.yaml");
    let gateway = setup.arguments(&["run"]).start();
    let response = Client::new(gateway.address()).get(HEALTH).send().await;
    assert_eq!(response.status, 200);
    assert_eq!(response.json(), serde_json::json!({"status": "ok"}));
    assert_eq!(response.header("cache-control"), Some("no-store"));
}

fn refused(gateway: &Gateway, code: i32, says: &str) {
    let (got, _) = gateway.wait();
    let output = gateway.output();
    assert_eq!(got, code, "{says}: {output}");
    assert!(output.contains(says), "{says:?} is not in:\n{output}");
    assert!(!output.contains("listening on"), "{output}");
}

#[test]
fn a_file_that_is_not_there_or_cannot_be_read() {
    refused(&run(Setup::new(PLAIN), "missing.yaml").launch(), 2, "missing.yaml");
    refused(&Setup::new(PLAIN).arguments(&["run"]).launch(), 2, "conf/portcullis.yaml");
    refused(&run(Setup::new(PLAIN), ".").launch(), 2, ".");
    refused(
        &run(Setup::new(PLAIN).file("bad.yaml", b"\xff\xfe\x00version: 1"), "bad.yaml").launch(),
        2,
        "bad.yaml",
    );
    refused(&run(Setup::new(PLAIN).file("empty.yaml", ""), "empty.yaml").launch(), 2, "empty.yaml");
}

#[test]
fn every_problem_is_named_with_its_place_and_nothing_starts() {
    let yaml = "version: 1\nlisten: 127.0.0.1:0\nlsten: 1\nupstreams:\n  up: { url: 'http://127.0.0.1:9', audience: none }\nlocations:\n  - { path: /, upstream: up }\n  - { path: /x, access: public, upstream: down }\n";
    let gateway = run(Setup::new(PLAIN).file("p.yaml", yaml), "p.yaml").launch();
    refused(&gateway, 2, "p.yaml:3:1: unknown key `lsten`");
    let output = gateway.output();
    assert!(output.contains("p.yaml:7:5: locations[0].access: "), "{output}");
    assert!(output.contains("p.yaml:8:43: locations[1].upstream: "), "{output}");
    assert!(output.contains("3 problems; nothing was started"), "{output}");
    for (yaml, says) in [
        ("version: 1\nlocations: [\n", "y.yaml:"),
        ("version: 2\n", "y.yaml:1:10: version: "),
        ("version: 1\nlisten: 127.0.0.1:${NOWHERE}\n", "y.yaml:2:9: listen: "),
    ] {
        refused(&run(Setup::new(PLAIN).file("y.yaml", yaml), "y.yaml").launch(), 2, says);
    }
}

#[test]
fn a_port_that_is_taken_ends_the_process() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let listen = format!("listen: {address}\n{PLAIN}");
    refused(&Setup::new(&listen).launch(), 1, &format!("cannot listen on {address}"));
    let admin = format!("admin: {address}\n{PLAIN}");
    refused(&Setup::new(&admin).launch(), 1, &format!("cannot listen on {address}"));
    drop(taken);
    let foreign = format!("listen: 192.0.2.1:8080\n{PLAIN}");
    refused(&Setup::new(&foreign).launch(), 1, "cannot listen on 192.0.2.1:8080");
}
