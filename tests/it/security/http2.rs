//! HTTP/2 requests that no library would send.

use super::world::World;
use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, RST_STREAM, SETTINGS, Verdict, block, frame,
};

/// The pseudo-headers of `GET /admin`, with others in front or behind.
const ADMIN: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/admin"), (":authority", "gw.test")];

fn refused(verdict: Verdict) -> bool {
    matches!(verdict, Verdict::Reset(_) | Verdict::Gone | Verdict::Status(400..=499))
}

fn with_path(path: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![(":method", "GET"), (":scheme", "http"), (":path", path), (":authority", "gw.test")]
}

fn and(further: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    ADMIN.iter().chain(further).copied().collect()
}

#[tokio::test]
async fn pseudo_headers_give_no_way_around() {
    let world = World::start();
    let public = [(":method", "GET"), (":scheme", "http"), (":path", "/public/"), (":authority", "gw.test")];
    let mut rows = vec![
        and(&[]),
        and(&[(":path", "/public/")]),
        [(":path", "/public/")].iter().chain(&ADMIN).copied().collect(),
        and(&[(":method", "OPTIONS")]),
        and(&[(":authority", "public")]),
        and(&[(":protocol", "websocket")]),
        and(&[(":status", "200")]),
        and(&[(":unknown", "x")]),
        and(&[("host", "public")]),
        and(&[("host", "gw.test"), ("host", "public")]),
        and(&[("x", "1"), (":path", "/public/")]),
        public.iter().copied().filter(|(name, _)| *name != ":path").collect(),
        public.iter().copied().filter(|(name, _)| *name != ":method").collect(),
        public.iter().copied().filter(|(name, _)| *name != ":scheme").collect(),
        public.iter().copied().filter(|(name, _)| *name != ":authority").collect(),
        vec![
            ("x", "1"),
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/admin"),
            (":authority", "gw.test"),
        ],
    ];
    for path in [
        "",
        "admin",
        "*",
        "/public/../admin",
        "/public/%2e%2e/admin",
        "/public%2f..%2fadmin",
        "/admin#/public/",
        "/public/..;/admin",
        "//public/",
        "/public\\..\\admin",
        "http://gw.test/admin",
        "/admin HTTP/1.1",
        "/admin\r\nx: y",
        "/admin\0",
        "/public/\t",
        "/public/ x",
        "/public/%c0%af",
        "/admin?/public/",
        "/public/%252e%252e/admin",
        "/public/ HTTP/1.1\r\nHost: a\r\n\r\nGET /admin",
    ] {
        rows.push(with_path(path));
    }
    judge(&world, rows).await;
}

#[tokio::test]
async fn headers_of_another_protocol_are_refused() {
    let world = World::start();
    let rows = [
        ("connection", "close"),
        ("connection", "x-forwarded-for"),
        ("keep-alive", "1"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("content-length", "5"),
        ("X-Upper", "1"),
        ("bad name", "1"),
        ("", "1"),
        ("x", "a\r\nx-injected: 1"),
        ("x", "a\nb"),
        ("x", "a\0b"),
        ("x\r\ny", "1"),
        ("x:y", "1"),
        ("content-length", "+0"),
        ("transfer_encoding", "chunked"),
    ];
    judge(&world, rows.iter().map(|row| and(&[*row])).collect()).await;
}

async fn judge(world: &World, rows: Vec<Vec<(&'static str, &'static str)>>) {
    let mut failures = Vec::new();
    for fields in rows {
        world.upstream.forget();
        let mut frames = Frames::connect(world.gateway.address()).await;
        frames.request(1, &fields).await.unwrap();
        let verdict = frames.verdict(1).await;
        // Without `:authority` a public request may be good: it then names no path but the public one.
        let bare = fields.len() == 3 && !fields.iter().any(|(name, _)| *name == ":authority");
        if !refused(verdict) && !bare {
            failures.push(format!("{fields:?}: {verdict:?}"));
        }
        if world.upstream.bytes() > 0 && !bare {
            failures
                .push(format!("{fields:?}: reached the upstream as {}", world.upstream.requests()[0].line()));
        }
        world.assert_only_public("a request without :authority");
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    world.still_serves().await;
}

/// CVE-2026-105297: without limits of its own a server lets one connection take all memory.
#[tokio::test]
async fn the_limits_are_announced() {
    let world = World::start();
    let mut frames = Frames::connect(world.gateway.address()).await;
    let first = frames.next().await.unwrap();
    assert_eq!(first.kind, SETTINGS);
    let setting = |id: u16| {
        let all = first.payload.chunks_exact(6);
        let value =
            all.filter(|entry| entry[..2] == id.to_be_bytes()).map(|entry| entry[2..].try_into().unwrap());
        value.map(u32::from_be_bytes).next_back()
    };
    let streams = setting(3).expect("SETTINGS_MAX_CONCURRENT_STREAMS");
    assert!((1..=1000).contains(&streams), "{streams} streams");
    let headers = setting(6).expect("SETTINGS_MAX_HEADER_LIST_SIZE");
    assert!((1024..=256 * 1024).contains(&headers), "{headers} bytes of headers");
}

/// CVE-2026-105297: single bytes on the wire that stand for kilobytes in memory.
#[tokio::test]
async fn a_header_bomb_is_refused() {
    let world = World::start();
    let value = "v".repeat(3500);
    let mut bomb = block(&ADMIN);
    // A literal with incremental indexing, then references to it: the first dynamic entry has index 62.
    bomb.extend_from_slice(&[0x40, 1, b'x', 127, 0xad, 0x1a]);
    bomb.extend_from_slice(value.as_bytes());
    bomb.extend(std::iter::repeat_n(0x80 | 62, 10_000));
    let mut frames = Frames::connect(world.gateway.address()).await;
    for stream in [1, 3, 5, 7] {
        // After the first, the peer may have gone.
        drop(frames.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, &bomb)).await);
    }
    let verdict = frames.verdict(1).await;
    assert!(
        matches!(verdict, Verdict::Status(400 | 413 | 431) | Verdict::Reset(_) | Verdict::Gone),
        "{verdict:?}"
    );
    world.upstream.assert_untouched();
    world.still_serves().await;
}

/// RUSTSEC-2024-0332, RUSTSEC-2024-0003, RUSTSEC-2026-0258, CVE-2023-44487, CVE-2025-8671.
#[tokio::test]
async fn floods_of_frames_leave_the_gateway_standing() {
    let world = World::start();
    let address = world.gateway.address();
    let open = |stream: u32, flags: u8| frame(HEADERS, flags, stream, &block(&ADMIN));

    let mut frames = Frames::connect(address).await;
    for stream in (1..10_000).step_by(2) {
        let mut pair = open(stream, END_STREAM | END_HEADERS);
        pair.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        if frames.send(pair).await.is_err() {
            break;
        }
    }
    let mut frames = Frames::connect(address).await;
    frames.send(open(1, 0)).await.unwrap();
    for _ in 0..400 {
        if frames.send(frame(CONTINUATION, 0, 1, &block(&[("x", &"y".repeat(8000))]))).await.is_err() {
            break;
        }
    }
    drop(frames.send(frame(CONTINUATION, END_HEADERS, 1, &[])).await);
    let verdict = frames.verdict(1).await;
    assert!(refused(verdict), "endless headers: {verdict:?}");

    let mut frames = Frames::connect(address).await;
    frames.send(open(1, END_HEADERS)).await.unwrap();
    for _ in 0..20_000 {
        if frames.send(frame(DATA, 0, 1, &[])).await.is_err() {
            break;
        }
    }
    // A window update of zero makes the server reset the stream, again and again.
    let mut frames = Frames::connect(address).await;
    for stream in (1..4_000).step_by(2) {
        let mut pair = open(stream, END_HEADERS);
        pair.extend(frame(8, 0, stream, &0_u32.to_be_bytes()));
        if frames.send(pair).await.is_err() {
            break;
        }
    }
    world.upstream.assert_untouched();
    world.still_serves().await;
}
