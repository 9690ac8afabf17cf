use http::{HeaderMap, Method};
use serde_json::{Value, json};

use super::*;
use crate::time::UnixTime;
use crate::wal::EntryId;

fn entry() -> Entry {
    Entry {
        id: EntryId::of_delivery("/hook", "1"),
        location: "/hook".to_owned(),
        ordered: false,
        method: Method::POST,
        path: "/in".to_owned(),
        query: None,
        headers: HeaderMap::new(),
        body: Bytes::from_static(b"\x00\xff body"),
        sender: None,
        received: UnixTime(1_700_000_000),
    }
}

/// As Google documents it, with the twin names.
fn push() -> Value {
    json!({
        "deliveryAttempt": 5,
        "message": {
            "attributes": {"portcullis-entry": "x"},
            "data": STANDARD.encode(entry().encode()),
            "messageId": "2070443601311540",
            "message_id": "2070443601311540",
            "orderingKey": "key",
            "publishTime": "2021-02-26T19:13:55.749Z",
            "publish_time": "2021-02-26T19:13:55.749Z"
        },
        "subscription": "projects/myproject/subscriptions/mysubscription"
    })
}

fn read(push: &Value) -> Result<Pushed, PushError> {
    read_push(push.to_string().as_bytes())
}

#[test]
fn a_push_holds_an_entry() {
    let pushed = read(&push()).unwrap();
    assert_eq!(pushed.entry, entry());
    assert_eq!((pushed.attempt, pushed.message_id.as_str()), (Some(5), "2070443601311540"));
    assert_eq!(pushed.subscription, "projects/myproject/subscriptions/mysubscription");
    let data = push()["message"]["data"].clone();
    let small = json!({"message": {"data": data, "messageId": "1"}});
    let pushed = read(&small).unwrap();
    assert_eq!((pushed.attempt, pushed.subscription.as_str()), (None, ""));
}

#[test]
fn what_is_no_message_is_told_from_a_message_without_an_entry() {
    let without = |pointer: &str, name: &str| {
        let mut push = push();
        push.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(name);
        push
    };
    for no_message in [
        json!([]),
        json!({}),
        json!({"message": null}),
        json!({"message": {}}),
        json!({"messages": [push()["message"]]}),
        without("", "message"),
        without("/message", "messageId"),
    ] {
        assert!(matches!(read(&no_message), Err(PushError::NoMessage(_))), "{no_message}");
    }
    for bytes in [b"".as_slice(), b"<html>", b"\xff\xfe", b"{\"message\":"] {
        assert!(matches!(read_push(bytes), Err(PushError::NoMessage(_))));
    }
    let large = vec![b' '; MAX_PUSH + 1];
    assert!(matches!(read_push(&large), Err(PushError::NoMessage(_))));

    let with = |data: &[u8]| {
        let mut push = push();
        push["message"]["data"] = json!(STANDARD.encode(data));
        push
    };
    let other_version = String::from_utf8_lossy(&entry().encode()).replace("\"version\":1", "\"version\":2");
    for (unreadable, why) in [
        (without("/message", "data"), "it has no data"),
        (with(b""), "it has no data"),
        (json!({"message": {"messageId": "1", "data": "not base64!"}}), "its data is not standard Base64"),
        (json!({"message": {"messageId": "1", "data": "_-8="}}), "its data is not standard Base64"),
        (with(b"{\"uri\":\".evil.com/x\"}"), "it has no line of JSON"),
        (with(b"{}\nbody"), "its line is not the JSON of an entry"),
        (with(other_version.as_bytes()), "its version is not known"),
        (with(&[entry().encode(), b"more".to_vec()].concat()), "its body is shorter or longer than it says"),
    ] {
        let Err(PushError::Unreadable(message)) = read(&unreadable) else { panic!("{unreadable}") };
        assert!(!message.message_id.is_empty());
        assert_eq!(message.why, why, "{unreadable}");
    }
}

#[test]
fn what_is_unreadable_can_be_kept_as_it_is() {
    let data = |text: &str| {
        let push = json!({"message": {"messageId": "1", "data": text}});
        let Err(PushError::Unreadable(message)) = read(&push) else { panic!("{text}") };
        message.data()
    };
    assert_eq!(data("AAEC"), &[0, 1, 2][..]);
    assert_eq!(data("not base64!"), "not base64!");
    assert!(data(&"A".repeat(10_000_000)).len() as u64 <= super::super::LARGEST_ENTRY);
}

proptest::proptest! {
    /// A good push, of which some bytes are others.
    #[test]
    fn no_push_ends_in_a_panic(changes in proptest::collection::vec((proptest::prelude::any::<proptest::sample::Index>(), proptest::prelude::any::<u8>()), 1..4)) {
        let mut body = push().to_string().into_bytes();
        for (place, byte) in changes {
            let place = place.index(body.len());
            body[place] = byte;
        }
        if let Ok(pushed) = read_push(&body) {
            proptest::prop_assert!(!pushed.message_id.is_empty());
        }
    }
}
