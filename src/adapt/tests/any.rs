//! Whatever comes, nothing panics, and what was written is read.

use http::{HeaderMap, HeaderName, HeaderValue};
use proptest::prelude::*;

use super::super::frame::{self, HEAD, Hello, Pieces, Reply};
use super::super::{Request, json, redact};
use super::*;

fn content(frame: Vec<u8>) -> Bytes {
    let length = frame::length(*frame.first_chunk::<HEAD>().unwrap());
    let content = Bytes::from(frame).slice(HEAD..);
    assert_eq!(content.len(), length);
    content
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from(bytes);
        drop((Hello::decode(bytes.clone()), Pieces::decode(bytes.clone()), Reply::decode(bytes.clone())));
        drop(json::read(&bytes));
        for headers in [("content-encoding", "gzip"), ("content-encoding", "deflate"),
            ("content-type", "application/x-www-form-urlencoded")] {
            drop(message(&[headers], &bytes).input(MOST));
        }
    }

    #[test]
    fn any_text_is_redacted_without_a_panic(text in ".*", program in ".*") {
        prop_assert!(redact::without_values(&text, &program).chars().count() <= 301);
    }

    #[test]
    fn any_program_is_judged_without_a_panic(text in "[ .a-c\"\\\\()\\[\\]{}$@#|,;:?/1é-]{0,40}") {
        drop(Program::compile(&source(&text)));
    }

    #[test]
    fn any_string_survives(text in any::<String>()) {
        let quoted = serde_json::to_string(&text).unwrap();
        let kept = of_json(".json", &quoted).unwrap().unwrap();
        prop_assert_eq!(serde_json::from_str::<String>(&kept).unwrap(), text);
    }

    #[test]
    fn any_number_survives(number in "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?") {
        prop_assume!(number != "-0");
        prop_assert_eq!(of_json(".json", &number), Ok(Some(number)));
    }

    #[test]
    fn any_message_arrives(
        path in any::<String>(), query in any::<Option<String>>(), value in "[ -~]{0,20}",
        body in proptest::collection::vec(any::<u8>(), 0..200), adapter in 0_usize..9,
    ) {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(HeaderName::from_static("x-a"), HeaderValue::from_str(&value).unwrap());
        }
        let request = Request { method: "PUT", path: &path, query: query.as_deref(), headers: &headers, body: &body };
        let pieces = Pieces::decode(content(frame::encode_message(adapter, &request).unwrap())).unwrap();
        prop_assert_eq!(pieces.adapter, adapter);
        let message = pieces.message();
        prop_assert_eq!((message.method, message.path, message.query), ("PUT", &*path, query.as_deref()));
        prop_assert_eq!(message.headers, [("x-a", value.as_bytes()), ("x-a", value.as_bytes())]);
        prop_assert_eq!(&*message.body, &*body);
    }
}

#[test]
fn every_reply_arrives() {
    for reply in [
        Reply::Ready,
        Reply::Json(Bytes::from_static(b"{}")),
        Reply::Nothing,
        Reply::Unreadable(Unreadable::Bad("why".to_owned())),
        Reply::Unreadable(Unreadable::Encoding),
        Reply::Unreadable(Unreadable::TooLarge),
        Reply::Rejected("why".to_owned()),
        Reply::Failed(String::new()),
    ] {
        let mut pipe = Vec::new();
        frame::write(&mut pipe, &reply).unwrap();
        let frame = frame::read(&mut pipe.as_slice()).unwrap().unwrap();
        assert_eq!(Reply::decode(frame), Some(reply));
        pipe.pop();
        assert!(frame::read(&mut pipe.as_slice()).is_err());
    }
    assert_eq!(frame::read(&mut [].as_slice()).unwrap(), None);
}
