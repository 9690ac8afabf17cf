//! Trying a program out: `portcullis adapt`. It evaluates in its own process, and error messages show values.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use jaq_json::Val;

use super::input::Message;
use super::program::{Failure, Program, on_large_stack};
use super::{AdaptError, Limits, json};
use crate::config::AdapterSource;

/// What a program is tried on.
#[derive(Clone, Debug, Default)]
pub struct Trial {
    /// File that holds the whole input, as `{"method": …, "json": …}`; nothing else is read then.
    pub input: Option<PathBuf>,
    /// File that holds the body; without it, standard input.
    pub body: Option<PathBuf>,
    /// Headers as `Name: value`. Without a `Content-Type` the body is JSON.
    pub headers: Vec<String>,
    /// Request method.
    pub method: String,
    /// Path.
    pub path: String,
    /// Query without `?`.
    pub query: Option<String>,
    /// Whether the result is indented.
    pub indented: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tried {
    /// The result, as JSON.
    Result(String),
    /// There was none: the message would be acknowledged and dropped.
    Nothing,
    /// The program is wrong.
    Problems(String),
    /// The program failed, or the message cannot be read.
    Failed(String),
}

/// Reads a program from a file.
pub fn source(file: &Path) -> Result<AdapterSource, String> {
    let name = file.display().to_string();
    let text = std::fs::read_to_string(file).map_err(|error| format!("{name}: {error}"))?;
    Ok(AdapterSource { name, text })
}

/// Tries a program out. There are limits on sizes, and none on time and memory.
pub fn run(source: &AdapterSource, trial: &Trial) -> Tried {
    on_large_stack(|| evaluate(source, trial))
        .unwrap_or_else(|why| Tried::Failed(format!("{}: {why}", source.name)))
}

fn evaluate(source: &AdapterSource, trial: &Trial) -> Tried {
    let program = match Program::compile(source) {
        Ok(program) => program,
        Err(problems) => {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            return Tried::Problems(lines.join("\n"));
        }
    };
    let input = match trial.input() {
        Ok(input) => input,
        Err(why) => return Tried::Failed(why),
    };
    match program.value(input) {
        Ok(None) => Tried::Nothing,
        Ok(Some(value)) => match json::write(&value, Limits::default().output) {
            Ok(_) if trial.indented => Tried::Result(json::write_for_people(&value)),
            Ok(bytes) => Tried::Result(String::from_utf8_lossy(&bytes).into_owned()),
            Err(why) => failed(&AdaptError::Failed(format!("{}: {why}", source.name))),
        },
        Err(Failure::Rejected(why)) => failed(&AdaptError::Rejected(why)),
        Err(Failure::Failed(why)) => failed(&AdaptError::Failed(format!("{}: {why}", source.name))),
    }
}

fn failed(error: &AdaptError) -> Tried {
    Tried::Failed(told(error))
}

/// What the sender or the log would be told.
fn told(error: &AdaptError) -> String {
    let status = error.status();
    let reader = if status.is_client_error() { "the sender is told" } else { "the log says" };
    format!("{status}; {reader}: {error}")
}

impl Trial {
    fn input(&self) -> Result<Val, String> {
        if let Some(file) = &self.input {
            let bytes = read(file)?;
            return json::read(&bytes).map_err(|why| format!("{}: {why}", file.display()));
        }
        let headers = self.header_map()?;
        let body = match &self.body {
            Some(file) => read(file)?,
            None => {
                let mut bytes = Vec::new();
                let result = std::io::stdin().lock().read_to_end(&mut bytes);
                result.map_err(|error| format!("standard input: {error}"))?;
                bytes
            }
        };
        let message = Message {
            method: &self.method,
            path: &self.path,
            query: self.query.as_deref(),
            headers: headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect(),
            body: Bytes::from(body),
        };
        message.input(Limits::default().body).map_err(|unreadable| told(&unreadable.into()))
    }

    fn header_map(&self) -> Result<HeaderMap, String> {
        let mut map = HeaderMap::new();
        for line in &self.headers {
            let header = line.split_once(':').and_then(|(name, value)| {
                let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
                Some((name, HeaderValue::from_str(value.trim()).ok()?))
            });
            let (name, value) =
                header.ok_or_else(|| format!("`{line}` is no header; write `Name: value`"))?;
            map.append(name, value);
        }
        map.entry(http::header::CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        Ok(map)
    }
}

fn read(file: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))
}
