//! What was sent, what was acknowledged and what arrived.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ring::digest::{SHA256, digest};

/// Guards against hanging; generous, since it must never decide a test on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// A message's way.
struct Fate {
    digest: Vec<u8>,
    acknowledged: bool,
    /// How often the upstream answered 200.
    taken: u64,
}

/// Sums.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Messages that somebody tried to send at least once.
    pub(crate) sent: u64,
    /// Those that got a 2xx.
    pub(crate) acknowledged: u64,
    /// Those that the upstream has taken.
    pub(crate) delivered: u64,
    /// Deliveries of what the upstream had taken before.
    pub(crate) duplicates: u64,
    /// Deliveries that the upstream did not take.
    pub(crate) turned_away: u64,
    /// Answers 503.
    pub(crate) refused: u64,
    /// Requests that were not answered.
    pub(crate) unanswered: u64,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} sent, {} acknowledged, {} delivered, {} duplicates, {} deliveries turned away, {} answers 503, {} requests without answer",
            self.sent,
            self.acknowledged,
            self.delivered,
            self.duplicates,
            self.turned_away,
            self.refused,
            self.unanswered
        )
    }
}

#[derive(Default)]
struct Pages {
    /// By the entry's id, the `Idempotency-Key` of its deliveries.
    fates: HashMap<String, Fate>,
    counts: Counts,
    /// What must not be.
    wrong: Vec<String>,
}

/// Shared by senders and upstream.
#[derive(Default)]
pub(crate) struct Ledger {
    pages: Mutex<Pages>,
    changed: Condvar,
}

impl Ledger {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    fn note(&self, note: impl FnOnce(&mut Pages)) {
        note(&mut self.pages.lock().unwrap());
        self.changed.notify_all();
    }

    /// A message is about to be sent, perhaps again.
    pub(crate) fn sends(&self, key: &str, body: &[u8]) {
        let digest = digest(&SHA256, body).as_ref().to_vec();
        self.note(|pages| {
            let Pages { fates, counts, .. } = pages;
            fates.entry(key.to_owned()).or_insert_with(|| {
                counts.sent += 1;
                Fate { digest, acknowledged: false, taken: 0 }
            });
        });
    }

    pub(crate) fn acknowledged(&self, key: &str) {
        self.note(|pages| {
            let fate = pages.fates.get_mut(key).unwrap();
            pages.counts.acknowledged += u64::from(!fate.acknowledged);
            fate.acknowledged = true;
        });
    }

    pub(crate) fn refused(&self) {
        self.note(|pages| pages.counts.refused += 1);
    }

    pub(crate) fn unanswered(&self) {
        self.note(|pages| pages.counts.unanswered += 1);
    }

    pub(crate) fn wrong(&self, what: String) {
        self.note(|pages| pages.wrong.push(what));
    }

    /// A whole delivery has reached the upstream, which takes it or not.
    pub(crate) fn arrives(&self, key: &str, body: &[u8], taken: bool) {
        let digest = digest(&SHA256, body);
        self.note(|pages| {
            let Some(fate) = pages.fates.get_mut(key) else {
                return pages.wrong.push(format!("{key} was delivered, and nobody sent it"));
            };
            if fate.digest != digest.as_ref() {
                pages.wrong.push(format!("{key} was delivered with {} bytes that nobody sent", body.len()));
            }
            let counts = &mut pages.counts;
            if taken {
                fate.taken += 1;
                *if fate.taken == 1 { &mut counts.delivered } else { &mut counts.duplicates } += 1;
            } else {
                counts.turned_away += 1;
            }
        });
    }

    /// Waits until a count has grown by so much.
    pub(crate) fn more(&self, much: u64, count: impl Fn(&Counts) -> u64) {
        let pages = self.pages.lock().unwrap();
        let wanted = count(&pages.counts) + much;
        let too_few = |pages: &mut Pages| count(&pages.counts) < wanted && pages.wrong.is_empty();
        let (pages, late) = self.changed.wait_timeout_while(pages, PATIENCE, too_few).unwrap();
        assert!(!late.timed_out(), "no progress in {PATIENCE:?}: {}", pages.counts);
        assert!(pages.wrong.is_empty(), "{:#?}", pages.wrong);
    }

    /// Waits until the upstream has taken all that was acknowledged.
    pub(crate) fn all_delivered(&self) {
        let missing =
            |pages: &Pages| pages.fates.values().filter(|fate| fate.acknowledged && fate.taken == 0).count();
        let mut left = usize::MAX;
        let mut pages = self.pages.lock().unwrap();
        while missing(&pages) > 0 && pages.wrong.is_empty() {
            // As long as something comes, all is well.
            assert!(missing(&pages) < left, "{left} acknowledged messages do not arrive: {}", pages.counts);
            left = missing(&pages);
            let waiting = |pages: &mut Pages| missing(pages) == left;
            pages = self.changed.wait_timeout_while(pages, PATIENCE, waiting).unwrap().0;
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.pages.lock().unwrap().counts
    }

    /// Nothing lost, nothing altered, nothing invented.
    pub(crate) fn examine(&self) -> Counts {
        let pages = self.pages.lock().unwrap();
        assert!(pages.wrong.is_empty(), "{:#?}", pages.wrong);
        let lost = pages.fates.iter().filter(|(_, fate)| fate.acknowledged && fate.taken == 0);
        let lost: Vec<&String> = lost.map(|(key, _)| key).collect();
        assert!(lost.is_empty(), "acknowledged and not delivered: {lost:?}");
        assert!(pages.counts.acknowledged <= pages.counts.delivered, "{}", pages.counts);
        pages.counts
    }
}
