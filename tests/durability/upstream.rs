//! The service behind the gateway: takes deliveries, and now and then does not.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::ledger::Ledger;
use super::random::Random;

/// What it does with a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mood {
    /// Takes it; one in fifty gets 503, and one in fifty is hung up on.
    Moody,
    /// Takes it, after up to half a second.
    Slow,
    /// Answers 503.
    Busy,
}

struct Shared {
    ledger: Arc<Ledger>,
    random: Mutex<Random>,
    mood: AtomicU8,
}

/// Runs until the test ends.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

impl Upstream {
    pub(crate) fn start(ledger: &Arc<Ledger>, random: Random, mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mood = AtomicU8::new(mood as u8);
        let shared = Arc::new(Shared { ledger: Arc::clone(ledger), random: Mutex::new(random), mood });
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let serving = Arc::clone(&serving);
                std::thread::spawn(move || serving.serve(&mut BufReader::new(stream.unwrap())));
            }
        });
        Self { address, shared }
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.shared.mood.store(mood as u8, Ordering::SeqCst);
    }
}

impl Shared {
    /// Serves a connection until either side ends it.
    fn serve(&self, stream: &mut BufReader<TcpStream>) {
        // What broke off in the middle, because the gateway was killed, was no delivery.
        while let Some((head, body)) = request(stream) {
            let header = |name: &str| {
                let mut lines = head.lines().filter_map(|line| line.split_once(": "));
                lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
            };
            let attempt = header("x-portcullis-attempt").and_then(|text| text.parse::<u32>().ok());
            let Some((key, 1..)) = header("idempotency-key").zip(attempt) else {
                return self.ledger.wrong(format!("a delivery without name or attempt: {head}"));
            };
            let roll = self.random.lock().unwrap().below(500);
            let mood = self.mood.load(Ordering::SeqCst);
            let moody = mood == Mood::Moody as u8;
            let busy = mood == Mood::Busy as u8 || moody && roll < 10;
            let hangs_up = moody && (10..20).contains(&roll);
            if mood == Mood::Slow as u8 {
                std::thread::sleep(Duration::from_millis(roll));
            }
            self.ledger.arrives(&key, &body, !busy && !hangs_up);
            if hangs_up {
                return;
            }
            let status = if busy { "503 Busy" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n");
            if stream.get_mut().write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// Head and body of a whole request.
fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length").then(|| value.parse::<usize>().unwrap())
    });
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).ok()?;
    Some((head, body))
}
