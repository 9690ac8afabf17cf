//! What every log must do, whichever keeps the entries. A log that promises less says so in [`Promises`].

use std::collections::BTreeSet;
use std::task::{Context, Waker};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method};

use super::{Delivery, Entry, EntryId, Recorded, Sender, Wal};
use crate::time::UnixTime;

/// What a kind of log promises beyond "at least once, and whole".
#[derive(Clone, Copy, Debug)]
pub(crate) struct Promises {
    /// An id that is known is not recorded again.
    pub(crate) knows_duplicates: bool,
    /// An entry that is out is handed to nobody else, and a settled one never comes back.
    pub(crate) hands_out_once: bool,
    /// Entries of unordered locations come in the order of recording, too.
    pub(crate) orders_all: bool,
}

impl Promises {
    /// All of it.
    pub(crate) fn all() -> Self {
        Self { knows_duplicates: true, hands_out_once: true, orders_all: true }
    }
}

/// An entry with a body of its own.
pub(crate) fn entry(number: u32, location: &str, ordered: bool) -> Entry {
    Entry {
        id: EntryId::of_delivery(location, &number.to_string()),
        location: location.to_owned(),
        ordered,
        method: Method::POST,
        path: format!("/path/{number}"),
        query: None,
        headers: HeaderMap::new(),
        body: Bytes::from(format!("body {number}")),
        sender: None,
        received: UnixTime(1_700_000_000 + u64::from(number)),
    }
}

/// Runs the whole contract, each part against a log of its own.
pub(crate) async fn holds<W: Wal>(promises: Promises, make: impl AsyncFn() -> W) {
    comes_back_whole(&make().await).await;
    comes_in_order(&make().await, promises).await;
    is_tried_again(&make().await).await;
    leaves(&make().await, promises).await;
    an_ordered_location_has_one_out(&make().await, promises).await;
    a_dropped_take_loses_nothing(&make().await).await;
    many_at_once(&make().await).await;
    if promises.knows_duplicates {
        a_retry_is_a_duplicate(&make().await).await;
    }
}

async fn record(log: &impl Wal, entry: &Entry) {
    assert_eq!(log.record(entry.clone()).await, Ok(Recorded::New), "{}", entry.id);
}

/// Takes until it has all of these, whatever else comes again meanwhile.
async fn take_all(log: &impl Wal, count: usize) -> Vec<Delivery> {
    let mut taken: Vec<Delivery> = Vec::new();
    while taken.len() < count {
        for delivery in log.take(count).await.unwrap() {
            if taken.iter().all(|known| known.entry.id != delivery.entry.id) {
                taken.push(delivery);
            }
        }
    }
    taken
}

async fn comes_back_whole(log: &impl Wal) {
    let mut headers = HeaderMap::new();
    headers.append("content-type", HeaderValue::from_static("application/json; charset=\"utf-8\""));
    headers.append("x-again", HeaderValue::from_static("1"));
    headers.append("x-again", HeaderValue::from_bytes(b"\xff\xe4 2").unwrap());
    let sender = Sender { email: "a@example.com".to_owned(), subject: Some("1".to_owned()) };
    let all: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let entries = [
        Entry { body: Bytes::new(), ..entry(1, "/a", false) },
        Entry { body: all.into(), headers, sender: Some(sender), ..entry(2, "/a", true) },
        Entry { query: Some("q=%20&q=\u{e4}".to_owned()), method: Method::PUT, ..entry(3, "/b", false) },
    ];
    for entry in &entries {
        record(log, entry).await;
    }
    let taken = take_all(log, entries.len()).await;
    for entry in &entries {
        let delivery = taken.iter().find(|delivery| delivery.entry.id == entry.id).unwrap();
        assert_eq!(&delivery.entry, entry);
        assert!(delivery.attempt >= 1);
    }
}

async fn comes_in_order(log: &impl Wal, promises: Promises) {
    let entries: Vec<Entry> = (0..20).map(|number| entry(number, "/a", false)).collect();
    for entry in &entries {
        record(log, entry).await;
    }
    let taken = take_all(log, entries.len()).await;
    let ids: Vec<_> = taken.iter().map(|delivery| delivery.entry.id).collect();
    if promises.orders_all {
        assert_eq!(ids, entries.iter().map(|entry| entry.id).collect::<Vec<_>>());
    }
}

async fn is_tried_again(log: &impl Wal) {
    let entry = entry(1, "/a", false);
    record(log, &entry).await;
    for attempt in 1..=3 {
        let taken = log.take(1).await.unwrap();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].entry, entry);
        assert!(taken[0].attempt >= attempt, "{} < {attempt}", taken[0].attempt);
        log.postpone(&taken[0], UnixTime(1)).await.unwrap();
    }
}

/// What is settled or buried makes way for what comes later, and does not come back.
async fn leaves(log: &impl Wal, promises: Promises) {
    record(log, &entry(1, "/a", false)).await;
    record(log, &entry(2, "/a", false)).await;
    let taken = take_all(log, 2).await;
    log.settle(&taken[0]).await.unwrap();
    log.bury(&taken[1], "nobody wants it").await.unwrap();
    // Twice does no harm.
    log.settle(&taken[0]).await.unwrap();
    let last = entry(3, "/a", false);
    record(log, &last).await;
    if promises.hands_out_once {
        let taken = log.take(10).await.unwrap();
        assert_eq!(taken.iter().map(|delivery| &delivery.entry).collect::<Vec<_>>(), [&last]);
    }
}

async fn an_ordered_location_has_one_out(log: &impl Wal, promises: Promises) {
    let entries: Vec<Entry> = (0..6).map(|number| entry(number, "/ordered", true)).collect();
    for entry in &entries {
        record(log, entry).await;
    }
    for (number, entry) in entries.iter().enumerate() {
        let mut taken = log.take(10).await.unwrap();
        assert_eq!(taken.len(), 1, "more than one of an ordered location is out");
        assert_eq!(&taken[0].entry, entry);
        if number % 3 == 0 {
            // It keeps its place while it is tried again.
            log.postpone(&taken[0], UnixTime(1)).await.unwrap();
            taken = log.take(10).await.unwrap();
            assert_eq!(&taken[0].entry, entry);
        }
        if promises.hands_out_once {
            let other = self::entry(100 + u32::try_from(number).unwrap(), "/other", false);
            record(log, &other).await;
            let beside = log.take(10).await.unwrap();
            assert_eq!(beside.iter().map(|delivery| &delivery.entry).collect::<Vec<_>>(), [&other]);
        }
        match number % 2 {
            0 => log.settle(&taken[0]).await.unwrap(),
            _ => log.bury(&taken[0], "no").await.unwrap(),
        }
    }
}

/// Begins something, and tells whether it has to wait.
fn pending(future: &mut (impl Future + Unpin)) -> bool {
    std::pin::Pin::new(future).poll(&mut Context::from_waker(Waker::noop())).is_pending()
}

async fn a_dropped_take_loses_nothing(log: &impl Wal) {
    for number in 0..20 {
        let mut waiting = log.take(1);
        let _ = pending(&mut waiting);
        let entry = entry(number, "/a", false);
        record(log, &entry).await;
        // It may have been on its way to the one that waits, which goes away.
        drop(waiting);
        let taken = log.take(1).await.unwrap();
        assert_eq!(taken[0].entry, entry);
        log.settle(&taken[0]).await.unwrap();
    }
}

async fn many_at_once(log: &impl Wal) {
    let entries: Vec<Entry> = (0..100).map(|number| entry(number, "/a", false)).collect();
    let recorded = join_all(entries.iter().map(|entry| log.record(entry.clone()))).await;
    assert!(recorded.iter().all(|result| *result == Ok(Recorded::New)));
    let taken = take_all(log, entries.len()).await;
    let paths: BTreeSet<_> = taken.iter().map(|delivery| delivery.entry.path.clone()).collect();
    assert_eq!(paths.len(), 100);
    join_all(taken.iter().map(|delivery| log.settle(delivery))).await;
}

async fn a_retry_is_a_duplicate(log: &impl Wal) {
    let entry = entry(1, "/a", false);
    let recorded = join_all([log.record(entry.clone()), log.record(entry.clone())]).await;
    assert_eq!(recorded, [Ok(Recorded::New), Ok(Recorded::Duplicate)]);
    let taken = log.take(10).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(log.record(entry.clone()).await, Ok(Recorded::Duplicate), "while it is out");
    log.settle(&taken[0]).await.unwrap();
    assert_eq!(log.record(entry).await, Ok(Recorded::Duplicate), "after it was settled");
}
