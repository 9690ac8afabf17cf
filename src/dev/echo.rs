//! An upstream that answers with what it received, to see and to test what the gateway forwards.
//!
//! It can be switched off and on, to see what the write-ahead log does meanwhile: `POST /.echo/off`, `POST /.echo/on`;
//! `GET /.echo/received` lists what came.
//! It checks nothing: a service on Cloud Run has the platform verify the token before it. Tokens are shown by
//! their first characters and their claims, never whole; only [`Echo::requests`] keeps them, for tests.

mod shown;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::extract::{ConnectInfo, FromRequestParts as _, Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use http_body::Body as _;
use ring::digest::{Context, SHA256};
use tokio::sync::mpsc;
use url::Url;

use super::loopback::Wire;
use super::{loopback, page};

/// A request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Method.
    pub method: String,
    /// Request target: path and query, as sent.
    pub target: String,
    /// Names (lower-case) and whole values, in the order of arrival as far as it is known: values of one name
    /// stand together.
    pub headers: Vec<(String, String)>,
    /// The first 64 KiB of the body.
    pub body: Vec<u8>,
    /// Length of the whole body.
    pub body_length: u64,
    /// SHA-256 of the whole body, in hexadecimal.
    pub body_sha256: String,
    /// Whether the body arrived to its end.
    pub complete: bool,
}

impl Received {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(candidate, _)| candidate.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// All values of a header.
    pub fn values(&self, name: &str) -> Vec<&str> {
        let own = self.headers.iter().filter(|(candidate, _)| candidate.eq_ignore_ascii_case(name));
        own.map(|(_, value)| value.as_str()).collect()
    }
}

const KEPT: usize = 1000;
const KEPT_BODY: usize = 64 * 1024;
const LONGEST_WAIT: Duration = Duration::from_secs(600);
const LARGEST_BODY: u64 = 1 << 30;

type Record = Arc<Mutex<VecDeque<Received>>>;

#[derive(Clone, Debug, Default)]
struct Shared {
    record: Record,
    /// Whether connections are closed without an answer.
    off: Arc<AtomicBool>,
}

/// A running echo upstream. Clones are handles on the same one, which lives as long as the runtime it was started on.
#[derive(Clone, Debug)]
pub struct Echo {
    address: SocketAddr,
    shared: Shared,
}

impl Echo {
    /// Binds `address`, which must be loopback (port 0 lets the system choose), and serves on the current runtime.
    pub async fn start(address: SocketAddr) -> io::Result<Self> {
        let shared = Shared::default();
        let router = Router::new().fallback(handle).with_state(shared.clone());
        Ok(Self { address: loopback::serve(address, router).await?, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its origin, such as `http://127.0.0.1:40124/`.
    #[expect(clippy::expect_used, reason = "an IP address and a port always make a URL")]
    pub fn base_url(&self) -> Url {
        Url::parse(&format!("http://{}/", self.address)).expect("a URL")
    }

    /// The last thousand requests, oldest first.
    pub fn requests(&self) -> Vec<Received> {
        self.shared.record.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Forgets the requests so far.
    pub fn clear(&self) {
        self.shared.record.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

async fn handle(
    State(shared): State<Shared>,
    ConnectInfo(wire): ConnectInfo<Wire>,
    request: Request,
) -> Response {
    let (mut parts, body) = request.into_parts();
    if let Some(answer) = switched(&shared, &parts) {
        return answer;
    }
    if shared.off.load(Ordering::Acquire) {
        wire.take_over(Vec::new());
        return page::text(StatusCode::SERVICE_UNAVAILABLE, "");
    }
    let received = read(&parts, body).await;
    {
        let mut record = shared.record.lock().unwrap_or_else(PoisonError::into_inner);
        if record.len() == KEPT {
            record.pop_front();
        }
        record.push_back(received.clone());
    }
    let path = parts.uri.path().to_owned();
    let mut segments = path.trim_start_matches('/').split('/');
    match (segments.next(), segments.next(), segments.next()) {
        (Some("sse"), None, _) => events(),
        (Some("ws"), None, _) => web_socket(&mut parts).await,
        (Some("slow"), None, _) => {
            tokio::time::sleep(wait(&parts)).await;
            shown::answer(&received)
        }
        (Some("status"), Some(code), None) => status(code),
        (Some("bytes"), Some(count), None) => bytes(count),
        (Some("front-door"), Some(code), None) => front_door(code, &received.target),
        _ => shown::answer(&received),
    }
}

/// `POST /.echo/off` and `/.echo/on`; `GET /.echo/received` for what came so far.
fn switched(shared: &Shared, parts: &Parts) -> Option<Response> {
    let (off, text) = match parts.uri.path() {
        "/.echo/received" => return Some(page::text(StatusCode::OK, received(shared))),
        "/.echo/off" => (true, "off: connections are closed without an answer\n"),
        "/.echo/on" => (false, "on\n"),
        _ => return None,
    };
    if parts.method != http::Method::POST {
        return Some(page::text(StatusCode::METHOD_NOT_ALLOWED, "POST\n"));
    }
    shared.off.store(off, Ordering::Release);
    Some(page::text(StatusCode::OK, text))
}

/// One line for each request, oldest first.
fn received(shared: &Shared) -> String {
    let record = shared.record.lock().unwrap_or_else(PoisonError::into_inner);
    let line = |it: &Received| {
        let attempt = it.header("x-portcullis-attempt").map(|attempt| format!(" (attempt {attempt})"));
        let body = String::from_utf8_lossy(&it.body).replace(['\r', '\n'], " ");
        format!("{} {}{} {body}\n", it.method, it.target, attempt.unwrap_or_default())
    };
    record.iter().map(line).collect()
}

async fn read(parts: &Parts, mut body: Body) -> Received {
    let mut kept = Vec::new();
    let mut hash = Context::new(&SHA256);
    let (mut length, mut complete) = (0_u64, true);
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame else {
            complete = false;
            break;
        };
        if let Some(data) = frame.data_ref() {
            hash.update(data);
            length = length.saturating_add(data.len() as u64);
            kept.extend(data.iter().take(KEPT_BODY.saturating_sub(kept.len())));
        }
    }
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    Received {
        method: parts.method.to_string(),
        target: parts.uri.path_and_query().map_or_else(|| parts.uri.to_string(), ToString::to_string),
        headers: parts.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: kept,
        body_length: length,
        body_sha256: hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect(),
        complete,
    }
}

/// `/slow?ms=N`.
fn wait(parts: &Parts) -> Duration {
    let query = parts.uri.query().unwrap_or_default();
    let given = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "ms");
    let wait = given.and_then(|(_, value)| value.parse().ok()).map(Duration::from_millis);
    wait.unwrap_or(Duration::from_secs(1)).min(LONGEST_WAIT)
}

/// `/status/N`.
fn status(code: &str) -> Response {
    let status = code.parse().ok().and_then(|code| StatusCode::from_u16(code).ok());
    match status.filter(|status| (200..600).contains(&status.as_u16())) {
        Some(status) => page::text(status, format!("{status}\n")),
        None => page::text(StatusCode::BAD_REQUEST, "/status/N answers with a status from 200 to 599\n"),
    }
}

/// `/bytes/N`.
fn bytes(count: &str) -> Response {
    match count.parse().ok().filter(|&count| count <= LARGEST_BODY) {
        Some(count) => page::answer(StatusCode::OK, "application/octet-stream", loopback::flood(count)),
        None => page::text(StatusCode::BAD_REQUEST, "/bytes/N answers with up to 1073741824 bytes\n"),
    }
}

/// `/front-door/401` and `/front-door/403`: what Cloud Run itself answers when it does not let a request through
/// to the container.
fn front_door(code: &str, target: &str) -> Response {
    let (status, title, what) = match code {
        "401" => (StatusCode::UNAUTHORIZED, "401 Unauthorized", "to the requested URL"),
        "403" => (StatusCode::FORBIDDEN, "403 Forbidden", "to get URL"),
        _ => return page::text(StatusCode::BAD_REQUEST, "/front-door/N answers with 401 or 403\n"),
    };
    let path = target.split('?').next().unwrap_or_default().replace('&', "&amp;").replace('<', "&lt;");
    let end = if status == StatusCode::FORBIDDEN { " from this server." } else { "." };
    let body = format!(
        "<html><head>\n<title>{title}</title>\n</head>\n<body>\n<h1>Error: {title}</h1>\n\
         <h2>Your client does not have permission {what} <code>{path}</code>{end}</h2>\n</body></html>\n"
    );
    let mut response = page::answer(status, "text/html; charset=UTF-8", body);
    if status == StatusCode::UNAUTHORIZED {
        let challenge =
            "Bearer error=\"invalid_token\" error_description=\"The access token could not be verified\"";
        page::set(&mut response, http::header::WWW_AUTHENTICATE, challenge);
    }
    response
}

/// `/sse`: five events, one a second.
fn events() -> Response {
    let (sender, receiver) = mpsc::channel(1);
    drop(tokio::spawn(async move {
        for number in 1..=5 {
            let event = format!("id: {number}\nevent: tick\ndata: {{\"number\":{number}}}\n\n");
            if sender.send(Bytes::from(event)).await.is_err() {
                return;
            }
            if number < 5 {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }));
    page::answer(StatusCode::OK, "text/event-stream", loopback::channel(receiver))
}

/// `/ws`: each message comes back.
async fn web_socket(parts: &mut Parts) -> Response {
    match WebSocketUpgrade::from_request_parts(parts, &()).await {
        Ok(upgrade) => upgrade.on_upgrade(repeat),
        Err(_) => page::text(StatusCode::UPGRADE_REQUIRED, "/ws speaks WebSocket\n"),
    }
}

async fn repeat(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let ours =
            matches!(message, axum::extract::ws::Message::Text(_) | axum::extract::ws::Message::Binary(_));
        if ours && socket.send(message).await.is_err() {
            return;
        }
    }
}
