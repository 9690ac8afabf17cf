//! Entries for people.

use std::io::{self, Write};

use super::protocol::{Line, Standing};
use crate::time::UnixTime;
use crate::wal::Entry;

/// So many digits of an id are shown in a list; they may be given back to the other commands.
const DIGITS: usize = 12;

/// The head of the table.
pub(super) fn head(out: &mut dyn Write) -> io::Result<()> {
    writeln!(
        out,
        "{:DIGITS$}  {:20}  {:>8}  {:>9}  {:20}  LOCATION  REQUEST",
        "ID", "RECEIVED", "ATTEMPTS", "BYTES", "NEXT"
    )
}

/// A row of the table.
pub(super) fn row(out: &mut dyn Write, line: &Line) -> io::Result<()> {
    let id =
        line.id.as_ref().map_or_else(|| format!("#{}", line.number), |id| id.chars().take(DIGITS).collect());
    let (next, after) = match &line.standing {
        Standing::Waiting { due: 0 } => ("now".to_owned(), None),
        Standing::Waiting { due } => (UnixTime(*due).rfc3339(), None),
        Standing::UnderWay => ("under way".to_owned(), None),
        Standing::Dead { reason, .. } => ("dead".to_owned(), Some(("dead", reason))),
        Standing::Damaged { reason } => ("damaged".to_owned(), Some(("damaged", reason))),
    };
    let received = UnixTime(line.received).rfc3339();
    write!(out, "{id:DIGITS$}  {received}  {:>8}  {:>9}  {next:20}  ", line.attempts, line.size)?;
    write!(out, "{}  {} {}", plain(&line.location), plain(&line.method), plain(&line.path))?;
    if let Some((word, reason)) = after {
        write!(out, "  ({word}: {})", plain(reason))?;
    }
    writeln!(out)
}

/// Everything about an entry.
pub(super) fn whole(out: &mut dyn Write, line: &Line, entry: &Entry) -> io::Result<()> {
    writeln!(out, "id:        {} (#{})", entry.id, line.number)?;
    writeln!(out, "location:  {}{}", plain(&entry.location), if entry.ordered { " (in order)" } else { "" })?;
    let query = entry.query.as_ref().map_or_else(String::new, |query| format!("?{}", plain(query)));
    writeln!(out, "request:   {} {}{query}", entry.method, plain(&entry.path))?;
    if let Some(sender) = &entry.sender {
        let subject = sender.subject.as_ref().map_or_else(String::new, |it| format!(" ({})", plain(it)));
        writeln!(out, "sender:    {}{subject}", plain(&sender.email))?;
    }
    writeln!(out, "received:  {}", entry.received.rfc3339())?;
    writeln!(out, "attempts:  {}", line.attempts)?;
    let standing = match &line.standing {
        Standing::Waiting { due: 0 } => "waits, due now".to_owned(),
        Standing::Waiting { due } => format!("waits, due {}", UnixTime(*due).rfc3339()),
        Standing::UnderWay => "under way".to_owned(),
        Standing::Dead { reason, since } => {
            format!("dead since {}: {}", UnixTime(*since).rfc3339(), plain(reason))
        }
        Standing::Damaged { reason } => format!("damaged: {}", plain(reason)),
    };
    writeln!(out, "state:     {standing}")?;
    for (name, value) in &entry.headers {
        writeln!(out, "header:    {name}: {}", plain(&String::from_utf8_lossy(value.as_bytes())))?;
    }
    let size = entry.body.len();
    match text(&entry.body) {
        Some("") => writeln!(out, "body:      none"),
        Some(text) => writeln!(out, "body:      {size} bytes\n\n{}", text.trim_end_matches('\n')),
        None => writeln!(out, "body:      {size} bytes that are no text: write them to a file with --body"),
    }
}

/// The body, if a terminal can show it and is not told anything by it.
fn text(body: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(body).ok()?;
    let shown = |c: char| matches!(c, '\n' | '\t' | '\r') || !c.is_control();
    text.chars().all(shown).then_some(text)
}

/// Words of others must not steer the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
