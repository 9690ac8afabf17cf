use http::HeaderValue;

use super::*;

fn parse(raw: &str) -> Result<Path<'_>, NotCanonical> {
    Path::parse(raw)
}

#[test]
fn plain_paths_are_taken_as_they_are() {
    for raw in
        ["/", "/app", "/app/", "/a.b/.well-known/x", "/a~b/c-d_e", "/...x", "/a:b@c!$&'()*+,=", "/über"]
    {
        let path = parse(raw).unwrap();
        assert_eq!(path.decoded, raw);
        assert!(path.is_plain(), "{raw}");
    }
}

#[test]
fn percent_encoding_is_decoded_once_for_the_decision_and_kept_for_forwarding() {
    let path = parse("/%61dmin/caf%C3%A9/100%25").unwrap();
    assert_eq!(path.decoded, "/admin/café/100%");
    assert_eq!(path.raw, "/%61dmin/caf%C3%A9/100%25");
    assert!(path.is_plain());
}

#[test]
fn what_cannot_be_canonicalised_is_refused_everywhere() {
    use NotCanonical as N;
    let rows = [
        ("", N::Target),
        ("app", N::Target),
        ("*", N::Target),
        ("/public/../admin", N::DotSegment),
        ("/public/..", N::DotSegment),
        ("/./admin", N::DotSegment),
        ("/public/%2e%2e/admin", N::DotSegment),
        ("/public/.%2E/admin", N::DotSegment),
        ("/public/..;/admin", N::DotSegment),
        ("/public/..;x=y/admin", N::DotSegment),
        ("/public/.../admin", N::DotSegment),
        ("/public/..%20/admin", N::DotSegment),
        ("/public%2F..%2Fadmin", N::DotSegment),
        ("/public/..%2fadmin", N::DotSegment),
        ("/public%5C..%5Cadmin", N::Backslash),
        ("/public\\admin", N::Backslash),
        ("/public/%255c..%255cadmin", N::DoubleEncoding),
        ("/public/%252e%252e/admin", N::DoubleEncoding),
        ("/public/..%252fadmin", N::DoubleEncoding),
        ("/public/%2500", N::DoubleEncoding),
        ("/public%00", N::Character),
        ("/public%0d%0ax", N::Character),
        ("/public/%7f", N::Character),
        ("/public x", N::Character),
        ("/public\tx", N::Character),
        ("/admin#frag", N::Character),
        ("/%", N::Escape),
        ("/%2", N::Escape),
        ("/%zz", N::Escape),
        ("/%c0%ae%c0%ae/admin", N::Encoding),
        ("/%c0%af", N::Encoding),
        ("/%ff", N::Encoding),
    ];
    for (raw, why) in rows {
        assert_eq!(parse(raw), Err(why), "{raw}");
    }
}

#[test]
fn forms_that_a_location_may_allow_are_refused_by_default() {
    use NotCanonical as N;
    let rows = [
        ("/a%2Fb", N::EncodedSlash),
        ("/a%2fb", N::EncodedSlash),
        ("/a;x=y/b", N::Semicolon),
        ("/a%3Bx", N::Semicolon),
        ("/;/a", N::Semicolon),
        ("/a%2541", N::DoubleEncoding),
        ("//a", N::DoubleSlash),
        ("/a//b", N::DoubleSlash),
    ];
    for (raw, why) in rows {
        let path = parse(raw).unwrap();
        assert!(!path.is_plain(), "{raw}");
        assert_eq!(path.refused_form(AllowEncoded::default()), Some(why), "{raw}");
        let all = AllowEncoded { slash: true, semicolon: true, percent: true, double_slash: true };
        assert_eq!(path.refused_form(all), None, "{raw}");
    }
}

#[test]
fn every_reading_of_an_ambiguous_path_is_listed() {
    let readings = |raw| parse(raw).unwrap().readings();
    assert!(readings("/public;/x").contains(&"/public/x".to_owned()));
    assert!(readings("/objects/a%2Fb").contains(&"/objects/a_b".to_owned()));
    assert!(readings("//admin").contains(&"/admin".to_owned()));
    assert!(readings("/;//admin").contains(&"/admin".to_owned()));
    assert!(readings("/open/;x/inner/").contains(&"/open/inner/".to_owned()));
    assert!(readings("/open/%253fx/inner/").contains(&"/open/".to_owned()));
    assert!(readings("/%2561dmin").contains(&"/admin".to_owned()));
    assert!(readings("/admin").is_empty());
}

#[test]
fn targets_are_split_and_absolute_form_must_name_this_host() {
    let split = |target: &'static str| split_target(target.as_bytes(), "gw.example:8080");
    assert_eq!(split("/a?b=c?d"), Ok(("/a", Some("b=c?d"))));
    assert_eq!(split("/a?"), Ok(("/a", Some(""))));
    assert_eq!(split("http://gw.example:8080/a?b"), Ok(("/a", Some("b"))));
    assert_eq!(split("HTTP://GW.example:8080"), Ok(("/", None)));
    for other in
        ["http://evil.example/a", "http://gw.example/a", "ftp://gw.example:8080/a", "gw.example:443", "*", ""]
    {
        assert_eq!(split(other), Err(NotCanonical::Target), "{other}");
    }
    assert_eq!(split_target(b"/\xff", "h"), Err(NotCanonical::Encoding));
}

#[test]
fn host_names_lose_case_port_and_trailing_dot() {
    for (host, name) in [
        ("GW.Example:8080", "gw.example"),
        ("gw.example.", "gw.example"),
        ("[::1]:80", "::1"),
        ("", ""),
        ("a", "a"),
    ] {
        assert_eq!(host_name(host), name);
    }
}

#[test]
fn hosts_have_no_userinfo_path_or_odd_port() {
    for good in ["gw.example", "gw.example:8080", "127.0.0.1", "[::1]", "[::1]:80", "under_score.example"] {
        assert!(is_host(good), "{good}");
    }
    for bad in
        ["", "a b", "a@b", "a/b", "a:b", "a:99999", "a:+80", "[::1", "[x]", "a,b", "a\"b", "a:", ":80", "<x>"]
    {
        assert!(!is_host(bad), "{bad}");
    }
}

mod callers {
    use super::*;

    fn navigation(method: &Method, headers: &[(&'static str, &str)]) -> bool {
        with_view(method, headers, |view| view.is_navigation())
    }

    fn with_view<T>(
        method: &Method,
        pairs: &[(&'static str, &str)],
        read: impl Fn(&RequestView<'_>) -> T,
    ) -> T {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        read(&RequestView {
            method,
            path: Path::root(),
            query: None,
            host: "gw.example",
            headers: &headers,
            client: [127, 0, 0, 1].into(),
            https: true,
            request_id: "id",
            body: Bytes::new(),
        })
    }

    #[test]
    fn only_page_loads_are_navigations() {
        let html = ("accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8");
        assert!(navigation(&Method::GET, &[html]));
        assert!(navigation(&Method::HEAD, &[html]));
        assert!(navigation(&Method::GET, &[("sec-fetch-mode", "navigate")]));
        assert!(navigation(&Method::GET, &[("accept", "image/png"), ("accept", "TEXT/HTML;q=1")]));
        assert!(!navigation(&Method::POST, &[html, ("sec-fetch-mode", "navigate")]));
        assert!(!navigation(&Method::GET, &[html, ("sec-fetch-mode", "cors")]));
        assert!(!navigation(&Method::GET, &[html, ("x-requested-with", "XMLHttpRequest")]));
        assert!(!navigation(&Method::GET, &[html, ("upgrade", "websocket")]));
        assert!(!navigation(&Method::GET, &[("accept", "*/*")]));
        assert!(!navigation(&Method::GET, &[("accept", "application/json")]));
        assert!(!navigation(&Method::GET, &[]));
    }

    #[test]
    fn grpc_and_websockets_are_recognised() {
        assert!(
            with_view(&Method::POST, &[("content-type", "application/grpc+proto")], |view| view.is_grpc())
        );
        assert!(!with_view(&Method::POST, &[("content-type", "application/json")], |view| view.is_grpc()));
        assert!(with_view(&Method::GET, &[("upgrade", "WebSocket")], |view| view.is_websocket()));
        assert!(!with_view(&Method::GET, &[("upgrade", "h2c")], |view| view.is_websocket()));
    }
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is sent, reading it neither panics nor yields a path with a hole in it.
        #[test]
        fn no_input_panics_and_no_dot_segment_survives(raw in "/[ -~]{0,40}") {
            if let Ok(path) = Path::parse(&raw) {
                prop_assert!(path.decoded.starts_with('/'));
                prop_assert!(path.decoded.split('/').all(|segment| segment != "." && segment != ".."));
                prop_assert!(!path.decoded.contains('\\'));
                path.readings();
            }
        }

        /// Encoding any byte of a path does not change what is decided.
        #[test]
        fn spelling_does_not_change_the_decoded_path(path in "/[a-z]{1,8}(/[a-z0-9._~-]{1,8}){0,3}", at in 1usize..30) {
            prop_assume!(Path::parse(&path).is_ok());
            let encoded: String = path
                .char_indices()
                .map(|(index, c)| if index % at == 0 && c != '/' { format!("%{:02x}", c as u32) } else { c.to_string() })
                .collect();
            let decoded = Path::parse(&encoded).unwrap().decoded.into_owned();
            prop_assert_eq!(decoded, path);
        }
    }
}

#[test]
fn only_one_way_to_frame_a_body_is_accepted() {
    let check = |lines: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        check_framing(&headers)
    };
    let (te, cl) = ("transfer-encoding", "content-length");
    for good in [&[][..], &[(te, "chunked")], &[(te, "Chunked")], &[(cl, "0")], &[(cl, "42")]] {
        assert_eq!(check(good), Ok(()), "{good:?}");
    }
    for bad in [
        &[(te, "gzip, chunked")][..],
        &[(te, "chunked, chunked")],
        &[(te, "identity")],
        &[(te, "")],
        &[(te, "chunked"), (te, "chunked")],
        &[(te, "chunked"), (cl, "4")],
        &[(cl, "4"), (cl, "4")],
        &[(cl, "4, 4")],
        &[(cl, "+4")],
        &[(cl, "")],
        &[("transfer_encoding", "chunked")],
        &[("content_length", "4")],
        &[("content_length", "4"), (cl, "4")],
    ] {
        assert_eq!(check(bad), Err(NotCanonical::Framing), "{bad:?}");
    }
}

#[test]
fn an_encoded_end_of_the_path_is_another_reading() {
    for (raw, cut) in [("/a%23b", "/a"), ("/a/b%3Fc", "/a/b"), ("/a%3f%23", "/a")] {
        let path = parse(raw).unwrap();
        assert!(!path.is_plain(), "{raw}");
        assert_eq!(path.readings(), [cut]);
        assert_eq!(path.refused_form(AllowEncoded::default()), None, "{raw}");
    }
    for raw in ["/a/..%23", "/a/..%3fx/b", "/a/.%23.."] {
        assert_eq!(parse(raw), Err(NotCanonical::DotSegment), "{raw}");
    }
}
