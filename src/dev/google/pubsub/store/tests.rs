use super::*;

const TOPIC: &str = "projects/p/topics/t";
const NAME: &str = "projects/p/subscriptions/s";
const DEAD: &str = "projects/p/topics/dead";

fn message(data: &str, key: &str) -> Message {
    Message {
        id: String::new(),
        data: data.to_owned(),
        attributes: BTreeMap::new(),
        ordering_key: key.to_owned(),
        published: UnixTime(1_700_000_000),
    }
}

fn store(change: impl FnOnce(&mut SubscriptionSpec)) -> Store {
    let mut spec = SubscriptionSpec::pull(TOPIC);
    change(&mut spec);
    let mut store = Store::default();
    store.topics.insert(TOPIC.to_owned(), Vec::new());
    store.topics.insert(DEAD.to_owned(), Vec::new());
    store.subscriptions.insert(NAME.to_owned(), Subscription::new(spec));
    store
}

fn publish(store: &mut Store, messages: &[(&str, &str)], now: Instant) {
    let messages = messages.iter().map(|(data, key)| message(data, key)).collect();
    store.publish(TOPIC, messages, now).unwrap();
}

fn data(handed: &[Handed]) -> Vec<&str> {
    handed.iter().map(|handed| handed.message.data.as_str()).collect()
}

#[test]
fn what_is_out_comes_again_when_its_lease_is_over_and_not_when_it_was_acknowledged() {
    let (mut store, now) = (store(|_| {}), Instant::now());
    publish(&mut store, &[("a", ""), ("b", "")], now);
    let first = store.hand_out(NAME, 10, now);
    assert_eq!(data(&first), ["a", "b"]);
    assert!(store.hand_out(NAME, 10, now + Duration::from_secs(9)).is_empty());
    store.acknowledge(NAME, &first[0].ack);
    store.lease(NAME, &first[1].ack, Duration::from_secs(60), now);
    assert!(store.hand_out(NAME, 10, now + Duration::from_secs(59)).is_empty());
    let again = store.hand_out(NAME, 10, now + Duration::from_secs(60));
    assert_eq!(data(&again), ["b"]);
    // The first acknowledgement id is still good.
    store.acknowledge(NAME, &first[1].ack);
    assert_eq!(store.subscriptions[NAME].backlog(), 0);
}

#[test]
fn a_refused_message_becomes_a_dead_letter_in_the_end() {
    let now = Instant::now();
    let mut store = store(|spec| spec.dead_letter = Some((DEAD.to_owned(), 2)));
    publish(&mut store, &[("a", "")], now);
    for attempt in 1..=2 {
        let handed = store.hand_out(NAME, 10, now);
        assert_eq!(handed[0].attempt, Some(attempt));
        store.refuse(NAME, &handed[0].ack, now);
    }
    assert!(store.hand_out(NAME, 10, now).is_empty());
    let dead = &store.topics[DEAD][0];
    assert_eq!(
        (dead.data.as_str(), dead.attributes["CloudPubSubDeadLetterSourceDeliveryCount"].as_str()),
        ("a", "2")
    );
    assert_eq!(dead.attributes["CloudPubSubDeadLetterSourceSubscription"], "s");
}

#[test]
fn the_order_of_a_key_is_kept() {
    let now = Instant::now();
    let mut store = store(|spec| spec.ordered = true);
    publish(&mut store, &[("a", "k"), ("b", "k"), ("x", "other"), ("c", "k")], now);
    let first = store.hand_out(NAME, 1, now);
    assert_eq!(data(&first), ["a"]);
    assert_eq!(data(&store.hand_out(NAME, 10, now)), ["x"]);
    store.refuse(NAME, &first[0].ack, now);
    let all = store.hand_out(NAME, 10, now);
    assert_eq!(data(&all), ["a", "b", "c"]);
    store.refuse(NAME, &all[0].ack, now);
    assert_eq!(data(&store.hand_out(NAME, 10, now)), ["a", "b", "c"], "the later ones come again as well");
}

#[test]
fn duplicates_lost_acknowledgements_and_disorder_on_demand() {
    let now = Instant::now();
    let mut store = store(|_| {});
    store.subscriptions.get_mut(NAME).unwrap().duplicates = 1;
    publish(&mut store, &[("a", ""), ("b", "")], now);
    let first = store.hand_out(NAME, 10, now);
    assert_eq!(data(&first), ["a", "b"]);
    assert_eq!(data(&store.hand_out(NAME, 10, now)), ["a"]);
    store.subscriptions.get_mut(NAME).unwrap().lost_acks = 1;
    store.acknowledge(NAME, &first[0].ack);
    store.acknowledge(NAME, &first[1].ack);
    assert_eq!(store.subscriptions[NAME].backlog(), 1);
    store.subscriptions.get_mut(NAME).unwrap().reversed = true;
    publish(&mut store, &[("c", "")], now);
    assert_eq!(data(&store.hand_out(NAME, 10, now + Duration::from_secs(10))), ["c", "a"]);
}

#[test]
fn a_refusal_waits_as_the_policy_says() {
    let now = Instant::now();
    let backoff = (Duration::from_secs(10), Duration::from_secs(15));
    let mut store = store(|spec| spec.backoff = Some(backoff));
    publish(&mut store, &[("a", "")], now);
    let mut at = now;
    for wait in [10, 15, 15] {
        let handed = store.hand_out(NAME, 1, at);
        store.refuse(NAME, &handed[0].ack, at);
        at += Duration::from_secs(wait);
        assert!(store.hand_out(NAME, 1, at - Duration::from_millis(1)).is_empty());
        assert_eq!(store.subscriptions[NAME].next_due(), Some(at));
    }
}
