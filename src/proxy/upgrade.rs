//! Connections to upstreams for upgrades, which WebSockets start with.
//!
//! Pingora 0.9.1 hands the end of the (empty) request body from one half of a request to the other, and takes it for
//! the end of the upgraded connection if the upstream's 101 happens to be read first. An upstream on the same machine
//! is quick enough for that (<https://github.com/cloudflare/pingora/issues/946>). On these connections a read that follows a write therefore waits one turn of the
//! scheduler, in which the other half takes what is there.

use std::io;
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::connectors::L4Connect;
use pingora::protocols::l4::socket::SocketAddr;
use pingora::protocols::l4::stream::Stream;
use pingora::protocols::l4::virt::{VirtualSockOpt, VirtualSocket, VirtualSocketStream};
use pingora::{Error, ErrorType, OrErr as _, Result};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Connects within a time.
#[derive(Debug)]
pub(super) struct UpgradeConnector(pub(super) Duration);

#[async_trait]
impl L4Connect for UpgradeConnector {
    async fn connect(&self, address: &SocketAddr) -> Result<Stream> {
        let stream = match address {
            SocketAddr::Inet(address) => {
                let stream = self.within(TcpStream::connect(address)).await?;
                stream.set_nodelay(true).or_err(ErrorType::SocketError, "TCP_NODELAY")?;
                VirtualSocketStream::new(Box::new(Patient { stream, wrote: false }))
            }
            SocketAddr::Unix(address) => {
                let path = address.as_pathname().unwrap_or(Path::new(""));
                let stream = self.within(UnixStream::connect(path)).await?;
                VirtualSocketStream::new(Box::new(Patient { stream, wrote: false }))
            }
        };
        Ok(stream.into())
    }
}

impl UpgradeConnector {
    async fn within<S>(&self, connecting: impl Future<Output = io::Result<S>>) -> Result<S> {
        match tokio::time::timeout(self.0, connecting).await {
            Ok(connected) => connected.or_err(ErrorType::ConnectError, "connecting for an upgrade"),
            Err(_) => Error::e_explain(ErrorType::ConnectTimedout, "connecting for an upgrade"),
        }
    }
}

/// A socket whose first read after a write waits one turn.
#[derive(Debug)]
struct Patient<S> {
    stream: S,
    wrote: bool,
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.wrote) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wrote = true;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl VirtualSocket for Patient<TcpStream> {
    fn set_socket_option(&self, option: VirtualSockOpt) -> io::Result<()> {
        // Others are not asked for: no peer of ours sets them.
        if matches!(option, VirtualSockOpt::NoDelay) { self.stream.set_nodelay(true) } else { Ok(()) }
    }
}

impl VirtualSocket for Patient<UnixStream> {
    fn set_socket_option(&self, _option: VirtualSockOpt) -> io::Result<()> {
        // What can be asked for concerns TCP.
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_read_after_a_write_waits_one_turn_also_when_the_answer_is_there() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut patient = Patient { stream: ours, wrote: false };
        theirs.write_all(b"early late").await.unwrap();
        let mut answer = [0; 5];
        assert!(patient.read_exact(&mut answer).now_or_never().is_some(), "nothing was written yet");
        patient.write_all(b"question").await.unwrap();
        assert!(patient.read_exact(&mut answer).now_or_never().is_none());
        patient.read_exact(&mut answer).now_or_never().unwrap().unwrap();
        assert_eq!(&answer, b" late");
    }
}
