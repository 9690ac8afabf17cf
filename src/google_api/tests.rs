//! Calls against the stand-in for Google.

use super::*;

fn refused(status: u16, body: &str) -> ApiError {
    ApiError::refused("pubsub", StatusCode::from_u16(status).unwrap(), body.as_bytes())
}

#[test]
fn google_s_own_words_reach_the_operator_and_nothing_else_does() {
    let body = r#"{"error":{"code":404,"message":"Resource not found (resource=T).","status":"NOT_FOUND"}}"#;
    assert_eq!(
        refused(404, body).to_string(),
        "pubsub answered 404 NOT_FOUND: Resource not found (resource=T)."
    );
    for other in
        ["", "<html>secret</html>", "[]", "{}", r#"{"error":"secret"}"#, r#"{"error":{"status":"<b>"}}"#]
    {
        assert_eq!(
            refused(403, other).to_string(),
            "pubsub answered 403: without saying why in Google's form"
        );
    }
    let long = format!(r#"{{"error":{{"message":"\u001b[2J\n{}"}}}}"#, "ä".repeat(5000));
    let text = refused(500, &long).to_string();
    assert!(text.chars().count() < 400 && !text.contains(['\n', '\u{1b}']) && text.ends_with('…'), "{text}");
}

#[test]
fn what_may_succeed_later() {
    let aborted = r#"{"error":{"code":409,"message":"","status":"ABORTED"}}"#;
    for (status, body, expected) in [
        (400, "", false),
        (401, "", false),
        (403, "", false),
        (404, "", false),
        (409, "", false),
        (409, aborted, true),
        (301, "", false),
        (408, "", true),
        (429, "", true),
        (499, "", true),
        (500, "", true),
        (503, "", true),
        (599, "", true),
    ] {
        assert_eq!(refused(status, body).retryable(), expected, "{status} {body}");
    }
    assert!(ApiError::Unreachable(String::new()).retryable() && ApiError::NoToken(String::new()).retryable());
}

#[cfg(feature = "dev")]
mod with_the_stand_in {
    use super::*;
    use crate::dev::google::{Endpoint, Fault, Options, StandIn};

    const SECRET: &str = "projects/example-project/secrets/s";

    async fn world(token: bool) -> (StandIn, Arc<GoogleApi>) {
        let google = StandIn::start("127.0.0.1:0".parse().unwrap(), Options::default()).await.unwrap();
        google.add_secret_version(SECRET, b"value");
        let outbound = Arc::new(Outbound::default());
        let metadata = Arc::new(MetadataServer::new(Arc::clone(&outbound), google.metadata()));
        let api = if token { GoogleApi::new(outbound, metadata) } else { GoogleApi::without_token(outbound) };
        (google, Arc::new(api))
    }

    fn request(google: &StandIn) -> Request {
        let mut url = google.secret_manager();
        url.set_path(&format!("/v1/{SECRET}/versions/latest:access"));
        Request {
            service: Service::SecretManager,
            method: Method::GET,
            url,
            body: Bytes::new(),
            timeout: Duration::from_secs(5),
            max_answer: 4096,
        }
    }

    #[tokio::test]
    async fn one_token_serves_all_calls_and_those_at_once_wait_for_one_fetch() {
        let (google, api) = world(true).await;
        google.delay(Endpoint::Metadata, Duration::from_millis(50));
        let now = UnixTime::now();
        let calls: Vec<_> = (0..20)
            .map(|_| {
                let (api, request) = (Arc::clone(&api), request(&google));
                tokio::spawn(async move { api.call(request, now).await })
            })
            .collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert_eq!((google.calls(Endpoint::Metadata), google.calls(Endpoint::SecretManager)), (1, 20));
    }

    #[tokio::test]
    async fn near_its_end_the_token_is_renewed_while_it_serves() {
        let (google, api) = world(true).await;
        let now = UnixTime::now();
        api.call(request(&google), now).await.unwrap();
        google.delay(Endpoint::Metadata, Duration::from_millis(50));
        for _ in 0..5 {
            api.call(request(&google), UnixTime(now.0 + 3400)).await.unwrap();
        }
        while google.calls(Endpoint::Metadata) < 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(google.calls(Endpoint::Metadata), 2);
    }

    #[tokio::test]
    async fn a_refused_token_is_fetched_anew_once() {
        let (google, api) = world(true).await;
        let now = UnixTime::now();
        google.set_lifetime(Duration::from_secs(3600));
        api.call(request(&google), now).await.unwrap();
        let unauthenticated =
            || Fault::Answer { status: 401, content_type: String::new(), body: String::new() };
        google.fail_next(Endpoint::SecretManager, 1, unauthenticated());
        api.call(request(&google), now).await.unwrap();
        assert_eq!((google.calls(Endpoint::Metadata), google.calls(Endpoint::SecretManager)), (2, 3));
        google.fail(Endpoint::SecretManager, unauthenticated());
        let error = api.call(request(&google), now).await.unwrap_err();
        assert_eq!((error.status(), error.retryable()), (Some(401), false));
        assert_eq!((google.calls(Endpoint::Metadata), google.calls(Endpoint::SecretManager)), (3, 5));
    }

    #[tokio::test]
    async fn without_a_metadata_server_nothing_is_called_and_later_it_is() {
        let (google, api) = world(true).await;
        let now = UnixTime::now();
        for fault in [Fault::NoFlavor, Fault::WrongFlavor, Fault::Close, Fault::Html, Fault::Empty] {
            google.fail(Endpoint::Metadata, fault.clone());
            let (_, api) = (
                &google,
                GoogleApi::new(
                    Arc::default(),
                    Arc::new(MetadataServer::new(Arc::default(), google.metadata())),
                ),
            );
            let error = api.call(request(&google), now).await.unwrap_err();
            assert!(matches!(error, ApiError::NoToken(_)), "{fault:?}: {error}");
        }
        assert!(api.call(request(&google), now).await.is_err());
        assert_eq!(google.calls(Endpoint::SecretManager), 0);
        google.clear_switches();
        assert!(api.call(request(&google), now).await.is_err(), "the failure stands for a second");
        assert!(api.call(request(&google), UnixTime(now.0 + 1)).await.is_ok());
    }

    #[tokio::test]
    async fn an_emulator_never_sees_a_token() {
        let (google, api) = world(false).await;
        let error = api.call(request(&google), UnixTime::now()).await.unwrap_err();
        assert_eq!(error.status(), Some(401), "the stand-in wants one");
        assert_eq!(google.calls(Endpoint::Metadata), 0);
        assert!(!google.recent_calls()[0].headers.contains(&"authorization".to_owned()));
    }
}
