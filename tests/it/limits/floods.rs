//! Floods of HTTP/2 frames, while others ask and get their answers. What counts is memory; how a flood is ended, or
//! whether, is up to the library.

use std::net::SocketAddr;

use tokio::io::{AsyncWriteExt as _, copy, sink};
use tokio::net::TcpStream;

use super::{is_well, meanwhile, much, open, size};
use crate::harness::background::within;
use crate::harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, HEADERS, PING, RST_STREAM, SETTINGS, block, frame,
};

const PRIORITY: u8 = 2;
const WINDOW_UPDATE: u8 = 8;
/// Pairs of frames on one connection, whose ids end somewhere.
const A_CONNECTION: usize = 10_000;

fn open_stream(stream: u32, flags: u8) -> Vec<u8> {
    let fields = [(":method", "POST"), (":scheme", "http"), (":path", "/flood"), (":authority", "gw")];
    frame(HEADERS, flags, stream, &block(&fields))
}

/// Sends pieces on a connection until they end or the peer has had enough; all that comes back is read. Says how many
/// were sent.
async fn pour(address: SocketAddr, pieces: impl Iterator<Item = Vec<u8>>) -> usize {
    let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
    let (mut reader, mut writer) = stream.into_split();
    let mut sent = 0;
    let write = async {
        writer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        writer.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        let mut buffer = Vec::new();
        for piece in pieces {
            buffer.extend_from_slice(&piece);
            sent += 1;
            if buffer.len() > 16 * 1024 {
                writer.write_all(&buffer).await?;
                buffer.clear();
            }
        }
        writer.write_all(&buffer).await
    };
    let read = async { copy(&mut reader, &mut sink()).await };
    // Either that all was sent, or that the peer has closed; an error is one way of closing.
    within("the flood to end", async {
        tokio::select! {
            written = write => drop(written),
            closed = read => drop(closed),
        }
    })
    .await;
    sent
}

/// Pours so many pieces, over as many connections as it takes.
async fn flood(name: &str, count: usize, piece: impl Fn(u32) -> Vec<u8>) {
    let (_up, gateway) = open("per_address: 1000000/s", "");
    let address = gateway.address();
    let all = async {
        let (mut sent, mut connections) = (0, 0);
        // A peer that ends each connection at once has withstood the flood too.
        while sent < count && connections < 400 {
            let odd = (0..A_CONNECTION).map(|number| u32::try_from(2 * number + 1).unwrap());
            sent += pour(address, odd.map(&piece)).await.max(1);
            connections += 1;
        }
    };
    meanwhile(&gateway, all).await;
    is_well(&gateway, name).await;
}

/// CVE-2023-44487.
#[tokio::test]
async fn rapid_reset() {
    flood("requests that are taken back", size(100_000, 20_000), |stream| {
        let mut pair = open_stream(stream, END_STREAM | END_HEADERS);
        pair.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        pair
    })
    .await;
}

/// CVE-2025-8671: frames after which the server has to reset the stream itself.
#[tokio::test]
async fn made_you_reset() {
    type Then = fn(u32) -> Vec<u8>;
    let ways: [(&str, u8, Then); 5] = [
        ("a window of zero more", END_HEADERS, |stream| frame(WINDOW_UPDATE, 0, stream, &[0; 4])),
        ("a window that overflows", END_HEADERS, |stream| {
            frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes())
        }),
        ("data after the end", END_HEADERS | END_STREAM, |stream| frame(DATA, 0, stream, b"x")),
        ("a head after the end", END_HEADERS | END_STREAM, |stream| {
            open_stream(stream, END_HEADERS | END_STREAM)
        }),
        ("a stream that depends on itself", END_HEADERS, |stream| {
            let mut payload = stream.to_be_bytes().to_vec();
            payload.push(1);
            frame(PRIORITY, 0, stream, &payload)
        }),
    ];
    for (name, flags, then) in ways {
        flood(name, size(100_000, 4_000), |stream| [open_stream(stream, flags), then(stream)].concat()).await;
    }
}

/// RUSTSEC-2026-0258, RUSTSEC-2024-0003, and frames that want an answer each.
#[tokio::test]
async fn frames_that_say_nothing() {
    let data = |stream| match stream {
        1 => open_stream(1, END_HEADERS),
        _ => frame(DATA, 0, 1, &[]),
    };
    flood("empty data", size(100_000, 20_000), data).await;
    flood("pings", size(100_000, 20_000), |stream| frame(PING, 0, 0, &u64::from(stream).to_be_bytes())).await;
    flood("settings", size(100_000, 20_000), |_| frame(SETTINGS, 0, 0, &[])).await;
}

/// RUSTSEC-2024-0332: a head without end.
#[tokio::test]
async fn continuations_without_end() {
    let filler = block(&[("x", &"y".repeat(8000))]);
    flood("continuations", size(100_000, 4_000), |stream| match stream {
        1 => open_stream(1, 0),
        _ => frame(CONTINUATION, 0, 1, &filler),
    })
    .await;
}

/// CVE-2026-105297: 16 MiB of headers in a few thousand bytes, on as many streams as there may be.
#[tokio::test]
async fn header_bombs() {
    let mut bomb = block(&[(":method", "GET"), (":scheme", "http"), (":path", "/x"), (":authority", "gw")]);
    bomb.extend_from_slice(&[0x40, 1, b'x', 127, 0xad, 0x1a]);
    bomb.extend_from_slice("v".repeat(3500).as_bytes());
    bomb.extend(std::iter::repeat_n(0x80 | 62, 4_800));
    flood("header bombs", size(5_000, 500), |stream| frame(HEADERS, END_STREAM | END_HEADERS, stream, &bomb))
        .await;
}

/// Answers that nobody lets in: they stay where they come from.
#[tokio::test]
async fn streams_without_a_window() {
    let (up, gateway) = open("streams: 100", "");
    up.on("/much", |_| much());
    let fields = [(":method", "GET"), (":scheme", "http"), (":path", "/much"), (":authority", "gw")];
    let ask = async {
        let mut held = Vec::new();
        for _ in 0..size(10, 2) {
            let mut frames = Frames::connect(gateway.address()).await;
            frames.send(frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
            for stream in (1..60).step_by(2) {
                frames.request(stream, &fields).await.unwrap();
            }
            let mut heads = 0;
            while heads < 30 {
                let frame = frames.next().await.expect("answers begin");
                heads += usize::from(frame.kind == HEADERS);
            }
            held.push(frames);
        }
        held
    };
    let _held = meanwhile(&gateway, ask).await;
    is_well(&gateway, "answers that nobody reads").await;
}
