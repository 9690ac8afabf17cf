use bytes::Bytes;
use http::{HeaderMap, Method};

use super::*;
use crate::time::UnixTime;
use crate::wal::EntryId;

fn arrival(message: &str, ack: &str, ordered: Option<&str>) -> Arrival {
    let entry = Entry {
        id: EntryId::of_delivery("l", message),
        location: ordered.unwrap_or("/any").to_owned(),
        ordered: ordered.is_some(),
        method: Method::POST,
        path: format!("/{message}"),
        query: None,
        headers: HeaderMap::new(),
        body: Bytes::new(),
        sender: None,
        received: UnixTime(0),
    };
    Arrival { message_id: message.to_owned(), ack: ack.to_owned(), entry, attempt: None }
}

fn names(handed: &[Delivery]) -> Vec<&str> {
    handed.iter().map(|delivery| delivery.entry.path.trim_start_matches('/')).collect()
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn each_entry_is_handed_out_once() {
    let (mut held, now) = (Held::default(), Instant::now());
    for message in ["a", "b", "c"] {
        assert_eq!(held.arrive(arrival(message, message, None), now), Verdict::Held);
    }
    assert_eq!(names(&held.hand_out(2, now)), ["a", "b"]);
    assert_eq!(held.arrive(arrival("a", "a2", None), now), Verdict::Held, "again, while it is out");
    assert_eq!(names(&held.hand_out(9, now)), ["c"]);
    assert!(held.hand_out(9, now).is_empty() && held.next_due().is_none());
    assert_eq!(held.acks(), ["a2", "b", "c"]);
    assert_eq!(held.settle("a").as_deref(), Some("a2"), "by its first id, with its newest");
    assert_eq!(held.settle("a"), None);
    assert_eq!(held.arrive(arrival("a", "a3", None), now), Verdict::Acknowledge);
    assert_eq!(held.acks(), ["b", "c"]);
}

#[test]
fn what_is_postponed_comes_again_in_time_and_counts() {
    let (mut held, now) = (Held::default(), Instant::now());
    held.arrive(arrival("a", "1", None), now);
    assert_eq!(held.hand_out(1, now)[0].attempt, 1);
    assert_eq!(held.postpone("1", 10 * MINUTE, now).as_deref(), Some("1"));
    assert!(held.acks().is_empty());
    assert_eq!(held.arrive(arrival("a", "2", None), now + MINUTE), Verdict::ComeAgain(9 * MINUTE));
    assert_eq!(held.arrive(arrival("a", "3", None), now + 10 * MINUTE), Verdict::Held);
    assert_eq!(held.hand_out(1, now + 10 * MINUTE)[0].attempt, 2);
    held.postpone("3", Duration::ZERO, now);
    let told = Arrival { attempt: Some(7), ..arrival("a", "4", None) };
    held.arrive(told, now);
    assert_eq!(held.hand_out(1, now)[0].attempt, 7, "Pub/Sub knows better");
}

#[test]
fn an_ordered_location_has_one_entry_out() {
    let (mut held, now) = (Held::default(), Instant::now());
    for (message, location) in [("a1", "/a"), ("a2", "/a"), ("b1", "/b"), ("a3", "/a")] {
        held.arrive(arrival(message, message, Some(location)), now);
    }
    held.arrive(arrival("x", "x", None), now);
    assert_eq!(names(&held.hand_out(9, now)), ["a1", "b1", "x"]);
    assert!(held.hand_out(9, now).is_empty());
    assert_eq!(held.postpone("a1", MINUTE, now), None, "it stays here, with its lease");
    assert_eq!(held.acks().len(), 5);
    assert_eq!(held.next_due(), Some(now + MINUTE));
    assert!(held.hand_out(9, now + MINUTE / 2).is_empty(), "nothing overtakes it");
    let again = held.hand_out(9, now + MINUTE);
    assert_eq!((names(&again), again[0].attempt), (vec!["a1"], 2));
    held.settle("a1");
    assert_eq!(names(&held.hand_out(9, now)), ["a2"]);
    held.settle("a2");
    assert_eq!(names(&held.hand_out(9, now)), ["a3"]);
}

#[test]
fn only_so_many_wait_here_for_an_earlier_one() {
    let (mut held, now) = (Held::default(), Instant::now());
    for number in 0..ORDERED_AT_ONCE {
        let id = number.to_string();
        assert_eq!(held.arrive(arrival(&id, &id, Some("/a")), now), Verdict::Held);
    }
    assert!(matches!(held.arrive(arrival("more", "more", Some("/a")), now), Verdict::ComeAgain(_)));
    assert_eq!(held.arrive(arrival("other", "other", Some("/b")), now), Verdict::Held);
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut known = Known::default();
    for number in 0..=REMEMBERED {
        known.put(number.to_string(), Past::Settled);
        known.put(number.to_string(), Past::Settled);
    }
    assert!(known.get("0").is_none() && known.get("1").is_some());
    assert_eq!((known.past.len(), known.order.len()), (REMEMBERED, REMEMBERED));
}
