use super::*;

fn request(names: &[&'static str]) -> HeaderMap {
    names
        .iter()
        .map(|name| (name.to_ascii_lowercase().parse().unwrap(), HeaderValue::from_static("x")))
        .collect()
}

fn left(names: &[&'static str], token_header: &'static str, methods_matter: bool) -> Vec<String> {
    let mut request = request(names);
    strip(&mut request, &HeaderName::from_static(token_header), methods_matter);
    request.keys().map(|name| name.as_str().to_owned()).collect()
}

#[test]
fn what_only_the_gateway_may_say_is_removed_in_every_spelling() {
    let reserved = [
        "x-serverless-authorization",
        "X_Serverless_Authorization",
        "X-Goog-Authenticated-User-Email",
        "x_goog_authenticated_user_id",
        "x_goog-iap_jwt_assertion",
        "X-Forwarded-For",
        "X-Forwarded_Email",
        "X-Forwarded-User",
        "X-Forwarded-Uri",
        "Forwarded",
        "X-Portcullis-Attempt",
        "X_Portcullis_Anything",
        "X-Original-URL",
        "X-Original-Uri",
        "X-Rewrite-URL",
        "X-Envoy-Original-Path",
        "X-Real-IP",
        "X_Real_Ip",
        "X-Request-Id",
        "Proxy",
        "Proxy-Authorization",
        // Some CGI-like environments take all that is neither letter nor digit for an underscore.
        "x.goog.authenticated.user.email",
        "X-Goog-Authenticated-User~Email",
    ];
    for name in reserved {
        assert!(left(&[name], "x-serverless-authorization", false).is_empty(), "{name}");
    }
}

#[test]
fn other_headers_pass() {
    let others = [
        "accept",
        "x-forward",
        "x-goog-api-key",
        "x-user",
        "authorization",
        "my_header",
        "x-http-method-override",
    ];
    for name in others {
        assert_eq!(left(&[name], "x-serverless-authorization", false), [name], "{name}");
    }
}

#[test]
fn the_token_s_own_header_is_removed_in_every_spelling() {
    assert!(left(&["x-my-token"], "x-my-token", false).is_empty());
    assert!(left(&["X_My_Token"], "x-my-token", false).is_empty());
    assert_eq!(left(&["authorization"], "authorization", false), ["authorization"]);
}

#[test]
fn a_method_cannot_be_overridden_where_the_location_lists_methods() {
    for name in ["x-http-method-override", "X-HTTP-Method", "x_method_override"] {
        assert!(left(&[name], "x-serverless-authorization", true).is_empty(), "{name}");
    }
}

#[test]
fn our_cookies_are_removed_and_others_stay_byte_for_byte() {
    let names = CookieNames::of("__Host-portcullis");
    let mut request = request(&[]);
    let sent = "a=1;  b = \"2\" ; __Host-portcullis=secret; __Host-portcullis-attempt-x=y; c=3";
    request.insert(COOKIE, HeaderValue::from_static(sent));
    strip_own_cookies(&mut request, &names);
    let kept = request.get(COOKIE).unwrap().to_str().unwrap();
    assert!(
        kept.contains("a=1;  b = \"2\"") && kept.contains("c=3") && !kept.contains("portcullis"),
        "{kept}"
    );
    let mut only_ours = self::request(&[]);
    only_ours.insert(COOKIE, HeaderValue::from_static("__Host-portcullis=secret"));
    strip_own_cookies(&mut only_ours, &names);
    assert!(!only_ours.contains_key(COOKIE));
}

fn response(status: u16, headers: &[(&'static str, &str)]) -> ResponseHeader {
    let mut response = ResponseHeader::build(status, None).unwrap();
    for (name, value) in headers {
        response.append_header(*name, *value).unwrap();
    }
    response
}

#[test]
fn an_upstream_can_set_cookies_but_not_ours() {
    let mut answer = response(
        200,
        &[
            ("set-cookie", "a=1; Path=/"),
            ("set-cookie", " __Host-portcullis =evil"),
            ("set-cookie", "b=2"),
            // Browsers send the value of a cookie without a name as it stands: `Cookie: __Host-portcullis=evil`.
            ("set-cookie", "=__Host-portcullis=evil; Path=/; Secure"),
            ("set-cookie", " = __Host-portcullis-attempt-x=evil"),
            ("alt-svc", "h3"),
        ],
    );
    let id = HeaderValue::from_static("0123");
    prepare_response(&mut answer, &CookieNames::of("__Host-portcullis"), &id).unwrap();
    let cookies: Vec<_> = answer.headers.get_all(SET_COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1; Path=/", "b=2"]);
    assert!(!answer.headers.contains_key("alt-svc"));
    assert_eq!(answer.headers.get(REQUEST_ID).unwrap(), id);
}
