//! A service that speaks nothing but HTTP/2 in the clear. It answers with the body it got, and with trailers.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::server::SendResponse;
use hyper::{HeaderMap, Request, Response};
use tokio::net::TcpStream;

use super::answer::MARK;
use super::background::{self, Task};

pub(crate) struct H2Upstream {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Request<()>>>>,
    _task: Task,
}

impl H2Upstream {
    pub(crate) fn start() -> Self {
        let (address, listener) = background::listen();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&seen);
        let task = background::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&notes)));
            }
        });
        Self { address, seen, _task: task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The heads of the requests that arrived.
    pub(crate) fn seen(&self) -> Vec<Request<()>> {
        self.seen.lock().unwrap().clone()
    }
}

async fn serve(stream: TcpStream, seen: Arc<Mutex<Vec<Request<()>>>>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (parts, body) = request.into_parts();
        seen.lock().unwrap().push(Request::from_parts(parts, ()));
        tokio::spawn(async move { drop(answer(body, respond).await) });
    }
}

async fn answer(mut body: h2::RecvStream, mut respond: SendResponse<Bytes>) -> Result<(), h2::Error> {
    let mut received = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        received.extend_from_slice(&data);
    }
    let sum = body.trailers().await?.and_then(|trailers| trailers.get("x-sum").cloned());
    let head = Response::builder().status(200).header(MARK, "upstream").body(()).unwrap_or_default();
    let mut stream = respond.send_response(head, false)?;
    stream.send_data(Bytes::from(received), false)?;
    let mut trailers = HeaderMap::new();
    trailers.insert("x-trailer", "last".parse().unwrap());
    if let Some(sum) = sum {
        trailers.insert("x-sum", sum);
    }
    stream.send_trailers(trailers)
}
