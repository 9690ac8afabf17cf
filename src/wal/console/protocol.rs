//! What a command asks and what the log answers: one JSON document in each line, over the socket or within a process.

use std::io;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::wal::WalError;
use crate::wal::disk::{Console, Outcome};

/// So many entries are read, or changed with one commit, at a time.
const CHUNK: usize = 500;

/// A change to some entries, and what became of each.
type Action = fn(&Console, Vec<u64>) -> Result<Vec<(u64, Outcome)>, WalError>;

/// What an operator wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Request {
    /// Entries, in the order of recording.
    List(Which),
    /// One entry with its body.
    Show(String),
    /// Entries are due now, with no attempt counted.
    Replay(Chosen),
    /// Entries leave the log.
    Drop(Chosen),
}

/// Which entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// Every one.
    All,
    /// Those that the upstream has not taken yet, and may.
    Waiting,
    /// Those that nobody took.
    Dead,
}

/// The entries that a change is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Chosen {
    /// These ids, or beginnings of ids, or numbers written as `#7`.
    Ids(Vec<String>),
    /// Every dead letter.
    AllDead,
}

/// An entry in a list. Never with its body, which may hold what is nobody's business.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its place in the order of recording.
    pub number: u64,
    /// Its id, where it can be read.
    pub id: Option<String>,
    /// Its location, by its key in the log.
    pub location: String,
    /// Request method.
    pub method: String,
    /// Path at the upstream.
    pub path: String,
    /// When it was accepted, in seconds since 1970.
    pub received: u64,
    /// Attempts that have failed.
    pub attempts: u32,
    /// Bytes that it takes.
    pub size: u64,
    /// What becomes of it.
    #[serde(flatten)]
    pub standing: Standing,
}

/// What becomes of an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Standing {
    /// It is delivered at this time, in seconds since 1970, or later; zero: as soon as it is its turn.
    Waiting {
        /// Not before.
        due: u64,
    },
    /// It is on its way.
    UnderWay,
    /// It was given up.
    Dead {
        /// Why.
        reason: String,
        /// When, in seconds since 1970.
        since: u64,
    },
    /// It cannot be read.
    Damaged {
        /// Why.
        reason: String,
    },
}

/// A line of the answer. The last is `Done` or `Failed`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Line(Line),
    Entry {
        line: Line,
        /// The entry as the log keeps it, in Base64.
        encoded: String,
    },
    Progress {
        done: u64,
        total: u64,
    },
    Done {
        count: u64,
    },
    Failed(String),
}

/// Does what was asked, and tells `each` answer. Fails only when that does.
pub(super) fn answer(
    console: &Console,
    request: Request,
    each: &mut dyn FnMut(Answer) -> io::Result<()>,
) -> io::Result<()> {
    let last = match request {
        Request::List(which) => list(console, which, each)?,
        Request::Show(id) => show(console, &id, each)?,
        Request::Replay(chosen) => change(console, &chosen, each, Console::replay)?,
        Request::Drop(chosen) => change(console, &chosen, each, Console::remove)?,
    };
    each(last)
}

fn failed(error: &WalError) -> Answer {
    Answer::Failed(error.to_string())
}

fn list(
    console: &Console,
    which: Which,
    each: &mut dyn FnMut(Answer) -> io::Result<()>,
) -> io::Result<Answer> {
    let (mut after, mut count) = (0, 0);
    loop {
        let lines = match console.list(after, which, CHUNK) {
            Ok(lines) => lines,
            Err(error) => return Ok(failed(&error)),
        };
        let Some(last) = lines.last() else { return Ok(Answer::Done { count }) };
        after = last.number;
        count += lines.len() as u64;
        for line in lines {
            each(Answer::Line(line))?;
        }
    }
}

fn show(console: &Console, id: &str, each: &mut dyn FnMut(Answer) -> io::Result<()>) -> io::Result<Answer> {
    let found = match find(console, id).and_then(|number| console.show(number).map_err(|it| it.to_string())) {
        Ok(found) => found,
        Err(text) => return Ok(Answer::Failed(text)),
    };
    let Some((line, entry)) = found else { return Ok(Answer::Failed(unknown(id))) };
    if let Standing::Damaged { reason } = &line.standing {
        return Ok(Answer::Failed(format!("entry #{} is damaged: {reason}", line.number)));
    }
    let encoded = BASE64_STANDARD.encode(entry);
    each(Answer::Entry { line, encoded })?;
    Ok(Answer::Done { count: 1 })
}

fn unknown(id: &str) -> String {
    format!("there is no entry {id} in the log")
}

/// The number of the entry that is meant.
fn find(console: &Console, id: &str) -> Result<u64, String> {
    let (number, digits) = (id.strip_prefix('#').map(str::parse::<u64>), id.to_ascii_lowercase());
    let is_id = (1..=32).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !matches!(number, Some(Ok(_))) && !is_id {
        return Err(format!("{id} is no id: write hexadecimal digits, or a number as '#7'"));
    }
    match console.find(number.and_then(Result::ok), digits) {
        Ok(found) => match found.as_slice() {
            [] => Err(unknown(id)),
            [one] => Ok(*one),
            _ => Err(format!("more than one id begins with {id}: write more digits")),
        },
        Err(error) => Err(error.to_string()),
    }
}

/// Makes a change to entries, some at a time. If one of them is not there, none is changed.
fn change(
    console: &Console,
    chosen: &Chosen,
    each: &mut dyn FnMut(Answer) -> io::Result<()>,
    action: Action,
) -> io::Result<Answer> {
    let mut numbers = match chosen {
        Chosen::AllDead => match console.dead() {
            Ok(numbers) => numbers,
            Err(error) => return Ok(failed(&error)),
        },
        Chosen::Ids(ids) => {
            let found: Vec<Result<u64, String>> = ids.iter().map(|id| find(console, id)).collect();
            let wrong: Vec<&str> =
                found.iter().filter_map(|it| it.as_ref().err().map(String::as_str)).collect();
            if !wrong.is_empty() {
                return Ok(Answer::Failed(format!("nothing was changed: {}", wrong.join("; "))));
            }
            found.into_iter().flatten().collect()
        }
    };
    numbers.sort_unstable();
    numbers.dedup();
    let (total, mut done, mut count) = (numbers.len() as u64, 0, 0);
    let mut left = Vec::new();
    for chunk in numbers.chunks(CHUNK) {
        match action(console, chunk.to_vec()) {
            Ok(outcomes) => {
                count += outcomes.iter().filter(|(_, outcome)| *outcome == Outcome::Done).count() as u64;
                left.extend(outcomes.iter().filter_map(|(number, outcome)| outcome.complaint(*number)));
            }
            Err(error) => return Ok(Answer::Failed(format!("after {count} entries: {error}"))),
        }
        done += chunk.len() as u64;
        each(Answer::Progress { done, total })?;
    }
    if left.is_empty() {
        return Ok(Answer::Done { count });
    }
    let named = left.iter().take(10).map(String::as_str).collect::<Vec<_>>().join("; ");
    Ok(Answer::Failed(format!("{count} of {total} entries were changed: {named}")))
}
