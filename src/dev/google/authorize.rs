//! The authorization endpoint: what was asked, and the answer that goes back to the gateway.

use std::borrow::Cow;
use std::collections::HashMap;

use askama::Template;
use axum::response::Response;
use http::{HeaderName, StatusCode};
use url::Url;

use super::people::Person;
use super::tokens::{AccessTokenSpec, ISSUER, long_scope, put, sign_in_claims};
use super::{Asked, Options, Shared, chooser};
use crate::dev::page;
use crate::time::UnixTime;

const CALLBACK: &str = "/.portcullis/callback";

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    AccessToken,
    IdToken,
}

/// How it comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Fragment,
    FormPost,
}

/// Whether and why the user is asked. Values of `prompt`, which may be combined, except for `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prompt {
    none: bool,
    select_account: bool,
    consent: bool,
}

/// A request for sign-in, validated.
#[derive(Debug)]
pub(super) struct SignIn {
    pub(super) client_id: String,
    redirect_uri: Url,
    wanted: Wanted,
    mode: Mode,
    pub(super) scope: String,
    state: Option<String>,
    nonce: Option<String>,
    pub(super) prompt: Prompt,
    pub(super) login_hint: Option<String>,
    pub(super) hd: Option<String>,
}

/// What Google tells the user on a page of its own instead of going back to an address it cannot trust.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    status: StatusCode,
    code: &'static str,
    text: Cow<'static, str>,
}

fn mistake(code: &'static str, text: impl Into<Cow<'static, str>>) -> Mistake {
    let status = if code == "invalid_client" { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
    Mistake { status, code, text: text.into() }
}

#[derive(Template)]
#[template(path = "dev/mistake.html")]
struct MistakePage<'a> {
    style: &'static str,
    code: &'a str,
    text: &'a str,
}

impl Mistake {
    pub(super) fn page(&self) -> Response {
        let page = MistakePage { style: page::STYLE, code: self.code, text: &self.text };
        page::html(self.status, &page, None)
    }
}

/// `GET /o/oauth2/v2/auth`.
pub(super) fn answer(shared: &Shared, asked: &Asked) -> Response {
    if !asked.is_read() {
        return page::text(StatusCode::METHOD_NOT_ALLOWED, "");
    }
    let sign_in = match SignIn::parse(asked.query(), &shared.options) {
        Ok(sign_in) => sign_in,
        Err(mistake) => return mistake.page(),
    };
    let signed_in = chooser::signed_in(shared, asked);
    match sign_in.at_once(&signed_in) {
        Some(person) => sign_in.success(shared, person, asked.now, StatusCode::FOUND),
        None if sign_in.prompt.none => sign_in.error("interaction_required", StatusCode::FOUND),
        None => chooser::show(shared, &sign_in, &signed_in, asked.query()),
    }
}

impl SignIn {
    /// Validates a query string.
    pub(super) fn parse(query: &str, options: &Options) -> Result<Self, Mistake> {
        let mut given: HashMap<Cow<'_, str>, String> = HashMap::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if given.insert(name.clone(), value.into_owned()).is_some() {
                return Err(mistake(
                    "invalid_request",
                    format!("OAuth 2 parameters can only have a single value: {name}"),
                ));
            }
        }
        let mut take = |name: &str| given.remove(name).filter(|value| !value.is_empty());
        let missing = |name: &str| mistake("invalid_request", format!("Missing required parameter: {name}"));

        let client_id = take("client_id").ok_or_else(|| missing("client_id"))?;
        if !options.clients.is_empty() && !options.clients.contains(&client_id) {
            return Err(mistake("invalid_client", "The OAuth client was not found."));
        }
        let redirect_uri =
            redirect_uri(&take("redirect_uri").ok_or_else(|| missing("redirect_uri"))?, options)?;
        let wanted = wanted(&take("response_type").ok_or_else(|| missing("response_type"))?)?;
        let scope = take("scope").ok_or_else(|| missing("scope"))?;
        let mode = match take("response_mode").as_deref() {
            None | Some("fragment") => Mode::Fragment,
            Some("form_post") => Mode::FormPost,
            Some(other) => {
                return Err(mistake("invalid_request", format!("response_mode not supported: {other}")));
            }
        };
        let nonce = take("nonce");
        if wanted == Wanted::IdToken {
            if nonce.is_none() {
                return Err(missing("nonce"));
            }
            if !scope.split_ascii_whitespace().any(|scope| scope == "openid") {
                return Err(mistake("invalid_scope", "An ID token needs the scope openid."));
            }
        }
        let prompt = prompt(&take("prompt").unwrap_or_default())?;
        let (state, login_hint, hd) = (take("state"), take("login_hint"), take("hd"));
        Ok(Self { client_id, redirect_uri, wanted, mode, scope, state, nonce, prompt, login_hint, hd })
    }

    /// The account that can be answered for without asking the user.
    fn at_once<'a>(&self, signed_in: &[&'a Person]) -> Option<&'a Person> {
        if self.prompt.select_account || self.prompt.consent {
            return None;
        }
        if let Some(hint) = &self.login_hint {
            return signed_in.iter().find(|person| person.is(hint)).copied();
        }
        match signed_in {
            [one] if self.hd.as_deref().is_none_or(|domain| one.belongs_to(domain)) => Some(one),
            _ => None,
        }
    }

    /// Where the answer goes, for people and for the content security policy.
    pub(super) fn origin(&self) -> String {
        self.redirect_uri.origin().ascii_serialization()
    }

    /// Sends the browser back with what was asked for.
    pub(super) fn success(
        &self,
        shared: &Shared,
        person: &Person,
        now: UnixTime,
        redirect: StatusCode,
    ) -> Response {
        let mut answer: Vec<(&str, String)> = Vec::new();
        let lifetime = shared.lifetime();
        match self.wanted {
            Wanted::AccessToken => {
                let scope = self.scope.clone();
                let spec =
                    AccessTokenSpec { scope, lifetime, ..AccessTokenSpec::person(person, &self.client_id) };
                answer.push(("access_token", shared.grants.issue(&spec, now)));
                answer.push(("token_type", "Bearer".to_owned()));
                answer.push(("expires_in", lifetime.as_secs().to_string()));
                answer.push(("scope", long_scope(&self.scope)));
            }
            Wanted::IdToken => {
                let mut claims = sign_in_claims(person, &self.client_id, &self.scope, now, lifetime);
                if let Some(nonce) = &self.nonce {
                    put(&mut claims, "nonce", nonce.as_str());
                }
                answer.push(("id_token", shared.keys.sign(&shared.keys.header(), &claims)));
            }
        }
        answer.push(("authuser", "0".to_owned()));
        if let Some(domain) = &person.hosted_domain {
            answer.push(("hd", domain.clone()));
        }
        answer.push(("prompt", if self.prompt.consent { "consent" } else { "none" }.to_owned()));
        self.back(answer, redirect)
    }

    /// Sends the browser back with an error.
    pub(super) fn error(&self, code: &str, redirect: StatusCode) -> Response {
        self.back(vec![("error", code.to_owned())], redirect)
    }

    fn back(&self, mut answer: Vec<(&str, String)>, redirect: StatusCode) -> Response {
        if let Some(state) = &self.state {
            answer.push(("state", state.clone()));
        }
        answer.push(("iss", ISSUER.to_owned()));
        match self.mode {
            Mode::Fragment => {
                let mut fragment = form_urlencoded::Serializer::new(String::new());
                // Fragments are no forms: a space is %20 there. A plus sign in a value is %2B by now.
                let fragment = fragment.extend_pairs(&answer).finish().replace('+', "%20");
                let mut response = page::text(redirect, "");
                page::set(
                    &mut response,
                    HeaderName::from_static("location"),
                    &format!("{}#{fragment}", self.redirect_uri),
                );
                response
            }
            Mode::FormPost => {
                let (style, script) = (page::STYLE, page::SUBMIT);
                let page = PostPage { style, script, action: self.redirect_uri.as_str(), fields: &answer };
                page::html(StatusCode::OK, &page, Some(&self.origin()))
            }
        }
    }
}

#[derive(Template)]
#[template(path = "dev/post.html")]
struct PostPage<'a> {
    style: &'static str,
    script: &'static str,
    action: &'a str,
    fields: &'a [(&'a str, String)],
}

fn redirect_uri(given: &str, options: &Options) -> Result<Url, Mistake> {
    let wrong = |why: &str| mistake("redirect_uri_mismatch", format!("The redirect URI {given} {why}."));
    let url = Url::parse(given).map_err(|_| wrong("is not an absolute URL"))?;
    match &options.redirect_uris {
        Some(registered) if registered.iter().any(|one| one == given) => {}
        Some(_) => return Err(wrong("is not registered for this client")),
        None if url.path() == CALLBACK && url.query().is_none() => {}
        None => return Err(wrong("does not lead to the gateway's callback")),
    }
    let clean = url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !clean {
        return Err(wrong("has another scheme, a user or a fragment"));
    }
    Ok(url)
}

fn wanted(response_type: &str) -> Result<Wanted, Mistake> {
    match response_type {
        "token" => Ok(Wanted::AccessToken),
        "id_token" => Ok(Wanted::IdToken),
        other => Err(mistake(
            "unsupported_response_type",
            format!(
                "The stand-in knows token and id_token, the two that need no client secret, not {other}."
            ),
        )),
    }
}

fn prompt(given: &str) -> Result<Prompt, Mistake> {
    let mut prompt = Prompt::default();
    for word in given.split_ascii_whitespace() {
        match word {
            "none" => prompt.none = true,
            "select_account" => prompt.select_account = true,
            "consent" => prompt.consent = true,
            other => return Err(mistake("invalid_request", format!("Invalid prompt: {other}"))),
        }
    }
    if prompt.none && (prompt.select_account || prompt.consent) {
        return Err(mistake("invalid_request", "Invalid prompt: none must stand alone"));
    }
    Ok(prompt)
}

#[cfg(test)]
mod tests {
    use super::super::people::people;
    use super::*;

    const GOOD: &str = "client_id=c&redirect_uri=http://localhost:8080/.portcullis/callback&response_type=token&scope=openid+email";

    fn code(query: &str) -> &'static str {
        SignIn::parse(query, &Options::default()).map_or_else(|mistake| mistake.code, |_| "")
    }

    #[test]
    fn requests_are_validated_as_google_does() {
        assert_eq!(code(GOOD), "");
        for (from, to, expected) in [
            ("client_id=c", "", "invalid_request"),
            ("client_id=c", "client_id=c&client_id=c", "invalid_request"),
            ("callback", "elsewhere", "redirect_uri_mismatch"),
            ("callback", "callback%23x", "redirect_uri_mismatch"),
            ("callback", "callback?x=1", "redirect_uri_mismatch"),
            ("http://", "ftp://", "redirect_uri_mismatch"),
            ("http://", "http://user@", "redirect_uri_mismatch"),
            ("http://localhost:8080", "", "redirect_uri_mismatch"),
            ("=token", "=code", "unsupported_response_type"),
            ("=token", "=token&response_mode=query", "invalid_request"),
            ("=token", "=id_token", "invalid_request"),
            ("=token", "=id_token&nonce=n&response_mode=form_post", ""),
            ("openid+email", "email&nonce=n&prompt=login", "invalid_request"),
            ("openid+email", "email&prompt=none+consent", "invalid_request"),
            ("scope=openid+email", "", "invalid_request"),
        ] {
            let query = GOOD.replace(from, to);
            assert_eq!(code(&query), expected, "{query}");
        }
    }

    #[test]
    fn registered_addresses_are_compared_exactly() {
        let registered = vec!["http://localhost:8080/.portcullis/callback".to_owned()];
        let options =
            Options { redirect_uris: Some(registered), clients: vec!["c".to_owned()], ..Options::default() };
        assert!(SignIn::parse(GOOD, &options).is_ok());
        for (from, to) in
            [("localhost", "LOCALHOST"), ("callback", "callback/"), ("http:", "https:"), ("=c&", "=d&")]
        {
            assert!(SignIn::parse(&GOOD.replace(from, to), &options).is_err(), "{to}");
        }
    }

    #[test]
    fn the_user_is_asked_only_when_needed() {
        let everybody = people("example.com");
        let [ada, grace, bob, ..] = everybody.as_slice() else { panic!("people") };
        let who = |more: &str, signed_in: &[&Person]| {
            let sign_in = SignIn::parse(&format!("{GOOD}{more}"), &Options::default()).unwrap();
            sign_in.at_once(signed_in).map(|person| person.email.clone())
        };
        assert_eq!(who("", &[]), None);
        assert_eq!(who("", &[ada]), Some(ada.email.clone()));
        assert_eq!(who("", &[ada, grace]), None);
        assert_eq!(who("&prompt=select_account", &[ada]), None);
        assert_eq!(who("&login_hint=grace@example.com", &[ada, grace]), Some(grace.email.clone()));
        assert_eq!(who("&login_hint=grace@example.com&prompt=none", &[ada]), None);
        assert_eq!(who("&hd=example.com", &[bob]), None);
        assert_eq!(who("&hd=example.com&prompt=none", &[ada]), Some(ada.email.clone()));
    }
}
