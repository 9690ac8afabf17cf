use std::num::NonZeroU32;

use super::*;
use crate::config::{Rate, RateUnit};
use crate::gate::rate::Whose;
use http::header::CACHE_CONTROL;

/// Status, code, gRPC status, `Retry-After` and challenge of a refusal.
type Told = (Refusal, u16, &'static str, u8, Option<&'static str>, Option<&'static str>);

fn exceeded() -> Exceeded {
    let hundred = NonZeroU32::new(100).unwrap();
    let rate = Rate { requests: hundred, unit: RateUnit::Minute, burst: hundred };
    Exceeded { whose: Whose::Identity, rate, seconds: 17 }
}

#[test]
fn whoever_asks_too_often_is_told_which_limit_it_was() {
    let refusal = Refusal::RateLimited(exceeded());
    assert_eq!(refusal.detail(), "At most 100/m requests are accepted for your account. Try again in 17 s.");
}

/// Every refusal, with what each kind of caller is told.
fn table() -> Vec<Told> {
    let text = || "cause".to_owned();
    let invalid = Some("Bearer error=\"invalid_token\"");
    vec![
        (Refusal::NotCanonical(NotCanonical::DotSegment), 400, "bad_request", 3, None, None),
        (Refusal::Malformed, 400, "bad_request", 3, None, None),
        (Refusal::AmbiguousCredential, 400, "ambiguous_credential", 3, None, None),
        (Refusal::HeadTooLarge, 431, "headers_too_large", 8, None, None),
        (Refusal::BodyTooLarge(7), 413, "too_large", 8, None, None),
        (Refusal::BodyTimeout, 408, "request_timeout", 4, None, None),
        (Refusal::NoLocation, 404, "no_location", 12, None, None),
        (Refusal::MethodNotAllowed("POST".to_owned()), 405, "method_not_allowed", 12, None, None),
        (Refusal::Unauthenticated, 401, "unauthenticated", 16, None, Some("Bearer")),
        (Refusal::InvalidCredential(VerifyError::Expired), 401, "invalid_credential", 16, None, invalid),
        (Refusal::Throttled, 429, "rate_limited", 8, Some("60"), None),
        (Refusal::RateLimited(exceeded()), 429, "rate_limited", 8, Some("17"), None),
        (Refusal::BuffersFull, 503, "buffers_full", 8, Some("1"), None),
        (Refusal::Forbidden { email: "ada@example.com".into() }, 403, "forbidden", 7, None, None),
        (Refusal::CrossOrigin, 403, "cross_origin", 7, None, None),
        (Refusal::ProviderUnavailable(text()), 503, "provider_unavailable", 14, Some("5"), None),
        (Refusal::MintUnavailable(text()), 503, "mint_unavailable", 14, Some("5"), None),
        (Refusal::UpstreamBusy(text()), 503, "upstream_busy", 14, Some("1"), None),
        (Refusal::UpstreamUnreachable(text()), 502, "upstream_unreachable", 14, None, None),
        (Refusal::UpstreamTimeout, 504, "upstream_timeout", 4, None, None),
        (Refusal::UpstreamInvalid(text()), 502, "upstream_invalid", 14, None, None),
        (Refusal::UpstreamRefusedToken, 502, "upstream_refused_token", 14, None, None),
        (Refusal::Internal(text()), 500, "internal", 13, None, None),
    ]
}

fn reply(refusal: &Refusal, form: Form) -> Reply {
    refusal.reply(&Asker { form, request_id: "id-1", return_path: "/a?b=c" })
}

fn text(reply: &Reply, name: &HeaderName) -> Option<String> {
    reply.get(name).map(|value| value.to_str().unwrap().to_owned())
}

#[test]
fn programs_get_a_problem_document() {
    for (refusal, status, code, _, retry_after, challenge) in table() {
        let reply = reply(&refusal, Form::Problem);
        let document: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        assert_eq!(reply.status.as_u16(), status, "{code}");
        assert_eq!(document["status"], status, "{code}");
        assert_eq!(document["code"], code);
        assert_eq!(document["request_id"], "id-1");
        assert!(document["title"].as_str().is_some_and(|title| !title.is_empty()), "{code}");
        assert!(document["detail"].as_str().is_some_and(|detail| detail.ends_with('.')), "{code}");
        assert_eq!(text(&reply, &CONTENT_TYPE).unwrap(), "application/problem+json");
        assert_eq!(text(&reply, &CACHE_CONTROL).unwrap(), "no-store");
        assert_eq!(text(&reply, &RETRY_AFTER).as_deref(), retry_after, "{code}");
        assert_eq!(text(&reply, &WWW_AUTHENTICATE).as_deref(), challenge, "{code}");
        assert!(!document.to_string().contains("cause"), "{code}: the cause is for the log only");
    }
}

#[test]
fn people_get_a_page_with_the_same_code() {
    for (refusal, status, code, _, retry_after, _) in table() {
        let reply = reply(&refusal, Form::Page);
        let page = String::from_utf8(reply.body.to_vec()).unwrap();
        assert_eq!(reply.status.as_u16(), status, "{code}");
        assert!(page.contains(code) && page.contains("id-1"), "{code}");
        assert!(page.starts_with("<!doctype html>"), "{code}");
        assert!(!page.contains("cause"), "{code}: the cause is for the log only");
        assert_eq!(text(&reply, &RETRY_AFTER).as_deref(), retry_after, "{code}");
    }
}

#[test]
fn grpc_gets_its_own_status_in_a_reply_without_a_body() {
    for (refusal, _, code, grpc, _, _) in table() {
        let reply = reply(&refusal, Form::Grpc);
        assert_eq!(reply.status, StatusCode::OK, "{code}");
        assert_eq!(
            text(&reply, &HeaderName::from_static("grpc-status")).unwrap(),
            grpc.to_string(),
            "{code}"
        );
        assert_eq!(text(&reply, &CONTENT_TYPE).unwrap(), "application/grpc");
        assert!(reply.body.is_empty());
    }
}

#[test]
fn connections_end_where_the_rest_of_the_request_is_not_read() {
    for (refusal, _, code, _, _, _) in table() {
        let unread = matches!(code, "too_large" | "headers_too_large" | "buffers_full" | "request_timeout")
            || matches!(refusal, Refusal::Malformed);
        assert_eq!(reply(&refusal, Form::Problem).close, unread, "{code}");
    }
}

#[test]
fn the_methods_that_are_allowed_are_named() {
    let reply = reply(&Refusal::MethodNotAllowed("GET, POST".to_owned()), Form::Problem);
    assert_eq!(text(&reply, &ALLOW).unwrap(), "GET, POST");
}

#[test]
fn an_outsider_is_named_and_offered_another_account() {
    let page = reply(&Refusal::Forbidden { email: "ada@example.com".into() }, Form::Page);
    let page = String::from_utf8(page.body.to_vec()).unwrap();
    assert!(page.contains("ada@example.com") && page.contains("/.portcullis/login?"), "{page}");
}

#[test]
fn what_google_could_not_say_is_no_verdict() {
    let unavailable = Refusal::from(VerifyError::Unavailable("down".to_owned()));
    assert_eq!(unavailable, Refusal::ProviderUnavailable("down".to_owned()));
    assert!(!unavailable.asks_for_sign_in());
    assert_eq!(Refusal::from(VerifyError::Throttled), Refusal::Throttled);
    assert!(Refusal::from(VerifyError::SignedOut).asks_for_sign_in());
}

#[test]
fn causes_reach_the_log() {
    assert_eq!(Refusal::MintUnavailable("x".to_owned()).cause().as_deref(), Some("x"));
    assert!(Refusal::UpstreamRefusedToken.cause().unwrap().contains("roles/run.invoker"));
    assert!(Refusal::InvalidCredential(VerifyError::WrongAudience).cause().unwrap().contains("audience"));
    assert_eq!(Refusal::Unauthenticated.cause(), None);
}
