//! How many connections there may be, and how little ten thousand of them take that ask for nothing.

use futures_util::future::join_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{health, meanwhile, open, size, took};
use crate::harness::gateway::Setup;
use crate::harness::raw::Raw;
use crate::harness::upstream::Upstream;

const GET: &str = "GET /x HTTP/1.1\r\nHost: gw\r\n\r\n";

/// Whether a new connection is served, or closed without a word.
async fn is_served(address: std::net::SocketAddr) -> bool {
    let mut raw = Raw::connect(address).await;
    drop(raw.try_send(GET).await);
    raw.response_or_end("GET").await.is_ok()
}

#[tokio::test]
async fn above_the_limit_connections_are_closed() {
    let (_up, gateway) = open("connections: 3", "");
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send(GET).await;
        assert_eq!(raw.response().await.status, 200);
        held.push(raw);
    }
    for _ in 0..5 {
        assert!(!is_served(gateway.address()).await, "a fourth");
    }
    held[0].send(GET).await;
    assert_eq!(held[0].response().await.status, 200, "who was there stays");
    drop(held.pop());
    crate::harness::background::within("a place", async { while !is_served(gateway.address()).await {} })
        .await;
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_others_have_theirs() {
    let up = Upstream::start();
    let yaml = format!(
        "limits: {{ connections_per_address: 2 }}\nupstreams: {{ up: {{ url: '{}', audience: none }} }}\n\
         locations: [{{ path: /, access: public, upstream: up }}]\n",
        up.url()
    );
    let gateway = Setup::new(&yaml).start();
    let _held = [Raw::connect(gateway.address()).await, Raw::connect(gateway.address()).await];
    let served = crate::harness::background::within("the two to be counted", async {
        while is_served(gateway.address()).await {}
    });
    served.await;
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = socket.connect(gateway.address()).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut other, GET.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    tokio::io::AsyncReadExt::read_exact(&mut other, &mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200");
}

#[tokio::test]
async fn ten_thousand_connections_that_ask_for_nothing() {
    // Before the gateway starts, which inherits it.
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    let count = size(10_000, 2_000);
    let (_up, gateway) = open("idle: 1h", "");
    let address = gateway.address();
    let open_all = async {
        let mut held = Vec::new();
        for batch in 0..count / 100 {
            let connect = (0..100).map(|number| async move {
                let mut raw = Raw::connect(address).await;
                match number % 4 {
                    0 => {}
                    1 => raw.send("GET /x HTT").await,
                    2 => raw.send("GET /x HTTP/1.1\r\nHost: gw\r\nX-Slow: ").await,
                    _ => {
                        raw.send(GET).await;
                        assert_eq!(raw.response().await.status, 200, "batch {batch}");
                    }
                }
                raw
            });
            held.extend(join_all(connect).await);
        }
        held
    };
    let mut held = meanwhile(&gateway, open_all).await;
    assert_eq!((held.len(), health(&gateway).await), (count, 200));
    // Not optimised, a connection takes about 35 KiB.
    let each = took(&gateway) / count;
    assert!(each < 56 + 64 * 1024 / count, "{each} KiB a connection");
    // Who has waited so long is served like everybody.
    let last = held.len() - 1;
    held[last].send(GET).await;
    assert_eq!(held[last].response().await.status, 200);
}
