//! What waits is done together.

use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::keeper::Command;

/// Most bytes of records in one commit, but for the last record.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Most commands in one go.
const MAX_COMMANDS: usize = 4096;

/// Longest wait for others.
const MAX_PATIENCE: Duration = Duration::from_millis(2);

/// The last commit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Former {
    /// Records in it.
    pub(super) records: usize,
    /// How long it took.
    pub(super) took: Duration,
}

/// The first command and those that wait behind it. The senders of the last commit were answered together, and their
/// next entries arrive one after the other: for a fraction of the time that a commit takes, it is worth while to wait
/// until as many are here. A sender alone waits for nobody.
pub(super) fn gather(first: Command, commands: &Receiver<Command>, former: Former) -> Vec<Command> {
    let patience = (former.took / 4).min(MAX_PATIENCE);
    let mut end = None;
    let mut bytes = size(&first);
    let mut records = usize::from(is_record(&first));
    let mut batch = vec![first];
    while bytes < MAX_BYTES && batch.len() < MAX_COMMANDS {
        let next = match commands.try_recv() {
            Ok(next) => next,
            Err(_) if records == 0 || records >= former.records => break,
            Err(_) => {
                let end = *end.get_or_insert_with(|| Instant::now() + patience);
                let left = end.saturating_duration_since(Instant::now());
                match commands.recv_timeout(left) {
                    Ok(next) => next,
                    Err(_) => break,
                }
            }
        };
        bytes += size(&next);
        records += usize::from(is_record(&next));
        batch.push(next);
    }
    batch
}

fn is_record(command: &Command) -> bool {
    matches!(command, Command::Record(_))
}

fn size(command: &Command) -> usize {
    if let Command::Record(new) = command { new.bytes.len() } else { 0 }
}
