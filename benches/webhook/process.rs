//! The whole gateway, from outside.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use nix::unistd::Pid;
use portcullis::time::UnixTime;

use super::cpu::Meter;
use super::message::{Kind, Message, configuration};

/// Rounds that are counted, after one that is not.
const ROUNDS: u64 = 10;
/// Messages of a round.
const MESSAGES: u64 = 200;

struct Gateway(Child);

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Posts to the gateway's own process over one connection, and prints what it cost.
pub(crate) fn measure(name: &str, (kind, size): (Kind, usize), place: &str) {
    let directory = tempfile::tempdir_in(place).expect("the directory can be written");
    // It takes connections and answers nothing: deliveries cost next to nothing.
    let upstream = TcpListener::bind("127.0.0.1:0").expect("there is a port");
    let origin = format!("http://{}", upstream.local_addr().expect("it has an address"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_portcullis"))
        .args(["run", "--config"])
        .arg(configuration(directory.path(), &origin))
        .env_clear()
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the gateway starts");
    let mut output = BufReader::new(child.stderr.take().expect("it is a pipe"));
    let gateway = Gateway(child);
    let mut line = String::new();
    let address = loop {
        line.clear();
        assert_ne!(output.read_line(&mut line).expect("it is text"), 0, "the gateway ended");
        if let Some((_, address)) = line.split_once("listening on ") {
            break address.trim().to_owned();
        }
    };
    let mut stream = BufReader::new(TcpStream::connect(address).expect("it listens"));
    stream.get_ref().set_nodelay(true).expect("it is a socket");
    let mut meter = Meter::default();
    let process = Pid::from_raw(i32::try_from(gateway.0.id()).expect("it is a process id"));
    for round in 0..=ROUNDS {
        let messages = (0..MESSAGES).map(|_| request(kind, size)).collect::<Vec<_>>();
        let post = || messages.iter().for_each(|message| exchange(&mut stream, message));
        let mut warm_up = Meter::default();
        let meter = if round == 0 { &mut warm_up } else { &mut meter };
        meter.time_of(process, MESSAGES, post);
    }
    eprintln!("CPU webhook/{name}: {meter}");
}

fn request(kind: Kind, size: usize) -> Vec<u8> {
    let message = Message::new(kind, size, UnixTime::now());
    let mut bytes = format!("POST {} HTTP/1.1\r\ncontent-length: {}\r\n", kind.path(), message.body.len());
    for (name, value) in &message.headers {
        bytes.push_str(&format!("{name}: {}\r\n", value.to_str().expect("it is ASCII")));
    }
    bytes.push_str("\r\n");
    [bytes.as_bytes(), &message.body].concat()
}

fn exchange(stream: &mut BufReader<TcpStream>, request: &[u8]) {
    stream.get_mut().write_all(request).expect("the gateway takes it");
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut head).expect("the gateway answers"), 0, "no answer");
    }
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    stream.read_exact(&mut vec![0; length.unwrap_or(0)]).expect("the answer is whole");
}
