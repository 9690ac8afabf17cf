//! HTTP/2 with prior knowledge, with a view of trailers, resets and GOAWAY.

use std::net::SocketAddr;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use hyper::{HeaderMap, Request, StatusCode};
use tokio::net::TcpStream;

use super::background::{Task, spawn, within};

/// A connection on which many requests can be sent.
pub(crate) struct Connection {
    sender: SendRequest<Bytes>,
    _task: Task,
}

/// What came back on a stream.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) status: Option<StatusCode>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Option<HeaderMap>,
    /// Why the stream or the connection was ended, where it did not end by itself.
    pub(crate) reset: Option<Reason>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
        let (sender, connection) =
            within("an HTTP/2 handshake", h2::client::handshake(stream)).await.unwrap();
        Self { sender, _task: spawn(async move { drop(connection.await) }) }
    }

    /// Sends a request with its body and trailers, and reads all that comes back.
    pub(crate) async fn send(
        &self,
        request: Request<()>,
        body: &[Bytes],
        trailers: Option<HeaderMap>,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        if let Err(error) = within("the whole stream", self.run(request, body, trailers, &mut outcome)).await
        {
            outcome.reset = Some(error.reason().unwrap_or(Reason::INTERNAL_ERROR));
        }
        outcome
    }

    async fn run(
        &self,
        request: Request<()>,
        body: &[Bytes],
        trailers: Option<HeaderMap>,
        outcome: &mut Outcome,
    ) -> Result<(), h2::Error> {
        let mut sender = self.sender.clone().ready().await?;
        let ends = body.is_empty() && trailers.is_none();
        let (response, mut stream) = sender.send_request(request, ends)?;
        for (index, piece) in body.iter().enumerate() {
            stream.send_data(piece.clone(), trailers.is_none() && index + 1 == body.len())?;
        }
        if let Some(trailers) = trailers {
            stream.send_trailers(trailers)?;
        }
        let (head, mut incoming) = response.await?.into_parts();
        outcome.status = Some(head.status);
        outcome.headers = head.headers;
        while let Some(data) = incoming.data().await {
            let data = data?;
            incoming.flow_control().release_capacity(data.len())?;
            outcome.body.extend_from_slice(&data);
        }
        outcome.trailers = incoming.trailers().await?;
        Ok(())
    }
}

/// A request without body, ready for [`Connection::send`].
pub(crate) fn request(method: &str, url: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap()
}
