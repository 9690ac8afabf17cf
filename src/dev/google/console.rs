//! The stand-in's own pages: an index for people, tokens for a terminal, the switches.

use std::collections::HashMap;

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::people::Person;
use super::switches::{Endpoint, Fault, Switch};
use super::tokens::{AccessTokenSpec, minted_claims, sign_in_claims};
use super::{Asked, CLIENT_ID, Shared, chooser, metadata};
use crate::dev::page;

/// All that is none of Google's endpoints.
pub(super) fn answer(shared: &Shared, asked: &Asked) -> Response {
    match asked.parts.uri.path() {
        "/o/oauth2/v2/auth/choose" if asked.is_post() => chooser::choose(shared, asked),
        "/" if asked.is_read() => {
            // Libraries ask the root whether this is a metadata server, some without sending the header.
            let library = asked.parts.headers.contains_key("metadata-flavor");
            if library { metadata::root() } else { metadata::dressed(index(shared)) }
        }
        "/dev/access-token" if asked.is_read() => access_token(shared, asked),
        "/dev/id-token" if asked.is_read() => id_token(shared, asked),
        "/dev/switches" if asked.is_read() => page::json(StatusCode::OK, &switches(shared)),
        "/dev/switches" if asked.is_post() => set_switches(shared, asked),
        "/o/oauth2/v2/auth/choose" | "/" | "/dev/access-token" | "/dev/id-token" | "/dev/switches" => {
            page::text(StatusCode::METHOD_NOT_ALLOWED, "")
        }
        _ => page::text(
            StatusCode::NOT_FOUND,
            "The stand-in for Google has nothing here. See / for what it has.\n",
        ),
    }
}

#[derive(Template)]
#[template(path = "dev/index.html")]
struct IndexPage<'a> {
    style: &'static str,
    origin: &'a str,
    first: &'a str,
    gateway: Option<&'a str>,
    people: &'a [Person],
    service_accounts: &'a [Person],
    rows: Vec<Row>,
    faults: Vec<(&'static str, &'static str)>,
}

struct Row {
    name: &'static str,
    calls: usize,
    switch: String,
}

fn index(shared: &Shared) -> Response {
    let row = |endpoint: Endpoint| Row {
        name: endpoint.name(),
        calls: shared.calls.count(endpoint),
        switch: describe(&shared.switches.get(endpoint)),
    };
    let page = IndexPage {
        style: page::STYLE,
        origin: &shared.origin(),
        first: shared.people.first().map_or("", |person| person.email.as_str()),
        gateway: shared.options.gateway.as_deref(),
        people: &shared.people,
        service_accounts: &shared.service_accounts,
        rows: Endpoint::ALL.into_iter().map(row).collect(),
        faults: faults().into_iter().map(|(name, text, _)| (name, text)).collect(),
    };
    page::html(StatusCode::OK, &page, None)
}

fn describe(switch: &Switch) -> String {
    if *switch == Switch::default() || switch.next == Some(0) {
        return "works".to_owned();
    }
    let fault = serde_json::to_value(&switch.fault).unwrap_or_default();
    let kind = fault.get("kind").and_then(Value::as_str).map(|kind| kind.replace('_', " "));
    let next = switch.next.map(|next| format!(", next {next}")).unwrap_or_default();
    format!("{}, {} ms{next}", kind.as_deref().unwrap_or("works"), switch.delay_ms)
}

/// The faults that the form on the index page offers.
fn faults() -> Vec<(&'static str, &'static str, Option<Fault>)> {
    let status = |status: u16, body: &str| {
        Some(Fault::Answer { status, content_type: "application/json".to_owned(), body: body.to_owned() })
    };
    vec![
        ("none", "works", None),
        ("500", "answers 500", status(500, "{\"error\":\"internal_failure\"}")),
        ("429", "answers 429", status(429, "{\"error\":\"rate_limited\"}")),
        ("403", "answers 403", status(403, "{\"error\":{\"code\":403,\"status\":\"PERMISSION_DENIED\"}}")),
        ("object", "200 with {}", status(200, "{}")),
        ("empty", "empty body", Some(Fault::Empty)),
        ("html", "a page of HTML", Some(Fault::Html)),
        ("truncated", "half an answer", Some(Fault::Truncated { body: "{\"aud\":\"".to_owned() })),
        ("flood", "16 MiB", Some(Fault::Flood { bytes: 16 << 20 })),
        ("gzip", "a gzip bomb", Some(Fault::Gzip { bytes: 256 << 20 })),
        ("close", "hangs up", Some(Fault::Close)),
        ("wrong_flavor", "wrong Metadata-Flavor", Some(Fault::WrongFlavor)),
        ("no_flavor", "no Metadata-Flavor", Some(Fault::NoFlavor)),
        ("several_lines", "several lines", Some(Fault::SeveralLines)),
    ]
}

fn switches(shared: &Shared) -> Value {
    let one = |endpoint: Endpoint| (endpoint.name().to_owned(), json!(shared.switches.get(endpoint)));
    Value::Object(Endpoint::ALL.into_iter().map(one).collect())
}

/// JSON sets the endpoints it names; the form of the index page sets one, and goes back there.
fn set_switches(shared: &Shared, asked: &Asked) -> Response {
    if asked.header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"))
    {
        return set_from_form(shared, asked);
    }
    match serde_json::from_slice::<HashMap<Endpoint, Switch>>(&asked.body) {
        Ok(given) => {
            for (endpoint, switch) in given {
                shared.switches.set(endpoint, switch);
            }
            page::json(StatusCode::OK, &switches(shared))
        }
        Err(problem) => page::json(StatusCode::BAD_REQUEST, &json!({ "error": problem.to_string() })),
    }
}

fn set_from_form(shared: &Shared, asked: &Asked) -> Response {
    let field = |name: &str| asked.field(name).unwrap_or_default();
    let (name, kind) = (field("endpoint"), field("fault"));
    let endpoint = Endpoint::ALL.into_iter().find(|endpoint| endpoint.name() == name);
    let fault = faults().into_iter().find(|(name, _, _)| *name == kind);
    let (Some(endpoint), Some((_, _, fault))) = (endpoint, fault) else {
        return page::text(StatusCode::BAD_REQUEST, "There is no such switch.\n");
    };
    let delay_ms = field("delay_ms").trim().parse().unwrap_or_default();
    let next = field("next").trim().parse().ok();
    shared.switches.set(endpoint, Switch { delay_ms, fault, next });
    page::see_other("/")
}

/// The account named by `as`.
fn account<'a>(shared: &'a Shared, asked: &Asked) -> Result<&'a Person, Box<Response>> {
    let hint = asked.parameter("as").unwrap_or_default();
    shared.account(&hint).ok_or_else(|| {
        let known =
            shared.people.iter().chain(&shared.service_accounts).map(|account| account.email.as_str());
        let list = known.collect::<Vec<_>>().join("\n  ");
        Box::new(page::text(StatusCode::NOT_FOUND, format!("Say who: ?as=EMAIL with one of\n  {list}\n")))
    })
}

fn client(shared: &Shared, asked: &Asked) -> String {
    let given = asked.parameter("client_id");
    given.or_else(|| shared.options.clients.first().cloned()).unwrap_or_else(|| CLIENT_ID.to_owned())
}

/// `GET /dev/access-token?as=EMAIL[&client_id=…][&scope=…]`: the bare token, for `$(curl -s …)`.
fn access_token(shared: &Shared, asked: &Asked) -> Response {
    let account = match account(shared, asked) {
        Ok(account) => account,
        Err(response) => return *response,
    };
    let mut spec = if account.is_service_account() {
        AccessTokenSpec::service_account(account)
    } else {
        AccessTokenSpec::person(account, &client(shared, asked))
    };
    spec.lifetime = shared.lifetime();
    if let Some(scope) = asked.parameter("scope") {
        spec.scope = scope;
    }
    page::text(StatusCode::OK, shared.grants.issue(&spec, asked.now))
}

/// `GET /dev/id-token?as=EMAIL[&audience=…]`: the bare token. A person's audience is the client.
fn id_token(shared: &Shared, asked: &Asked) -> Response {
    let account = match account(shared, asked) {
        Ok(account) => account,
        Err(response) => return *response,
    };
    let audience = asked.parameter("audience");
    let claims = if account.is_service_account() {
        let Some(audience) = audience else {
            return page::text(StatusCode::BAD_REQUEST, "A service account's ID token needs &audience=…\n");
        };
        minted_claims(account, &audience, true, asked.now, shared.lifetime())
    } else {
        let client = audience.unwrap_or_else(|| client(shared, asked));
        sign_in_claims(account, &client, "openid email profile", asked.now, shared.lifetime())
    };
    page::text(StatusCode::OK, shared.keys.sign(&shared.keys.header(), &claims))
}
