//! What callers may ask for, and what becomes of those who ask for more: the others do not notice.

mod connections;
mod floods;
mod messages;
mod rates;
mod slow;

use std::cell::Cell;

use crate::harness::answer::Answer;
use crate::harness::gateway::{Gateway, Setup};
use crate::harness::glue;
use crate::harness::http::Client;
use crate::harness::upstream::Upstream;

/// Most memory in MiB that a gateway, not optimised, may take whatever callers do. Without callers it takes about 60.
const MEMORY: u64 = 320;

/// The size that was asked for with `PORTCULLIS_FULL_LOAD`, or else one that takes seconds.
#[expect(clippy::disallowed_methods, reason = "asks for the long form of a test")]
fn size(full: usize, short: usize) -> usize {
    if std::env::var_os("PORTCULLIS_FULL_LOAD").is_some() { full } else { short }
}

/// A gateway with limits, everything open, before one upstream.
fn open(limits: &str, location: &str) -> (Upstream, Gateway) {
    logged("none", limits, location)
}

/// The same, with lines in the log.
fn logged(requests: &str, limits: &str, location: &str) -> (Upstream, Gateway) {
    let up = Upstream::start();
    let gateway = Setup::new(&format!(
        "log: {{ format: text, level: info, requests: {requests} }}
trusted_hops: 1
limits: {{ {limits} }}
upstreams: {{ up: {{ url: '{}', audience: none }} }}
locations:
  - {{ path: /, access: public, upstream: up }}
  - {{ path: /at, access: public, upstream: up, limits: {{ {location} }} }}
",
        up.url()
    ));
    (up, gateway.start())
}

/// The gateway answers others as before, and its memory has stayed within bounds.
async fn is_well(gateway: &Gateway, what: &str) {
    let response = Client::new(gateway.address()).get("/well").send().await;
    assert_eq!(response.status, 200, "after {what}");
    assert!(gateway.alive(), "{what}");
    let peak = gateway.peak_memory() / 1024;
    assert!(peak < MEMORY, "{what}: {peak} MiB");
}

/// Memory that the gateway took at most, in KiB.
fn took(gateway: &Gateway) -> usize {
    usize::try_from(gateway.peak_memory()).unwrap()
}

/// Does something while others ask all the time, the first of them before it begins. Each of their answers is right, and
/// none of them gives up.
async fn meanwhile<T>(gateway: &Gateway, work: impl Future<Output = T>) -> T {
    let client = Client::new(gateway.address());
    let over = Cell::new(false);
    let others = async {
        while !over.get() {
            assert_eq!(client.get("/other").send().await.status, 200, "another caller");
            tokio::task::yield_now().await;
        }
    };
    let work = async {
        let done = work.await;
        over.set(true);
        done
    };
    let ((), done) = tokio::join!(others, work);
    done
}

/// An answer that is larger than what anybody holds on the way.
fn much() -> Answer {
    Answer::new(200, vec![b'x'; 8 << 20])
}

/// Health is told to everybody at any time.
async fn health(gateway: &Gateway) -> u16 {
    Client::new(gateway.address()).get(glue::HEALTH).send().await.status.as_u16()
}
