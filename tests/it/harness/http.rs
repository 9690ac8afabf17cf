//! A friendly client for ordinary requests. It follows no redirects, keeps no cookies, and opens a
//! connection for every request, so that nothing carries over. [`checks`](super::checks) sees every answer.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::http::request::Builder;
use hyper::{HeaderMap, Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use super::background::{Task, spawn, within};
use super::{checks, glue};

/// A client of one address.
#[derive(Clone, Copy)]
pub(crate) struct Client {
    address: SocketAddr,
    version: Version,
}

/// A request that is being put together.
pub(crate) struct Call {
    client: Client,
    builder: Builder,
    host: String,
    body: Bytes,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

/// An answer whose body is still coming. The connection ends with the value.
pub(crate) struct Streaming {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Incoming,
    _connection: Task,
}

impl Client {
    /// Speaks HTTP/1.1.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, version: Version::HTTP_11 }
    }

    /// Speaks HTTP/2 in the clear, with prior knowledge.
    pub(crate) fn h2(address: SocketAddr) -> Self {
        Self { address, version: Version::HTTP_2 }
    }

    pub(crate) fn get(self, path: &str) -> Call {
        self.call("GET", path)
    }

    pub(crate) fn post(self, path: &str, body: impl Into<Bytes>) -> Call {
        self.call("POST", path).body(body)
    }

    pub(crate) fn call(self, method: &str, path: &str) -> Call {
        let builder = Request::builder().method(method).uri(path);
        Call { client: self, builder, host: self.address.to_string(), body: Bytes::new() }
    }
}

impl Call {
    /// Adds a header line.
    #[must_use]
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.header(name, value);
        self
    }

    #[must_use]
    pub(crate) fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    /// Presents a token as a signed-in browser does.
    #[must_use]
    pub(crate) fn session(self, token: &str) -> Self {
        self.header("cookie", &format!("{}={token}", glue::COOKIE))
    }

    /// Looks like a page navigation of a browser.
    #[must_use]
    pub(crate) fn navigation(self) -> Self {
        self.header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("accept", "text/html,application/xhtml+xml,*/*;q=0.8")
    }

    #[must_use]
    pub(crate) fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    #[must_use]
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it and reads the whole answer.
    pub(crate) async fn send(self) -> Response {
        let streaming = self.stream().await;
        let collected = within("the body", streaming.body.collect()).await.unwrap();
        let trailers = collected.trailers().cloned();
        let response = Response {
            status: streaming.status,
            headers: streaming.headers,
            body: collected.to_bytes(),
            trailers,
        };
        checks::check(response.status, &response.headers, &response.body);
        response
    }

    /// Sends it and returns as soon as the head of the answer is there.
    pub(crate) async fn stream(self) -> Streaming {
        let Self { client, mut builder, host, body } = self;
        let stream = within("a connection", TcpStream::connect(client.address)).await.unwrap();
        let io = TokioIo::new(stream);
        let (response, connection) = if client.version == Version::HTTP_2 {
            let path = builder.uri_ref().unwrap().to_string();
            let request = builder.uri(format!("http://{host}{path}")).body(Full::new(body)).unwrap();
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
            let (mut sender, connection) = handshake.await.unwrap();
            let task = spawn(async move { drop(connection.await) });
            (within("a response", sender.send_request(request)).await.unwrap(), task)
        } else {
            builder = builder.header("host", host);
            let request = builder.body(Full::new(body)).unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            let task = spawn(async move { drop(connection.with_upgrades().await) });
            (within("a response", sender.send_request(request)).await.unwrap(), task)
        };
        let (head, body) = response.into_parts();
        Streaming { status: head.status, headers: head.headers, body, _connection: connection }
    }
}

impl Response {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The stable code of a refusal.
    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// `Set-Cookie` lines.
    pub(crate) fn cookies(&self) -> Vec<String> {
        let lines = self.headers.get_all("set-cookie").iter();
        lines.map(|value| value.to_str().unwrap_or_default().to_owned()).collect()
    }
}
