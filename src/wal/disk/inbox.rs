//! What the thread of the log is asked to do. What waits is done together, with one commit.

use std::mem;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::keeper::Command;

/// Most bytes of records in one go, but for the last record.
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

/// For what the thread sleeps. It is woken for that and for nothing less: to be woken for each entry of many would take
/// more time than to write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sleep {
    Awake,
    UntilAny,
    UntilRecords(usize),
}

struct Queue {
    commands: Vec<Command>,
    records: usize,
    sleep: Sleep,
    stop: bool,
    open: bool,
}

/// Commands on their way to the thread.
pub(super) struct Inbox {
    queue: Mutex<Queue>,
    arrived: Condvar,
}

/// The thread has ended, and the command with it.
pub(super) struct Closed;

impl Inbox {
    pub(super) fn new() -> Self {
        let queue = Queue { commands: Vec::new(), records: 0, sleep: Sleep::Awake, stop: false, open: true };
        Self { queue: Mutex::new(queue), arrived: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn send(&self, command: Command) -> Result<(), Closed> {
        let mut queue = self.lock();
        if !queue.open {
            // Dropping a command may send another.
            drop(queue);
            return Err(Closed);
        }
        queue.records += usize::from(is_record(&command));
        queue.stop |= matches!(command, Command::Stop);
        queue.commands.push(command);
        let wake = match queue.sleep {
            Sleep::Awake => false,
            Sleep::UntilAny => true,
            Sleep::UntilRecords(count) => queue.stop || queue.records >= count,
        };
        if wake {
            queue.sleep = Sleep::Awake;
            drop(queue);
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits until there is something to do, at most so long, and returns it all.
    ///
    /// The senders of the last commit were answered together, and their next entries arrive one after the other: for a
    /// part of the time that a commit takes, it is worth while to wait until as many are here. A sender alone waits
    /// for nobody.
    pub(super) fn receive(&self, pause: Option<Duration>, former: Former) -> Vec<Command> {
        let mut queue = self.lock();
        if queue.commands.is_empty() {
            queue = self.sleep(queue, Sleep::UntilAny, pause);
        }
        if queue.records > 0 && queue.records < former.records && !queue.stop {
            let patience = (former.took / 2).min(MAX_PATIENCE);
            queue = self.sleep(queue, Sleep::UntilRecords(former.records), Some(patience));
        }
        let mut bytes = 0;
        let small = |command: &Command| {
            let before = bytes;
            bytes += size(command);
            before < MAX_BYTES
        };
        let count = queue.commands.iter().take(MAX_COMMANDS).map(small).take_while(|small| *small).count();
        let later = queue.commands.split_off(count);
        queue.records = later.iter().filter(|command| is_record(command)).count();
        mem::replace(&mut queue.commands, later)
    }

    fn sleep<'a>(
        &self,
        mut queue: MutexGuard<'a, Queue>,
        sleep: Sleep,
        most: Option<Duration>,
    ) -> MutexGuard<'a, Queue> {
        queue.sleep = sleep;
        let end = most.map(|most| Instant::now() + most);
        while queue.sleep != Sleep::Awake {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            queue = match left {
                Some(Duration::ZERO) => break,
                Some(left) => {
                    self.arrived.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.arrived.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
        queue.sleep = Sleep::Awake;
        queue
    }

    /// Takes nothing more. Whoever waits for an answer to what is here hears that there is none.
    pub(super) fn close(&self) {
        let mut queue = self.lock();
        queue.open = false;
        let rest = mem::take(&mut queue.commands);
        drop(queue);
        drop(rest);
    }
}

fn is_record(command: &Command) -> bool {
    matches!(command, Command::Record(_))
}

fn size(command: &Command) -> usize {
    if let Command::Record(new) = command { new.bytes.len() } else { 0 }
}
