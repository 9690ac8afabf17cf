//! Those who post: signed as GitHub signs, one request after the other on one connection each.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use portcullis::wal::EntryId;
use ring::hmac;

use super::gateway::{LOCATION, SECRET, Setup};
use super::ledger::{Ledger, PATIENCE};
use super::random::Random;

/// How long a sender that was not served waits; a gateway that is not there would keep it busy.
const PAUSE: Duration = Duration::from_millis(10);

/// A message with its delivery's id.
struct Message {
    delivery: String,
    body: Vec<u8>,
}

impl Message {
    fn new(random: &mut Random, size: usize) -> Self {
        let delivery = format!("{:016x}{:016x}", random.next(), random.next());
        Self { delivery, body: random.bytes(size) }
    }

    /// The id of its entry.
    fn key(&self) -> String {
        EntryId::of_delivery(&format!("{LOCATION} {LOCATION}?"), &self.delivery).to_string()
    }

    fn request(&self) -> Vec<u8> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signature = hmac::sign(&key, &self.body);
        let signature: String = signature.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let head = format!(
            "POST {LOCATION} HTTP/1.1\r\nHost: gateway\r\nContent-Type: application/octet-stream\r\n\
             Content-Length: {}\r\nX-GitHub-Delivery: {}\r\nX-Hub-Signature-256: sha256={signature}\r\n\r\n",
            self.body.len(),
            self.delivery
        );
        [head.as_bytes(), &self.body].concat()
    }
}

/// An answer of the gateway, without its body.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
}

impl Answer {
    /// A header's value; the names of the gateway's own answers are compared without regard to case.
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// A connection to the gateway, made when it is needed.
pub(crate) struct Line {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Line {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// Sends a request and reads the answer. After an error the next request has a new connection.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect_timeout(&self.address, PATIENCE)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        stream.get_mut().write_all(request)?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        let status = head.split(' ').nth(1).and_then(|text| text.parse().ok());
        let answer = Answer { status: status.ok_or(io::ErrorKind::InvalidData)?, head };
        let length = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
        stream.read_exact(&mut vec![0; length])?;
        if answer.header("connection") != Some("close") {
            self.stream = Some(stream);
        }
        Ok(answer)
    }
}

/// Sends a message and notes what came of it. Returns it if it may be sent again.
fn post(line: &mut Line, message: Message, ledger: &Ledger) -> Option<Message> {
    let key = message.key();
    ledger.sends(&key, &message.body);
    match line.exchange(&message.request()) {
        Ok(answer) if answer.status == 200 => {
            if answer.header("x-portcullis-entry") != Some(key.as_str()) {
                ledger.wrong(format!("{key} was acknowledged under another name: {}", answer.head));
            }
            ledger.acknowledged(&key);
            None
        }
        Ok(answer) if answer.status == 503 => {
            if answer.header("retry-after").and_then(|text| text.parse::<u64>().ok()).is_none() {
                ledger.wrong(format!("503 without Retry-After: {}", answer.head));
            }
            ledger.refused();
            Some(message)
        }
        Ok(answer) => {
            ledger.wrong(format!("{key} was answered: {}", answer.head));
            None
        }
        Err(error) => {
            if error.kind() != io::ErrorKind::ConnectionRefused {
                ledger.unanswered();
            }
            Some(message)
        }
    }
}

/// Posts one message. The status of the answer shows in the ledger.
pub(crate) fn post_one(setup: &Setup, ledger: &Ledger, random: &mut Random, size: usize) {
    drop(post(&mut Line::new(setup.address), Message::new(random, size), ledger));
}

/// Threads that post as fast as they can.
pub(crate) struct Senders {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Senders {
    /// Starts them, with bodies as long as `size` says.
    pub(crate) fn start(
        count: usize,
        setup: &Setup,
        ledger: &Arc<Ledger>,
        random: &mut Random,
        size: fn(&mut Random) -> usize,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..count).map(|_| {
            let (stop, ledger, mut random) = (Arc::clone(&stop), Arc::clone(ledger), random.fork());
            let mut line = Line::new(setup.address);
            std::thread::spawn(move || {
                let mut again = None;
                while !stop.load(Ordering::SeqCst) {
                    let message = again.take().unwrap_or_else(|| {
                        let size = size(&mut random);
                        Message::new(&mut random, size)
                    });
                    if let Some(message) = post(&mut line, message, &ledger) {
                        // Half of them send it again as the same delivery, as GitHub's users may; half never do.
                        again = Some(message).filter(|_| random.below(2) == 0);
                        std::thread::sleep(PAUSE);
                    }
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }

    /// Lets each finish its request.
    pub(crate) fn stop(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().unwrap();
        }
    }
}
