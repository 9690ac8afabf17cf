//! Answers of an upstream whose end a reader after us could see elsewhere than we do.

use http::StatusCode;
use http::header::TRANSFER_ENCODING;
use pingora::http::ResponseHeader;

/// Why an answer cannot be passed on. `upgrade` says whether the request asked for one.
///
/// Pingora reads an unknown transfer coding as "until the connection ends" and passes its name on, so that a reader
/// that knows better, or worse, finds a second answer in the body.
pub(super) fn unsound(response: &ResponseHeader, upgrade: bool) -> Option<&'static str> {
    if response.status == StatusCode::SWITCHING_PROTOCOLS && !upgrade {
        return Some("it switches protocols unasked");
    }
    let mut codings = response.headers.get_all(TRANSFER_ENCODING).iter();
    let first_is_chunked =
        codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked"));
    (!first_is_chunked || codings.next().is_some()).then_some("its transfer coding is not chunked alone")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, codings: &[&str]) -> ResponseHeader {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for coding in codings {
            response.append_header(TRANSFER_ENCODING, *coding).unwrap();
        }
        response
    }

    #[test]
    fn only_chunked_alone_is_a_transfer_coding() {
        for good in [&[][..], &["chunked"], &["Chunked"]] {
            assert_eq!(unsound(&answer(200, good), false), None, "{good:?}");
        }
        for bad in [
            &["xchunked"][..],
            &["gzip, chunked"],
            &["chunked, identity"],
            &["identity"],
            &[""],
            &["chunked", "chunked"],
        ] {
            assert!(unsound(&answer(200, bad), false).is_some(), "{bad:?}");
        }
    }

    #[test]
    fn only_who_asks_is_upgraded() {
        assert!(unsound(&answer(101, &[]), false).is_some());
        assert_eq!(unsound(&answer(101, &[]), true), None);
        assert_eq!(unsound(&answer(103, &[]), false), None);
    }
}
