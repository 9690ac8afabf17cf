//! The gate with plain values: a view in, a decision out.

use std::net::IpAddr;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::LOCATION;
use http::{HeaderMap, Method};

use super::request::{Path, split_target};
use super::*;
use crate::config::Environment;
use crate::login::Revoke;
use crate::secret::Secret;

const NOW: UnixTime = UnixTime(1_700_000_000);
const CONFIG: &str = "
version: 1
public_url: https://gw.example.com
google: { client_id: 1-a.apps.googleusercontent.com }
allow: { domains: [example.com], service_accounts: [robot@p.iam.gserviceaccount.com] }
upstreams: { up: { url: 'http://127.0.0.1:9' } }
locations:
  - { path: /public/, access: public, upstream: up }
  - { path: /post, methods: [POST], access: google, upstream: up }
  - { path: /admin, access: google, allow: { emails: [ada@example.com] }, upstream: up }
  - { path: /objects/, access: public, allow_encoded: [slash, semicolon], upstream: up }
  - { path: /, access: google, upstream: up }
";

/// Believes tokens that name an address, such as `token-of-ada@example.com` without the `@`'s meaning.
#[derive(Default)]
struct Provider {
    asked: Mutex<Vec<String>>,
}

#[async_trait]
impl IdentityProvider for Provider {
    fn recall(&self, _: Credential<'_>, _: UnixTime) -> Option<Result<Arc<Identity>, VerifyError>> {
        None
    }

    async fn verify(
        &self,
        credential: Credential<'_>,
        _: IpAddr,
        now: UnixTime,
    ) -> Result<Arc<Identity>, VerifyError> {
        self.asked.lock().unwrap().push(credential.token().to_owned());
        let email = match credential.token() {
            "ya29.token-of-ada" => "ada@example.com",
            "ya29.token-of-bob" => "bob@example.com",
            "ya29.token-of-mallory" => "mallory@other.example",
            "ya29.token-of-robot" => "robot@p.iam.gserviceaccount.com",
            "ya29.token-while-down" => return Err(VerifyError::Unavailable("down".to_owned())),
            _ => return Err(VerifyError::Expired),
        };
        Ok(Arc::new(Identity::new(email, Some("1"), None, UnixTime(now.0 + 3600)).unwrap()))
    }

    fn sign_out(&self, _: Credential<'_>, _: UnixTime) {}
}

struct NoRevocation;

#[async_trait]
impl Revoke for NoRevocation {
    async fn revoke(&self, _: &Secret) -> Result<(), String> {
        Ok(())
    }
}

fn gate() -> (Arc<Provider>, Gate) {
    let config = Arc::new(crate::config::parse(CONFIG, "test.yaml", &Environment::empty()).unwrap());
    let provider = Arc::new(Provider::default());
    let google = config.google.as_ref().unwrap();
    let login = Login::new(
        google,
        &config.endpoints.authorization,
        &config.login,
        None,
        provider.clone(),
        Arc::new(NoRevocation),
    );
    let sign_in = SignIn { provider: provider.clone(), login };
    (provider, Gate::new(config, Some(sign_in), None, Arc::default()))
}

struct Ask {
    method: Method,
    target: &'static str,
    headers: HeaderMap,
}

fn get(target: &'static str) -> Ask {
    Ask { method: Method::GET, target, headers: HeaderMap::new() }
}

impl Ask {
    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(name, value.parse().unwrap());
        self
    }

    fn bearer(self, token: &str) -> Self {
        self.header("authorization", &format!("Bearer {token}"))
    }

    fn cookie(self, token: &str) -> Self {
        self.header("cookie", &format!("__Host-portcullis={token}"))
    }

    fn page(self) -> Self {
        self.header("accept", "text/html")
    }

    async fn decide(&self, gate: &Gate) -> Verdict {
        let (raw, query) = split_target(self.target.as_bytes(), "").unwrap();
        let view = RequestView {
            method: &self.method,
            path: Path::parse(raw).unwrap(),
            query,
            host: "gw.example.com",
            headers: &self.headers,
            client: [192, 0, 2, 1].into(),
            https: true,
            request_id: "id",
            body: Bytes::new(),
        };
        gate.decide(&view, NOW).await
    }
}

/// `forward PATH as EMAIL`, `answer STATUS`, or the code of the refusal.
async fn outcome(ask: Ask) -> String {
    let (_, gate) = gate();
    let verdict = ask.decide(&gate).await;
    match verdict.decision {
        Decision::Forward(permit) => {
            let location = &gate.location(permit.location()).unwrap().name;
            let email = permit.identity().map_or("nobody", |identity| &identity.email);
            format!("forward {location} as {email}")
        }
        Decision::Read(pending) => format!("read {} bytes", pending.limit),
        Decision::Answer(reply) => format!("answer {}", reply.status.as_u16()),
        Decision::Refuse(refusal) => refusal.row().code.to_owned(),
    }
}

#[tokio::test]
async fn decisions() {
    let rows = [
        (get("/public/x"), "forward /public/ as nobody"),
        (get("/public"), "unauthenticated"),
        (get("/x"), "unauthenticated"),
        (get("/x").page(), "answer 302"),
        (get("/x").bearer("ya29.token-of-bob"), "forward / as bob@example.com"),
        (get("/x").cookie("ya29.token-of-bob"), "forward / as bob@example.com"),
        (get("/x").bearer("ya29.token-of-robot"), "forward / as robot@p.iam.gserviceaccount.com"),
        (get("/x").bearer("ya29.token-of-mallory"), "forbidden"),
        (get("/x").bearer("ya29.token-of-mallory").page(), "forbidden"),
        (get("/x").bearer("ya29.token-of-nobody"), "invalid_credential"),
        (get("/x").bearer("ya29.token-of-nobody").page(), "answer 302"),
        (get("/x").bearer("short"), "invalid_credential"),
        (get("/x").bearer("ya29.token-while-down"), "provider_unavailable"),
        (get("/x").bearer("ya29.token-while-down").page(), "provider_unavailable"),
        (get("/x").header("authorization", "Basic YTpi"), "unauthenticated"),
        (get("/admin").bearer("ya29.token-of-ada"), "forward /admin as ada@example.com"),
        (get("/admin/x").bearer("ya29.token-of-bob"), "forbidden"),
        (get("/post").bearer("ya29.token-of-ada"), "method_not_allowed"),
        (get("/.portcullis/health"), "answer 200"),
        (get("/.portcullis/nothing").bearer("ya29.token-of-ada"), "no_location"),
        (get("/objects/a%2Fb;v=1"), "forward /objects/ as nobody"),
        (get("/objects;x/a"), "bad_request"),
        (get("/objects/%2F/x"), "bad_request"),
        (get("/x;y").bearer("ya29.token-of-ada"), "bad_request"),
        (get("//admin").bearer("ya29.token-of-ada"), "bad_request"),
    ];
    for (ask, expected) in rows {
        let shown = format!("{} {:?}", ask.target, ask.headers);
        assert_eq!(outcome(ask).await, expected, "{shown}");
    }
}

#[tokio::test]
async fn the_cookie_comes_first_and_the_bearer_where_it_is_not_good() {
    let (ada, bob, bad, down) =
        ("ya29.token-of-ada", "ya29.token-of-bob", "ya29.token-of-nobody", "ya29.token-while-down");
    let rows = [
        (ada, bob, "forward / as ada@example.com"),
        (bad, bob, "forward / as bob@example.com"),
        (down, bob, "forward / as bob@example.com"),
        (bad, down, "provider_unavailable"),
        (down, bad, "provider_unavailable"),
        (bad, bad, "invalid_credential"),
    ];
    for (cookie, bearer, expected) in rows {
        assert_eq!(outcome(get("/x").cookie(cookie).bearer(bearer)).await, expected, "{cookie} {bearer}");
    }
}

#[tokio::test]
async fn with_a_good_cookie_authorization_is_not_ours() {
    let (provider, gate) = gate();
    let verdict = get("/x").cookie("ya29.token-of-ada").bearer("ya29.token-of-bob").decide(&gate).await;
    let Decision::Forward(permit) = verdict.decision else { panic!("{verdict:?}") };
    assert!(!permit.consumed_authorization());
    assert_eq!(*provider.asked.lock().unwrap(), ["ya29.token-of-ada"]);
}

#[tokio::test]
async fn nobody_is_asked_about_requests_to_public_locations() {
    let (provider, gate) = gate();
    get("/public/x").bearer("ya29.token-of-ada").cookie("ya29.token-of-bob").decide(&gate).await;
    assert!(provider.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn sign_in_comes_back_to_the_page_that_was_asked_for() {
    let (_, gate) = gate();
    let verdict = get("/reports?month=10&x=%26").page().decide(&gate).await;
    let Decision::Answer(reply) = verdict.decision else { panic!("{verdict:?}") };
    let location = reply.get(&LOCATION).unwrap().to_str().unwrap();
    assert!(location.starts_with("https://accounts.google.com/o/oauth2/v2/auth?"), "{location}");
    assert!(
        location.contains("redirect_uri=https%3A%2F%2Fgw.example.com%2F.portcullis%2Fcallback"),
        "{location}"
    );
}

#[tokio::test]
async fn a_websocket_with_a_session_must_come_from_a_page_of_ours() {
    let handshake = |origin: &str| {
        get("/x").cookie("ya29.token-of-ada").header("upgrade", "websocket").header("origin", origin)
    };
    assert_eq!(outcome(handshake("https://gw.example.com")).await, "forward / as ada@example.com");
    for foreign in
        ["https://evil.example", "http://gw.example.com", "null", "https://gw.example.com.evil.example"]
    {
        assert_eq!(outcome(handshake(foreign)).await, "cross_origin", "{foreign}");
    }
    let program = get("/x")
        .bearer("ya29.token-of-ada")
        .header("upgrade", "websocket")
        .header("origin", "https://evil.example");
    assert_eq!(outcome(program).await, "forward / as ada@example.com");
}

#[tokio::test]
async fn the_verdict_tells_the_log_what_was_learnt() {
    let (_, gate) = gate();
    let verdict = get("/admin").bearer("ya29.token-of-bob").decide(&gate).await;
    assert_eq!(verdict.step, Step::Authorize);
    assert_eq!(&*verdict.identity.unwrap().email, "bob@example.com");
    assert_eq!(gate.location(verdict.location.unwrap()).unwrap().name, "/admin");
}

#[tokio::test]
async fn health_turns_red_while_the_process_stops() {
    let (_, gate) = gate();
    gate.stopping.store(true, Ordering::Release);
    let verdict = get("/.portcullis/health").decide(&gate).await;
    let Decision::Answer(reply) = verdict.decision else { panic!("{verdict:?}") };
    assert_eq!(reply.status.as_u16(), 503);
}
