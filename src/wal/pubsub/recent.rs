//! Which entries were recorded lately, and which are being recorded: retries of a sender are told from new entries.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::{EntryId, Recorded, WalError};

/// How many are known at most, and for how long.
const MOST: usize = 100_000;
const LIFE: Duration = Duration::from_secs(24 * 3600);

type Outcome = Result<Recorded, WalError>;

/// The entries of this process; those of other instances are not known here.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    known: HashMap<EntryId, Known>,
    /// Those that are recorded, oldest first.
    order: VecDeque<(Instant, EntryId)>,
}

#[derive(Debug)]
enum Known {
    Recorded,
    /// Those who wait for it; the first one brought it.
    UnderWay(Vec<oneshot::Sender<Outcome>>),
}

/// What is known of an entry that somebody brings.
pub(super) enum Joined {
    /// It is recorded.
    Known,
    /// Nothing so far: the caller has to record it.
    First(oneshot::Receiver<Outcome>),
    /// It is being recorded.
    Other(oneshot::Receiver<Outcome>),
}

impl Recent {
    pub(super) fn join(&self, id: EntryId, now: Instant) -> Joined {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.sweep(now);
        let (sender, outcome) = oneshot::channel();
        match state.known.get_mut(&id) {
            Some(Known::Recorded) => Joined::Known,
            Some(Known::UnderWay(waiting)) => {
                waiting.push(sender);
                Joined::Other(outcome)
            }
            None => {
                state.known.insert(id, Known::UnderWay(vec![sender]));
                Joined::First(outcome)
            }
        }
    }

    /// Tells all who wait. Only success is remembered.
    pub(super) fn conclude(&self, id: EntryId, outcome: &Result<(), WalError>, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(Known::UnderWay(waiting)) = state.known.remove(&id) else { return };
        if outcome.is_ok() {
            state.known.insert(id, Known::Recorded);
            state.order.push_back((now, id));
            state.sweep(now);
        }
        drop(state);
        for (number, sender) in waiting.into_iter().enumerate() {
            let recorded = if number == 0 { Recorded::New } else { Recorded::Duplicate };
            // Whoever does not wait any more needs no answer.
            drop(sender.send(outcome.clone().map(|()| recorded)));
        }
    }
}

impl State {
    fn sweep(&mut self, now: Instant) {
        while let Some((at, id)) = self.order.front()
            && (self.order.len() > MOST || now.saturating_duration_since(*at) >= LIFE)
        {
            self.known.remove(id);
            self.order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> EntryId {
        EntryId::of_delivery("l", &number.to_string())
    }

    fn record(recent: &Recent, id: EntryId, now: Instant) {
        assert!(matches!(recent.join(id, now), Joined::First(_)));
        recent.conclude(id, &Ok(()), now);
    }

    #[tokio::test]
    async fn those_who_bring_the_same_entry_share_its_fate() {
        let (recent, now) = (Recent::default(), Instant::now());
        for (outcome, rest) in
            [(Err(WalError::Unavailable("down".to_owned())), None), (Ok(()), Some(Recorded::Duplicate))]
        {
            let Joined::First(first) = recent.join(id(1), now) else { panic!("it is not known") };
            let Joined::Other(second) = recent.join(id(1), now) else { panic!("it is under way") };
            recent.conclude(id(1), &outcome, now);
            assert_eq!(first.await.unwrap(), outcome.clone().map(|()| Recorded::New));
            assert_eq!(second.await.unwrap().ok(), rest);
        }
        assert!(matches!(recent.join(id(1), now), Joined::Known));
    }

    #[test]
    fn it_forgets_what_is_old_and_the_oldest_of_too_many() {
        let (recent, now) = (Recent::default(), Instant::now());
        record(&recent, id(0), now);
        assert!(matches!(recent.join(id(0), now + LIFE - Duration::from_secs(1)), Joined::Known));
        assert!(matches!(recent.join(id(0), now + LIFE), Joined::First(_)));
        let recent = Recent::default();
        for number in 0..=u32::try_from(MOST).unwrap() {
            record(&recent, id(number), now);
        }
        assert!(matches!(recent.join(id(1), now), Joined::Known));
        assert!(matches!(recent.join(id(0), now), Joined::First(_)));
    }
}
