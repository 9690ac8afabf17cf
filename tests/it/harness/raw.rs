//! A client that sends exactly the bytes it is given and reads answers without repairing them.

use std::io;
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::background::within;
use super::message::{Message, Reader, Unframed, text};
use super::{answer, canary, glue};

/// A response as it came.
#[derive(Clone, Debug)]
pub(crate) struct RawResponse {
    pub(crate) status: u16,
    pub(crate) message: Message,
}

impl RawResponse {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.message.headers.get(name)
    }

    pub(crate) fn text(&self) -> String {
        text(&self.message.body)
    }

    /// The stable code of a refusal, where the answer is a problem document.
    pub(crate) fn code(&self) -> Option<String> {
        let problem: serde_json::Value = serde_json::from_slice(&self.message.body).ok()?;
        Some(problem.get("code")?.as_str()?.to_owned())
    }
}

/// How a connection was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// FIN.
    Closed,
    /// RST, or an answer that broke off.
    Broken,
}

/// A connection.
pub(crate) struct Raw {
    reader: Reader<TcpStream>,
}

impl Raw {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: Reader::new(stream) }
    }

    /// Sends bytes as they are.
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.unwrap();
    }

    /// Sends bytes to a peer that may already have closed.
    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("the peer to read", self.reader.stream.write_all(bytes.as_ref())).await
    }

    /// Says that nothing more will be sent.
    pub(crate) async fn finish(&mut self) {
        self.reader.stream.shutdown().await.unwrap();
    }

    /// The next response to anything but HEAD; 1xx responses are returned like others.
    pub(crate) async fn response(&mut self) -> RawResponse {
        self.response_to("GET").await
    }

    /// The next response to a request with this method.
    pub(crate) async fn response_to(&mut self, method: &str) -> RawResponse {
        let read = within("a response", self.read(method)).await;
        read.expect("a whole response").expect("a response before the end of the connection")
    }

    /// The next response, or how the connection ended instead.
    pub(crate) async fn response_or_end(&mut self, method: &str) -> Result<RawResponse, End> {
        match within("a response or the end", self.read(method)).await {
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err(End::Closed),
            Err(_) => Err(End::Broken),
        }
    }

    /// All further responses, until the peer closes.
    pub(crate) async fn rest(&mut self) -> (Vec<RawResponse>, End) {
        let mut responses = Vec::new();
        loop {
            match self.response_or_end("GET").await {
                Ok(response) => responses.push(response),
                Err(end) => return (responses, end),
            }
        }
    }

    /// Reads bytes without looking for a message; empty at the end of the connection.
    pub(crate) async fn bytes(&mut self) -> Vec<u8> {
        if self.reader.buffer.is_empty() {
            within("bytes", self.reader.fill()).await.unwrap_or_default();
        }
        std::mem::take(&mut self.reader.buffer)
    }

    async fn read(&mut self, method: &str) -> io::Result<Option<RawResponse>> {
        let Some(mut message) = self.reader.head().await? else { return Ok(None) };
        let line = text(&message.start);
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status: u16 = status.ok_or_else(|| io::Error::other(format!("no status line: {line:?}")))?;
        let bodiless = method == "HEAD" || status < 200 || status == 204 || status == 304;
        if !bodiless {
            self.reader.body(&mut message, Unframed::UntilClose).await?;
        }
        // Cookies are where tokens belong; nothing else may carry one.
        let lines = text(&message.head);
        for line in lines.lines().filter(|line| !line.to_ascii_lowercase().starts_with("set-cookie:")) {
            canary::assert_clean("a response header", line);
        }
        canary::assert_clean("a response body", &text(&message.body));
        Ok(Some(RawResponse { status, message }))
    }
}

/// Sends bytes on a connection of their own and reads one response.
pub(crate) async fn once(address: SocketAddr, bytes: impl AsRef<[u8]>) -> RawResponse {
    let mut raw = Raw::connect(address).await;
    raw.send(bytes).await;
    raw.response().await
}

/// Sends bytes, and after the first answer a harmless request that closes the connection. What was answered
/// before that last request can only have been smuggled, so the number of answers is exact without waiting.
///
/// The answer to the last request is left out: it is known by being good and not the upstream's.
pub(crate) async fn exchange(address: SocketAddr, bytes: impl AsRef<[u8]>) -> (Vec<RawResponse>, End) {
    let mut raw = Raw::connect(address).await;
    // The peer may refuse, and close, before it has read everything.
    drop(raw.try_send(bytes).await);
    let mut responses = Vec::new();
    match raw.response_or_end("GET").await {
        Ok(response) => responses.push(response),
        Err(end) => return (responses, end),
    }
    let last = format!("GET {} HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n", glue::HEALTH);
    // A peer that closes after a refusal never takes it.
    drop(raw.try_send(last).await);
    let (further, end) = raw.rest().await;
    responses.extend(further);
    let own = |response: &RawResponse| response.status == 200 && response.header(answer::MARK).is_none();
    if responses.len() > 1 && responses.last().is_some_and(own) {
        responses.pop();
    }
    (responses, end)
}
