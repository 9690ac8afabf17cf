//! HTTP/1.1 messages read from a socket without any tolerance or repair, for both sides of a test.
//!
//! A library would normalise what it reads; here every byte counts.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Header lines in order, names and values as they were sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headers(pub(crate) Vec<(Vec<u8>, Vec<u8>)>);

impl Headers {
    /// Every value of a name, whatever its case. Values that are not UTF-8 are shown with replacements.
    pub(crate) fn all(&self, name: &str) -> Vec<String> {
        let same = |(candidate, _): &&(Vec<u8>, Vec<u8>)| candidate.eq_ignore_ascii_case(name.as_bytes());
        self.0.iter().filter(same).map(|(_, value)| text(value)).collect()
    }

    /// The first value of a name.
    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }

    /// Every name folded as CGI and WSGI fold it: lower case, `_` read as `-`.
    pub(crate) fn folded_names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| text(name).to_ascii_lowercase().replace('_', "-")).collect()
    }

    fn parse(lines: &[u8]) -> Self {
        let lines = split_lines(lines);
        let pairs = lines.into_iter().map(|line| {
            let colon = line.iter().position(|&byte| byte == b':').unwrap_or(line.len());
            let value = line.get(colon + 1..).unwrap_or_default();
            (line[..colon].to_vec(), value.trim_ascii().to_vec())
        });
        Self(pairs.collect())
    }

    fn is_chunked(&self) -> bool {
        self.all("transfer-encoding").iter().any(|value| value.to_ascii_lowercase().ends_with("chunked"))
    }

    fn length(&self) -> Option<usize> {
        self.get("content-length")?.parse().ok()
    }
}

/// A message: start line, headers, body, trailers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// Request line or status line, without its line end.
    pub(crate) start: Vec<u8>,
    /// Start line and headers exactly as they came, with the empty line.
    pub(crate) head: Vec<u8>,
    pub(crate) headers: Headers,
    /// The body, freed of its framing.
    pub(crate) body: Vec<u8>,
    /// The body exactly as it came, chunk lines and trailers included.
    pub(crate) wire: Vec<u8>,
    /// Sizes of the chunks, where it was chunked.
    pub(crate) chunks: Vec<usize>,
    pub(crate) trailers: Headers,
    /// Whether the body came to its proper end.
    pub(crate) complete: bool,
}

/// How a message without a length ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unframed {
    /// There is no body (requests).
    Empty,
    /// The body lasts until the connection ends (responses).
    UntilClose,
}

/// A reader that keeps what it has read too much.
pub(crate) struct Reader<S> {
    pub(crate) stream: S,
    pub(crate) buffer: Vec<u8>,
    /// Everything that was ever read.
    pub(crate) seen: usize,
}

impl<S: AsyncRead + Unpin> Reader<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new(), seen: 0 }
    }

    /// Reads more; false at the end of the stream.
    pub(crate) async fn fill(&mut self) -> io::Result<bool> {
        let read = self.stream.read_buf(&mut self.buffer).await?;
        self.seen += read;
        Ok(read > 0)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let rest = self.buffer.split_off(length);
        std::mem::replace(&mut self.buffer, rest)
    }

    async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < length {
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.take(length))
    }

    /// Up to and including a mark.
    async fn through(&mut self, mark: &[u8]) -> io::Result<Vec<u8>> {
        loop {
            let found = self.buffer.windows(mark.len()).position(|window| window == mark);
            if let Some(start) = found {
                return Ok(self.take(start + mark.len()));
            }
            if !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The head of the next message; nothing when the stream ends before its first byte.
    pub(crate) async fn head(&mut self) -> io::Result<Option<Message>> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        let head = self.through(b"\r\n\r\n").await?;
        let line_end = head.windows(2).position(|window| window == b"\r\n").unwrap_or_default();
        let lines = head.get(line_end + 2..head.len() - 2).unwrap_or_default();
        Ok(Some(Message {
            start: head[..line_end].to_vec(),
            headers: Headers::parse(lines),
            head,
            ..Message::default()
        }))
    }

    /// The body that belongs to a head. What came is in the message also when it breaks off.
    pub(crate) async fn body(&mut self, message: &mut Message, unframed: Unframed) -> io::Result<()> {
        if message.headers.is_chunked() {
            self.chunked(message).await?;
        } else if let Some(length) = message.headers.length() {
            while self.buffer.len() < length && self.fill().await? {}
            message.body = self.take(length.min(self.buffer.len()));
            message.wire.clone_from(&message.body);
            if message.body.len() < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        } else if unframed == Unframed::UntilClose {
            while self.fill().await? {}
            message.body = std::mem::take(&mut self.buffer);
            message.wire.clone_from(&message.body);
        }
        message.complete = true;
        Ok(())
    }

    async fn chunked(&mut self, message: &mut Message) -> io::Result<()> {
        loop {
            let line = self.through(b"\r\n").await?;
            message.wire.extend_from_slice(&line);
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let size = usize::from_str_radix(&text(&line[..digits]), 16)
                .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "no chunk size"))?;
            if size == 0 {
                break;
            }
            let chunk = self.exactly(size + 2).await?;
            message.wire.extend_from_slice(&chunk);
            message.body.extend_from_slice(&chunk[..size]);
            message.chunks.push(size);
        }
        let mut lines = Vec::new();
        loop {
            let line = self.through(b"\r\n").await?;
            message.wire.extend_from_slice(&line);
            if line == b"\r\n" {
                break;
            }
            lines.extend_from_slice(&line);
        }
        message.trailers = Headers::parse(&lines);
        Ok(())
    }
}

fn split_lines(bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines
}

/// Bytes as text for messages and comparisons.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
