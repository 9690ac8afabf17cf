//! A WebSocket client that can send any header, and that tells how a handshake was refused.

use std::net::SocketAddr;

use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue};

use super::background::within;

/// An open WebSocket.
pub(crate) type Socket = WebSocketStream<TcpStream>;

/// Opens a WebSocket. The error is the status of the answer that was not 101.
pub(crate) async fn connect(
    address: SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> Result<Socket, u16> {
    let mut request = format!("ws://{address}{path}").into_client_request().unwrap();
    for (name, value) in headers {
        let name: HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, HeaderValue::from_str(value).unwrap());
    }
    let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
    let handshake = tokio_tungstenite::client_async(request, stream);
    match within("a WebSocket handshake", handshake).await {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(other) => panic!("the handshake at {path} broke: {other}"),
    }
}
