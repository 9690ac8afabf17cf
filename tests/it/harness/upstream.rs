//! A service behind the gateway that writes down every byte it receives and answers by a script.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::answer::{Answer, Step};
use super::background::{self, Task};
use super::message::{Headers, Message, Reader, Unframed, text};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) message: Message,
}

impl Recorded {
    /// The request line, such as `GET / HTTP/1.1`.
    pub(crate) fn line(&self) -> String {
        text(&self.message.start)
    }

    pub(crate) fn method(&self) -> String {
        self.line().split(' ').next().unwrap_or_default().to_owned()
    }

    /// Path and query as they were sent.
    pub(crate) fn target(&self) -> String {
        self.line().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    pub(crate) fn path(&self) -> String {
        self.target().split('?').next().unwrap_or_default().to_owned()
    }

    pub(crate) fn headers(&self) -> &Headers {
        &self.message.headers
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.message.headers.get(name)
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.message.body
    }
}

type Handler = Arc<dyn Fn(&Recorded) -> Answer + Send + Sync>;

#[derive(Default)]
struct Shared {
    handlers: Mutex<HashMap<String, Handler>>,
    early: Mutex<HashMap<String, Handler>>,
    fallback: Mutex<Option<Handler>>,
    requests: Mutex<Vec<Recorded>>,
    bytes: AtomicUsize,
    connections: AtomicUsize,
}

/// The service. It ends with the value.
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    _task: Task,
}

impl Upstream {
    /// Listens on a free port and answers 200 with JSON until told otherwise.
    pub(crate) fn start() -> Self {
        Self::on_listener(background::listen())
    }

    /// Listens on this port of the loopback address.
    pub(crate) fn at(port: u16) -> Self {
        Self::on_listener(background::listen_at(port))
    }

    fn on_listener((address, listener): (SocketAddr, TcpListener)) -> Self {
        let shared = Arc::new(Shared::default());
        let accepting = Arc::clone(&shared);
        let task = background::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepting.connections.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream, Arc::clone(&accepting)));
            }
        });
        Self { address, shared, _task: task }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers a path (without its query) once the whole request has arrived.
    pub(crate) fn on(
        &self,
        path: &str,
        handler: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> &Self {
        self.shared.handlers.lock().unwrap().insert(path.to_owned(), Arc::new(handler));
        self
    }

    /// Answers a path as soon as the head has arrived, before its body is read.
    pub(crate) fn on_head(
        &self,
        path: &str,
        handler: impl Fn(&Recorded) -> Answer + Send + Sync + 'static,
    ) -> &Self {
        self.shared.early.lock().unwrap().insert(path.to_owned(), Arc::new(handler));
        self
    }

    /// Answers every path that has no script of its own.
    pub(crate) fn otherwise(&self, handler: impl Fn(&Recorded) -> Answer + Send + Sync + 'static) -> &Self {
        *self.shared.fallback.lock().unwrap() = Some(Arc::new(handler));
        self
    }

    /// Everything that has arrived, in order; also requests whose body broke off.
    pub(crate) fn requests(&self) -> Vec<Recorded> {
        self.shared.requests.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.requests.lock().unwrap().len()
    }

    /// How many connections were opened, used or not.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// The only request there was.
    #[track_caller]
    pub(crate) fn only(&self) -> Recorded {
        let requests = self.requests();
        let lines: Vec<_> = requests.iter().map(Recorded::line).collect();
        assert_eq!(requests.len(), 1, "the upstream has seen {lines:?}");
        requests[0].clone()
    }

    /// The request that arrived last.
    #[track_caller]
    pub(crate) fn last(&self) -> Recorded {
        self.requests().pop().expect("the upstream has seen a request")
    }

    /// Waits until so many requests have arrived.
    pub(crate) async fn received(&self, count: usize) -> Vec<Recorded> {
        background::eventually(&format!("{count} requests at the upstream"), || self.count() >= count).await;
        self.requests()
    }

    /// How many bytes have arrived, parsed or not.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::SeqCst)
    }

    /// Not a byte of any request has arrived.
    #[track_caller]
    pub(crate) fn assert_untouched(&self) {
        let lines: Vec<_> = self.requests().iter().map(Recorded::line).collect();
        assert!(self.bytes() == 0, "{} bytes reached the upstream: {lines:?}", self.bytes());
    }

    /// Forgets what has arrived.
    pub(crate) fn forget(&self) {
        self.shared.requests.lock().unwrap().clear();
        self.shared.bytes.store(0, Ordering::SeqCst);
    }
}

/// One connection, until it ends or breaks.
async fn serve(stream: TcpStream, shared: Arc<Shared>) {
    let mut reader = Reader::new(stream);
    // Whatever goes wrong here was either scripted or is seen by the test through what was recorded.
    while let Ok(true) = one(&mut reader, &shared).await {}
}

async fn one(reader: &mut Reader<TcpStream>, shared: &Shared) -> io::Result<bool> {
    // Bytes are counted as they come, so that half a request is noticed as well.
    while !reader.buffer.windows(4).any(|window| window == b"\r\n\r\n") {
        let before = reader.seen;
        let more = reader.fill().await?;
        shared.bytes.fetch_add(reader.seen - before, Ordering::SeqCst);
        if !more {
            return Ok(false);
        }
    }
    let Some(message) = reader.head().await? else { return Ok(false) };
    let mut request = Recorded { message };
    let to_head = request.method() == "HEAD";
    let early = shared.early.lock().unwrap().get(&request.path()).cloned();
    if let Some(handler) = early {
        shared.requests.lock().unwrap().push(request.clone());
        return perform(reader, handler(&request).into_steps(to_head)).await;
    }
    if request.header("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        reader.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let before = reader.seen;
    let body = reader.body(&mut request.message, Unframed::Empty).await;
    shared.bytes.fetch_add(reader.seen - before, Ordering::SeqCst);
    shared.requests.lock().unwrap().push(request.clone());
    body?;
    let handler = {
        let scripted = shared.handlers.lock().unwrap().get(&request.path()).cloned();
        scripted.or_else(|| shared.fallback.lock().unwrap().clone())
    };
    let answer = match handler {
        Some(handler) => handler(&request),
        None => Answer::json(&serde_json::json!({ "upstream": true })),
    };
    perform(reader, answer.into_steps(to_head)).await
}

/// Carries out a script; whether the connection is good for another request.
async fn perform(reader: &mut Reader<TcpStream>, steps: Vec<Step>) -> io::Result<bool> {
    for step in steps {
        match step {
            Step::Bytes(bytes) => reader.stream.write_all(&bytes).await?,
            Step::Gate(gate) => gate.acquire().await.map_err(io::Error::other)?.forget(),
            Step::Stall => std::future::pending().await,
            Step::Reset => {
                reader.stream.set_zero_linger()?;
                return Ok(false);
            }
            Step::Close => {
                reader.stream.shutdown().await?;
                return Ok(false);
            }
            Step::Echo => {
                echo(reader).await?;
                return Ok(false);
            }
            Step::WebSocketEcho => {
                websocket_echo(reader).await;
                return Ok(false);
            }
        }
    }
    Ok(true)
}

async fn echo(reader: &mut Reader<TcpStream>) -> io::Result<()> {
    let early = std::mem::take(&mut reader.buffer);
    reader.stream.write_all(&early).await?;
    let mut buffer = [0; 4096];
    loop {
        let read = reader.stream.read(&mut buffer).await?;
        if read == 0 {
            return Ok(());
        }
        reader.stream.write_all(&buffer[..read]).await?;
    }
}

async fn websocket_echo(reader: &mut Reader<TcpStream>) {
    let early = std::mem::take(&mut reader.buffer);
    let mut socket =
        WebSocketStream::from_partially_read(&mut reader.stream, early, Role::Server, None).await;
    while let Some(Ok(message)) = socket.next().await {
        let echoed = message.is_text() || message.is_binary();
        if echoed && socket.send(message).await.is_err() {
            break;
        }
    }
}
