//! The real binary, again and again over the same log.

use std::fs::OpenOptions;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::ledger::{Ledger, PATIENCE};
use super::random::Random;
use super::senders::Line;
use super::upstream::Upstream;

/// Where messages are posted, and the location's name in the log.
pub(crate) const LOCATION: &str = "/hooks";
/// What they are signed with.
pub(crate) const SECRET: &str = "it's a secret to everybody";
/// How long somebody who looks again and again waits in between.
const LOOK: Duration = Duration::from_millis(10);

/// What all gateways of a test have in common.
pub(crate) struct Setup {
    directory: TempDir,
    pub(crate) address: SocketAddr,
    /// What stands before the gateway's own command line.
    pub(crate) wrapper: Vec<String>,
    pub(crate) environment: Vec<(String, PathBuf)>,
}

impl Setup {
    pub(crate) fn new(upstream: &Upstream) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let address = free_address();
        let text = format!(
            "version: 1
listen: {address}
log: {{ format: text, level: info, requests: none }}
secrets: {{ hook: {{ file: hook.secret }} }}
wal:
  disk: {{ directory: {} }}
  retry: {{ first: 1s, longest: 2s }}
upstreams: {{ up: {{ url: 'http://{}', audience: none }} }}
locations:
  - {{ path: {LOCATION}, access: webhook, webhook: {{ github: {{ secret: hook }} }}, wal: true, upstream: up }}
",
            directory.path().join("wal").display(),
            upstream.address
        );
        std::fs::write(directory.path().join("portcullis.yaml"), text).unwrap();
        std::fs::write(directory.path().join("hook.secret"), SECRET).unwrap();
        Self { directory, address, wrapper: Vec::new(), environment: Vec::new() }
    }

    /// A file or folder beside the configuration.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The log's directory.
    pub(crate) fn log(&self) -> PathBuf {
        self.path("wal")
    }

    /// What the gateways have written.
    fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.path("output")).unwrap()).into_owned()
    }

    /// Its end, to say with a failure.
    fn last_words(&self) -> String {
        let output = self.output();
        let lines: Vec<_> = output.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

/// Below the ports that the system gives to clients, so that none of them has it between two gateways.
fn free_address() -> SocketAddr {
    let mut random = Random::new("port");
    loop {
        let port = 20_000 + u16::try_from(random.below(10_000)).unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// A running gateway, killed with the value.
pub(crate) struct Gateway<'a> {
    setup: &'a Setup,
    child: Child,
}

impl<'a> Gateway<'a> {
    /// Starts it, and waits for nothing.
    pub(crate) fn start(setup: &'a Setup) -> Self {
        let output = OpenOptions::new().create(true).append(true).open(setup.path("output")).unwrap();
        let binary = env!("CARGO_BIN_EXE_portcullis").to_owned();
        let own = [binary, "run".to_owned(), "--config".to_owned(), "portcullis.yaml".to_owned()];
        let line: Vec<_> = setup.wrapper.iter().chain(&own).collect();
        let child = Command::new(line[0])
            .args(&line[1..])
            .current_dir(setup.directory.path())
            .env_clear()
            .envs(setup.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { setup, child }
    }

    /// Waits until it serves.
    pub(crate) fn is_ready(&mut self) {
        let request = b"GET /.portcullis/health HTTP/1.1\r\nHost: gateway\r\n\r\n";
        self.until("serve", |gateway| {
            let answer = Line::new(gateway.setup.address).exchange(request);
            answer.is_ok_and(|answer| answer.status == 200)
        });
    }

    fn until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        let begun = Instant::now();
        while !condition(self) {
            self.lives();
            let words = || self.setup.last_words();
            assert!(begun.elapsed() < PATIENCE, "the gateway does not {what}; it says\n{}", words());
            std::thread::sleep(LOOK);
        }
    }

    /// It has not ended by itself.
    pub(crate) fn lives(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the gateway ended: {ended:?}; it says\n{}", self.setup.last_words());
    }

    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(mut self) {
        self.lives();
        self.child.kill().unwrap();
        let status = self.child.wait().unwrap();
        assert_eq!(status.signal(), Some(Signal::SIGKILL as i32), "{}", self.setup.last_words());
    }

    /// Waits until all that was acknowledged is delivered, and nothing is left in the log: no dead letter either.
    pub(crate) fn drains(&mut self, ledger: &Ledger) {
        ledger.all_delivered();
        self.until("empty its log", |gateway| gateway.setup.listed().is_empty());
    }

    /// SIGTERM. It ends by itself, and has not panicked.
    pub(crate) fn ends(mut self) {
        kill(Pid::from_raw(self.pid()), Signal::SIGTERM).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.setup.last_words());
        assert!(!self.setup.output().contains("panicked"), "{}", self.setup.output());
    }
}

impl Setup {
    /// What `portcullis wal list` says.
    fn listed(&self) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .args(["wal", "list", "--json", "--directory"])
            .arg(self.log())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        // It may have ended already, which is just as well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
