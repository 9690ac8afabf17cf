//! The loop that plays the log back, for logs that hand out entries themselves. It needs CPU between requests.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::task::JoinSet;

use super::{Courier, Outcome};
use crate::config::Retry;
use crate::time::UnixTime;
use crate::wal::{Delivery, Wal, WalError};

/// How long the log is left alone after it failed, at first and at the most.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The precision of the log's clock.
const SECOND: Duration = Duration::from_secs(1);

/// Plays the log back.
#[derive(Clone)]
pub struct Player {
    wal: Arc<dyn Wal>,
    orders: Arc<ArcSwap<Orders>>,
}

/// How entries are delivered, as one configuration says.
struct Orders {
    courier: Arc<Courier>,
    retry: Retry,
}

impl Player {
    /// A player that tries again as `retry` says.
    pub fn new(wal: Arc<dyn Wal>, courier: Arc<Courier>, retry: Retry) -> Self {
        Self { wal, orders: Arc::new(ArcSwap::from_pointee(Orders { courier, retry })) }
    }

    /// Delivers by another configuration from now on. Deliveries under way are finished by the one they began with.
    pub fn follow(&self, courier: Arc<Courier>, retry: Retry) {
        self.orders.store(Arc::new(Orders { courier, retry }));
    }

    /// Delivers what is due until `stop` ends; then those under way are finished and noted.
    pub async fn run(&self, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut under_way: JoinSet<()> = JoinSet::new();
        let mut pause = PAUSE;
        loop {
            let free = self.orders.load().retry.concurrency.saturating_sub(under_way.len());
            tokio::select! {
                () = &mut stop => break,
                Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
                taken = self.wal.take(free), if free > 0 => match taken {
                    Ok(deliveries) => {
                        pause = PAUSE;
                        for delivery in deliveries {
                            let player = self.clone();
                            under_way.spawn(async move { player.play(&delivery).await });
                        }
                    }
                    Err(error) => {
                        log::error!("{error}");
                        tokio::select! { () = &mut stop => break, () = tokio::time::sleep(pause) => {} }
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    }
                },
            }
        }
        while under_way.join_next().await.is_some() {}
        if let Err(error) = self.wal.flush().await {
            log::error!("the last deliveries cannot be noted, and are made once more: {error}");
        }
    }

    async fn play(&self, delivery: &Delivery) {
        let orders = self.orders.load_full();
        let now = UnixTime::now();
        let outcome = orders.courier.deliver(&delivery.entry, delivery.attempt, now).await;
        let now = UnixTime::now();
        let outcome = give_up(&orders.retry, delivery, outcome, now);
        orders.courier.note(&delivery.entry, delivery.attempt, &outcome);
        let mut pause = PAUSE;
        // What is known of a delivery is kept until the log has taken it: otherwise it would be delivered once more.
        while let Err(error) = self.conclude(&orders.retry, delivery, &outcome, now).await {
            log::error!("what became of entry {} cannot be noted: {error}", delivery.entry.id);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn conclude(
        &self,
        retry: &Retry,
        delivery: &Delivery,
        outcome: &Outcome,
        now: UnixTime,
    ) -> Result<(), WalError> {
        match outcome {
            Outcome::Settled => self.wal.settle(delivery).await,
            Outcome::Retry { after, .. } => {
                let wait = back_off(retry, delivery.attempt, jitter()).max(after.unwrap_or_default());
                // The present second has begun already.
                self.wal.postpone(delivery, now.plus(wait + SECOND)).await
            }
            Outcome::Dead { why } => self.wal.bury(delivery, why).await,
        }
    }
}

/// A retry that will not be made any more is a dead letter.
fn give_up(retry: &Retry, delivery: &Delivery, outcome: Outcome, now: UnixTime) -> Outcome {
    let Outcome::Retry { why, .. } = &outcome else { return outcome };
    let attempt = delivery.attempt;
    let age = now.since(delivery.entry.received);
    let reason = if retry.max_attempts.is_some_and(|most| attempt >= most) {
        format!("{why}; it was attempt {attempt}, the last")
    } else if age >= retry.max_age {
        format!("{why}; it is older than {}", humantime::format_duration(retry.max_age))
    } else {
        return outcome;
    };
    Outcome::Dead { why: reason }
}

/// Doubles with each attempt up to the longest wait; of that, between a half and the whole, so that entries that failed
/// together do not come back together. `jitter` is from 0 to 1. At least a second, the log's precision.
fn back_off(retry: &Retry, attempt: u32, jitter: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(31);
    let whole = retry.first.saturating_mul(1 << doublings).min(retry.longest);
    whole.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0).max(Duration::from_secs(1))
}

fn jitter() -> f64 {
    let mut byte = [0_u8];
    // Without random numbers all wait the longest.
    match SystemRandom::new().fill(&mut byte) {
        Ok(()) => f64::from(byte.first().copied().unwrap_or(u8::MAX)) / 255.0,
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        first: Duration::from_secs(4),
        longest: Duration::from_secs(60),
        max_age: Duration::from_secs(1000),
        max_attempts: Some(5),
        concurrency: 4,
    };

    #[test]
    fn waits_double_up_to_the_longest_and_are_spread() {
        let seconds = |attempt, jitter| back_off(&RETRY, attempt, jitter).as_secs();
        assert_eq!([1, 2, 3, 4, 5, 6].map(|attempt| seconds(attempt, 1.0)), [4, 8, 16, 32, 60, 60]);
        assert_eq!([1, 2, 3].map(|attempt| seconds(attempt, 0.0)), [2, 4, 8]);
        assert_eq!(seconds(u32::MAX, 1.0), 60);
        let quick = Retry { first: Duration::from_secs(1), ..RETRY };
        assert_eq!(back_off(&quick, 1, 0.0), Duration::from_secs(1));
    }
}
