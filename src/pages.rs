//! The pages that people see: small, without anything from elsewhere, good without a mouse and in the dark.
//!
//! The templates escape every value that is put into them, and nothing else in the gateway does: values come here as
//! they are. Each page forbids itself (Content Security Policy, Level 3) all but its own style sheet and, on the
//! callback page, its own script, both by their hash. What a page is shown for is decided elsewhere.

use std::sync::LazyLock;

use askama::Template;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS};
use http::{HeaderName, HeaderValue, StatusCode};
use ring::digest::{SHA256, digest};

use crate::reply::{Problem, Reply};

/// The style sheet, as it stands in every page.
pub(crate) const STYLE: &str = include_str!("pages/style.css");
/// The script of the callback page, as it stands there.
pub(crate) const SCRIPT: &str = include_str!("pages/callback.js");

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

static PLAIN_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy("'none'", "'self'"));
/// The callback page posts to us only, but some browsers hold `form-action` against every redirect that follows, and
/// the page that the caller wanted may well lie behind one to another host.
static SCRIPT_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| policy(&source(SCRIPT), "'self' https:"));

/// Offers to sign in, by hand.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignIn<'a> {
    /// Title of the page.
    pub heading: &'a str,
    /// Why it is shown.
    pub text: &'a str,
    /// Where sign-in starts.
    pub start: &'a str,
    /// Where the caller goes on without signing in again, when there is a session left.
    pub onward: Option<&'a str>,
    /// Where sign-in starts with another account.
    pub another: Option<&'a str>,
    /// The host that the caller signs in to.
    pub site: &'a str,
}

#[derive(Template)]
#[template(path = "callback.html")]
struct Callback;

#[derive(Template)]
#[template(path = "sign_out.html")]
struct SignOut {
    revocable: bool,
}

/// What became of the wish to withdraw the site's access to the Google account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawal {
    /// There was none.
    NotAsked,
    /// Google took the access away.
    Done,
    /// Google could not be told.
    Failed,
}

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOut<'a> {
    withdrawal: Withdrawal,
    again: &'a str,
}

/// Tells people who they are here.
#[derive(Clone, Copy, Debug, Template)]
#[template(path = "who_am_i.html")]
pub struct WhoAmI<'a> {
    /// E-mail address.
    pub email: &'a str,
    /// Google's id of the account.
    pub subject: Option<&'a str>,
    /// Google Workspace domain.
    pub hosted_domain: Option<&'a str>,
    /// Whether this is a service account.
    pub service_account: bool,
    /// When the session ends, as RFC 3339 has it.
    pub expires: &'a str,
    /// When the session ends, in words.
    pub until: &'a str,
    /// Where sign-in with another account starts.
    pub another: &'a str,
}

/// Something that people can do about a problem: a link within this site.
#[derive(Clone, Copy, Debug)]
pub struct Action<'a> {
    /// What the link says.
    pub label: &'a str,
    /// An absolute path. Actions with anything else are left out.
    pub href: &'a str,
}

#[derive(Template)]
#[template(path = "problem.html")]
struct ProblemPage<'a> {
    title: &'a str,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
    actions: &'a [Action<'a>],
}

/// Says that somebody is known but not let in.
#[derive(Clone, Copy, Debug)]
pub struct Forbidden<'a> {
    /// The account.
    pub email: &'a str,
    /// Where the caller wanted to go, and is brought with another account.
    pub return_path: &'a str,
    /// The stable code of the refusal.
    pub code: &'a str,
    /// The id under which this request stands in the log.
    pub request_id: &'a str,
}

#[derive(Template)]
#[template(path = "forbidden.html")]
struct ForbiddenPage<'a> {
    email: &'a str,
    another: &'a str,
    code: &'a str,
    request_id: &'a str,
}

/// Where sign-in starts, as a link: returns to `return_path`. With `choose`, Google asks for the account.
pub fn sign_in_link(return_path: &str, choose: bool) -> String {
    let base = "/.portcullis/login?".to_owned();
    let start = base.len();
    let mut query = form_urlencoded::Serializer::for_suffix(base, start);
    if choose {
        query.append_pair("choose", "1");
    }
    query.append_pair("return", return_path).finish()
}

/// The page with the button.
pub fn sign_in(status: StatusCode, page: &SignIn<'_>) -> Reply {
    html(status, page, &PLAIN_POLICY)
}

/// The page that Google sends the browser back to. The same for everybody.
pub fn callback() -> Reply {
    html(StatusCode::OK, &Callback, &SCRIPT_POLICY)
}

/// Asks whether to sign out. `revocable`: whether the session's token is of a kind that Google can revoke.
pub fn sign_out(revocable: bool) -> Reply {
    html(StatusCode::OK, &SignOut { revocable }, &PLAIN_POLICY)
}

/// Confirms that the session has ended.
pub fn signed_out(withdrawal: Withdrawal) -> Reply {
    let again = sign_in_link("/", true);
    html(StatusCode::OK, &SignedOut { withdrawal, again: &again }, &PLAIN_POLICY)
}

/// Tells people who they are here.
pub fn who_am_i(page: &WhoAmI<'_>) -> Reply {
    html(StatusCode::OK, page, &PLAIN_POLICY)
}

/// Any refusal, for people, with what can be done by a click; the first action stands out.
pub fn problem(status: StatusCode, problem: &Problem<'_>, actions: &[Action<'_>]) -> Reply {
    let local = |action: &&Action<'_>| action.href.starts_with('/') && !action.href.starts_with("//");
    let actions: Vec<Action<'_>> = actions.iter().filter(local).copied().collect();
    let Problem { title, detail, code, request_id } = *problem;
    html(status, &ProblemPage { title, detail, code, request_id, actions: &actions }, &PLAIN_POLICY)
}

/// Known, but not let in: names the account and offers another one, so that nobody is sent round in circles.
pub fn forbidden(page: &Forbidden<'_>) -> Reply {
    let another = sign_in_link(page.return_path, true);
    let Forbidden { email, code, request_id, .. } = *page;
    html(StatusCode::FORBIDDEN, &ForbiddenPage { email, another: &another, code, request_id }, &PLAIN_POLICY)
}

fn html(status: StatusCode, page: &impl Template, policy: &HeaderValue) -> Reply {
    // Rendering plain strings into a string does not fail.
    let body = page.render().unwrap_or_default();
    Reply::new(status)
        .header(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"))
        .header(CONTENT_SECURITY_POLICY, policy.clone())
        .header(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"))
        .header(REFERRER_POLICY, HeaderValue::from_static("no-referrer"))
        .header(OPENER_POLICY, HeaderValue::from_static("same-origin"))
        .body(body)
}

fn policy(script: &str, form_action: &str) -> HeaderValue {
    let style = source(STYLE);
    let text = format!(
        "default-src 'none'; style-src {style}; script-src {script}; img-src data:; form-action {form_action}; \
         base-uri 'none'; frame-ancestors 'none'"
    );
    // Base64 and the words above can stand in a header. Were it otherwise, the page would be forbidden everything.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("default-src 'none'"))
}

/// A hash source: `'sha256-…'` over the very text between the tags.
fn source(text: &str) -> String {
    format!("'sha256-{}'", STANDARD.encode(digest(&SHA256, text.as_bytes())))
}

#[cfg(test)]
mod tests;
