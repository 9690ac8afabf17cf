//! Any request comes back as it was, and nothing else comes back at all.

use proptest::prelude::*;

use super::*;

fn entry(method: &str, query: Option<String>, headers: &[(String, Vec<u8>)], body: Vec<u8>) -> Entry {
    let pairs = headers.iter().filter_map(|(name, value)| {
        Some((HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value).ok()?))
    });
    let mut map = HeaderMap::new();
    map.extend(pairs);
    Entry {
        id: EntryId::of_delivery("a", "b"),
        location: "/hook/".to_owned(),
        ordered: query.is_some(),
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        path: "/engine-rest/signal".to_owned(),
        sender: query.as_ref().map(|query| Sender { email: query.clone(), subject: None }),
        query,
        headers: map,
        body: body.into(),
        received: UnixTime(1_700_000_000),
    }
}

proptest! {
    #[test]
    fn any_entry_comes_back_as_it_was(
        method in "[A-Z]{1,9}",
        query in proptest::option::of(".{0,40}"),
        headers in proptest::collection::vec(("[a-z-]{1,9}", proptest::collection::vec(32_u8..=255, 0..20)), 0..6),
        body in proptest::collection::vec(any::<u8>(), 0..2000),
    ) {
        let entry = entry(&method, query, &headers, body);
        prop_assert_eq!(Entry::decode(&entry.encode().into()), Ok(entry));
    }

    #[test]
    fn no_bytes_end_in_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Entry::decode(&bytes.into());
    }

    #[test]
    fn a_cut_entry_is_none(body in proptest::collection::vec(any::<u8>(), 0..200), cut in 1_usize..400) {
        let whole = entry("POST", None, &[], body).encode();
        let cut = whole.len().saturating_sub(cut);
        prop_assert!(Entry::decode(&Bytes::copy_from_slice(&whole[..cut])).is_err());
    }
}

#[test]
fn an_entry_of_another_version_is_refused() {
    let text = String::from_utf8(entry("POST", None, &[], b"x".to_vec()).encode()).unwrap();
    let other = text.replace("\"version\":1", "\"version\":2");
    assert_ne!(text, other);
    assert_eq!(Entry::decode(&other.into()), Err(Malformed("its version is not known")));
}

#[test]
fn ids_are_read_as_they_are_written() {
    let id = EntryId::random().unwrap();
    assert_eq!(id.to_string().parse(), Ok(id));
    for text in [
        "",
        "0",
        "g0000000000000000000000000000000",
        "+000000000000000000000000000000a",
        "A0000000000000000000000000000000",
    ] {
        assert!(text.parse::<EntryId>().is_err(), "{text}");
    }
}

#[test]
fn a_delivery_s_id_depends_on_each_of_its_parts_alone() {
    let id = EntryId::of_delivery;
    assert_eq!(id("/a", "1"), id("/a", "1"));
    assert_ne!(id("/a", "1"), id("/a", "2"));
    assert_ne!(id("/a", "11"), id("/a1", "1"));
}
