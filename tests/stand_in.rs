//! The stand-in for Google and the echo upstream over real HTTP.
#![cfg(feature = "dev")]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking, in what its cases share as well"
)]

#[path = "stand_in/echo.rs"]
mod echo;
#[path = "stand_in/pubsub.rs"]
mod pubsub;
#[path = "stand_in/python.rs"]
mod python;
#[path = "stand_in/secrets.rs"]
mod secrets;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use portcullis::dev::echo::Echo;
use portcullis::dev::google::{
    AccessTokenSpec, Endpoint, ErrorShape, Fault, GATEWAY, Options, ROBOT, StandIn, Switch,
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const CALLBACK: &str = "http://localhost:8080/.portcullis/callback";
const SIGN_IN: &str = "/o/oauth2/v2/auth?client_id=c&redirect_uri=http%3A%2F%2Flocalhost%3A8080%2F.portcullis%2Fcallback&scope=openid+email&state=s%2B1";
const FLAVOR: &str = "Metadata-Flavor: Google\r\n";

struct Answer {
    status: u16,
    head: String,
    body: String,
    bytes: usize,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(candidate, _)| candidate.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|problem| panic!("{problem}: {}", self.body))
    }

    /// Parameters in the fragment of `Location`.
    fn fragment(&self) -> HashMap<String, String> {
        let (address, fragment) = self.header("location").unwrap().split_once('#').unwrap();
        assert_eq!(address, CALLBACK);
        form_urlencoded::parse(fragment.as_bytes()).into_owned().collect()
    }

    /// Hidden fields of a form.
    fn fields(&self) -> HashMap<String, String> {
        let hidden = self.body.split("type=\"hidden\" name=\"").skip(1);
        let pairs = hidden.filter_map(|rest| rest.split_once("\" value=\""));
        pairs
            .map(|(name, rest)| (name.to_owned(), rest.split('"').next().unwrap().replace("&#38;", "&")))
            .collect()
    }
}

async fn send(address: SocketAddr, method: &str, target: &str, headers: &str, body: &str) -> Answer {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}{length}\r\n{body}"
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The end may be a reset: some answers are cut short on purpose.
    drop(stream.read_to_end(&mut answer).await);
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_owned(), body: body.to_owned(), bytes: answer.len() }
}

async fn get(address: SocketAddr, target: &str, headers: &str) -> Answer {
    send(address, "GET", target, headers, "").await
}

async fn stand_in() -> (StandIn, SocketAddr) {
    let google = StandIn::start(LOOPBACK, Options::default()).await.unwrap();
    let address = google.address();
    (google, address)
}

async fn press(address: SocketAddr, query: &str, button: &str, headers: &str) -> Answer {
    let request: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    let headers = format!("Content-Type: application/x-www-form-urlencoded\r\n{headers}");
    send(address, "POST", "/o/oauth2/v2/auth/choose", &headers, &format!("request={request}&{button}")).await
}

#[tokio::test]
async fn only_loopback() {
    assert!(StandIn::start("0.0.0.0:0".parse().unwrap(), Options::default()).await.is_err());
    assert!(Echo::start("0.0.0.0:0".parse().unwrap()).await.is_err());
}

#[tokio::test]
async fn sign_in_with_an_access_token() {
    let (google, address) = stand_in().await;
    let target = format!("{SIGN_IN}&response_type=token");
    let chooser = get(address, &target, "").await;
    assert_eq!(chooser.status, 200);
    let policy = chooser.header("content-security-policy").unwrap();
    assert!(policy.contains("form-action 'self' http://localhost:8080;"), "{policy}");
    let query = &chooser.fields()["request"];
    assert_eq!(target, format!("/o/oauth2/v2/auth?{query}"));

    let ada = &google.people()[0];
    let back = press(address, query, &format!("account={}", ada.sub), "").await;
    assert_eq!(back.status, 303);
    let fragment = back.fragment();
    assert_eq!(fragment["state"], "s+1");
    assert_eq!(fragment["token_type"], "Bearer");
    assert_eq!(fragment["expires_in"], "3600");
    assert_eq!(fragment["iss"], "https://accounts.google.com");
    assert_eq!(fragment["scope"], "openid https://www.googleapis.com/auth/userinfo.email");
    let bearer = format!("Authorization: Bearer {}\r\n", fragment["access_token"]);
    let info = send(address, "POST", "/tokeninfo", &bearer, "").await.json();
    assert_eq!(
        (&info["email"], &info["aud"], &info["sub"]),
        (&json!("ada@example.com"), &json!("c"), &json!(ada.sub))
    );
    let userinfo = get(address, "/v1/userinfo", &bearer).await.json();
    assert_eq!((&userinfo["email_verified"], &userinfo["hd"]), (&json!(true), &json!("example.com")));

    // Signed in at the stand-in, the browser is sent back at once, unless it is to choose.
    let cookie = back.header("set-cookie").unwrap().split(';').next().unwrap();
    let cookie = format!("Cookie: other=1; {cookie}\r\n");
    assert_eq!(get(address, &target, &cookie).await.status, 302);
    let silent = format!("{target}&prompt=none");
    assert!(get(address, &silent, &cookie).await.fragment().contains_key("access_token"));
    assert_eq!(get(address, &silent, "").await.fragment()["error"], "interaction_required");
    let hinted = format!("{silent}&login_hint=grace@example.com");
    assert_eq!(get(address, &hinted, &cookie).await.fragment()["error"], "interaction_required");
    let choose = get(address, &format!("{target}&prompt=select_account"), &cookie).await;
    assert!(choose.status == 200 && choose.body.contains("Sign out of the stand-in"));

    let cancelled = press(address, query, "action=cancel", &cookie).await;
    assert_eq!(
        (cancelled.fragment()["error"].as_str(), cancelled.fragment()["state"].as_str()),
        ("access_denied", "s+1")
    );
    let out = press(address, query, "action=sign_out", &cookie).await;
    assert!(out.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert_eq!(out.header("location"), Some(target.as_str()));
}

#[tokio::test]
async fn sign_in_with_an_id_token() {
    let (google, address) = stand_in().await;
    let target = format!("{SIGN_IN}&response_type=id_token&response_mode=form_post&nonce=n1");
    let query = target.split_once('?').unwrap().1;
    let page = press(address, query, "account=grace@example.com", "").await;
    assert_eq!(page.status, 200);
    assert!(page.body.contains(&format!("action=\"{CALLBACK}\"")) && page.body.contains("<noscript>"));
    let fields = page.fields();
    assert_eq!(fields["state"], "s+1");
    let target = format!("/tokeninfo?id_token={}", fields["id_token"]);
    let info = get(address, &target, "").await.json();
    assert!(info.as_object().unwrap().values().all(Value::is_string), "{info}");
    for (name, value) in
        [("nonce", "n1"), ("aud", "c"), ("hd", "example.com"), ("email_verified", "true"), ("alg", "RS256")]
    {
        assert_eq!(info[name], value, "{name}");
    }
    let silent = get(address, &format!("/o/oauth2/v2/auth?{query}&prompt=none"), "").await;
    assert_eq!((silent.status, silent.fields()["error"].as_str()), (200, "interaction_required"));
    assert!(google.recent_calls().iter().all(|call| !format!("{call:?}").contains("eyJ")));
}

#[tokio::test]
async fn mistakes_stay_on_googles_page() {
    let (_, address) = stand_in().await;
    for (more, status) in
        [("&response_type=code", 400), ("&response_type=id_token", 400), ("&state=x", 400), ("", 400)]
    {
        let page = get(address, &format!("{SIGN_IN}{more}"), "").await;
        assert_eq!((page.status, page.header("location")), (status, None), "{more}");
    }
    let page = get(address, "/o/oauth2/v2/auth?client_id=c&redirect_uri=%3Cscript%3E", "").await;
    assert!(page.status == 400 && !page.body.contains("<script>"));
}

#[tokio::test]
async fn tokeninfo_takes_every_form_and_forgets_revoked_tokens() {
    let (google, address) = stand_in().await;
    let robot = google.account(ROBOT).unwrap();
    let token = google.issue_access_token(&AccessTokenSpec::service_account(robot));
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let field = format!("access_token={token}");
    for info in [
        get(address, &format!("/tokeninfo?{field}"), "").await,
        get(address, &format!("/oauth2/v3/tokeninfo?{field}"), "").await,
        send(address, "POST", "/tokeninfo", form, &field).await,
        send(address, "POST", "/tokeninfo", &format!("Authorization: Bearer {token}\r\n{form}"), "").await,
    ] {
        assert_eq!(info.status, 200);
        let info = info.json();
        assert!(
            info["aud"] == info["azp"] && info["aud"] == info["sub"] && info["aud"] == robot.sub.as_str()
        );
        assert_eq!(info["email"], ROBOT);
    }
    assert_eq!(google.calls(Endpoint::Tokeninfo), 4);
    assert_eq!(send(address, "POST", "/revoke", form, &format!("token={token}")).await.status, 200);
    assert_eq!(send(address, "POST", "/revoke", form, &format!("token={token}")).await.status, 400);
    let gone = get(address, &format!("/tokeninfo?{field}"), "").await;
    assert_eq!((gone.status, &gone.json()["error"]), (400, &json!("invalid_token")));
    assert_eq!(get(address, "/tokeninfo", "").await.status, 400);
    assert!(!format!("{:?}", google.recent_calls()).contains(&token));

    let options = Options { tokeninfo_error: ErrorShape::DescriptionOnly, ..Options::default() };
    let google = StandIn::start(LOOPBACK, options).await.unwrap();
    let short = AccessTokenSpec { lifetime: Duration::ZERO, ..AccessTokenSpec::service_account(robot) };
    let target = format!("/tokeninfo?access_token={}", google.issue_access_token(&short));
    let expired = get(google.address(), &target, "").await;
    assert_eq!((expired.status, expired.json()), (400, json!({"error_description": "Invalid Value"})));
}

#[tokio::test]
async fn forged_id_tokens_are_refused() {
    let (google, address) = stand_in().await;
    let ada = &google.people()[0];
    let good = google.claims(ada, "c");
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let cases = [
        (google.issue_id_token(&good, None), 200),
        (google.issue_id_token(&with("exp", json!(1)), None), 400),
        (google.issue_id_token(&with("iss", json!("https://evil.example")), None), 400),
        (google.issue_id_token(&good, Some(&json!({"alg": "RS256", "kid": "unknown"}))), 400),
    ];
    for (token, status) in cases {
        assert_eq!(get(address, &format!("/tokeninfo?id_token={token}"), "").await.status, status);
    }
}

#[tokio::test]
async fn metadata_has_googles_rules() {
    let (google, address) = stand_in().await;
    let account = "/computeMetadata/v1/instance/service-accounts/default";
    let identity = format!("{account}/identity?audience=https://a.run.app");
    let gateway = google.account(GATEWAY).unwrap();
    for (target, headers, status, body) in [
        (format!("{account}/email"), "", 403, "Missing required header \"Metadata-Flavor\": \"Google\""),
        (
            format!("{account}/email"),
            "Metadata-Flavor: Google\r\nX-Forwarded-For: 1.2.3.4\r\n",
            403,
            "Forbidden",
        ),
        (format!("{account}/email"), "Metadata-Flavor: google\r\n", 404, ""),
        (format!("{account}/email"), FLAVOR, 200, GATEWAY),
        (format!("{account}/aliases"), FLAVOR, 200, "default\n"),
        (account.to_owned(), FLAVOR, 301, ""),
        (format!("{account}/identity"), FLAVOR, 400, "non-empty audience parameter required\n"),
        (format!("{account}/identity?audience="), FLAVOR, 400, ""),
        (format!("{account}/nothing"), FLAVOR, 404, ""),
        ("/computeMetadata/v1/instance/service-accounts/x@y/email".to_owned(), FLAVOR, 404, ""),
        ("/computeMetadata/v2/".to_owned(), FLAVOR, 404, ""),
        ("/computeMetadata/v1/project/project-id".to_owned(), FLAVOR, 200, "example-project"),
        ("/computeMetadata/v1/universe/universe-domain".to_owned(), FLAVOR, 200, "googleapis.com"),
        (
            "/computeMetadata/v1/instance/region".to_owned(),
            FLAVOR,
            200,
            "projects/123456789012/regions/europe-west1",
        ),
        ("/".to_owned(), FLAVOR, 200, "computeMetadata/\n"),
    ] {
        let answer = get(address, &target, headers).await;
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.header("metadata-flavor"), Some("Google"), "{target}");
        assert!(answer.header("server").unwrap().starts_with("Metadata Server"), "{target}");
        assert!(body.is_empty() || answer.body == body, "{target}: {}", answer.body);
    }
    let info = get(address, &format!("{account}/?recursive=true"), FLAVOR).await.json();
    assert_eq!(info["email"], GATEWAY);
    let token = get(address, &format!("{account}/token"), FLAVOR).await.json();
    assert_eq!(token["expires_in"], 3600);
    for (format, named) in [("", false), ("&format=standard", false), ("&format=full", true)] {
        let token = get(address, &format!("{identity}{format}"), FLAVOR).await.body;
        let claims = get(address, &format!("/tokeninfo?id_token={token}"), "").await.json();
        assert_eq!(claims["aud"], "https://a.run.app");
        assert!(claims["azp"] == gateway.sub.as_str() && claims["sub"] == gateway.sub.as_str());
        assert_eq!(claims.get("email").is_some(), named, "{format}");
    }
}

#[tokio::test]
async fn keys_rotate_and_discovery_points_here() {
    let (google, address) = stand_in().await;
    let before = get(address, "/oauth2/v3/certs", "").await;
    assert_eq!(before.header("cache-control"), Some("public, max-age=20000, must-revalidate, no-transform"));
    google.rotate_keys();
    let after = get(address, "/oauth2/v3/certs", "").await.json();
    assert_eq!(after["keys"][1]["kid"], before.json()["keys"][0]["kid"]);
    let kid = after["keys"][0]["kid"].as_str().unwrap();
    assert_eq!(google.id_token_header()["kid"], kid);
    assert!(
        get(address, "/oauth2/v1/certs", "").await.json()[kid]
            .as_str()
            .unwrap()
            .contains("BEGIN CERTIFICATE")
    );
    let discovery = get(address, "/.well-known/openid-configuration", "").await.json();
    assert_eq!(discovery["jwks_uri"], google.certs().as_str());
    assert_eq!(discovery["authorization_endpoint"], google.authorization().as_str());
}

#[tokio::test]
async fn faults() {
    let (google, address) = stand_in().await;
    let certs = || get(address, "/oauth2/v3/certs", "");
    let answer = Fault::Answer { status: 503, content_type: "text/html".to_owned(), body: "busy".to_owned() };
    google.fail_next(Endpoint::Certs, 1, answer);
    let busy = certs().await;
    assert_eq!(
        (busy.status, busy.header("content-type"), busy.body.as_str()),
        (503, Some("text/html"), "busy")
    );
    assert_eq!(certs().await.status, 200);

    google.fail(Endpoint::Certs, Fault::Close);
    assert_eq!(certs().await.bytes, 0);
    google.fail(Endpoint::Certs, Fault::Truncated { body: "{\"keys\":".to_owned() });
    let cut = certs().await;
    assert_eq!((cut.header("content-length"), cut.body.as_str()), (Some("108"), "{\"keys\":"));
    google.fail(Endpoint::Certs, Fault::Flood { bytes: 3_000_000 });
    assert!(certs().await.bytes > 3_000_000);
    google.fail(Endpoint::Certs, Fault::Gzip { bytes: 3_000_000 });
    assert_eq!(certs().await.header("content-encoding"), Some("gzip"));
    google.fail(Endpoint::Certs, Fault::Empty);
    assert_eq!(certs().await.body, "");

    google.delay(Endpoint::Certs, Duration::from_millis(80));
    let start = Instant::now();
    certs().await;
    assert!(start.elapsed() >= Duration::from_millis(80));
    google.clear_switches();

    let email = || get(address, "/computeMetadata/v1/instance/service-accounts/default/email", FLAVOR);
    for (fault, flavor) in
        [(Fault::WrongFlavor, Some("Other")), (Fault::NoFlavor, None), (Fault::SeveralLines, Some("Google"))]
    {
        google.fail(Endpoint::Metadata, fault);
        assert_eq!(email().await.header("metadata-flavor"), flavor);
    }
}

#[tokio::test]
async fn switches_by_hand() {
    let (google, address) = stand_in().await;
    let json_type = "Content-Type: application/json\r\n";
    let body = r#"{"tokeninfo":{"delay_ms":1,"fault":{"kind":"answer","status":429},"next":1}}"#;
    let set = send(address, "POST", "/dev/switches", json_type, body).await.json();
    assert_eq!(set["tokeninfo"]["fault"]["status"], 429);
    assert_eq!(get(address, "/tokeninfo?access_token=x", "").await.status, 429);
    assert_eq!(get(address, "/tokeninfo?access_token=x", "").await.status, 400);
    assert_eq!(send(address, "POST", "/dev/switches", json_type, r#"{"nothing":{}}"#).await.status, 400);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let pressed =
        send(address, "POST", "/dev/switches", form, "endpoint=certs&fault=close&delay_ms=0&next=").await;
    assert_eq!((pressed.status, get(address, "/oauth2/v3/certs", "").await.bytes), (303, 0));
    google.set_switch(Endpoint::Certs, Switch::default());
    let index = get(address, "/", "").await;
    assert!(index.body.contains("mallory@other.example") && index.header("metadata-flavor").is_some());
}

#[tokio::test]
async fn tokens_for_a_terminal() {
    let (_, address) = stand_in().await;
    let token = get(address, "/dev/access-token?as=ada@example.com&client_id=mine", "").await.body;
    let info = get(address, &format!("/tokeninfo?access_token={token}"), "").await.json();
    assert_eq!((&info["email"], &info["aud"]), (&json!("ada@example.com"), &json!("mine")));
    let token =
        get(address, &format!("/dev/id-token?as={ROBOT}&audience=https://gw.example.com"), "").await.body;
    let info = get(address, &format!("/tokeninfo?id_token={token}"), "").await.json();
    assert_eq!((&info["email"], &info["aud"]), (&json!(ROBOT), &json!("https://gw.example.com")));
    assert_eq!(get(address, &format!("/dev/id-token?as={ROBOT}"), "").await.status, 400);
    assert_eq!(get(address, "/dev/access-token?as=nobody", "").await.status, 404);
}

#[tokio::test]
async fn echo_shows_what_it_received_without_whole_tokens() {
    let (google, _) = stand_in().await;
    let echo = Echo::start(LOOPBACK).await.unwrap();
    let token =
        google.issue_id_token(&google.claims(google.account(GATEWAY).unwrap(), "https://a.run.app"), None);
    let headers =
        format!("X-Serverless-Authorization: Bearer {token}\r\nX-Name: <b>\r\nX-Many: 1\r\nX-Many: 2\r\n");
    let answer = send(echo.address(), "PUT", "/a/b?c=d", &headers, "hello").await;
    let shown = answer.json();
    assert_eq!(
        (&shown["method"], &shown["target"], &shown["body"]["text"]),
        (&json!("PUT"), &json!("/a/b?c=d"), &json!("hello"))
    );
    assert_eq!(shown["tokens"][0]["claims"]["email"], GATEWAY);
    assert!(!answer.body.contains(&token[..40]));
    let page = get(echo.address(), "/", &format!("Accept: text/html\r\n{headers}")).await;
    assert!(page.body.contains("This is what your service receives") && page.body.contains(GATEWAY));
    assert!(!page.body.contains(&token[..40]) && !page.body.contains("<b>"));
    let requests = echo.requests();
    assert_eq!(requests[0].header("x-serverless-authorization"), Some(format!("Bearer {token}").as_str()));
    assert_eq!(requests[0].values("x-many"), ["1", "2"]);
    assert_eq!((requests[0].body.as_slice(), requests[0].body_length), (b"hello".as_slice(), 5));
    echo.clear();
    assert!(echo.requests().is_empty());
}

#[tokio::test]
async fn echo_has_things_to_try() {
    let address = Echo::start(LOOPBACK).await.unwrap().address();
    assert_eq!(get(address, "/status/418", "").await.status, 418);
    for bad in ["/status/99", "/status/x", "/status/600", "/bytes/-1", "/bytes/99999999999"] {
        assert_eq!(get(address, bad, "").await.status, 400, "{bad}");
    }
    let refused = get(address, "/front-door/401", "").await;
    assert!(refused.status == 401 && refused.header("www-authenticate").unwrap().contains("invalid_token"));
    assert!(
        get(address, "/front-door/403", "").await.body.contains("to get URL <code>/front-door/403</code>")
    );
    let bytes = get(address, "/bytes/100000", "").await;
    assert_eq!((bytes.header("content-length"), bytes.body.len()), (Some("100000"), 100_000));
    let start = Instant::now();
    assert_eq!(get(address, "/slow?ms=60", "").await.status, 200);
    assert!(start.elapsed() >= Duration::from_millis(60));
    let events = get(address, "/sse", "").await;
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    assert_eq!(events.body.matches("event: tick").count(), 5);
    assert_eq!(get(address, "/ws", "").await.status, 426);
}
