//! A listener that binds to loopback only, and connections whose answer can be replaced by raw bytes.
//!
//! An HTTP library rightly refuses to write a broken answer. Tests need broken answers, so the handler can take
//! the [`Wire`] over: instead of what the library writes, the caller sees the given bytes and the end.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// Binds `address`, which must be loopback, and serves `router` on the current runtime until that ends.
pub(super) async fn serve(address: SocketAddr, router: Router) -> io::Result<SocketAddr> {
    if !address.ip().is_loopback() {
        let problem = format!("{address} is not a loopback address");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    let listener = Loopback(TcpListener::bind(address).await?);
    let bound = listener.0.local_addr()?;
    let service = router.into_make_service_with_connect_info::<Wire>();
    drop(tokio::spawn(async move { axum::serve(listener, service).await }));
    Ok(bound)
}

struct Loopback(TcpListener);

impl axum::serve::Listener for Loopback {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let (stream, peer) = axum::serve::Listener::accept(&mut self.0).await;
        // Without it, two small writes wait for each other's acknowledgement (Nagle); a failure costs only time.
        drop(stream.set_nodelay(true));
        (Connection { stream, wire: Wire::default() }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// A handle on the connection that a request came over.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire(Arc<Mutex<Option<Vec<u8>>>>);

impl Wire {
    /// Replaces all that would be written from now on by `bytes`, and closes the connection after them.
    pub(super) fn take_over(&self, bytes: Vec<u8>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(bytes);
    }
}

impl Connected<IncomingStream<'_, Loopback>> for Wire {
    fn connect_info(stream: IncomingStream<'_, Loopback>) -> Self {
        stream.io().wire.clone()
    }
}

struct Connection {
    stream: TcpStream,
    wire: Wire,
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let Self { stream, wire } = &mut *self;
        let mut taken = wire.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bytes) = taken.as_mut() else { return Pin::new(stream).poll_write(cx, buf) };
        while !bytes.is_empty() {
            let written = ready!(Pin::new(&mut *stream).poll_write(cx, bytes))?;
            drop(bytes.drain(..written.min(bytes.len())));
        }
        // The error makes the server drop the connection: the caller reads the bytes, then the end.
        Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A body of `bytes` spaces, of known length, made while it is sent.
pub(super) fn flood(bytes: u64) -> Body {
    Body::new(Flood(bytes))
}

struct Flood(u64);

static CHUNK: [u8; 64 * 1024] = [b' '; 64 * 1024];

impl http_body::Body for Flood {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let size = usize::try_from(self.0).map_or(CHUNK.len(), |left| left.min(CHUNK.len()));
        if size == 0 {
            return Poll::Ready(None);
        }
        self.0 = self.0.saturating_sub(size as u64);
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(CHUNK.get(..size).unwrap_or_default())))))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> http_body::SizeHint {
        http_body::SizeHint::with_exact(self.0)
    }
}

/// A body of unknown length whose pieces come from elsewhere.
pub(super) fn channel(pieces: mpsc::Receiver<Bytes>) -> Body {
    Body::new(Channel(pieces))
}

struct Channel(mpsc::Receiver<Bytes>);

impl http_body::Body for Channel {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.0.poll_recv(cx).map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_loopback_is_bound() {
        for address in ["0.0.0.0:0", "192.0.2.1:0", "[::]:0"] {
            let problem = serve(address.parse().unwrap(), Router::new()).await.unwrap_err();
            assert_eq!(problem.kind(), io::ErrorKind::InvalidInput, "{address}");
        }
        assert_ne!(serve("127.0.0.1:0".parse().unwrap(), Router::new()).await.unwrap().port(), 0);
    }
}
