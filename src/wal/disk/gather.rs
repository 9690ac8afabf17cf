//! What waits is done together.

use std::sync::mpsc::Receiver;

use super::keeper::Command;

/// Most bytes of records in one commit, but for the last record.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Most commands in one go.
const MAX_COMMANDS: usize = 4096;

/// The first command and those that wait behind it.
pub(super) fn gather(first: Command, commands: &Receiver<Command>, _last: usize) -> Vec<Command> {
    let mut bytes = size(&first);
    let mut batch = vec![first];
    while bytes < MAX_BYTES
        && batch.len() < MAX_COMMANDS
        && let Ok(next) = commands.try_recv()
    {
        bytes += size(&next);
        batch.push(next);
    }
    batch
}

fn size(command: &Command) -> usize {
    if let Command::Record(new) = command { new.bytes.len() } else { 0 }
}
