//! Bodies that are too large, compressed, or not what they say.

use super::fidelity::gzip;
use super::kit::{
    DISK, PUSHED, TOPIC, assert_nothing_kept, assert_nothing_published, assert_refused, delivered, github,
    hex, hook, kept, tag, world,
};
use crate::harness::canary;
use crate::harness::raw::Raw;

#[tokio::test]
async fn a_body_over_the_limit_is_refused_and_not_recorded() {
    let world = world(DISK, &[hook("/in", ", max_body: 1KiB"), hook("/usual", "")]);
    for (path, size) in [("/in", 1025), ("/in", 100_000), ("/usual", (1 << 20) + 1)] {
        let response = github(&world, path, vec![b'x'; size]).send().await;
        assert_refused(&response, 413, "too_large");
    }
    // Chunked, so that no length says it beforehand.
    let body = vec![b'x'; 1025];
    let signature = hex(&tag(canary::secret(), &[&body]));
    let mut raw = Raw::connect(world.gateway.address()).await;
    raw.send(format!(
        "POST /in HTTP/1.1\r\nHost: gw\r\nX-Hub-Signature-256: sha256={signature}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ))
    .await;
    for chunk in body.chunks(100) {
        drop(raw.try_send(format!("{:x}\r\n", chunk.len())).await);
        drop(raw.try_send(chunk).await);
        drop(raw.try_send("\r\n").await);
    }
    drop(raw.try_send("0\r\n\r\n").await);
    let response = raw.response().await;
    assert_eq!((response.status, response.code().as_deref()), (413, Some("too_large")));
    assert_nothing_kept(&world);
    // Exactly the limit is good.
    kept(github(&world, "/in", vec![b'x'; 1024])).await;
    kept(github(&world, "/usual", vec![b'x'; 1 << 20])).await;
    delivered(&world).await;
    assert_eq!(world.upstream.count(), 2);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_recorded() {
    let world = world(DISK, &[hook("/in", "")]);
    let whole = vec![b'x'; 1000];
    for sent in [&whole[..0], &whole[..500], &whole[..999]] {
        // The signature of what was sent, in case that would be enough.
        let signature = hex(&tag(canary::secret(), &[sent]));
        let mut raw = Raw::connect(world.gateway.address()).await;
        raw.send(format!(
            "POST /in HTTP/1.1\r\nHost: gw\r\nX-Hub-Signature-256: sha256={signature}\r\nContent-Length: 1000\r\n\r\n"
        ))
        .await;
        raw.send(sent).await;
        raw.finish().await;
        if let Ok(response) = raw.response_or_end("POST").await {
            assert!(response.status >= 400, "{}", response.status);
        }
    }
    assert_nothing_kept(&world);
}

#[tokio::test]
async fn a_signature_is_over_the_bytes_as_they_came() {
    let world = world(DISK, &[hook("/in", ""), hook("/adapted", ", adapt: { jq: '.json' }")]);
    let (plain, packed) = (b"{\"a\":1}".as_slice(), gzip(b"{\"a\":1}"));
    let call = |path: &str, signed: &[u8]| {
        let signature = format!("sha256={}", hex(&tag(canary::secret(), &[signed])));
        let call = world.client().post(path, packed.clone()).header("content-encoding", "gzip");
        call.header("content-type", "application/json").header("x-hub-signature-256", &signature)
    };
    for path in ["/in", "/adapted"] {
        assert_refused(&call(path, plain).send().await, 403, "bad_signature");
    }
    assert_nothing_kept(&world);
    kept(call("/in", &packed)).await;
    kept(call("/adapted", &packed)).await;
    delivered(&world).await;
    let requests = world.upstream.requests();
    let of = |path: &str| requests.iter().find(|it| it.path() == path).unwrap();
    assert_eq!((of("/in").body(), of("/in").header("content-encoding").as_deref()), (&*packed, Some("gzip")));
    assert_eq!((of("/adapted").body(), of("/adapted").header("content-encoding")), (plain, None));
}

#[tokio::test]
async fn a_bomb_is_not_unpacked() {
    let world = world(DISK, &[hook("/in", ", adapt: { jq: '.json' }, max_body: 4MiB")]);
    let zeros = vec![b' '; 64 << 20];
    let bomb = gzip(&zeros);
    assert!(bomb.len() < 1 << 20);
    for _ in 0..3 {
        let call = github(&world, "/in", bomb.clone()).header("content-encoding", "gzip");
        let response = call.header("content-type", "application/json").send().await;
        assert_refused(&response, 413, "decoded_too_large");
    }
    // In two layers, of which only one is taken off.
    let call = github(&world, "/in", gzip(&bomb)).header("content-encoding", "gzip, gzip");
    let response = call.header("content-type", "application/json").send().await;
    assert_refused(&response, 415, "unsupported_encoding");
    assert_nothing_kept(&world);
    assert!(world.gateway.peak_memory() < 200 * 1024, "{} KiB", world.gateway.peak_memory());
}

#[tokio::test]
async fn what_an_adapter_cannot_read_is_refused() {
    let world = world(DISK, &[hook("/in", ", adapt: { jq: '{json, form, text}' }")]);
    let json = "application/json";
    let form = "application/x-www-form-urlencoded";
    let rows: [(&str, &str, &[u8], u16, &str); 15] = [
        (json, "", b"", 400, "invalid_body"),
        (json, "", b"{", 400, "invalid_body"),
        (json, "", b"{\"a\":1}}", 400, "invalid_body"),
        (json, "", b"{'a':1}", 400, "invalid_body"),
        (json, "", b"\xff\xfe{\0}\0", 400, "invalid_body"),
        (json, "", b"{\"a\":\"\xff\"}", 400, "invalid_body"),
        (json, "", b"a=1", 400, "invalid_body"),
        (json, "", b"NaN", 400, "invalid_body"),
        (form, "", b"a=%ZZ", 400, "invalid_body"),
        (form, "", b"a=%FF", 400, "invalid_body"),
        (json, "gzip", b"{}", 400, "invalid_body"),
        (json, "gzip", &[0x1f, 0x8b, 8, 0, 0, 0], 400, "invalid_body"),
        (json, "br", b"{}", 415, "unsupported_encoding"),
        (json, "zstd", b"{}", 415, "unsupported_encoding"),
        (json, "x-evil", b"{}", 415, "unsupported_encoding"),
    ];
    for (kind, encoding, body, status, code) in rows {
        let mut call = github(&world, "/in", body).header("content-type", kind);
        if !encoding.is_empty() {
            call = call.header("content-encoding", encoding);
        }
        let response = call.send().await;
        let got = (response.status.as_u16(), response.code());
        assert_eq!(got, (status, code.to_owned()), "{kind} {encoding} {:?}", String::from_utf8_lossy(body));
    }
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let response = github(&world, "/in", deep).header("content-type", json).send().await;
    assert_refused(&response, 400, "invalid_body");
    let two = github(&world, "/in", "{}").header("content-type", json).header("content-type", form);
    assert_refused(&two.send().await, 400, "invalid_body");
    assert_nothing_kept(&world);
    kept(github(&world, "/in", "{}").header("content-type", json)).await;
}

#[tokio::test]
async fn a_message_of_pub_sub_has_a_limit_of_its_own() {
    let world = world(PUSHED, &[hook("/in", ", max_body: 7MiB")]);
    world.google.create_topic(TOPIC);
    let response = github(&world, "/in", vec![b'x'; (7 << 20) + 1]).send().await;
    assert_refused(&response, 413, "too_large");
    assert_nothing_published(&world);
    kept(github(&world, "/in", vec![b'x'; 7 << 20])).await;
    assert_eq!(world.google.messages(TOPIC).len(), 1);
    // The head of a request may be the last straw, but not for a body that is allowed.
    let long = "q".repeat(30_000);
    kept(github(&world, &format!("/in?{long}"), vec![b'x'; 7 << 20])).await;
}

#[tokio::test]
async fn nobody_s_body_is_read_without_a_signature_or_a_token() {
    let api = "{ path: /api, access: google, wal: true, upstream: up }".to_owned();
    let world = world(PUSHED, &[hook("/in", ""), hook("/direct", "").replace("wal: true, ", ""), api]);
    for (path, status, code) in [
        ("/in", 403, "bad_signature"),
        ("/direct", 403, "bad_signature"),
        ("/api", 401, "unauthenticated"),
        (super::kit::PLAYBACK, 403, "push_refused"),
    ] {
        // The answer comes although the body never does.
        let mut raw = Raw::connect(world.gateway.address()).await;
        raw.send(format!("POST {path} HTTP/1.1\r\nHost: gw\r\nContent-Length: 1000000\r\n\r\n")).await;
        let response = raw.response().await;
        assert_eq!((response.status, response.code().as_deref()), (status, Some(code)), "{path}");
    }
    assert_nothing_published(&world);
}

#[tokio::test]
async fn methods_and_paths_are_judged_before_signatures() {
    let world = world(DISK, &[hook("/in", ", methods: [POST]")]);
    let mut table = world.table();
    table.refused("GET", world.client().get("/in"), 405, "method_not_allowed").await;
    for path in ["/in/../in", "/in/%2e%2e/x", "/in;x", "/in%2Fx", "/in/%5c", "/in//x", "/in/%00"] {
        table.refused(path, github(&world, path, "{}"), 400, "bad_request").await;
    }
    table.finish().await;
    world.upstream.forget();
    assert_nothing_kept(&world);
}
