//! What the upstream gets is what the sender sent, byte for byte, and nothing that the sender may not say.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};

use super::kit::{DISK, delivered, github, hex, hook, kept, plan, tag, world};
use crate::harness::answer::Answer;
use crate::harness::canary;
use crate::harness::glue::minted_for;
use crate::harness::raw;
use crate::harness::world::World;

pub(super) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Sends exactly these header lines with a body that is signed.
async fn send_raw(world: &World, target: &str, lines: &[u8], body: &[u8]) -> u16 {
    let signature = hex(&tag(canary::secret(), &[body]));
    let mut bytes = format!(
        "POST {target} HTTP/1.1\r\nHost: gw\r\nX-Hub-Signature-256: sha256={signature}\r\nContent-Length: {}\r\n",
        body.len()
    )
    .into_bytes();
    bytes.extend_from_slice(lines);
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    raw::once(world.gateway.address(), bytes).await.status
}

#[tokio::test]
async fn bodies_of_every_kind_arrive_as_they_were_sent() {
    let world = world(DISK, &[hook("/in", "")]);
    let mut deflated = DeflateEncoder::new(Vec::new(), Compression::default());
    deflated.write_all(b"{\"a\":1}").unwrap();
    let rows: Vec<(&str, &str, Vec<u8>)> = vec![
        ("", "", Vec::new()),
        ("application/json", "", b"{\"a\" : 1 }\r\n".to_vec()),
        ("application/json; charset=ISO-8859-1", "", b"{\"name\":\"J\xfcrgen\"}".to_vec()),
        ("text/plain;charset=\"utf-8\"; x=y", "", "Grüße".into()),
        ("application/octet-stream", "", (0..=255).cycle().take(100_000).collect()),
        ("application/x-www-form-urlencoded", "", b"a=1&a=2&b=%00%FF+".to_vec()),
        ("application/json", "gzip", gzip(b"{\"a\":1}")),
        ("application/json", "deflate", deflated.finish().unwrap()),
        ("application/json", "br", b"\x0b\x02\x80{}\x03".to_vec()),
        ("multipart/form-data; boundary=x", "", b"--x\r\n\r\n\0\n--x--".to_vec()),
        ("no media type at all", "", b"\r\n\r\n".to_vec()),
    ];
    for (number, (kind, encoding, body)) in rows.iter().enumerate() {
        let mut call = github(&world, &format!("/in/{number}"), body.clone());
        if !kind.is_empty() {
            call = call.header("content-type", kind);
        }
        if !encoding.is_empty() {
            call = call.header("content-encoding", encoding);
        }
        kept(call).await;
    }
    delivered(&world).await;
    let requests = world.upstream.requests();
    for (number, (kind, encoding, body)) in rows.iter().enumerate() {
        let path = format!("/in/{number}");
        let request = requests.iter().find(|it| it.path() == path).unwrap();
        assert_eq!(request.body(), body, "{number}");
        assert_eq!(request.headers().all("content-type").concat(), *kind, "{number}");
        assert_eq!(request.headers().all("content-encoding").concat(), *encoding, "{number}");
        assert_eq!(request.header("content-length"), Some(body.len().to_string()), "{number}");
    }
}

#[tokio::test]
async fn path_and_query_arrive_as_they_were_sent() {
    let world = world(
        DISK,
        &[
            hook("/in", ""),
            hook("/from/", ", rewrite: /to/"),
            hook("'= /one'", ", rewrite: /engine-rest/signal"),
        ],
    );
    for (sent, arrives) in [
        ("/in?", "/in?"),
        ("/in?a=1&a=2&b", "/in?a=1&a=2&b"),
        ("/in?x=%2F..%2f&y=%C3%BC+%20", "/in?x=%2F..%2f&y=%C3%BC+%20"),
        ("/in?u=https://evil.example/@x", "/in?u=https://evil.example/@x"),
        ("/in?a={b}|c^d`e", "/in?a={b}|c^d`e"),
        ("/in/%C3%BC/x%20y", "/in/%C3%BC/x%20y"),
        ("/in/a@b:c,d!e$f&g(h)*+=~-._", "/in/a@b:c,d!e$f&g(h)*+=~-._"),
        ("/from/a/b?q=1", "/to/a/b?q=1"),
        ("/one?q=1", "/engine-rest/signal?q=1"),
    ] {
        world.upstream.forget();
        assert_eq!(send_raw(&world, sent, b"", b"{}").await, 200, "{sent}");
        let request = world.upstream.received(1).await.remove(0);
        assert_eq!(request.target(), arrives, "{sent}");
        assert_eq!(request.method(), "POST");
    }
}

#[tokio::test]
async fn kept_headers_arrive_repeated_and_in_order_and_no_others_do() {
    let world = world(DISK, &[hook("/in", ", playback: { keep: [X-GitHub-Event, X-Odd, Accept-Language] }")]);
    let lines = b"X-GitHub-Event: push\r\nX-Odd: 1\r\nX-Odd: \xe4\xff 2\r\nx-odd: 1\r\nAccept-Language: de, en;q=0.5\r\n\
        X-Other: dropped\r\nAuthorization: Bearer sender\r\nCookie: a=b\r\nX-Forwarded-For: 10.9.9.9\r\n\
        X-Goog-Authenticated-User-Email: accounts.google.com:ceo@example.com\r\nX-Portcullis-Attempt: 99\r\n\
        Idempotency-Key: sender\r\nX-Serverless-Authorization: Bearer sender\r\nX-Request-Id: sender\r\n";
    assert_eq!(send_raw(&world, "/in", lines, b"{}").await, 200);
    let request = world.upstream.received(1).await.remove(0);
    let head = &request.message.headers;
    let odd: Vec<&[u8]> = head
        .0
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case(b"x-odd"))
        .map(|(_, value)| value.as_slice())
        .collect();
    assert_eq!(odd, [b"1".as_slice(), b"\xe4\xff 2", b"1"]);
    assert_eq!(head.all("x-github-event"), ["push"]);
    assert_eq!(head.all("accept-language"), ["de, en;q=0.5"]);
    assert_eq!(head.all("x-portcullis-attempt"), ["1"]);
    let mut names = head.folded_names();
    names.sort();
    names.dedup();
    for name in &names {
        let known = [
            "accept",
            "accept-encoding",
            "accept-language",
            "content-length",
            "host",
            "idempotency-key",
            "user-agent",
            "x-github-event",
            "x-odd",
            "x-portcullis-attempt",
            "x-request-id",
            "x-serverless-authorization",
        ];
        assert!(known.contains(&name.as_str()), "an unexpected header: {name}: {:?}", head.all(name));
    }
    assert!(!String::from_utf8_lossy(&request.message.head).contains("sender"));
    assert_eq!(head.all("host"), [world.upstream.address().to_string()]);
    let tokens = head.all("x-serverless-authorization");
    assert_eq!(tokens.len(), 1);
    assert_eq!(minted_for(&tokens[0]), Some(world.upstream.url()));
    let key = head.get("idempotency-key").unwrap();
    assert!(key.len() == 32 && key.bytes().all(|byte| byte.is_ascii_hexdigit()), "{key}");
}

#[tokio::test]
async fn methods_arrive_as_they_were_sent() {
    let world = world(DISK, &[hook("/in", "")]);
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
        let signature = format!("sha256={}", hex(&tag(canary::secret(), &[b"{}"])));
        let call = world.client().call(method, "/in").body("{}");
        kept(call.header("x-hub-signature-256", &signature)).await;
        world.upstream.received(1).await;
        let request = world.upstream.only();
        assert_eq!((request.method().as_str(), request.body()), (method, b"{}".as_slice()));
        delivered(&world).await;
        world.upstream.forget();
    }
}

#[tokio::test]
async fn each_upstream_gets_a_token_of_its_own() {
    let other = crate::harness::upstream::Upstream::start();
    let mut plan = plan(
        DISK,
        &[
            &hook("/one", ""),
            &hook("/two", "").replace("upstream: up", "upstream: other"),
            &hook("/three", "").replace("upstream: up", "upstream: bare"),
        ],
    );
    plan.upstreams = format!(
        "  other: {{ url: \"{0}\", audience: 'https://other.example', token_header: Authorization }}\n  bare: {{ url: \"{0}\", audience: none }}\n",
        other.url()
    );
    let world = plan.start();
    world.upstream.otherwise(|_| Answer::new(200, ""));
    for path in ["/one", "/two", "/three"] {
        kept(github(&world, path, "{}")).await;
    }
    delivered(&world).await;
    let one = world.upstream.only();
    let minted = |value: Option<String>| minted_for(&value.unwrap());
    assert_eq!(minted(one.header("x-serverless-authorization")), Some(world.upstream.url()));
    let requests = other.requests();
    let of = |path: &str| requests.iter().find(|it| it.path() == path).unwrap();
    assert_eq!(minted(of("/two").header("authorization")), Some("https://other.example".to_owned()));
    assert_eq!(of("/two").header("x-serverless-authorization"), None);
    let three = of("/three");
    assert_eq!((three.header("authorization"), three.header("x-serverless-authorization")), (None, None));
}

#[tokio::test]
async fn however_a_request_is_framed_the_message_is_the_same() {
    let world = world(DISK, &[hook("/in", "")]);
    let body: Vec<u8> = (0..=255).cycle().take(200_000).collect();
    let signature = hex(&tag(canary::secret(), &[&body]));
    let line = format!("sha256={signature}");
    let h2 = crate::harness::http::Client::h2(world.gateway.address());
    kept(h2.post("/in/h2?a=1", body.clone()).header("x-hub-signature-256", &line)).await;
    let mut chunked = raw::Raw::connect(world.gateway.address()).await;
    let head = format!("POST /in/chunked HTTP/1.1\r\nHost: gw\r\nX-Hub-Signature-256: {line}\r\n");
    chunked.send(format!("{head}Transfer-Encoding: chunked\r\n\r\n")).await;
    for chunk in body.chunks(7919) {
        chunked.send(format!("{:x}\r\n", chunk.len())).await;
        chunked.send(chunk).await;
        chunked.send("\r\n").await;
    }
    chunked.send("0\r\n\r\n").await;
    assert_eq!(chunked.response().await.status, 200);
    let mut polite = raw::Raw::connect(world.gateway.address()).await;
    let head = head.replace("/in/chunked", "/in/polite");
    polite.send(format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len())).await;
    assert_eq!(polite.response().await.status, 100);
    polite.send(&body).await;
    assert_eq!(polite.response().await.status, 200);
    delivered(&world).await;
    let requests = world.upstream.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        assert_eq!(request.body(), body, "{}", request.line());
        assert_eq!(request.header("content-length"), Some(body.len().to_string()), "{}", request.line());
    }
}
