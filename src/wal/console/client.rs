//! Reaches the log in a directory: through the gateway that holds it, or else itself.

use std::io::{self, BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::Path;

use super::Failure;
use super::protocol::{Answer, Request, answer};
use super::serve::{SOCKET, write_line};
use crate::wal::disk::{Disk, OpenError};

/// The log, one way or the other.
pub(super) enum Reached {
    /// A gateway runs and answers for it.
    Running(UnixStream),
    /// Nobody else uses it.
    Resting(Box<Disk>),
}

/// Reaches the log. `progress` is told how many of how many entries are read, where it must be opened.
pub(super) fn reach(directory: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<Reached, Failure> {
    // A path that is too long for a socket, or has none that answers: nobody holds the log, or its lock says so.
    if let Ok(stream) = UnixStream::connect(directory.join(SOCKET)) {
        return Ok(Reached::Running(stream));
    }
    match Disk::open_resting(directory, progress) {
        Ok(log) => Ok(Reached::Resting(Box::new(log))),
        Err(OpenError::Locked { directory }) => Err(Failure::Failed(format!(
            "another process uses the write-ahead log in {} and does not answer at {SOCKET}: try again later",
            directory.display()
        ))),
        Err(error) => Err(Failure::Failed(error.to_string())),
    }
}

/// Asks, and tells `each` answer but the last. Returns how many entries were listed or changed.
pub(super) fn ask(
    reached: &Reached,
    request: Request,
    each: &mut dyn FnMut(Answer) -> io::Result<()>,
) -> Result<u64, Failure> {
    let mut last = None;
    let mut sort = |answer: Answer| match answer {
        Answer::Done { .. } | Answer::Failed(_) => {
            last = Some(answer);
            Ok(())
        }
        Answer::Line(_) | Answer::Entry { .. } | Answer::Progress { .. } => each(answer),
    };
    match reached {
        Reached::Resting(log) => answer(&log.console(), request, &mut sort)?,
        Reached::Running(stream) => {
            write_line(&mut &*stream, &request)?;
            for line in BufReader::new(stream).lines() {
                sort(serde_json::from_str(&line?).map_err(io::Error::from)?)?;
            }
        }
    }
    match last {
        Some(Answer::Done { count }) => Ok(count),
        Some(Answer::Failed(text)) => Err(Failure::Failed(text)),
        Some(Answer::Line(_) | Answer::Entry { .. } | Answer::Progress { .. }) | None => {
            Err(Failure::Failed("the gateway stopped before it had answered".to_owned()))
        }
    }
}
