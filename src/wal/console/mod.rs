//! `portcullis wal`: what an operator sees of the log on disk, and does to it, whether a gateway runs or not.

mod client;
mod print;
mod protocol;
mod serve;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use thiserror::Error;

use self::client::{Reached, ask, reach};
use self::protocol::{Answer, Request};
use crate::wal::Entry;

pub use self::protocol::{Chosen, Line, Standing, Which};
pub(in crate::wal) use self::serve::Control;

/// A command.
#[derive(Clone, Debug)]
pub enum Command {
    /// Entries in the order of recording, one in each line.
    List {
        /// Which of them.
        which: Which,
        /// As JSON documents.
        json: bool,
    },
    /// All about one entry.
    Show {
        /// Its id, or how that begins.
        id: String,
        /// Nothing but the bytes of its body.
        body: bool,
    },
    /// Makes entries due now, with no attempt counted; dead letters are no longer dead.
    Replay(Chosen),
    /// Takes entries out of the log.
    Drop {
        /// Which of them.
        chosen: Chosen,
        /// It need not be asked.
        yes: bool,
    },
}

/// Why a command failed.
#[derive(Debug, Error)]
pub enum Failure {
    /// The log cannot be reached, or has no such entry.
    #[error("{0}")]
    Failed(String),
    /// The command is not complete.
    #[error("{0}")]
    Usage(String),
    /// Whoever reads the output went away.
    #[error("the output cannot be written: {0}")]
    Output(#[from] io::Error),
}

impl Failure {
    /// The exit code of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) | Self::Output(_) => 1,
            Self::Usage(_) => 2,
        }
    }
}

/// Where a command writes, and whom it may ask.
pub struct Terminal<'a> {
    /// What was asked for.
    pub out: &'a mut dyn Write,
    /// Questions; progress goes to the terminal of the process.
    pub error: &'a mut dyn Write,
    /// Answers to questions.
    pub input: &'a mut dyn BufRead,
    /// Somebody sits there.
    pub interactive: bool,
}

/// Does it, to the log in this directory.
pub fn run(directory: &Path, command: &Command, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if let Command::Drop { chosen, yes: false } = command {
        confirm(chosen, terminal)?;
    }
    let bar = bar(terminal.interactive);
    bar.set_message("reading");
    let reached = reach(directory, &mut |done, total| show_progress(&bar, done, total))?;
    bar.finish_and_clear();
    match command {
        Command::List { which, json } => list(&reached, *which, *json, terminal.out),
        Command::Show { id, body } => show(&reached, id, *body, terminal.out),
        Command::Replay(chosen) => change(&reached, Request::Replay(chosen.clone()), "due now", terminal),
        Command::Drop { chosen, .. } => change(&reached, Request::Drop(chosen.clone()), "removed", terminal),
    }
}

fn list(reached: &Reached, which: Which, json: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let mut begun = json;
    ask(reached, Request::List(which), &mut |answer| {
        let Answer::Line(line) = answer else { return Ok(()) };
        if json {
            return serve::write_line(&mut &mut *out, &line);
        }
        if !begun {
            print::head(out)?;
            begun = true;
        }
        print::row(out, &line)
    })?;
    Ok(out.flush()?)
}

fn show(reached: &Reached, id: &str, body: bool, out: &mut dyn Write) -> Result<(), Failure> {
    let mut found = None;
    ask(reached, Request::Show(id.to_owned()), &mut |answer| {
        if let Answer::Entry { line, encoded } = answer {
            found = Some((line, encoded));
        }
        Ok(())
    })?;
    let entry = found.and_then(|(line, encoded)| {
        let bytes = BASE64_STANDARD.decode(encoded).ok()?;
        Some((line, Entry::decode(&bytes.into()).ok()?))
    });
    let Some((line, entry)) = entry else {
        return Err(Failure::Failed(
            "the gateway answered with no entry: it may be of another version".to_owned(),
        ));
    };
    if body {
        out.write_all(&entry.body)?;
    } else {
        print::whole(out, &line, &entry)?;
    }
    Ok(out.flush()?)
}

fn change(
    reached: &Reached,
    request: Request,
    what: &str,
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    let bar = bar(terminal.interactive);
    let count = ask(reached, request, &mut |answer| {
        if let Answer::Progress { done, total } = answer {
            show_progress(&bar, done, total);
        }
        Ok(())
    });
    bar.finish_and_clear();
    let count = count?;
    writeln!(terminal.out, "{count} {} {what}", if count == 1 { "entry is" } else { "entries are" })?;
    Ok(terminal.out.flush()?)
}

/// Asks before something is removed, if there is anybody to ask.
fn confirm(chosen: &Chosen, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if !terminal.interactive {
        return Err(Failure::Usage(
            "what is removed is never delivered: say that you mean it with --yes".to_owned(),
        ));
    }
    let what = match chosen {
        Chosen::AllDead => "all dead letters".to_owned(),
        Chosen::Ids(ids) if ids.len() == 1 => "1 entry".to_owned(),
        Chosen::Ids(ids) => format!("{} entries", ids.len()),
    };
    write!(terminal.error, "Remove {what}, which will never be delivered? [y/N] ")?;
    terminal.error.flush()?;
    let mut line = String::new();
    terminal.input.read_line(&mut line)?;
    match line.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::Failed("nothing was removed".to_owned())),
    }
}

/// A bar that appears when the work takes a moment, on a terminal.
fn bar(interactive: bool) -> ProgressBar {
    let target = if interactive { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos}/{human_len} {eta}");
    let bar = ProgressBar::with_draw_target(Some(0), target);
    bar.enable_steady_tick(Duration::from_millis(200));
    style.map_or(bar.clone(), |style| bar.with_style(style))
}

fn show_progress(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}
