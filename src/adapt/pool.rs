//! The worker processes: started when they are needed, one message at a time each, killed when they take too long.
//!
//! A worker that is not given back, because its evaluation failed or whoever waited went away, is killed by being
//! dropped; the next message gets another.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::frame::{self, HEAD, MARGIN, Reply};
use super::{AdaptError, Limits};

/// How long a worker may take to start and to compile its programs.
const START: Duration = Duration::from_secs(10);
/// How long a dead worker's last words are waited for.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The allocator takes address space in pieces of 32 MiB (in KiB here) rather than of 1 GiB, which counts as used and
/// would make any lower limit useless.
const RESERVE: (&str, &str) = ("MIMALLOC_ARENA_RESERVE", "32768");
/// Signals that come from outside rather than from a failed evaluation.
const FROM_OUTSIDE: [i32; 4] = [1, 2, 9, 15];

/// How a worker is started.
#[derive(Clone, Debug)]
pub struct WorkerCommand {
    /// The gateway's own binary.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

impl WorkerCommand {
    /// The hidden command `adapt-worker` of a gateway's binary. On Linux `/proc/self/exe` is the running one, even after
    /// its file was replaced.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), arguments: vec!["adapt-worker".into()] }
    }
}

pub(super) struct Pool {
    command: WorkerCommand,
    hello: Vec<u8>,
    limits: Limits,
    idle: Mutex<Vec<Worker>>,
    /// One for each worker. Fair: who came first is served first.
    turns: Semaphore,
    /// One for each message that is evaluated or waits.
    places: Semaphore,
}

struct Worker {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    errors: ChildStderr,
}

/// Why an exchange with a worker came to nothing.
enum Broken {
    /// The worker cannot be started.
    NotStarted(String),
    /// It ended, by itself or by a signal.
    Ended { why: String, from_outside: bool },
    /// It took too long.
    TimedOut,
}

impl Pool {
    pub(super) fn new(command: WorkerCommand, hello: Vec<u8>, limits: Limits) -> Self {
        Self {
            command,
            hello,
            idle: Mutex::default(),
            turns: Semaphore::new(limits.workers),
            places: Semaphore::new(limits.workers + limits.waiting),
            limits,
        }
    }

    /// Has one message evaluated.
    pub(super) async fn exchange(&self, frame: &[u8]) -> Result<Reply, AdaptError> {
        let _place = self.places.try_acquire().map_err(|_| AdaptError::Busy)?;
        let _turn = self.turn().await?;
        let result = match self.attempt(frame).await {
            // An evaluation changes nothing, so it may be done again; but not when it is itself what killed the worker.
            Err(Broken::Ended { from_outside: true, .. }) => self.attempt(frame).await,
            other => other,
        };
        result.map_err(|broken| match broken {
            Broken::NotStarted(why) | Broken::Ended { why, .. } => AdaptError::Crashed(why),
            Broken::TimedOut => AdaptError::TimedOut(self.limits.evaluation, String::new()),
        })
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, AdaptError> {
        match timeout(self.limits.patience, self.turns.acquire()).await {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) | Err(_) => Err(AdaptError::Busy),
        }
    }

    /// Starts a worker if none is waiting for work.
    pub(super) async fn warm_up(&self) -> Result<(), String> {
        let Ok(_turn) = self.turns.try_acquire() else { return Ok(()) };
        let worker = match self.take_idle() {
            Some(worker) => worker,
            None => self.start().await.map_err(|broken| match broken {
                Broken::NotStarted(why) | Broken::Ended { why, .. } => why,
                Broken::TimedOut => format!("the worker did not start within {START:?}"),
            })?,
        };
        self.give_back(worker);
        Ok(())
    }

    async fn attempt(&self, frame: &[u8]) -> Result<Reply, Broken> {
        let mut worker = match self.take_idle() {
            Some(worker) => worker,
            None => self.start().await?,
        };
        let most = self.limits.output.saturating_add(MARGIN);
        match timeout(self.limits.evaluation, worker.ask(frame, most)).await {
            Ok(Ok(reply)) => {
                self.give_back(worker);
                Ok(reply)
            }
            Ok(Err(_)) => Err(worker.last_words().await),
            Err(_) => Err(Broken::TimedOut),
        }
    }

    /// The worker that rested least, of those that live.
    fn take_idle(&self) -> Option<Worker> {
        loop {
            let mut worker = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if matches!(worker.child.try_wait(), Ok(None)) {
                return Some(worker);
            }
        }
    }

    fn give_back(&self, worker: Worker) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(worker);
    }

    async fn start(&self) -> Result<Worker, Broken> {
        let mut worker = Worker::spawn(&self.command).map_err(|error| {
            Broken::NotStarted(format!("{} cannot be started: {error}", self.command.program.display()))
        })?;
        match timeout(START, worker.ask(&self.hello, MARGIN)).await {
            Ok(Ok(Reply::Ready)) => Ok(worker),
            Ok(Ok(_)) => Err(Broken::NotStarted("BUG: the worker began with something else".to_owned())),
            Ok(Err(_)) => Err(worker.last_words().await),
            Err(_) => Err(Broken::NotStarted(format!("the worker did not start within {START:?}"))),
        }
    }
}

impl Worker {
    fn spawn(command: &WorkerCommand) -> io::Result<Self> {
        let mut child = Command::new(&command.program)
            .args(&command.arguments)
            .env_clear()
            .env(RESERVE.0, RESERVE.1)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Ctrl-C in a terminal is for the gateway, which lets evaluations finish.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(input), Some(output), Some(errors)) => Ok(Self { child, input, output, errors }),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Sends a frame and reads the one that comes back, of at most `most` bytes.
    async fn ask(&mut self, frame: &[u8], most: usize) -> io::Result<Reply> {
        self.input.write_all(frame).await?;
        let mut bytes = BytesMut::with_capacity(16 * 1024);
        let length = loop {
            if let Some(head) = bytes.first_chunk::<HEAD>() {
                break frame::length(*head);
            }
            self.more(&mut bytes).await?;
        };
        if length > most {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes.reserve((HEAD + length).saturating_sub(bytes.len()));
        while bytes.len() < HEAD + length {
            self.more(&mut bytes).await?;
        }
        let content: Bytes = bytes.split_off(HEAD).freeze();
        Reply::decode(content).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    async fn more(&mut self, bytes: &mut BytesMut) -> io::Result<()> {
        match self.output.read_buf(bytes).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    /// Why a worker ended that no longer answers.
    async fn last_words(mut self) -> Broken {
        let mut words = Vec::new();
        let told = async {
            let status = self.child.wait().await;
            // Nobody else holds the pipe, so this ends.
            let _ = (&mut self.errors).take(4096).read_to_end(&mut words).await;
            status
        };
        match timeout(LAST_WORDS, told).await {
            Ok(Ok(status)) => Broken::Ended {
                why: cause(status, &String::from_utf8_lossy(&words)),
                from_outside: status.signal().is_some_and(|signal| FROM_OUTSIDE.contains(&signal)),
            },
            Ok(Err(_)) | Err(_) => {
                Broken::Ended { why: "the worker broke off its answer".to_owned(), from_outside: false }
            }
        }
    }
}

/// What ended a worker. The words are the runtime's and our own, never those of a message.
fn cause(status: ExitStatus, words: &str) -> String {
    if words.contains("has overflowed its stack") {
        "it recurses too deeply".to_owned()
    } else if words.contains("memory allocation of") || words.contains("out of memory") {
        "it needs more memory than it may have".to_owned()
    } else if let Some(line) = words.lines().find(|line| !line.trim().is_empty()) {
        format!("the worker ended ({status}): {line}")
    } else {
        format!("the worker ended ({status})")
    }
}
