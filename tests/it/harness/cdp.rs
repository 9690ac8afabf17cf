//! The Chromium DevTools Protocol: commands, their answers, and a record of all events.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::{Message, protocol::WebSocketConfig};

use super::background::{Task, spawn, within};

/// Something that the browser reported.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) session: String,
    pub(crate) method: String,
    pub(crate) params: Value,
}

type Waiting = HashMap<u64, oneshot::Sender<Result<Value, String>>>;

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    events: Mutex<Vec<Event>>,
}

/// A connection to a browser.
pub(crate) struct Cdp {
    outgoing: mpsc::UnboundedSender<String>,
    next: AtomicU64,
    shared: Arc<Shared>,
    _task: Task,
}

impl Cdp {
    /// Connects to the browser's own endpoint, such as `/devtools/browser/UUID` on a port of loopback.
    pub(crate) async fn connect(port: u16, path: &str) -> Self {
        let stream = within("the browser's port", TcpStream::connect(("127.0.0.1", port))).await.unwrap();
        // Screenshots come in one message.
        let limits = WebSocketConfig::default().max_message_size(None).max_frame_size(None);
        let url = format!("ws://127.0.0.1:{port}{path}");
        let handshake = tokio_tungstenite::client_async_with_config(url, stream, Some(limits));
        let (socket, _) = within("the browser's handshake", handshake).await.unwrap();
        let (mut sink, mut source) = socket.split();
        let (outgoing, mut commands) = mpsc::unbounded_channel::<String>();
        let shared = Arc::new(Shared::default());
        let receiving = Arc::clone(&shared);
        let task = spawn(async move {
            loop {
                tokio::select! {
                    command = commands.recv() => {
                        let Some(text) = command else { break };
                        if sink.send(Message::text(text)).await.is_err() {
                            break;
                        }
                    }
                    message = source.next() => match message {
                        Some(Ok(message)) => receive(&receiving, message),
                        Some(Err(_)) | None => break,
                    },
                }
            }
            // Whoever still waits learns that no answer will come.
            receiving.waiting.lock().unwrap().clear();
        });
        Self { outgoing, next: AtomicU64::new(1), shared, _task: task }
    }

    /// Sends a command, to a tab or to the browser itself (an empty session).
    pub(crate) async fn try_call(&self, session: &str, method: &str, params: Value) -> Result<Value, String> {
        let id = self.next.fetch_add(1, Ordering::SeqCst);
        let (sender, receiver) = oneshot::channel();
        self.shared.waiting.lock().unwrap().insert(id, sender);
        let mut command = json!({ "id": id, "method": method, "params": params });
        if !session.is_empty() {
            command["sessionId"] = session.into();
        }
        self.outgoing.send(command.to_string()).map_err(|_| "the browser has gone".to_owned())?;
        let answer = within(&format!("the browser to answer {method}"), receiver).await;
        answer.unwrap_or_else(|_| Err("the browser has gone".to_owned()))
    }

    /// Sends a command that must succeed.
    pub(crate) async fn call(&self, session: &str, method: &str, params: Value) -> Value {
        let answer = self.try_call(session, method, params).await;
        answer.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// The events of a tab with this method, in order.
    pub(crate) fn events(&self, session: &str, method: &str) -> Vec<Value> {
        let events = self.shared.events.lock().unwrap();
        let mine = events.iter().filter(|event| event.session == session && event.method == method);
        mine.map(|event| event.params.clone()).collect()
    }

    /// Every event of a tab, in order.
    pub(crate) fn all_events(&self, session: &str) -> Vec<Event> {
        let events = self.shared.events.lock().unwrap();
        events.iter().filter(|event| event.session == session).cloned().collect()
    }

    /// Forgets the events of a tab.
    pub(crate) fn forget(&self, session: &str) {
        self.shared.events.lock().unwrap().retain(|event| event.session != session);
    }
}

fn receive(shared: &Shared, message: Message) {
    let Ok(text) = message.into_text() else { return };
    let Ok(mut value) = serde_json::from_str::<Value>(&text) else { return };
    if let Some(id) = value["id"].as_u64() {
        let Some(waiting) = shared.waiting.lock().unwrap().remove(&id) else { return };
        let error = value.get("error").map(|error| error["message"].as_str().unwrap_or_default().to_owned());
        // The one that asked may have given up.
        drop(waiting.send(error.map_or_else(|| Ok(value["result"].take()), Err)));
        return;
    }
    let event = Event {
        session: value["sessionId"].as_str().unwrap_or_default().to_owned(),
        method: value["method"].as_str().unwrap_or_default().to_owned(),
        params: value["params"].take(),
    };
    shared.events.lock().unwrap().push(event);
}
