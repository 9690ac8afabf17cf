//! What the pieces make of a request; the whole step is tested over HTTP.

use super::*;

#[test]
fn adapters_see_no_credentials() {
    let mut headers = HeaderMap::new();
    for name in
        ["authorization", "cookie", "proxy-authorization", "x-serverless-authorization", "x-github-event"]
    {
        headers.insert(name, HeaderValue::from_static("x"));
    }
    let names: Vec<HeaderName> = without_credentials(&headers).keys().cloned().collect();
    assert_eq!(names, ["x-github-event"]);
}

#[test]
fn what_the_log_says_becomes_an_answer_that_makes_the_sender_try_again() {
    for error in [WalError::Full { used: 9, limit: 9 }, WalError::Unavailable("down".to_owned())] {
        let row = Refusal::from(error).row();
        assert_eq!(row.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(row.retry_after.is_some());
    }
    let row = Refusal::from(WalError::TooLarge { size: 9, limit: 8 }).row();
    assert_eq!((row.status, row.retry_after), (StatusCode::PAYLOAD_TOO_LARGE, None));
}

#[test]
fn an_adapter_s_failure_is_the_sender_s_or_the_operator_s() {
    for (error, status) in [
        (AdaptError::BadBody("x".to_owned()), 400),
        (AdaptError::UnsupportedEncoding, 415),
        (AdaptError::TooLarge, 413),
        (AdaptError::Rejected("x".to_owned()), 422),
        (AdaptError::Failed("x".to_owned()), 500),
        (AdaptError::Crashed("x".to_owned()), 500),
        (AdaptError::Busy, 503),
    ] {
        assert_eq!(error.status().as_u16(), status);
        assert_eq!(Refusal::from(error).row().status.as_u16(), status);
    }
}
