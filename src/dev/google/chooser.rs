//! The account chooser, and the cookie that remembers who is signed in at the stand-in.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use http::header::SET_COOKIE;

use super::authorize::SignIn;
use super::people::Person;
use super::{Asked, Shared};
use crate::dev::page;

/// Holds the `sub` of each signed-in account, separated by dots, the latest last.
const COOKIE: &str = "stand-in-account";

/// Who is signed in, according to the browser. The cookie proves nothing, and has nothing to prove here.
pub(super) fn signed_in<'a>(shared: &'a Shared, asked: &Asked) -> Vec<&'a Person> {
    let cookies = asked.parts.headers.get_all("cookie").iter().filter_map(|value| value.to_str().ok());
    let pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let value =
        pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value).next_back().unwrap_or_default();
    let mut found: Vec<&Person> = Vec::new();
    for sub in value.split('.') {
        if let Some(person) = shared.people.iter().find(|person| person.sub == sub)
            && !found.contains(&person)
        {
            found.push(person);
        }
    }
    found
}

fn remember(response: &mut Response, signed_in: &[&Person]) {
    let subs = signed_in.iter().map(|person| person.sub.as_str()).collect::<Vec<_>>().join(".");
    let end = if subs.is_empty() { "; Max-Age=0" } else { "" };
    page::set(response, SET_COOKIE, &format!("{COOKIE}={subs}; Path=/; HttpOnly; SameSite=Lax{end}"));
}

struct Choice<'a> {
    person: &'a Person,
    signed_in: bool,
    hinted: bool,
}

#[derive(Template)]
#[template(path = "dev/chooser.html")]
struct ChooserPage<'a> {
    style: &'static str,
    choices: Vec<Choice<'a>>,
    anybody: bool,
    client_id: &'a str,
    origin: &'a str,
    scopes: Vec<&'a str>,
    hd: &'a str,
    request: &'a str,
}

/// The page. Members of the domain in `hd` and the account in `login_hint` come first; nobody is left out.
pub(super) fn show(shared: &Shared, sign_in: &SignIn, signed_in: &[&Person], request: &str) -> Response {
    let hinted = |person: &Person| sign_in.login_hint.as_deref().is_some_and(|hint| person.is(hint));
    let choice = |person| Choice { person, signed_in: signed_in.contains(&person), hinted: hinted(person) };
    let mut choices: Vec<Choice<'_>> = shared.people.iter().map(choice).collect();
    let member = |person: &Person| sign_in.hd.as_deref().is_some_and(|domain| person.belongs_to(domain));
    choices.sort_by_key(|choice| (!choice.hinted, !member(choice.person)));
    let page = ChooserPage {
        style: page::STYLE,
        choices,
        anybody: !signed_in.is_empty(),
        client_id: &sign_in.client_id,
        origin: &sign_in.origin(),
        scopes: sign_in.scope.split_ascii_whitespace().collect(),
        hd: sign_in.hd.as_deref().unwrap_or_default(),
        request,
    };
    page::html(StatusCode::OK, &page, Some(&sign_in.origin()))
}

/// `POST /o/oauth2/v2/auth/choose`: a button was pressed. `request` is the query string that the page was for.
pub(super) fn choose(shared: &Shared, asked: &Asked) -> Response {
    let request = asked.field("request").unwrap_or_default();
    let sign_in = match SignIn::parse(&request, &shared.options) {
        Ok(sign_in) => sign_in,
        Err(mistake) => return mistake.page(),
    };
    match asked.field("action").as_deref() {
        Some("cancel") => return sign_in.error("access_denied", StatusCode::SEE_OTHER),
        Some("sign_out") => {
            let mut response = page::see_other(&format!("/o/oauth2/v2/auth?{request}"));
            remember(&mut response, &[]);
            return response;
        }
        _ => {}
    }
    let chosen = asked.field("account").unwrap_or_default();
    let Some(person) = shared.people.iter().find(|person| person.is(&chosen)) else {
        return page::text(StatusCode::BAD_REQUEST, "There is no such account.\n");
    };
    let mut response = sign_in.success(shared, person, asked.now, StatusCode::SEE_OTHER);
    let mut signed_in = signed_in(shared, asked);
    signed_in.retain(|other| *other != person);
    signed_in.push(person);
    remember(&mut response, &signed_in);
    response
}
