//! HTTP/2 frames by hand, for what no client library would send.

use std::net::SocketAddr;

use super::raw::Raw;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame as it came.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// How a stream was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A response with this status.
    Status(u16),
    /// RST_STREAM with this error code.
    Reset(u32),
    /// The whole connection was ended.
    Gone,
}

/// A frame as bytes (RFC 9113, section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block in which every field is a literal without indexing (RFC 7541, section 6.2.2), so that any
/// name and any value can be sent.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            length(&mut bytes, text.len());
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// An integer with a prefix of seven bits (RFC 7541, section 5.1).
fn length(bytes: &mut Vec<u8>, value: usize) {
    if value < 127 {
        bytes.push(u8::try_from(value).unwrap());
        return;
    }
    bytes.push(127);
    let mut rest = value - 127;
    while rest >= 128 {
        bytes.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    bytes.push(u8::try_from(rest).unwrap());
}

/// A connection that speaks frames.
pub(crate) struct Frames {
    raw: Raw,
    buffer: Vec<u8>,
}

impl Frames {
    /// Connects, sends the preface and empty settings.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut raw = Raw::connect(address).await;
        raw.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        raw.send(frame(SETTINGS, 0, 0, &[])).await;
        Self { raw, buffer: Vec::new() }
    }

    /// Sends bytes; an error means that the peer has ended the connection.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.raw.try_send(bytes).await
    }

    /// Sends a request without body.
    pub(crate) async fn request(&mut self, stream: u32, fields: &[(&str, &str)]) -> std::io::Result<()> {
        self.send(frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(fields))).await
    }

    /// The next frame; nothing at the end of the connection. Settings and pings are answered.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.buffered() {
                if matches!(frame.kind, SETTINGS | PING) && frame.flags & ACK == 0 {
                    let payload = if frame.kind == PING { frame.payload.as_slice() } else { &[] };
                    // The peer may be on its way out.
                    drop(self.send(self::frame(frame.kind, ACK, 0, payload)).await);
                }
                return Some(frame);
            }
            let more = self.raw.bytes().await;
            if more.is_empty() {
                return None;
            }
            self.buffer.extend_from_slice(&more);
        }
    }

    fn buffered(&mut self) -> Option<Frame> {
        let head = self.buffer.get(..9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let (kind, flags) = (head[3], head[4]);
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        if self.buffer.len() < 9 + length {
            return None;
        }
        let bytes: Vec<u8> = self.buffer.drain(..9 + length).collect();
        Some(Frame { kind, flags, stream, payload: bytes[9..].to_vec() })
    }

    /// How a stream is answered in the end.
    pub(crate) async fn verdict(&mut self, stream: u32) -> Verdict {
        while let Some(frame) = self.next().await {
            let mine = frame.stream == stream;
            match frame.kind {
                HEADERS if mine => {
                    if let Some(status) = status(&frame.payload) {
                        return Verdict::Status(status);
                    }
                }
                RST_STREAM if mine => return Verdict::Reset(code(&frame.payload)),
                GOAWAY => return Verdict::Gone,
                _ => {}
            }
        }
        Verdict::Gone
    }
}

fn code(payload: &[u8]) -> u32 {
    payload.try_into().map_or(u32::MAX, u32::from_be_bytes)
}

/// The status at the beginning of a header block, which is where servers put it. It is an entry of the
/// static table, or a literal with that table's name, plain or Huffman-coded.
fn status(block: &[u8]) -> Option<u16> {
    // An update of the table's size may come first.
    let start = block.iter().position(|byte| byte & 0xe0 != 0x20)?;
    let block = &block[start..];
    let indexed = [200, 204, 206, 304, 400, 404, 500];
    let first = *block.first()?;
    if (0x88..=0x8e).contains(&first) {
        return indexed.get(usize::from(first - 0x88)).copied();
    }
    if !matches!(first, 0x48..=0x4e | 0x08..=0x0e | 0x18..=0x1e) {
        return None;
    }
    let size = *block.get(1)?;
    let value = block.get(2..2 + usize::from(size & 0x7f))?;
    if size & 0x80 == 0 { std::str::from_utf8(value).ok()?.parse().ok() } else { huffman_digits(value) }
}

/// Three digits in the code of RFC 7541, appendix B: five bits for 0 to 2, six for the others.
fn huffman_digits(bytes: &[u8]) -> Option<u16> {
    let bits: Vec<u16> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1))).collect();
    let mut at = 0;
    let mut number = 0;
    for _ in 0..3 {
        let five = bits.get(at..at + 5)?.iter().fold(0, |sum, bit| sum << 1 | bit);
        let digit = if five <= 2 {
            at += 5;
            five
        } else {
            let six = bits.get(at..at + 6)?.iter().fold(0, |sum, bit| sum << 1 | bit);
            at += 6;
            six.checked_sub(0b01_1001)? + 3
        };
        number = number * 10 + digit;
    }
    Some(number)
}

#[test]
fn statuses_are_read_in_every_form() {
    assert_eq!(status(&[0x88]), Some(200));
    assert_eq!(status(&[0x20, 0x8c, 0x40]), Some(400));
    assert_eq!(status(b"\x08\x03401"), Some(401));
    // RFC 7541, appendix C.6.1: `302` Huffman-coded.
    assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), Some(302));
    // Appendix C.6.2: `307`.
    assert_eq!(status(&[0x48, 0x83, 0x64, 0x0e, 0xff]), Some(307));
    assert_eq!(status(&[]), None);
}

#[test]
fn long_lengths_are_encoded_in_several_bytes() {
    let value = "x".repeat(300);
    let block = block(&[("a", &value)]);
    assert_eq!(block[..5], [0, 1, b'a', 127, 173]);
    assert_eq!(block[5], 1);
    assert_eq!(block.len(), 6 + 300);
}
