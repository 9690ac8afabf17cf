//! Upstreams behind Unix sockets.

use std::path::Path;

use tokio::net::{TcpStream, UnixListener};

use super::setup;
use crate::harness::answer::Answer;
use crate::harness::background::{Task, spawn, started};
use crate::harness::http::Client;
use crate::harness::upstream::Upstream;
use crate::harness::websocket;
use crate::protocols::websocket::converse;

/// Passes what comes over a socket on to an upstream.
fn relay(path: &Path, upstream: &Upstream) -> Task {
    let (path, address) = (path.to_owned(), upstream.address());
    let listener = started(async move { UnixListener::bind(path).unwrap() });
    spawn(async move {
        let mut relays = tokio::task::JoinSet::new();
        while let Ok((mut outer, _)) = listener.accept().await {
            relays.spawn(async move {
                let mut inner = TcpStream::connect(address).await.unwrap();
                drop(tokio::io::copy_bidirectional(&mut outer, &mut inner).await);
            });
        }
    })
}

#[tokio::test]
async fn requests_and_websockets_pass_through_a_socket() {
    let up = Upstream::start();
    up.on("/ws", |request| Answer::websocket(&request.header("sec-websocket-key").unwrap()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.sock");
    let _relay = relay(&path, &up);
    let settings = format!("url: 'http://localhost', addresses: ['unix:{}']", path.display());
    let gateway = setup(&settings).start();
    for number in 0..3 {
        let response = Client::new(gateway.address()).post(&format!("/{number}"), "hello").send().await;
        assert_eq!(response.status, 200, "{}", response.text());
        assert_eq!(up.last().header("host").as_deref(), Some("localhost"));
        assert_eq!(up.last().body(), b"hello");
    }
    assert_eq!(up.connections(), 1, "connections to sockets are kept as well");
    converse(websocket::connect(gateway.address(), "/ws", &[]).await.unwrap()).await;
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_an_upstream_that_is_down() {
    let gateway = setup("url: 'http://localhost', addresses: ['unix:/nonexistent/app.sock']").start();
    let response = Client::new(gateway.address()).get("/x").send().await;
    assert_eq!((response.status.as_u16(), response.code().as_str()), (502, "upstream_unreachable"));
    assert_eq!(websocket::connect(gateway.address(), "/ws", &[]).await.err(), Some(502));
}
