//! What the recording upstream answers: ordinary responses, and every way of misbehaving.

use std::sync::Arc;

use tokio::sync::Semaphore;

/// One thing that the upstream does with the connection, in order.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Writes bytes as they are.
    Bytes(Vec<u8>),
    /// Waits until the test opens the gate.
    Gate(Arc<Semaphore>),
    /// Writes nothing more and keeps the connection open.
    Stall,
    /// Ends the connection with RST.
    Reset,
    /// Ends the connection with FIN.
    Close,
    /// Sends every further byte back, as after an upgrade.
    Echo,
    /// Speaks WebSocket from here on and returns every message.
    WebSocketEcho,
}

/// An answer of the upstream.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Status, headers and body, framed by `Content-Length`; without body for HEAD, 1xx, 204 and 304.
    Full { status: u16, headers: Vec<(String, String)>, body: Vec<u8> },
    /// Anything else.
    Steps(Vec<Step>),
}

/// Marks what comes from the upstream, so that the checks of our own replies leave it alone.
pub(crate) const MARK: &str = "x-answered-by";

impl Answer {
    /// An answer without further headers.
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![(MARK.to_owned(), "upstream".to_owned())];
        Self::Full { status, headers, body: body.into() }
    }

    /// The default: 200 with JSON.
    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self::new(200, value.to_string()).header("Content-Type", "application/json")
    }

    /// Adds a header line.
    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Full { headers, .. } = &mut self {
            headers.push((name.to_owned(), value.to_owned()));
        }
        self
    }

    /// Bytes as they are, then the connection is closed.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Steps(vec![Step::Bytes(bytes.into()), Step::Close])
    }

    /// A chunked answer, each piece a chunk of its own, behind a gate of its own when one is given.
    pub(crate) fn chunked(content_type: &str, pieces: &[&str], gate: Option<&Arc<Semaphore>>) -> Self {
        let head = format!(
            "HTTP/1.1 200 OK\r\n{MARK}: upstream\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"
        );
        let mut steps = vec![Step::Bytes(head.into_bytes())];
        for piece in pieces {
            steps.extend(gate.map(|gate| Step::Gate(Arc::clone(gate))));
            steps.push(Step::Bytes(format!("{:x}\r\n{piece}\r\n", piece.len()).into_bytes()));
        }
        steps.push(Step::Bytes(b"0\r\n\r\n".to_vec()));
        Self::Steps(steps)
    }

    /// A chunked answer with trailers.
    pub(crate) fn with_trailers(body: &str, trailers: &[(&str, &str)]) -> Self {
        let names: Vec<_> = trailers.iter().map(|(name, _)| *name).collect();
        let lines: String = trailers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let bytes = format!(
            "HTTP/1.1 200 OK\r\n{MARK}: upstream\r\nTrailer: {}\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n{lines}\r\n",
            names.join(", "),
            body.len()
        );
        Self::Steps(vec![Step::Bytes(bytes.into_bytes())])
    }

    /// Accepts an upgrade and sends every byte back.
    pub(crate) fn upgrade_echo(protocol: &str) -> Self {
        let head =
            format!("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n");
        Self::Steps(vec![Step::Bytes(head.into_bytes()), Step::Echo])
    }

    /// Accepts a WebSocket handshake with the given `Sec-WebSocket-Key`.
    pub(crate) fn websocket(key: &str) -> Self {
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        Self::Steps(vec![Step::Bytes(head.into_bytes()), Step::WebSocketEcho])
    }

    /// What is to be done with the connection.
    pub(super) fn into_steps(self, to_head: bool) -> Vec<Step> {
        let (status, headers, body) = match self {
            Self::Steps(steps) => return steps,
            Self::Full { status, headers, body } => (status, headers, body),
        };
        let mut bytes = format!("HTTP/1.1 {status} Scripted\r\n").into_bytes();
        for (name, value) in headers {
            bytes.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
        }
        let bodiless = status < 200 || status == 204 || status == 304;
        if !bodiless {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        if !bodiless && !to_head {
            bytes.extend_from_slice(&body);
        }
        vec![Step::Bytes(bytes)]
    }
}
