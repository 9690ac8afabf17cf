//! Adapters: jq programs that reshape the body of a webhook.
//!
//! A program gets `{method, path, query, headers, form, json, text}` and gives the new body, as one JSON value. No value
//! means that the message is acknowledged and dropped; `error("…")` refuses it.
//!
//! jaq evaluates natively: it cannot be interrupted, and deep recursion would end the process. So programs run in worker
//! processes of the same binary (`worker`), which limit their own memory and are killed when they take too long
//! (`pool`). All that reads a message, decompression included, happens there. The gateway only compiles the programs
//! once at its start, to find what is wrong with them.

pub mod command;
mod decode;
mod frame;
mod input;
mod json;
mod pool;
mod problem;
mod program;
mod redact;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use thiserror::Error;

use crate::config::AdapterSource;
use frame::{Hello, Reply};
use input::Unreadable;
use pool::Pool;
use program::Program;

pub use pool::WorkerCommand;
pub use problem::AdapterProblem;
pub use worker::work;

/// What an evaluation may use.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest evaluation, reading the message and writing the result included.
    pub evaluation: Duration,
    /// Most bytes of memory that an evaluation may use, besides a stack of 128 MiB.
    pub memory: u64,
    /// Largest body in bytes after decompression.
    pub body: usize,
    /// Largest result in bytes.
    pub output: usize,
    /// Evaluations under way at once, each in a process of its own. At least 1.
    pub workers: usize,
    /// Messages that may wait for a worker.
    pub waiting: usize,
    /// Longest wait for a worker.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            evaluation: Duration::from_secs(1),
            memory: 256 * 1024 * 1024,
            body: 10 * 1024 * 1024,
            output: 10 * 1024 * 1024,
            workers: std::thread::available_parallelism().map_or(1, |cores| cores.get().min(4)),
            waiting: 256,
            patience: Duration::from_secs(5),
        }
    }
}

/// A message to reshape.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Request method.
    pub method: &'a str,
    /// Path, as the location saw it.
    pub path: &'a str,
    /// Query without `?`.
    pub query: Option<&'a str>,
    /// The headers that the program may see, and `Content-Type` and `Content-Encoding`, which say how the body is read.
    pub headers: &'a HeaderMap,
    /// The body as it was sent.
    pub body: &'a [u8],
}

/// What a program made of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The new body, JSON without spaces.
    Json(Bytes),
    /// The message is acknowledged, and nothing is recorded.
    Nothing,
}

/// Why there is no new body. Texts for the sender are [`AdaptError::BadBody`] and [`AdaptError::Rejected`]; the others are
/// for the log and hold no piece of the message.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum AdaptError {
    /// The body or the query is not what its type says: what is wrong.
    #[error("{0}")]
    BadBody(String),
    /// The body has a `Content-Encoding` other than gzip and deflate.
    #[error("the Content-Encoding is not one of gzip, deflate, identity")]
    UnsupportedEncoding,
    /// The body is too large, perhaps only when it is decompressed.
    #[error("the body is too large")]
    TooLarge,
    /// The program raised `error(…)`: its message, in at most 500 characters.
    #[error("{0}")]
    Rejected(String),
    /// The program is at fault: its name and what went wrong.
    #[error("{0}")]
    Failed(String),
    /// The program took too long: its name, and how long it may take.
    #[error("{1}: took longer than {0:?}")]
    TimedOut(Duration, String),
    /// The worker cannot be started or ended in the middle: the program's name and why.
    #[error("{0}")]
    Crashed(String),
    /// Too many messages are waiting.
    #[error("too many messages wait for an adapter")]
    Busy,
}

impl AdaptError {
    /// The status that the sender should see.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadBody(_) => StatusCode::BAD_REQUEST,
            Self::UnsupportedEncoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Rejected(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Failed(_) | Self::TimedOut(..) | Self::Crashed(_) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Names the program in what the operator reads.
    fn of(self, name: &str) -> Self {
        match self {
            Self::Failed(why) => Self::Failed(format!("{name}: {why}")),
            Self::Crashed(why) => Self::Crashed(format!("{name}: {why}")),
            Self::TimedOut(limit, _) => Self::TimedOut(limit, name.to_owned()),
            Self::BadBody(_)
            | Self::UnsupportedEncoding
            | Self::TooLarge
            | Self::Rejected(_)
            | Self::Busy => self,
        }
    }
}

impl From<Unreadable> for AdaptError {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Bad(why) => Self::BadBody(why),
            Unreadable::Encoding => Self::UnsupportedEncoding,
            Unreadable::TooLarge => Self::TooLarge,
        }
    }
}

/// All programs of a configuration, and the processes that evaluate them.
pub struct Adapters {
    names: Vec<String>,
    /// Largest body.
    largest: usize,
    pool: Pool,
}

impl Adapters {
    /// Compiles all programs, and returns all that is wrong with any of them. Starts no process.
    ///
    /// Blocks for a few milliseconds for each program.
    pub fn new(
        sources: &[Arc<AdapterSource>],
        worker: WorkerCommand,
        limits: Limits,
    ) -> Result<Self, Vec<AdapterProblem>> {
        let problems = program::on_large_stack(|| {
            sources.iter().filter_map(|source| Program::compile(source).err()).flatten().collect::<Vec<_>>()
        });
        let first =
            problem::Program { name: sources.first().map_or("adapters", |source| &source.name), text: "" };
        let problems = problems.unwrap_or_else(|why| vec![first.whole(format!("cannot be compiled: {why}"))]);
        if !problems.is_empty() {
            return Err(problems);
        }
        let hello = Hello::encode(&limits, sources).ok_or_else(|| vec![first.whole("is too long")])?;
        let names = sources.iter().map(|source| source.name.clone()).collect();
        Ok(Self { names, largest: limits.body, pool: Pool::new(worker, hello, limits) })
    }

    /// Starts the first worker ahead of the first message. The error is for the log.
    pub async fn warm_up(&self) -> Result<(), String> {
        if self.names.is_empty() { Ok(()) } else { self.pool.warm_up().await }
    }

    /// Runs the program with this index in the list that was given to [`Adapters::new`].
    ///
    /// When the future is dropped, the evaluation ends.
    pub async fn run(&self, adapter: usize, request: &Request<'_>) -> Result<Output, AdaptError> {
        let name =
            self.names.get(adapter).ok_or_else(|| AdaptError::Failed("BUG: no such adapter".to_owned()))?;
        if request.body.len() > self.largest {
            return Err(AdaptError::TooLarge);
        }
        let frame = frame::encode_message(adapter, request).ok_or(AdaptError::TooLarge)?;
        match self.pool.exchange(&frame).await.map_err(|error| error.of(name))? {
            Reply::Json(json) => Ok(Output::Json(json)),
            Reply::Nothing => Ok(Output::Nothing),
            Reply::Unreadable(unreadable) => Err(unreadable.into()),
            Reply::Rejected(why) => Err(AdaptError::Rejected(why)),
            Reply::Failed(why) => Err(AdaptError::Failed(why).of(name)),
            Reply::Ready => Err(AdaptError::Crashed("BUG: the worker began anew".to_owned())),
        }
    }
}
