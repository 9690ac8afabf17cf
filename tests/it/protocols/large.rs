//! Bodies of 64 MiB pass in both directions, whole, and without being kept in memory.

use std::time::Duration;

use http_body_util::BodyExt as _;
use ring::digest::{Context, SHA256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::answer::Answer;
use crate::harness::background::{self, within};
use crate::harness::http::Client;
use crate::harness::site::{Flow, Plan, Site};

const SIZE: usize = 64 << 20;
/// How much more memory a body may cost, in KiB: far less than the body has.
const ROOM: u64 = 24 << 10;

/// A piece of the body, all different.
fn piece(number: usize) -> Vec<u8> {
    let mut state = number as u64 + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    std::iter::repeat_with(next).take(PIECE).collect()
}

const PIECE: usize = 64 << 10;

fn hex(context: Context) -> String {
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Memory before, once everything that a request needs has been set up.
async fn warmed_up(site: &Site) -> u64 {
    assert_eq!(site.client().get("/open/warm-up").send().await.status, 200);
    site.gateway.peak_memory()
}

/// Sends the body over HTTP/1.1 as fast as it is taken; the answer and the checksum of what was sent.
async fn upload(site: &Site, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(site.address()).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: gw\r\nAuthorization: {}\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n",
        site.bearer()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut sum = Context::new(&SHA256);
    for number in 0..SIZE / PIECE {
        let piece = piece(number);
        sum.update(&piece);
        within("the upload to go on", stream.write_all(&piece)).await.unwrap();
    }
    let mut answer = String::new();
    within("the answer", stream.read_to_string(&mut answer)).await.unwrap();
    (answer, hex(sum))
}

#[tokio::test]
async fn an_upload_arrives_whole() {
    let site = Site::start(Flow::AccessToken).await;
    let before = warmed_up(&site).await;
    let (answer, sum) = upload(&site, "/upload").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{}", answer.lines().next().unwrap());
    let received = site.echo.requests().pop().unwrap();
    assert_eq!(received.body_length, SIZE as u64);
    assert_eq!(received.body_sha256, sum);
    let grown = site.gateway.peak_memory() - before;
    assert!(grown < ROOM, "{grown} KiB more");
}

/// A service that takes 256 KiB at a time with a breath in between, far more slowly than it is sent to.
async fn slow(listener: tokio::net::TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut buffer, mut received) = (vec![0; 256 << 10], 0);
    let mut head = Vec::new();
    while received < SIZE {
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(read > 0, "the body breaks off after {received} bytes");
        if received > 0 {
            received += read;
        } else {
            head.extend_from_slice(&buffer[..read]);
            let end = head.windows(4).position(|window| window == b"\r\n\r\n");
            received = end.map_or(0, |end| head.len() - end - 4);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nx-answered-by: upstream\r\n\r\nok";
    stream.write_all(answer).await.unwrap();
    // The caller decides when it is over.
    drop(stream.read(&mut buffer).await);
}

#[tokio::test]
async fn an_upload_to_a_slow_upstream_waits_outside() {
    let (address, listener) = background::listen();
    let _service = background::spawn(slow(listener));
    let settings = format!("url: \"http://{address}\", protocol: http1");
    let site = Plan::new(Flow::AccessToken).upstream("slow", &settings, "").start().await;
    let before = warmed_up(&site).await;
    let (answer, _) = upload(&site, "/slow").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{}", answer.lines().next().unwrap());
    let grown = site.gateway.peak_memory() - before;
    assert!(grown < ROOM, "{grown} KiB more");
}

async fn download(client: impl Fn(&Site) -> Client) {
    let site = Site::start(Flow::AccessToken).await;
    let mut sum = Context::new(&SHA256);
    let content: Vec<u8> = (0..SIZE / PIECE).flat_map(piece).collect();
    sum.update(&content);
    site.open.on("/open/download", move |_| Answer::new(200, content.as_slice()));
    let before = warmed_up(&site).await;
    let mut streaming = client(&site).get("/open/download").stream().await;
    assert_eq!(streaming.status, 200);
    assert_eq!(streaming.headers["content-length"], SIZE.to_string());
    let (mut received, mut length) = (Context::new(&SHA256), 0);
    while let Some(frame) = within("the download to go on", streaming.body.frame()).await {
        let data = frame.unwrap().into_data().unwrap();
        received.update(&data);
        length += data.len();
    }
    assert_eq!(length, SIZE);
    assert_eq!(hex(received), hex(sum));
    let grown = site.gateway.peak_memory() - before;
    assert!(grown < ROOM, "{grown} KiB more");
}

#[tokio::test]
async fn a_download_over_http1_arrives_whole() {
    download(Site::client).await;
}

#[tokio::test]
async fn a_download_over_http2_arrives_whole() {
    download(|site| Client::h2(site.address())).await;
}
