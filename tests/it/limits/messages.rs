//! The memory of bodies that the gateway reads itself.

use crate::harness::background::within;
use crate::harness::gateway::Setup;
use crate::harness::http::Client;
use crate::harness::raw::Raw;
use crate::harness::upstream::Upstream;

#[tokio::test]
async fn bodies_share_a_room_and_who_finds_none_is_told_to_come_again() {
    let up = Upstream::start();
    let yaml = format!(
        "limits: {{ buffered: 64KiB }}
secrets: {{ key: {{ env: KEY }} }}
upstreams: {{ up: {{ url: '{}', audience: none }} }}
locations:
  - {{ path: /hook, access: webhook, webhook: {{ hmac: {{ secret: key, header: x-signature }} }}, max_body: 48KiB, upstream: up }}
  - {{ path: /, access: public, upstream: up }}
",
        up.url()
    );
    let gateway = Setup::new(&yaml).env("KEY", "0123456789abcdef0123456789abcdef").start();
    let client = Client::new(gateway.address());
    let body = "x".repeat(40 * 1024);
    let post = || client.post("/hook", body.clone()).header("x-signature", "00").send();
    assert_eq!(post().await.status, 403, "read, and not signed");
    // A claim takes no room.
    let mut claims = Vec::new();
    for _ in 0..20 {
        let mut raw = Raw::connect(gateway.address()).await;
        raw.send("POST /hook HTTP/1.1\r\nHost: gw\r\nX-Signature: 00\r\nContent-Length: 40960\r\n\r\n").await;
        claims.push(raw);
    }
    assert_eq!(post().await.status, 403);
    // Bytes do.
    claims[0].send(&body[..40_000]).await;
    let refused = within("the room to be taken", async {
        loop {
            let response = post().await;
            if response.status != 403 {
                break response;
            }
        }
    })
    .await;
    assert_eq!((refused.status.as_u16(), refused.code().as_str()), (503, "buffers_full"));
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(client.post("/open", body.clone()).send().await.status, 200, "what passes through takes none");
    claims[0].send(&body[40_000..]).await;
    assert_eq!(claims[0].response().await.status, 403);
    assert_eq!(post().await.status, 403, "there is room again");
}
