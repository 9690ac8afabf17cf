//! The log against the stand-in for Google, over HTTP.
#![cfg(feature = "dev")]

use http::{HeaderMap, HeaderValue, Method};

use super::super::EntryId;
use super::*;
use crate::dev::google::{Endpoint, Fault, Options, StandIn, SubscriptionSpec};
use crate::metadata::MetadataServer;
use crate::outbound::Outbound;

const TOPIC: &str = "projects/example-project/topics/wal";
const DEAD: &str = "projects/example-project/topics/dead";
const NAME: &str = "projects/example-project/subscriptions/wal";

struct World {
    google: StandIn,
    log: Arc<PubSub>,
}

async fn world(change: impl FnOnce(&mut SubscriptionSpec)) -> World {
    let google = StandIn::start("127.0.0.1:0".parse().unwrap(), Options::default()).await.unwrap();
    let mut spec = SubscriptionSpec::pull(TOPIC);
    change(&mut spec);
    google.create_subscription(NAME, spec);
    google.create_topic(DEAD);
    let log = Arc::new(log(&google, Some(DEAD)));
    World { google, log }
}

fn log(google: &StandIn, dead: Option<&str>) -> PubSub {
    log_with(google, dead, LEASES)
}

fn log_with(google: &StandIn, dead: Option<&str>, leases: Leases) -> PubSub {
    let outbound = Arc::new(Outbound::default());
    let metadata = Arc::new(MetadataServer::new(Arc::clone(&outbound), google.metadata()));
    let store = PubSubStore {
        topic: TOPIC.to_owned(),
        delivery: PubSubDelivery::Pull { subscription: NAME.to_owned() },
        dead_letter_topic: dead.map(str::to_owned),
    };
    PubSub::with_leases(&Arc::new(GoogleApi::new(outbound, metadata)), &google.pubsub(), &store, leases)
}

fn entry(name: &str) -> Entry {
    let mut headers = HeaderMap::new();
    headers.append("content-type", HeaderValue::from_static("text/plain; charset=iso-8859-1"));
    headers.append("x-twice", HeaderValue::from_bytes(b"\xe9").unwrap());
    headers.append("x-twice", HeaderValue::from_static("2"));
    Entry {
        id: EntryId::of_delivery("/hook", name),
        location: "/hook".to_owned(),
        ordered: false,
        method: Method::PUT,
        path: format!("/{name}"),
        query: Some("a=%20".to_owned()),
        headers,
        body: Bytes::from(vec![0, 255, 10, 13]),
        sender: None,
        received: UnixTime(1_700_000_000),
    }
}

fn ordered(name: &str) -> Entry {
    Entry { ordered: true, ..entry(name) }
}

impl World {
    async fn record(&self, entry: Entry) -> Result<Recorded, WalError> {
        self.log.record(entry).await
    }

    /// The next entry, alone.
    async fn one(&self) -> Delivery {
        let mut taken = self.log.take(1).await.unwrap();
        assert_eq!(taken.len(), 1);
        taken.remove(0)
    }

    fn published(&self) -> usize {
        self.google.messages(TOPIC).len()
    }

    async fn until(&self, done: impl Fn(&Self) -> bool) {
        while !done(self) {
            tokio::task::yield_now().await;
        }
    }
}

fn answer(status: u16, body: &str) -> Fault {
    Fault::Answer { status, content_type: "application/json".to_owned(), body: body.to_owned() }
}

#[tokio::test]
async fn an_entry_comes_back_as_it_was_and_not_again_once_it_is_settled() {
    let world = world(|_| {}).await;
    assert_eq!(world.record(entry("a")).await, Ok(Recorded::New));
    let message = world.google.messages(TOPIC).remove(0);
    assert_eq!(message.data, entry("a").encode());
    assert_eq!(message.attributes["portcullis-entry"], entry("a").id.to_string());
    assert_eq!(message.attributes["portcullis-location"], "/hook");
    assert_eq!(message.ordering_key, "");
    let delivery = world.one().await;
    assert_eq!((&delivery.entry, delivery.attempt), (&entry("a"), 1));
    world.log.settle(&delivery).await.unwrap();
    assert_eq!(world.google.backlog(NAME), 0);
}

#[tokio::test]
async fn a_success_is_an_id_for_the_message_and_nothing_else() {
    let rows = [
        ("500", answer(500, ""), true),
        ("403", answer(403, r#"{"error":{"code":403,"message":"no","status":"PERMISSION_DENIED"}}"#), false),
        ("404", answer(404, ""), false),
        ("429", answer(429, ""), true),
        ("a redirect", answer(302, ""), false),
        ("another success", answer(201, r#"{"messageIds":["1"]}"#), false),
        ("no ids", answer(200, "{}"), false),
        ("too many ids", answer(200, r#"{"messageIds":["1","2"]}"#), false),
        ("an empty answer", Fault::Empty, false),
        ("a page", Fault::Html, false),
        ("half an answer", Fault::Truncated { body: r#"{"messageIds":["1"]"#.to_owned() }, true),
        ("no answer", Fault::Close, true),
        ("a flood", Fault::Flood { bytes: 1 << 20 }, true),
    ];
    let one = async |(name, fault, tried_again): (&str, Fault, bool)| {
        let world = world(|_| {}).await;
        world.google.fail(Endpoint::Publish, fault);
        let outcome = world.record(entry("a")).await;
        let Err(WalError::Unavailable(why)) = outcome else { panic!("{name}: {outcome:?}") };
        let tries = world.google.calls(Endpoint::Publish);
        assert_eq!(tries > 1, tried_again, "{name}: {tries} tries");
        let advice = match name {
            "403" => "grant roles/pubsub.publisher on projects/example-project/topics/wal",
            "404" => "create projects/example-project/topics/wal",
            _ => "",
        };
        assert!(why.contains(advice), "{why}");
        // It is not known: the sender's retry is recorded.
        world.google.clear_switches();
        // A last try of the first may just have come through.
        assert!(world.record(entry("a")).await.is_ok(), "{name}");
    };
    futures_util::future::join_all(rows.into_iter().map(one)).await;
}

#[tokio::test]
async fn a_log_that_does_not_answer_is_not_waited_for() {
    let world = world(|_| {}).await;
    world.google.delay(Endpoint::Publish, Duration::from_secs(3600));
    assert!(matches!(world.record(entry("a")).await, Err(WalError::Unavailable(_))));
    world.google.clear_switches();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let api = Arc::new(GoogleApi::without_token(Arc::default()));
    let store = PubSubStore {
        topic: TOPIC.to_owned(),
        delivery: PubSubDelivery::Push { account: String::new(), audience: String::new() },
        dead_letter_topic: None,
    };
    let nowhere = PubSub::new(&api, &Url::parse(&format!("http://{closed}/")).unwrap(), &store);
    assert!(matches!(nowhere.record(entry("a")).await, Err(WalError::Unavailable(_))));
}

#[tokio::test]
async fn a_short_failure_is_not_noticed() {
    let world = world(|_| {}).await;
    world.google.fail_next(Endpoint::Publish, 2, answer(503, ""));
    assert_eq!(world.record(entry("a")).await, Ok(Recorded::New));
    let new = log(&world.google, None);
    world.google.fail_next(Endpoint::Metadata, 1, answer(200, "{}"));
    assert_eq!(new.record(entry("b")).await, Ok(Recorded::New));
    assert_eq!(world.published(), 2);
}

#[tokio::test]
async fn the_same_entry_is_recorded_once() {
    let world = world(|_| {}).await;
    world.google.delay(Endpoint::Publish, Duration::from_millis(50));
    let all: Vec<_> = (0..10)
        .map(|_| {
            let log = Arc::clone(&world.log);
            tokio::spawn(async move { log.record(entry("a")).await.unwrap() })
        })
        .collect();
    let mut new = 0;
    for one in all {
        new += usize::from(one.await.unwrap() == Recorded::New);
    }
    assert_eq!((new, world.published()), (1, 1));
    assert_eq!(world.record(entry("a")).await, Ok(Recorded::Duplicate));
    assert_eq!(world.record(entry("b")).await, Ok(Recorded::New));
}

#[tokio::test]
async fn an_entry_whose_sender_hung_up_is_recorded_and_known() {
    let world = world(|_| {}).await;
    world.google.delay(Endpoint::Publish, Duration::from_millis(30));
    {
        let mut record = std::pin::pin!(world.log.record(entry("a")));
        assert!(futures_util::poll!(record.as_mut()).is_pending());
    }
    world.until(|world| world.published() == 1).await;
    assert_eq!(world.record(entry("a")).await, Ok(Recorded::Duplicate));
    assert_eq!(world.published(), 1);
}

#[tokio::test]
async fn entries_that_wait_together_travel_together() {
    let world = world(|_| {}).await;
    world.google.delay(Endpoint::Publish, Duration::from_millis(50));
    let all: Vec<_> = (0..500)
        .map(|number| {
            let log = Arc::clone(&world.log);
            tokio::spawn(async move { log.record(entry(&number.to_string())).await })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), Ok(Recorded::New));
    }
    assert_eq!(world.published(), 500);
    let calls = world.google.calls(Endpoint::Publish);
    assert!(calls < 50, "{calls} calls for 500 entries");
}

#[tokio::test]
async fn what_is_too_large_is_refused_and_the_largest_is_not() {
    let world = world(|_| {}).await;
    let with = |size: usize| Entry { body: Bytes::from(vec![b'x'; size]), ..entry("large") };
    let head = entry("large").encode().len();
    let limit = usize::try_from(LARGEST_ENTRY).unwrap();
    let outcome = world.record(with(limit - head + 5)).await;
    assert!(matches!(outcome, Err(WalError::TooLarge { limit: LARGEST_ENTRY, .. })), "{outcome:?}");
    assert_eq!(world.google.calls(Endpoint::Publish), 0);
    assert_eq!(world.record(with(limit - head - 10)).await, Ok(Recorded::New));
    assert_eq!(world.one().await.entry.body.len(), limit - head - 10);
}

#[tokio::test]
async fn what_is_postponed_comes_again() {
    let world = world(|_| {}).await;
    world.record(entry("a")).await.unwrap();
    let first = world.one().await;
    world.log.postpone(&first, UnixTime::now()).await.unwrap();
    let second = world.one().await;
    assert_eq!((second.entry.id, second.attempt), (first.entry.id, 2));
    let until = UnixTime::now().plus(Duration::from_secs(1));
    world.log.postpone(&second, until).await.unwrap();
    let third = world.one().await;
    assert!(UnixTime::now() >= until);
    assert_eq!(third.attempt, 3);
}

#[tokio::test]
async fn a_lost_acknowledgement_is_repeated_and_the_entry_is_not() {
    let world = world(|_| {}).await;
    world.google.lose_acknowledgements(NAME, 1);
    world.record(entry("a")).await.unwrap();
    let delivery = world.one().await;
    world.log.settle(&delivery).await.unwrap();
    assert_eq!(world.google.backlog(NAME), 1);
    world.google.end_leases(NAME);
    world.record(entry("b")).await.unwrap();
    assert_eq!(world.one().await.entry, entry("b"));
    world.until(|world| world.google.backlog(NAME) == 1).await;
}

#[tokio::test]
async fn duplicates_of_pub_sub_are_not_handed_out_twice() {
    let world = world(|_| {}).await;
    world.google.duplicate(NAME, 1);
    world.record(entry("a")).await.unwrap();
    let a = world.one().await;
    world.record(entry("b")).await.unwrap();
    let b = world.one().await;
    assert_eq!((&a.entry, &b.entry), (&entry("a"), &entry("b")));
    for delivery in [a, b] {
        world.log.settle(&delivery).await.unwrap();
    }
    assert_eq!(world.google.backlog(NAME), 0);
}

#[tokio::test]
async fn whoever_stops_waiting_loses_nothing() {
    let world = world(|_| {}).await;
    {
        let mut take = std::pin::pin!(world.log.take(5));
        while world.google.calls(Endpoint::Pull) == 0 {
            assert!(futures_util::poll!(take.as_mut()).is_pending());
            tokio::task::yield_now().await;
        }
    }
    world.record(entry("a")).await.unwrap();
    assert_eq!(world.one().await.entry, entry("a"));
    assert_eq!(world.google.calls(Endpoint::Pull), 1, "the pull that was under way has brought it");
}

#[tokio::test]
async fn ordered_entries_come_one_after_the_other() {
    let world = world(|spec| spec.ordered = true).await;
    for name in ["1", "2", "3"] {
        world.record(ordered(name)).await.unwrap();
    }
    assert!(world.google.messages(TOPIC).iter().all(|message| message.ordering_key == "/hook"));
    let first = world.log.take(9).await.unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].entry.path, "/1");
    // Unordered ones pass by.
    world.record(entry("other")).await.unwrap();
    assert_eq!(world.one().await.entry.path, "/other");
    world.log.postpone(&first[0], UnixTime::now()).await.unwrap();
    let again = world.one().await;
    assert_eq!((again.entry.path.as_str(), again.attempt), ("/1", 2));
    world.log.settle(&again).await.unwrap();
    let second = world.one().await;
    assert_eq!(second.entry.path, "/2");
    world.log.bury(&second, "the upstream says 400").await.unwrap();
    let third = world.one().await;
    assert_eq!(third.entry.path, "/3");
}

#[tokio::test]
async fn a_buried_entry_is_a_dead_letter_with_its_reason() {
    let world = world(|_| {}).await;
    world.record(entry("a")).await.unwrap();
    let delivery = world.one().await;
    world.google.fail_next(Endpoint::Publish, 1, answer(403, ""));
    assert!(world.log.bury(&delivery, "no").await.is_err());
    assert_eq!(world.google.backlog(NAME), 1, "it is not lost");
    world.log.bury(&delivery, &format!("the upstream says 400{}", "é".repeat(2000))).await.unwrap();
    assert_eq!(world.google.backlog(NAME), 0);
    let dead = world.google.messages(DEAD).remove(0);
    assert_eq!(dead.data, entry("a").encode());
    assert!(dead.attributes["portcullis-reason"].starts_with("the upstream says 400"));
    assert!(dead.attributes["portcullis-reason"].len() <= 1024);
    assert_eq!(dead.attributes["portcullis-attempts"], "1");

    let log = log(&world.google, None);
    world.record(entry("b")).await.unwrap();
    let delivery = log.take(1).await.unwrap().remove(0);
    log.bury(&delivery, "no").await.unwrap();
    assert_eq!((world.google.backlog(NAME), world.google.messages(DEAD).len()), (0, 1));
}

#[tokio::test]
async fn messages_without_an_entry_are_dead_letters_and_never_come_again() {
    let world = world(|_| {}).await;
    let bad: [&[u8]; 4] = [b"", b"{\"uri\":\"@evil.com/\"}", b"{\"version\":2}\n", b"\xff\n\xff"];
    for data in bad {
        world.google.publish(TOPIC, data, &[("uri", ".evil.com/x")]).unwrap();
    }
    world.record(entry("good")).await.unwrap();
    let delivery = world.one().await;
    assert_eq!(delivery.entry, entry("good"));
    world.until(|world| world.google.backlog(NAME) == 1).await;
    assert_eq!(world.log.unreadable(), 4);
    let dead = world.google.messages(DEAD);
    assert_eq!(dead.iter().map(|message| message.data.as_slice()).collect::<Vec<_>>(), bad);
    assert!(dead.iter().all(|message| message.attributes.contains_key("portcullis-reason")));
}

#[tokio::test]
async fn taking_goes_on_after_failures() {
    let world = world(|_| {}).await;
    world.record(entry("a")).await.unwrap();
    world.google.fail_next(Endpoint::Pull, 2, answer(500, ""));
    assert_eq!(world.one().await.entry, entry("a"));
    assert_eq!(world.google.calls(Endpoint::Pull), 3);
}

#[tokio::test]
async fn nothing_goes_on_when_the_log_is_dropped() {
    let world = world(|_| {}).await;
    {
        let mut take = std::pin::pin!(world.log.take(1));
        assert!(futures_util::poll!(take.as_mut()).is_pending());
    }
    let subscription = Arc::downgrade(world.log.subscription.as_ref().unwrap());
    drop(world.log);
    while subscription.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_lease_is_kept_while_somebody_has_the_entry_and_no_longer() {
    let world = world(|_| {}).await;
    let leases = Leases { length: Duration::from_secs(2), every: Duration::from_millis(200) };
    let (first, second) = (log_with(&world.google, None, leases), log_with(&world.google, None, leases));
    first.record(entry("a")).await.unwrap();
    let delivery = first.take(1).await.unwrap().remove(0);
    // Longer than the lease.
    let enough = async {
        while world.google.calls(Endpoint::ModifyAckDeadline) < 15 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        taken = second.take(1) => panic!("{taken:?} is out already"),
        () = enough => {}
    }
    drop(first);
    assert_eq!(
        second.take(1).await.unwrap()[0].entry,
        delivery.entry,
        "the process is gone, the entry is not"
    );
}

#[tokio::test]
async fn a_message_that_cannot_become_a_dead_letter_is_kept_for_later() {
    let world = world(|_| {}).await;
    world.google.fail(Endpoint::Publish, answer(403, ""));
    world.google.publish(TOPIC, b"no entry", &[]).unwrap();
    tokio::select! {
        taken = world.log.take(1) => panic!("{taken:?}"),
        () = world.until(|world| world.google.calls(Endpoint::ModifyAckDeadline) == 1) => {}
    }
    assert_eq!((world.google.backlog(NAME), world.google.messages(DEAD).len()), (1, 0));
    assert_eq!(world.google.calls(Endpoint::Acknowledge), 0);
}
