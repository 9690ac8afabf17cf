//! The real binary as a child process. All it writes is kept, and searched for panics and canaries at the end.

use std::io::{BufRead as _, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::background::PATIENCE;
use super::{canary, glue};

/// How long a gateway that nobody waits for may take to end before it is killed.
const FAREWELL: Duration = Duration::from_secs(3);

/// What is known of the child; changes are announced.
#[derive(Default)]
struct State {
    output: String,
    address: Option<SocketAddr>,
    readers: usize,
    status: Option<ExitStatus>,
}

#[derive(Default)]
struct Watch {
    state: Mutex<State>,
    changed: Condvar,
}

impl Watch {
    /// Blocks until a condition holds; false when it does not within the time.
    fn until(&self, patience: Duration, condition: impl Fn(&State) -> bool) -> bool {
        let state = self.state.lock().unwrap();
        let (state, _) = self.changed.wait_timeout_while(state, patience, |state| !condition(state)).unwrap();
        condition(&state)
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap());
        self.changed.notify_all();
    }
}

/// The configuration with what it leaves out.
fn complete(yaml: &str) -> String {
    let has = |key: &str| yaml.lines().any(|line| line.starts_with(key));
    let version = if has("version:") { "" } else { "version: 1\n" };
    let listen = if has("listen:") { "" } else { "listen: 127.0.0.1:0\n" };
    [version, listen, yaml].concat()
}

/// How a gateway is to be started.
#[derive(Clone)]
pub(crate) struct Setup {
    directory: Arc<TempDir>,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Setup {
    /// Writes the configuration to a directory of its own. `version` and a free loopback port are added when
    /// the text does not set them.
    pub(crate) fn new(yaml: &str) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        std::fs::write(directory.path().join("portcullis.yaml"), complete(yaml)).unwrap();
        let arguments = ["run", "--config", "portcullis.yaml"].map(str::to_owned).into();
        Self { directory, environment: Vec::new(), arguments }
    }

    /// Adds a file that the configuration names, relative to it.
    #[must_use]
    pub(crate) fn file(self, path: &str, content: impl AsRef<[u8]>) -> Self {
        let path = self.directory.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
        self
    }

    /// Sets an environment variable. Nothing else but PATH and HOME is set.
    #[must_use]
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces `run --config portcullis.yaml`.
    #[must_use]
    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        self
    }

    /// Starts the gateway and waits until it listens.
    pub(crate) fn start(self) -> Gateway {
        let gateway = self.launch();
        gateway.listens();
        gateway
    }

    /// Starts the binary without waiting: for configurations that must be refused, and for other commands.
    pub(crate) fn launch(self) -> Gateway {
        let mut child = self.command().stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
        let watch = Arc::new(Watch::default());
        watch.update(|state| state.readers = 2);
        follow(child.stdout.take().unwrap(), Arc::clone(&watch));
        follow(child.stderr.take().unwrap(), Arc::clone(&watch));
        let waiting = Arc::clone(&watch);
        std::thread::spawn(move || {
            let status = child.wait().unwrap();
            waiting.update(|state| state.status = Some(status));
        });
        Gateway { pid, watch, setup: self }
    }

    #[expect(clippy::disallowed_methods, reason = "the child gets PATH from the test's own environment")]
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis"));
        command
            .args(&self.arguments)
            .current_dir(self.directory.path())
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap_or_default())
            .env("HOME", self.directory.path())
            .envs(self.environment.clone())
            .stdin(Stdio::null());
        command
    }
}

/// Keeps every line, and notices the one that announces the listener.
fn follow(pipe: impl Read + Send + 'static, watch: Arc<Watch>) {
    std::thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
            let text = String::from_utf8_lossy(&line);
            watch.update(|state| {
                state.output.push_str(&text);
                state.address = state.address.or_else(|| glue::announced(&text));
            });
            line.clear();
        }
        watch.update(|state| state.readers -= 1);
    });
}

/// A running gateway. It is ended with the value, and then its output is examined.
pub(crate) struct Gateway {
    pid: Pid,
    watch: Arc<Watch>,
    setup: Setup,
}

impl Gateway {
    /// Runs the gateway with a configuration, on a free loopback port.
    pub(crate) fn start(yaml: &str) -> Self {
        Setup::new(yaml).start()
    }

    /// Waits until it listens.
    pub(crate) fn listens(&self) {
        let ready = |state: &State| state.address.is_some() || state.status.is_some();
        let in_time = self.watch.until(PATIENCE, ready);
        let listens = self.watch.state.lock().unwrap().address.is_some();
        assert!(in_time && listens, "the gateway does not listen; it says:\n{}", self.output());
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.watch.state.lock().unwrap().address.expect("a gateway that listens")
    }

    /// The origin for clients, such as `http://127.0.0.1:41234`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Replaces its configuration in one step, as editors and deployments do. Whether it is read is another matter.
    pub(crate) fn configure(&self, yaml: &str) {
        self.write("portcullis.yaml", complete(yaml));
    }

    /// Replaces a file beside its configuration in one step.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.directory().join(name);
        let new = path.with_extension("new");
        std::fs::write(&new, content).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// Has it read its configuration again, and waits for what it says of that; whether that is good.
    pub(crate) fn reload(&self) -> bool {
        let count = |output: &str| {
            let [good, bad] = ["configuration reloaded", "configuration is not reloaded"]
                .map(|it| output.matches(it).count());
            (good, bad)
        };
        let before = count(&self.output());
        self.signal(Signal::SIGHUP);
        let told = self.watch.until(PATIENCE, |state| count(&state.output) != before);
        assert!(told, "the gateway says nothing of a reload, but:\n{}", self.output());
        count(&self.output()).0 > before.0
    }

    /// Files and sockets that the process has open.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid)).unwrap().count()
    }

    /// Threads of the process.
    pub(crate) fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.pid)).unwrap().count()
    }

    /// All that it has written so far, standard output and standard error together.
    pub(crate) fn output(&self) -> String {
        self.watch.state.lock().unwrap().output.clone()
    }

    /// Waits until it has written something.
    pub(crate) fn says(&self, text: &str) {
        let found = self.watch.until(PATIENCE, |state| state.output.contains(text));
        assert!(found, "the gateway never said {text:?}, but:\n{}", self.output());
    }

    /// Where its configuration and its files are.
    pub(crate) fn directory(&self) -> &Path {
        self.setup.directory.path()
    }

    /// Another process of the same binary in the same place, to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        let output = self.setup.clone().arguments(arguments).command().output().unwrap();
        for text in [&output.stdout, &output.stderr] {
            canary::assert_clean("the output of a command", &String::from_utf8_lossy(text));
        }
        output
    }

    /// How to start it again, with the files as they are now.
    pub(crate) fn again(&self) -> Setup {
        self.setup.clone()
    }

    /// Whether the process lives.
    pub(crate) fn alive(&self) -> bool {
        self.watch.state.lock().unwrap().status.is_none()
    }

    /// The most memory that the process has ever held, in KiB.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // The lock keeps the id from being reaped, and so from being reused, while the signal is on its way.
        let state = self.watch.state.lock().unwrap();
        if state.status.is_none() {
            // It may have ended a moment ago, which is what the signal is for.
            kill(self.pid, signal).ok();
        }
    }

    /// Waits until it has ended and all its output is read: exit code (or negative signal) and how long it took.
    pub(crate) fn wait(&self) -> (i32, Duration) {
        let began = Instant::now();
        let ended = self.watch.until(PATIENCE, |state| state.status.is_some() && state.readers == 0);
        assert!(ended, "the gateway does not end; it says:\n{}", self.output());
        let status = self.watch.state.lock().unwrap().status.unwrap();
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or_default());
        (code, began.elapsed())
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.signal(Signal::SIGTERM);
        let ended = |state: &State| state.status.is_some() && state.readers == 0;
        if !self.watch.until(FAREWELL, ended) {
            self.signal(Signal::SIGKILL);
            self.watch.until(PATIENCE, ended);
        }
        let output = self.output();
        if std::thread::panicking() {
            // A second panic would abort; the output is what helps to understand the first.
            eprintln!("--- output of the gateway\n{output}---");
            return;
        }
        assert!(!output.contains("panicked"), "the gateway panicked:\n{output}");
        canary::assert_clean("the gateway's output", &output);
        for token in glue::TOKENS {
            assert!(!output.contains(token), "the gateway's output holds a token {token}…:\n{output}");
        }
    }
}
