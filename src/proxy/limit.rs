//! The bound on requests under way at an upstream, with a queue in the order of arrival.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use pingora::protocols::http::ServerSession;
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Context, Proxy};
use crate::config::InFlightLimit;
use crate::gate::refusal::Refusal;

/// How often it is seen whether a caller over HTTP/1 is still there while its request waits.
const GLANCE: Duration = Duration::from_millis(100);
/// States of a TCP connection whose other side has closed (`CLOSE` after a reset, `CLOSE_WAIT` after FIN), in the
/// numbers of Linux (include/net/tcp_states.h).
const CLOSED: [u8; 2] = [7, 8];

/// A request's place among those under way. It ends with the value.
pub(super) type Place = OwnedSemaphorePermit;

/// The bound of one upstream.
pub(super) struct Limit {
    bound: InFlightLimit,
    places: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// Counts as waiting for as long as it lives, so that whoever gives up is not counted any more.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Limit {
    pub(super) fn new(bound: InFlightLimit) -> Self {
        Self { bound, places: Arc::new(Semaphore::new(bound.requests)), waiting: AtomicUsize::new(0) }
    }

    /// A place, if one is free and nobody waits for it.
    fn at_once(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok()
    }

    /// A place in the order of arrival, or why there is none.
    async fn wait(&self) -> Result<Place, String> {
        let InFlightLimit { requests, queue, wait } = self.bound;
        let waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= queue {
            return Err(format!("{requests} requests are under way and {queue} wait"));
        }
        let place = tokio::time::timeout(wait, Arc::clone(&self.places).acquire_owned()).await;
        drop(waiting);
        match place {
            Ok(Ok(place)) => Ok(place),
            Ok(Err(closed)) => Err(format!("BUG: {closed}")),
            Err(_) => Err(format!("none of {requests} requests under way ended within {wait:?}")),
        }
    }
}

impl Proxy {
    /// Takes a place among the requests under way at the upstream, where there is a bound. An error when the caller
    /// has gone meanwhile.
    pub(super) async fn take_place(session: &mut Session, ctx: &mut Context) -> Result<Result<(), Refusal>> {
        let edition = Arc::clone(&ctx.edition);
        let Some(limit) = edition.peers.limit(ctx.target()?.1) else { return Ok(Ok(())) };
        let place = if let Some(place) = limit.at_once() {
            Ok(place)
        } else {
            let waits = format!("request {} waits: {} are under way", ctx.id.as_str(), limit.bound.requests);
            tokio::select! {
                // First, so that it stands in the queue before anything is said.
                biased;
                place = limit.wait() => place,
                () = left(session, &waits) => {
                    return Err(Error::explain(ErrorType::ConnectionClosed, "while waiting").into_down());
                }
            }
        };
        Ok(place.map(|place| ctx.place = Some(place)).map_err(Refusal::UpstreamBusy))
    }
}

/// Ends when the caller has gone. Nothing is read that belongs to the request, or to the next one.
async fn left(session: &mut Session, waits: &str) {
    log::debug!("{waits}");
    if let ServerSession::H2(stream) = session.as_downstream_mut() {
        // Either way it has.
        let _ = stream.idle().await;
        return;
    }
    let socket = session.digest().and_then(|digest| digest.socket_digest.clone());
    loop {
        tokio::time::sleep(GLANCE).await;
        let state = socket.as_ref().and_then(|socket| socket.tcp_info()).map(|info| info.tcpi_state);
        if state.is_some_and(|state| CLOSED.contains(&state)) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn limit(requests: usize, queue: usize) -> Arc<Limit> {
        Arc::new(Limit::new(InFlightLimit { requests, queue, wait: Duration::from_secs(60) }))
    }

    #[tokio::test]
    async fn places_are_given_in_the_order_of_arrival() {
        let limit = limit(1, 3);
        let held = limit.at_once().unwrap();
        let mut queue: Vec<_> = (0..3).map(|_| Box::pin(limit.wait())).collect();
        for waiting in &mut queue {
            assert!(waiting.now_or_never().is_none());
        }
        drop(held);
        assert!(limit.at_once().is_none(), "nobody overtakes those who wait");
        let mut queue = queue.into_iter();
        let (mut first, mut second) = (queue.next().unwrap(), queue.next().unwrap());
        assert!((&mut second).now_or_never().is_none());
        let place = (&mut first).now_or_never().unwrap().unwrap();
        assert!((&mut second).now_or_never().is_none());
        drop(place);
        assert!((&mut second).now_or_never().unwrap().is_ok());
    }

    #[tokio::test]
    async fn a_full_queue_is_said_at_once_and_who_gives_up_makes_room() {
        let limit = limit(1, 1);
        let _held = limit.at_once().unwrap();
        let mut first = Box::pin(limit.wait());
        assert!((&mut first).now_or_never().is_none());
        let why = limit.wait().now_or_never().unwrap().unwrap_err();
        assert_eq!(why, "1 requests are under way and 1 wait");
        drop(first);
        let mut second = Box::pin(limit.wait());
        assert!((&mut second).now_or_never().is_none());
        drop(second);
        assert_eq!(limit.waiting.load(Ordering::Acquire), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends() {
        let limit = limit(1, 1);
        let held = limit.at_once().unwrap();
        assert!(limit.wait().await.unwrap_err().contains("within 60s"));
        drop(held);
        assert!(limit.at_once().is_some());
    }
}
