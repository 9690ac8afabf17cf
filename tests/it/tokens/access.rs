//! Access tokens: whatever tokeninfo says, only a whole and proper answer about a token of ours lets anybody in.

use std::sync::{Arc, Mutex};

use portcullis::dev::google::{CLIENT_ID, Endpoint, Fault, GATEWAY};
use portcullis::time::UnixTime;
use serde_json::{Value, json};

use super::identity::{ADDRESSES, verified_values};
use super::{ADA, FORBIDDEN, GOOD, INVALID, ROBOT, UNAVAILABLE};
use crate::harness::answer::Answer;
use crate::harness::upstream::Upstream;
use crate::harness::world::{PARTNER, PUBLIC_URL, Plan, World};

/// A tokeninfo that says whatever a row wants.
struct Scripted {
    world: World,
    says: Arc<Mutex<Value>>,
    _server: Upstream,
}

impl Scripted {
    fn start() -> Self {
        let server = Upstream::start();
        let says = Arc::new(Mutex::new(Value::Null));
        let said = Arc::clone(&says);
        server.otherwise(move |_| Answer::json(&said.lock().unwrap()));
        let endpoint = Some(("tokeninfo", format!("{}/tokeninfo", server.url())));
        Self { world: Plan { endpoint, ..Plan::default() }.start(), says, _server: server }
    }

    /// A good answer, spelt as Google spells it.
    fn good() -> Value {
        let expires = UnixTime::now().0 + 3599;
        json!({
            "azp": CLIENT_ID, "aud": CLIENT_ID, "sub": "111260650121245072901", "scope": "openid email",
            "exp": expires.to_string(), "expires_in": "3599", "email": ADA, "email_verified": "true",
            "access_type": "online",
        })
    }

    async fn judge(&self, rows: Vec<(&str, Option<Value>, (u16, &str))>) {
        let mut table = self.world.table();
        for (number, (name, value, expect)) in rows.into_iter().enumerate() {
            let label = format!("{name}: {value:?}");
            let mut answer = Self::good();
            match value {
                Some(value) => answer[name] = value,
                None => drop(answer.as_object_mut().unwrap().remove(name)),
            }
            *self.says.lock().unwrap() = answer;
            let token = self.world.keep_secret(&format!("ya29.scripted-{number:020}-{}", "x".repeat(24)));
            table.bearer(&label, &token, expect).await;
        }
        table.finish().await;
    }
}

#[tokio::test]
async fn claims_of_tokeninfo_are_read_like_those_of_a_token() {
    let scripted = Scripted::start();
    let mut rows: Vec<(&str, Option<Value>, (u16, &str))> =
        ADDRESSES.iter().map(|(email, expect)| ("email", Some(json!(email)), *expect)).collect();
    rows.extend(verified_values().into_iter().map(|(value, expect)| ("email_verified", value, expect)));
    let other = "9999-other.apps.googleusercontent.com";
    rows.extend([
        ("aud", Some(json!(other)), INVALID),
        ("aud", Some(json!(PARTNER)), GOOD),
        ("aud", Some(json!(PUBLIC_URL)), INVALID),
        ("aud", Some(json!([CLIENT_ID])), INVALID),
        ("aud", Some(json!("")), INVALID),
        ("aud", None, INVALID),
        ("azp", Some(json!(other)), INVALID),
        ("azp", None, GOOD),
        ("exp", None, INVALID),
        ("exp", Some(json!("0")), INVALID),
        ("exp", Some(json!((UnixTime::now().0 - 1).to_string())), INVALID),
        ("exp", Some(json!("soon")), INVALID),
        ("error", Some(json!("invalid_token")), INVALID),
        ("error", Some(Value::Null), INVALID),
        ("error_description", Some(json!("Invalid Value")), INVALID),
        ("sub", None, GOOD),
        ("sub", Some(json!("1\r\nX-Evil: 1")), INVALID),
    ]);
    scripted.judge(rows).await;
}

#[tokio::test]
async fn service_accounts_bring_their_own_id_in_all_three_places() {
    let world = World::start();
    let mut table = world.table();
    let sub = world.google.account(ROBOT).unwrap().sub.clone();
    table.bearer("listed", &world.access(ROBOT), GOOD).await;
    table.bearer("not listed", &world.access(GATEWAY), FORBIDDEN).await;
    let token = world.access_with(ROBOT, |spec| spec.aud = "104029384756102938499".to_owned());
    table.bearer("another audience and azp", &token, INVALID).await;
    let token = world.access_with(ROBOT, |spec| {
        spec.azp = Some(spec.aud.clone());
        spec.aud = CLIENT_ID.to_owned();
    });
    table.bearer("our client as audience", &token, INVALID).await;
    let token = world.access_with(ROBOT, |spec| spec.azp = Some("104029384756102938499".to_owned()));
    table.bearer("another azp", &token, INVALID).await;
    let token = world.access_with(ROBOT, |spec| spec.azp = Some(CLIENT_ID.to_owned()));
    table.bearer("our client as azp", &token, INVALID).await;
    let token = world.access_with(ROBOT, |spec| spec.aud = CLIENT_ID.to_owned());
    table.bearer("our client in both", &token, INVALID).await;
    let token = world.access_with(ROBOT, |spec| spec.sub = Some("104029384756102938499".to_owned()));
    table.bearer("another subject", &token, INVALID).await;
    let token = world.access_with(ROBOT, |spec| spec.sub = None);
    table.bearer("no subject", &token, INVALID).await;
    let token = world.access_with(ROBOT, |spec| spec.scope = "email".to_owned());
    table.bearer("no openid scope", &token, INVALID).await;
    let token = world.access_with(ROBOT, |spec| spec.email_verified = false);
    table.bearer("not verified", &token, INVALID).await;
    // A person cannot borrow the exception by an id in all three places.
    let token = world.access_with(ADA, |spec| spec.aud = sub.clone());
    table.bearer("a person with a numeric audience", &token, INVALID).await;
    table.finish().await;
}

#[tokio::test]
async fn people_need_a_scope_that_tells_their_verified_address() {
    let world = World::start();
    let mut table = world.table();
    table.bearer("good", &world.access(ADA), GOOD).await;
    table.bearer("another domain", &world.access("mallory@other.example"), FORBIDDEN).await;
    table.bearer("not verified", &world.access("eve@example.com"), INVALID).await;
    let token = world.access_with(ADA, |spec| spec.scope = "openid".to_owned());
    table.bearer("no e-mail scope", &token, INVALID).await;
    let token =
        world.access_with(ADA, |spec| spec.scope = "https://www.googleapis.com/auth/drive".to_owned());
    table.bearer("another scope", &token, INVALID).await;
    table.finish().await;
}

/// An introspection answer that has an `exp` was once enough to be let in.
#[tokio::test]
async fn an_answer_that_is_no_proper_one_lets_nobody_in() {
    let world = World::start();
    let token = world.access(ADA);
    let answer = |status: u16, body: &str| Fault::Answer {
        status,
        content_type: "application/json".to_owned(),
        body: body.to_owned(),
    };
    let half = format!(r#"{{"aud":"{CLIENT_ID}","email":"{ADA}","email_verified":"true","exp":"9999999999""#);
    let whole = format!("{half}}}");
    let rows = vec![
        ("an error with an expiry", answer(200, r#"{"error":"invalid_token","exp":"9999999999"}"#), INVALID),
        ("an empty object", answer(200, "{}"), INVALID),
        ("active", answer(200, r#"{"active":true,"exp":"9999999999"}"#), INVALID),
        ("a list", answer(200, &format!("[{whole}]")), UNAVAILABLE),
        ("HTML", Fault::Html, UNAVAILABLE),
        ("nothing", Fault::Empty, UNAVAILABLE),
        ("half an object", answer(200, &half), UNAVAILABLE),
        ("a broken body", Fault::Truncated { body: whole.clone() }, UNAVAILABLE),
        ("two objects", answer(200, &format!("{whole}{whole}")), UNAVAILABLE),
        ("null", answer(200, "null"), UNAVAILABLE),
        ("good, but 201", answer(201, &whole), UNAVAILABLE),
        ("good, but 302", answer(302, &whole), UNAVAILABLE),
        ("good, but 400", answer(400, &whole), INVALID),
        ("good, but 401", answer(401, &whole), INVALID),
        ("good, but 403", answer(403, &whole), UNAVAILABLE),
        ("good, but 404", answer(404, &whole), UNAVAILABLE),
        ("good, but 429", answer(429, &whole), UNAVAILABLE),
        ("good, but 500", answer(500, &whole), UNAVAILABLE),
        ("good, but 503", answer(503, &whole), UNAVAILABLE),
        ("no answer", Fault::Close, UNAVAILABLE),
    ];
    let mut table = world.table();
    for (name, fault, expect) in rows {
        world.google.fail(Endpoint::Tokeninfo, fault);
        // A token of its own for each row, since verdicts are remembered.
        let token = world.access(ADA);
        table.bearer(name, &token, expect).await;
        world.google.clear_switches();
        // What was no verdict is not remembered as one.
        if expect == UNAVAILABLE {
            table.bearer(&format!("{name}, afterwards"), &token, GOOD).await;
        }
    }
    table.bearer("good", &token, GOOD).await;
    table.finish().await;
}
