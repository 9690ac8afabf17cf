use std::io::Write as _;

use super::*;

const JSON: (&str, &str) = ("content-type", "application/json");
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");

fn text(program: &str, message: Message<'_>) -> String {
    result(program, message).unwrap().unwrap()
}

#[test]
fn the_input_is_the_whole_message() {
    let message = Message {
        method: "PUT",
        path: "/a%20b",
        query: Some("a=1&b=x%20y&a=2&c"),
        headers: vec![("content-type", b"application/json"), ("x-a", b"1"), ("x-b", b"2"), ("x-a", b"3")],
        body: Bytes::from_static(b" {\"k\": \"\xC3\xA9\"} "),
    };
    assert_eq!(
        text(".", message),
        "{\"method\":\"PUT\",\"path\":\"/a%20b\",\"query\":{\"a\":[\"1\",\"2\"],\"b\":\"x y\",\"c\":\"\"},\
         \"headers\":{\"content-type\":\"application/json\",\"x-a\":\"1, 3\",\"x-b\":\"2\"},\"form\":null,\
         \"json\":{\"k\":\"é\"},\"text\":\" {\\\"k\\\": \\\"é\\\"} \"}"
    );
}

#[test]
fn the_type_says_how_the_body_is_read() {
    for (content_type, expected) in [
        ("application/json", "[false,true]"),
        ("Application/JSON; charset=utf-8", "[false,true]"),
        ("application/vnd.github+json", "[false,true]"),
        ("application/cloudevents+json;charset=UTF-8", "[false,true]"),
        ("application/x-www-form-urlencoded", "[true,false]"),
        ("application/x-www-form-urlencoded; charset=utf-8", "[true,false]"),
        ("text/plain", "[false,false]"),
        ("application/jsonp", "[false,false]"),
        ("+json", "[false,false]"),
        ("", "[false,false]"),
    ] {
        let headers = [("content-type", content_type)];
        assert_eq!(
            text("[.form != null, .json != null]", message(&headers, b"1")),
            expected,
            "{content_type}"
        );
    }
    assert_eq!(text("[.form, .json, .text]", message(&[], b"x")), "[null,null,\"x\"]");
    assert_eq!(text(".text", message(&[], b"\xFF")), "null");
    assert!(matches!(unreadable(&[JSON, FORM], b"1"), Unreadable::Bad(_)));
}

#[test]
fn forms_are_decoded_strictly() {
    let decoded = |body: &[u8]| result(".form", message(&[FORM], body)).unwrap().unwrap();
    assert_eq!(
        decoded(b"a=1&b=%2Fx+y&a=2&=3&d&&e=a=b"),
        "{\"a\":[\"1\",\"2\"],\"b\":\"/x y\",\"\":\"3\",\"d\":\"\",\"e\":\"a=b\"}"
    );
    assert_eq!(decoded(b""), "{}");
    assert_eq!(decoded(b"a=%00"), "{\"a\":\"\\u0000\"}");
    for body in [&b"a=%"[..], b"a=%4", b"a=%zz", b"a=%FF", b"%C3=1", b"a=%+1", b"a=\xFF"] {
        assert!(matches!(unreadable(&[FORM], body), Unreadable::Bad(_)), "{body:?}");
    }
    let query = Message { query: Some("a=%zz"), ..message(&[], b"") };
    assert!(matches!(query.input(MOST), Err(Unreadable::Bad(_))));
}

#[test]
fn numbers_and_characters_stay_as_they_are() {
    for same in [
        "12345678901234567890",
        "-12345678901234567890123",
        "9007199254740993",
        "9223372036854775807",
        "0.1",
        "1e1000",
        "1.0",
        "100000000000000000000000.000000000000001",
        "1E-400",
        "\"\\u0000\"",
        "\"é\u{1F600}\"",
        "{\"b\":1,\"a\":2}",
        "\"\u{2028}\"",
    ] {
        assert_eq!(of_json(".json", same), Ok(Some(same.to_owned())));
    }
    for (sent, kept) in [
        // An integer in jaq, where there is no negative zero.
        ("-0", "0"),
        ("-0.0", "-0.0"),
        ("\"\\ud83d\\ude00\"", "\"\u{1F600}\""),
        ("\"\\ud800\"", "\"\u{FFFD}\""),
        ("\"\\ude00\\ud83d x\\ud83d\\u0041\"", "\"\u{FFFD}\u{FFFD} x\u{FFFD}A\""),
        ("\"\\\\ud800\"", "\"\\\\ud800\""),
        ("{\"a\":1,\"a\":2}", "{\"a\":2}"),
        ("\u{FEFF}1", "1"),
    ] {
        assert_eq!(of_json(".json", sent), Ok(Some(kept.to_owned())), "{sent}");
    }
}

#[test]
fn only_json_is_json() {
    let deep = "[".repeat(1001) + &"]".repeat(1001);
    let long = "1".repeat(1001);
    for body in [
        "",
        " ",
        "{",
        "nul",
        "NaN",
        "Infinity",
        "-Infinity",
        "+1",
        "01",
        "1.",
        ".5",
        "1 2",
        "[1,]",
        "{1:2}",
        "{\"a\" 1}",
        "# c\n1",
        "b\"x\"",
        "'x'",
        "\"\n\"",
        "\"\\x41\"",
        "\"\\ud8\"",
        &deep,
        &long,
    ] {
        assert!(matches!(unreadable(&[JSON], body.as_bytes()), Unreadable::Bad(_)), "{body}");
    }
    assert!(matches!(unreadable(&[JSON], b"\"\xFF\""), Unreadable::Bad(_)));
    let as_deep = "[".repeat(100) + &"]".repeat(100);
    assert_eq!(of_json(".json", &as_deep), Ok(Some(as_deep)));
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn compressed_bodies_are_decompressed() {
    let body = b"{\"a\":1}";
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    zlib.write_all(body).unwrap();
    let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    raw.write_all(body).unwrap();
    let (zlib, raw) = (zlib.finish().unwrap(), raw.finish().unwrap());
    for (encoding, bytes) in [
        ("gzip", gzip(body)),
        ("GZIP", gzip(body)),
        ("x-gzip", gzip(body)),
        ("gzip", [gzip(b"{\"a\""), gzip(b":1}")].concat()),
        ("deflate", zlib),
        ("deflate", raw),
        ("identity", body.to_vec()),
        ("", body.to_vec()),
    ] {
        let message = message(&[JSON, ("content-encoding", encoding)], &bytes);
        assert_eq!(text(".json.a", message), "1", "{encoding}");
    }
}

#[test]
fn bombs_and_other_encodings_are_refused() {
    let gzipped = [JSON, ("content-encoding", "gzip")];
    let bomb = gzip(&vec![b' '; MOST + 1]);
    assert!(bomb.len() < 100_000);
    assert_eq!(unreadable(&gzipped, &bomb), Unreadable::TooLarge);
    let bombs = [gzip(&vec![b' '; MOST / 2 + 1]), gzip(&vec![b' '; MOST / 2 + 1])].concat();
    assert_eq!(unreadable(&gzipped, &bombs), Unreadable::TooLarge);
    assert_eq!(unreadable(&[], &vec![b' '; MOST + 1]), Unreadable::TooLarge);
    assert!(message(&[("content-encoding", "gzip")], &gzip(&vec![b' '; MOST])).input(MOST).is_ok());
    for encoding in ["br", "zstd", "gzip, gzip", "compress", "nonsense"] {
        assert_eq!(unreadable(&[("content-encoding", encoding)], b"x"), Unreadable::Encoding, "{encoding}");
    }
    assert!(matches!(unreadable(&[gzipped[1], gzipped[1]], b""), Unreadable::Bad(_)));
    let good = gzip(b"{\"a\":1}");
    let truncated = &good[..good.len() - 3];
    let longer = [&good[..], b"garbage"].concat();
    for body in [&b"{}"[..], truncated, &longer, b""] {
        assert!(matches!(unreadable(&gzipped, body), Unreadable::Bad(_)), "{body:?}");
    }
}
