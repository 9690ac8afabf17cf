//! Reads server-sent events and notes when each one came.

use std::time::Instant;

use http_body_util::BodyExt as _;

use super::background::within;
use super::http::Streaming;

/// One event.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    /// When its last byte was there.
    pub(crate) at: Instant,
    pub(crate) name: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) data: String,
}

/// The events of an answer, one by one.
pub(crate) struct Events {
    streaming: Streaming,
    buffer: Vec<u8>,
}

impl Events {
    pub(crate) fn new(streaming: Streaming) -> Self {
        Self { streaming, buffer: Vec::new() }
    }

    /// The next event; nothing at the end of the stream, also when it breaks off.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|window| window == b"\n\n") {
                let block: Vec<u8> = self.buffer.drain(..end + 2).collect();
                return Some(parse(&String::from_utf8_lossy(&block)));
            }
            let frame = within("an event", self.streaming.body.frame()).await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

fn parse(block: &str) -> Event {
    let mut event = Event { at: Instant::now(), name: None, id: None, data: String::new() };
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => event.name = Some(value.to_owned()),
            "id" => event.id = Some(value.to_owned()),
            "data" => {
                if !event.data.is_empty() {
                    event.data.push('\n');
                }
                event.data.push_str(value);
            }
            _ => {}
        }
    }
    event
}
