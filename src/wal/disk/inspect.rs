//! What an operator asks of the log. The thread answers between two commits.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use super::change::Change;
use super::closed;
use super::inbox::Inbox;
use super::keeper::{Command, Keeper};
use super::record;
use super::store::Kept;
use crate::time::UnixTime;
use crate::wal::console::{Line, Standing, Which};
use crate::wal::{Entry, WalError};

/// Asks the thread of a log, and waits.
#[derive(Clone)]
pub(in crate::wal) struct Console {
    commands: Arc<Inbox>,
}

/// What became of an entry that was to be changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::wal) enum Outcome {
    /// It was changed.
    Done,
    /// It is on its way, and what becomes of it is not known yet.
    UnderWay,
    /// It left the log meanwhile.
    Gone,
    /// It cannot be read.
    Damaged(String),
}

impl Outcome {
    /// What is wrong, for the operator.
    pub(in crate::wal) fn complaint(&self, number: u64) -> Option<String> {
        match self {
            Self::Done => None,
            Self::UnderWay => Some(format!("entry #{number} is on its way: try again later")),
            Self::Gone => Some(format!("entry #{number} has left the log")),
            Self::Damaged(reason) => Some(reason.clone()),
        }
    }
}

impl Console {
    pub(super) fn new(commands: Arc<Inbox>) -> Self {
        Self { commands }
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Keeper) -> Result<T, WalError> + Send + 'static,
    ) -> Result<T, WalError> {
        let (reply, answer) = sync_channel(1);
        let question = move |keeper: &mut Keeper| {
            // Whoever asked may have gone away.
            let _ = reply.send(question(keeper));
        };
        self.commands.send(Command::Ask(Box::new(question))).map_err(|_| closed())?;
        answer.recv().unwrap_or_else(|_| Err(closed()))
    }

    /// At most `most` entries after a number, in the order of recording.
    pub(in crate::wal) fn list(&self, after: u64, which: Which, most: usize) -> Result<Vec<Line>, WalError> {
        self.ask(move |keeper| keeper.list(after, which, most))
    }

    /// One entry, as it is kept. Without bytes if it is damaged.
    pub(in crate::wal) fn show(&self, number: u64) -> Result<Option<(Line, Vec<u8>)>, WalError> {
        self.ask(move |keeper| {
            keeper.flush()?;
            let found = keeper.describe(number)?;
            Ok(found.map(|(line, entry)| (line, entry.map_or_else(Vec::new, |entry| entry.encode()))))
        })
    }

    /// The entry with this number, and those whose id begins with these digits; at most two.
    pub(in crate::wal) fn find(&self, number: Option<u64>, digits: String) -> Result<Vec<u64>, WalError> {
        self.ask(move |keeper| {
            let state = &keeper.state;
            if let Some(number) = number {
                let there = state.schedule.get(number).is_some()
                    || state.dead.contains_key(&number)
                    || state.damaged.contains_key(&number);
                return Ok(there.then_some(number).into_iter().collect());
            }
            let mut found = state.known.beginning_with(&digits, 2);
            let damaged = state
                .damaged
                .values()
                .filter(|damage| damage.id.is_some_and(|id| id.to_string().starts_with(&digits)));
            found.extend(damaged.map(|damage| damage.sequence).take(2));
            found.truncate(2);
            Ok(found)
        })
    }

    /// The numbers of all dead letters.
    pub(in crate::wal) fn dead(&self) -> Result<Vec<u64>, WalError> {
        self.ask(|keeper| Ok(keeper.state.dead.keys().copied().collect()))
    }

    /// Makes entries due now, with no attempt counted. What is told is durable.
    pub(in crate::wal) fn replay(&self, numbers: Vec<u64>) -> Result<Vec<(u64, Outcome)>, WalError> {
        self.ask(move |keeper| keeper.all(numbers, Keeper::revive))
    }

    /// Takes entries out of the log. What is told is durable.
    pub(in crate::wal) fn remove(&self, numbers: Vec<u64>) -> Result<Vec<(u64, Outcome)>, WalError> {
        self.ask(move |keeper| keeper.all(numbers, |keeper, number| Ok(keeper.remove(number))))
    }
}

impl Keeper {
    fn list(&mut self, after: u64, which: Which, most: usize) -> Result<Vec<Line>, WalError> {
        self.flush()?;
        let (waiting, dead) = match which {
            Which::All => (true, true),
            Which::Waiting => (true, false),
            Which::Dead => (false, true),
        };
        let (state, next) = (&self.state, after.saturating_add(1));
        let mut numbers: Vec<u64> = Vec::new();
        if waiting {
            numbers.extend(state.schedule.after(after).map(|(number, _)| number).take(most));
        }
        if dead {
            numbers.extend(state.dead.range(next..).map(|(number, _)| *number).take(most));
        }
        if waiting && dead {
            numbers.extend(state.damaged.range(next..).map(|(number, _)| *number).take(most));
        }
        numbers.sort_unstable();
        numbers.truncate(most);
        let mut lines = Vec::with_capacity(numbers.len());
        for number in numbers {
            lines.extend(self.describe(number)?.map(|(line, _)| line));
        }
        Ok(lines)
    }

    /// An entry as it is in the store, where all changes must be.
    fn describe(&mut self, number: u64) -> Result<Option<(Line, Option<Entry>)>, WalError> {
        let Some((kept, bytes)) = self.find(number)? else { return Ok(None) };
        let out = self.state.schedule.get(number).is_some_and(|waiting| waiting.out);
        let (attempts, standing) = match kept {
            Kept::Waiting { attempts, .. } if out => (attempts, Standing::UnderWay),
            Kept::Waiting { attempts, due } => (attempts, Standing::Waiting { due: due.0 }),
            Kept::Dead(death) => (death.attempts, Standing::Dead { reason: death.reason, since: death.at.0 }),
        };
        let size = bytes.len() as u64;
        let line = match record::open(number, &bytes) {
            Ok(entry) => {
                let line = Line {
                    number,
                    id: Some(entry.id.to_string()),
                    location: entry.location.clone(),
                    method: entry.method.to_string(),
                    path: entry.path.clone(),
                    received: entry.received.0,
                    attempts,
                    size,
                    standing,
                };
                return Ok(Some((line, Some(entry))));
            }
            Err(damage) => Line {
                number,
                id: damage.id.map(|id| id.to_string()),
                location: String::new(),
                method: String::new(),
                path: String::new(),
                received: 0,
                attempts,
                size,
                standing: Standing::Damaged { reason: damage.reason },
            },
        };
        Ok(Some((line, None)))
    }

    fn all(
        &mut self,
        numbers: Vec<u64>,
        action: impl Fn(&mut Self, u64) -> Result<Outcome, WalError>,
    ) -> Result<Vec<(u64, Outcome)>, WalError> {
        let mut outcomes = Vec::with_capacity(numbers.len());
        for number in numbers {
            outcomes.push((number, action(self, number)?));
        }
        self.flush()?;
        Ok(outcomes)
    }

    fn revive(&mut self, number: u64) -> Result<Outcome, WalError> {
        if let Some(waiting) = self.state.schedule.get(number) {
            if waiting.out {
                return Ok(Outcome::UnderWay);
            }
            self.state.schedule.again(number, 0, UnixTime::default());
        } else if let Some(letter) = self.state.dead.get(&number).copied() {
            // What was buried a moment ago is still among the entries, which is as good.
            let Some((_, bytes)) = self.find(number)? else { return Ok(Outcome::Gone) };
            match record::open(number, &bytes) {
                Ok(entry) => {
                    self.state.dead.remove(&number);
                    let now = UnixTime::default();
                    self.state.schedule.insert(number, &entry, letter.size, 0, now);
                }
                Err(damage) => return Ok(Outcome::Damaged(damage.to_string())),
            }
        } else if let Some(damage) = self.state.damaged.get(&number) {
            return Ok(Outcome::Damaged(damage.to_string()));
        } else {
            return Ok(Outcome::Gone);
        }
        self.later(Some(Change::Revive { sequence: number }));
        Ok(Outcome::Done)
    }

    fn remove(&mut self, number: u64) -> Outcome {
        if self.state.schedule.get(number).is_some_and(|waiting| waiting.out) {
            return Outcome::UnderWay;
        }
        let now = self.now();
        let change = self.state.settle(number, now);
        let outcome = if change.is_some() { Outcome::Done } else { Outcome::Gone };
        self.later(change);
        outcome
    }
}
