//! Requests are shared out among addresses, and those that fail are left out.

use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::Semaphore;

use super::setup;
use crate::harness::answer::{Answer, Step};
use crate::harness::background::{Task, spawn, within};
use crate::harness::gateway::Gateway;
use crate::harness::http::Client;
use crate::harness::raw::Raw;
use crate::harness::upstream::Upstream;
use crate::harness::world::closed;

fn settings(upstreams: &[&Upstream], more: &str) -> String {
    let list: Vec<String> = upstreams.iter().map(|upstream| format!("'{}'", upstream.address())).collect();
    format!("url: 'http://app.internal', addresses: [{}]{more}", list.join(", "))
}

async fn gets(gateway: &Gateway, count: usize) {
    for number in 0..count {
        let response = Client::new(gateway.address()).get(&format!("/{number}")).send().await;
        assert_eq!(response.status, 200, "{number}: {}", response.text());
    }
}

#[tokio::test]
async fn addresses_take_turns() {
    let upstreams = [Upstream::start(), Upstream::start(), Upstream::start()];
    let gateway = setup(&settings(&[&upstreams[0], &upstreams[1], &upstreams[2]], "")).start();
    gets(&gateway, 30).await;
    assert_eq!(upstreams.each_ref().map(Upstream::count), [10, 10, 10]);
    let host = upstreams[0].last().header("host");
    assert_eq!(host.as_deref(), Some("app.internal"), "the URL names the service");
}

#[tokio::test]
async fn an_address_that_fails_costs_no_request_and_comes_back() {
    let (one, two) = (Upstream::start(), Upstream::start());
    // Nothing else of this machine listens on this address, so that its port stays free in between.
    let three = Upstream::at(SocketAddr::from(([127, 0, 0, 2], 0)));
    let gateway = setup(&settings(&[&one, &two, &three], "")).start();
    gets(&gateway, 6).await;
    assert_eq!(three.count(), 2);
    let address = three.address();
    drop(three);
    gets(&gateway, 20).await;
    let client = Client::new(gateway.address());
    let responses = join_all((0..20).map(|_| client.post("/x", "body").send())).await;
    assert!(responses.iter().all(|response| response.status == 200));
    assert_eq!(one.count() + two.count(), 44);
    gateway.says(&format!("{address} is avoided, because it cannot be reached"));
    let three = Upstream::at(address);
    within("the address to be used again", async {
        while three.count() < 3 {
            gets(&gateway, 1).await;
        }
    })
    .await;
    gateway.says(&format!("{address} is reached again"));
}

#[tokio::test]
async fn all_methods_go_on_to_another_address_while_nothing_was_sent() {
    let up = Upstream::start();
    let settings = format!("url: 'http://app.internal', addresses: ['{}', '{}']", closed(), up.address());
    let gateway = setup(&settings).start();
    for method in ["POST", "PATCH", "GET", "PUT"] {
        let response = Client::new(gateway.address()).call(method, "/x").body("hello").send().await;
        assert_eq!(response.status, 200, "{method}");
        assert_eq!((up.last().method(), up.last().body()), (method.to_owned(), &b"hello"[..]));
    }
    assert_eq!(up.count(), 4);
}

#[tokio::test]
async fn when_no_address_answers_the_caller_hears_it() {
    let settings = format!("url: 'http://app.internal', addresses: ['{}', '{}']", closed(), closed());
    let gateway = setup(&settings).start();
    for _ in 0..3 {
        let response = Client::new(gateway.address()).get("/x").send().await;
        assert_eq!((response.status.as_u16(), response.code().as_str()), (502, "upstream_unreachable"));
    }
}

#[tokio::test]
async fn the_fewest_connections_come_first() {
    let (one, two) = (Upstream::start(), Upstream::start());
    let gate = Arc::new(Semaphore::new(0));
    for upstream in [&one, &two] {
        let gate = Arc::clone(&gate);
        upstream.on("/slow", move |_| {
            let end = b"HTTP/1.1 200 OK\r\nX-Answered-By: upstream\r\nContent-Length: 0\r\n\r\n".to_vec();
            Answer::Steps(vec![Step::Gate(Arc::clone(&gate)), Step::Bytes(end)])
        });
    }
    let gateway = setup(&settings(&[&one, &two], ", balance: least_connections")).start();
    let client = Client::new(gateway.address());
    let held: Task = spawn(async move {
        client.get("/slow").send().await;
    });
    crate::harness::background::eventually("the slow request", || one.count() + two.count() == 1).await;
    let (slow, quick) = if one.count() == 1 { (&one, &two) } else { (&two, &one) };
    // On one connection, where a request begins when the one before has ended for the gateway as well: until then both
    // addresses have as many.
    let mut kept = Raw::connect(gateway.address()).await;
    for number in 0..10 {
        kept.send(format!("GET /{number} HTTP/1.1\r\nHost: gateway.example\r\n\r\n")).await;
        assert_eq!(kept.response().await.status, 200);
    }
    assert_eq!((slow.count(), quick.count()), (1, 10));
    gate.add_permits(1);
    within("the slow one to be used again", async {
        while slow.count() < 3 {
            gets(&gateway, 1).await;
        }
    })
    .await;
    drop(held);
}
