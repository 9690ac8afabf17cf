use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use super::*;
use crate::identity::{Credential, Identity};
use crate::time::UnixTime;

fn digest(token: &str) -> Digest {
    Digest::of(Credential::parse(token).unwrap())
}

fn ada() -> Arc<Identity> {
    Arc::new(Identity::new("ada@example.com", None, None, UnixTime(9)).unwrap())
}

#[tokio::test]
async fn all_who_ask_meanwhile_share_one_outcome_failures_included() {
    for outcome in [Ok(ada()), Err(VerifyError::Unavailable("down".to_owned()))] {
        let flights = Flights::default();
        let (calls, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let waiters: Vec<_> = (0..50)
            .map(|_| {
                let (flights, calls, gate, outcome) =
                    (flights.clone(), calls.clone(), gate.clone(), outcome.clone());
                tokio::spawn(async move {
                    let check = || async move {
                        calls.fetch_add(1, Ordering::SeqCst);
                        gate.notified().await;
                        outcome
                    };
                    flights.join(digest("ya29.token-token-token"), |_| {}, check).await
                })
            })
            .collect();
        tokio::task::yield_now().await;
        gate.notify_one();
        for waiter in waiters {
            let (mine, theirs) = (waiter.await.unwrap(), &outcome);
            assert_eq!(mine.is_ok(), theirs.is_ok());
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        assert_eq!(flights.len(), 0);
    }
}

#[tokio::test]
async fn the_others_go_on_when_the_one_who_started_is_cancelled() {
    let flights = Flights::default();
    let gate = Arc::new(Notify::new());
    let join = |flights: Flights, gate: Arc<Notify>| async move {
        let check = || async move {
            gate.notified().await;
            Ok(ada())
        };
        flights.join(digest("ya29.token-token-token"), |_| {}, check).await
    };
    let first = tokio::spawn(join(flights.clone(), gate.clone()));
    tokio::task::yield_now().await;
    let second = tokio::spawn(join(flights.clone(), gate.clone()));
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.notify_one();
    assert!(second.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_check_that_nobody_waits_for_leaves_nothing_behind() {
    let flights = Flights::default();
    let task = {
        let flights = flights.clone();
        tokio::spawn(async move {
            flights.join(digest("ya29.token-token-token"), |_| {}, std::future::pending::<Outcome>).await
        })
    };
    tokio::task::yield_now().await;
    assert_eq!(flights.len(), 1);
    task.abort();
    let _ = task.await;
    assert_eq!(flights.len(), 0);
    let again = flights.join(digest("ya29.token-token-token"), |_| {}, || async { Ok(ada()) }).await;
    assert!(again.is_ok());
}

#[tokio::test]
async fn different_tokens_do_not_share() {
    let flights = Flights::default();
    let one = flights.join(digest("ya29.token-token-one"), |_| {}, || async { Ok(ada()) }).await;
    let two =
        flights.join(digest("ya29.token-token-two"), |_| {}, || async { Err(VerifyError::Expired) }).await;
    assert!(one.is_ok());
    assert_eq!(two.unwrap_err(), VerifyError::Expired);
}
