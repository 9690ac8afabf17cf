//! What the gateway and its workers say to each other: a length, then that many bytes, over a pipe.
//!
//! Both ends are the same binary, so there is one version, and it is checked once at the start.

use std::io::{self, Read, Write};
use std::sync::Arc;

use bytes::Bytes;

use super::input::{Message, Unreadable};
use super::program::Failure;
use super::{Limits, Request};
use crate::config::AdapterSource;

/// The build that both ends must be of.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// Bytes of the length in front of a frame.
pub(super) const HEAD: usize = 4;
/// Room in a reply besides a result: the tag, or an error's text.
pub(super) const MARGIN: usize = 64 * 1024;

/// What a worker is told first.
pub(super) struct Hello {
    pub(super) limits: Limits,
    pub(super) programs: Vec<AdapterSource>,
}

/// What a worker answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The programs are compiled.
    Ready,
    /// One result.
    Json(Bytes),
    /// No result.
    Nothing,
    /// Not readable as a message.
    Unreadable(Unreadable),
    /// Refused by the program.
    Rejected(String),
    /// The program is at fault.
    Failed(String),
}

const READY: u8 = 0;
const JSON: u8 = 1;
const NOTHING: u8 = 2;
const BAD: u8 = 3;
const ENCODING: u8 = 4;
const TOO_LARGE: u8 = 5;
const REJECTED: u8 = 6;
const FAILED: u8 = 7;

/// Writes a frame. Nothing larger than 4 GiB ever is one.
struct Encoder(Vec<u8>);

impl Encoder {
    fn new(room: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEAD + room);
        bytes.extend_from_slice(&[0; HEAD]);
        Self(bytes)
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn finish(mut self) -> Option<Vec<u8>> {
        let length = u32::try_from(self.0.len() - HEAD).ok()?;
        self.0.first_chunk_mut::<HEAD>().map(|head| *head = length.to_le_bytes())?;
        Some(self.0)
    }
}

/// Reads a frame's content.
struct Decoder(Bytes);

impl Decoder {
    fn number(&mut self) -> Option<u64> {
        let number = u64::from_le_bytes(*self.0.first_chunk()?);
        let _ = self.0.split_to(8);
        Some(number)
    }

    fn size(&mut self) -> Option<usize> {
        usize::try_from(self.number()?).ok()
    }

    fn bytes(&mut self) -> Option<Bytes> {
        let length = self.size()?;
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.into()).ok()
    }
}

/// Bytes of the frame that begins with `head`.
pub(super) fn length(head: [u8; HEAD]) -> usize {
    u32::from_le_bytes(head) as usize
}

/// Reads one frame; nothing at the end of the pipe.
pub(super) fn read(pipe: &mut impl Read) -> io::Result<Option<Bytes>> {
    let mut head = [0; HEAD];
    match pipe.read_exact(&mut head) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let mut frame = vec![0; length(head)];
    pipe.read_exact(&mut frame)?;
    Ok(Some(frame.into()))
}

/// Writes one reply.
pub(super) fn write(pipe: &mut impl Write, reply: &Reply) -> io::Result<()> {
    let frame = reply.encode().ok_or(io::ErrorKind::InvalidData)?;
    pipe.write_all(&frame)?;
    pipe.flush()
}

impl Hello {
    /// The first frame to a worker.
    pub(super) fn encode(limits: &Limits, programs: &[Arc<AdapterSource>]) -> Option<Vec<u8>> {
        let mut frame = Encoder::new(1024);
        frame.bytes(VERSION.as_bytes());
        frame.number(limits.memory);
        frame.number(limits.body as u64);
        frame.number(limits.output as u64);
        frame.number(programs.len() as u64);
        for program in programs {
            frame.bytes(program.name.as_bytes());
            frame.bytes(program.text.as_bytes());
        }
        frame.finish()
    }

    pub(super) fn decode(frame: Bytes) -> Option<Self> {
        let mut frame = Decoder(frame);
        if frame.text()? != VERSION {
            return None;
        }
        let limits = Limits {
            memory: frame.number()?,
            body: frame.size()?,
            output: frame.size()?,
            ..Limits::default()
        };
        let programs = (0..frame.number()?)
            .map(|_| Some(AdapterSource { name: frame.text()?, text: frame.text()? }))
            .collect::<Option<_>>()?;
        Some(Self { limits, programs })
    }
}

/// A message for a program.
pub(super) fn encode_message(adapter: usize, request: &Request<'_>) -> Option<Vec<u8>> {
    let headers: usize =
        request.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 16).sum();
    let mut frame = Encoder::new(request.body.len() + headers + request.path.len() + 512);
    frame.number(adapter as u64);
    frame.bytes(request.method.as_bytes());
    frame.bytes(request.path.as_bytes());
    frame.number(u64::from(request.query.is_some()));
    frame.bytes(request.query.unwrap_or_default().as_bytes());
    frame.number(request.headers.len() as u64);
    for (name, value) in request.headers {
        frame.bytes(name.as_str().as_bytes());
        frame.bytes(value.as_bytes());
    }
    frame.bytes(request.body);
    frame.finish()
}

/// The pieces of a message, which [`Pieces::message`] borrows from.
pub(super) struct Pieces {
    pub(super) adapter: usize,
    method: String,
    path: String,
    query: Option<String>,
    headers: Vec<(String, Bytes)>,
    body: Bytes,
}

impl Pieces {
    pub(super) fn decode(frame: Bytes) -> Option<Self> {
        let mut frame = Decoder(frame);
        let (adapter, method, path) = (frame.size()?, frame.text()?, frame.text()?);
        let has_query = frame.number()? > 0;
        let query = frame.text().filter(|_| has_query);
        let headers =
            (0..frame.number()?).map(|_| Some((frame.text()?, frame.bytes()?))).collect::<Option<_>>()?;
        Some(Self { adapter, method, path, query, headers, body: frame.bytes()? })
    }

    pub(super) fn message(&self) -> Message<'_> {
        Message {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: self.headers.iter().map(|(name, value)| (name.as_str(), &**value)).collect(),
            body: self.body.clone(),
        }
    }
}

impl Reply {
    /// The reply for what became of a message.
    pub(super) fn of(result: Result<Option<Vec<u8>>, Failure>) -> Self {
        match result {
            Ok(Some(json)) => Self::Json(json.into()),
            Ok(None) => Self::Nothing,
            Err(Failure::Rejected(why)) => Self::Rejected(why),
            Err(Failure::Failed(why)) => Self::Failed(why),
        }
    }

    fn encode(&self) -> Option<Vec<u8>> {
        let (tag, content): (u8, &[u8]) = match self {
            Self::Ready => (READY, b""),
            Self::Json(json) => (JSON, json),
            Self::Nothing => (NOTHING, b""),
            Self::Unreadable(Unreadable::Bad(why)) => (BAD, why.as_bytes()),
            Self::Unreadable(Unreadable::Encoding) => (ENCODING, b""),
            Self::Unreadable(Unreadable::TooLarge) => (TOO_LARGE, b""),
            Self::Rejected(why) => (REJECTED, why.as_bytes()),
            Self::Failed(why) => (FAILED, why.as_bytes()),
        };
        let mut frame = Encoder::new(1 + content.len());
        frame.0.push(tag);
        frame.0.extend_from_slice(content);
        frame.finish()
    }

    pub(super) fn decode(mut frame: Bytes) -> Option<Self> {
        let tag = *frame.first()?;
        let content = frame.split_off(1);
        let text = || String::from_utf8_lossy(&content).into_owned();
        Some(match tag {
            READY => Self::Ready,
            JSON => Self::Json(content),
            NOTHING => Self::Nothing,
            BAD => Self::Unreadable(Unreadable::Bad(text())),
            ENCODING => Self::Unreadable(Unreadable::Encoding),
            TOO_LARGE => Self::Unreadable(Unreadable::TooLarge),
            REJECTED => Self::Rejected(text()),
            FAILED => Self::Failed(text()),
            _ => return None,
        })
    }
}
