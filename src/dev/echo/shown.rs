//! The echo as people and programs see it: tokens are shortened, claims are laid open.

use askama::Template;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::Received;
use crate::dev::google::decode;
use crate::dev::page;

/// As much of a token as is shown.
const PREFIX: usize = 12;
const PREVIEW: usize = 4 * 1024;

/// HTML for browsers, JSON for all others.
pub(super) fn answer(received: &Received) -> Response {
    let accept = received.values("accept").join(",");
    if !accept.contains("text/html") {
        return page::json(StatusCode::OK, &as_json(received));
    }
    let rows = |identity: bool| {
        let chosen = received.headers.iter().filter(move |(name, _)| tells_identity(name) == identity);
        chosen.map(|(name, value)| Row { name, value: shorten(name, value) }).collect()
    };
    let (text, cut) = preview(received);
    let page = EchoPage {
        style: page::STYLE,
        method: &received.method,
        target: &shorten("", &received.target),
        identity: rows(true),
        others: rows(false),
        tokens: tokens(received),
        body_length: received.body_length,
        body_text: &text,
        body_cut: cut,
    };
    page::html(StatusCode::OK, &page, None)
}

#[derive(Template)]
#[template(path = "dev/echo.html")]
struct EchoPage<'a> {
    style: &'static str,
    method: &'a str,
    target: &'a str,
    identity: Vec<Row<'a>>,
    others: Vec<Row<'a>>,
    tokens: Vec<Token>,
    body_length: u64,
    body_text: &'a str,
    body_cut: bool,
}

struct Row<'a> {
    name: &'a str,
    value: String,
}

/// A JWT among the headers. Its claims are shown as they are, unverified.
struct Token {
    header: String,
    claims: String,
    read: Value,
    signature: &'static str,
}

fn as_json(received: &Received) -> Value {
    let headers: Vec<[String; 2]> =
        received.headers.iter().map(|(name, value)| [name.clone(), shorten(name, value)]).collect();
    let tokens = tokens(received).into_iter();
    let tokens: Vec<Value> = tokens
        .map(|token| json!({"header": token.header, "claims": token.read, "signature": token.signature}))
        .collect();
    let (text, cut) = preview(received);
    json!({
        "method": received.method,
        "target": shorten("", &received.target),
        "host": received.header("host"),
        "headers": headers,
        "tokens": tokens,
        "body": {"length": received.body_length, "sha256": received.body_sha256, "text": text, "cut": cut},
    })
}

/// Where services look for who is calling, and for the proof that it is the gateway.
fn tells_identity(name: &str) -> bool {
    name.starts_with("x-goog-")
        || name.starts_with("x-portcullis-")
        || name == "x-serverless-authorization"
        || name == "authorization"
}

fn tokens(received: &Received) -> Vec<Token> {
    let word = |value: &str| value.split_ascii_whitespace().last().map(str::to_owned);
    let found = received.headers.iter().filter_map(|(name, value)| Some((name, word(value)?)));
    found
        .filter_map(|(name, token)| {
            let (_, read) = decode(&token)?;
            let signature = match token.rsplit_once('.').map(|(_, signature)| signature) {
                None | Some("") => "missing",
                // What Cloud Run puts in its place before the container sees the token.
                Some("SIGNATURE_REMOVED_BY_GOOGLE") => "removed",
                Some(_) => "present, not shown",
            };
            Some(Token { header: name.clone(), claims: format!("{read:#}"), read, signature })
        })
        .collect()
}

/// Cuts every token in a text: what follows the scheme in an authorization header, and whatever looks like one.
fn shorten(name: &str, text: &str) -> String {
    if name.ends_with("authorization") {
        let (scheme, credentials) = text.split_once(' ').unwrap_or(("", text));
        let space = if scheme.is_empty() { "" } else { " " };
        return format!("{scheme}{space}{}", cut(credentials));
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = ["ya29.", "eyJ"].into_iter().filter_map(|prefix| rest.find(prefix)).min() {
        let (before, from) = rest.split_at(start);
        let length =
            from.find(|c: char| !c.is_ascii_alphanumeric() && !"-_.~+/=".contains(c)).unwrap_or(from.len());
        let (token, after) = from.split_at(length);
        shown.push_str(before);
        shown.push_str(&cut(token));
        rest = after;
    }
    shown.push_str(rest);
    shown
}

fn cut(token: &str) -> String {
    match token.char_indices().nth(PREFIX) {
        Some((end, _)) => format!("{}…", token.get(..end).unwrap_or_default()),
        None => token.to_owned(),
    }
}

fn preview(received: &Received) -> (String, bool) {
    let start = received.body.get(..PREVIEW).unwrap_or(&received.body);
    (shorten("", &String::from_utf8_lossy(start)), received.body_length > start.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_never_shown_whole() {
        assert_eq!(shorten("authorization", "Bearer abcdefghijklmnopqrst"), "Bearer abcdefghijkl…");
        assert_eq!(shorten("cookie", "a=b; s=ya29.0123456789abcdef; c=d"), "a=b; s=ya29.0123456…; c=d");
        assert_eq!(shorten("", "/x?t=eyJhbGciOiJSUzI1NiJ9.e30.c2ln&y=1"), "/x?t=eyJhbGciOiJS…&y=1");
        assert_eq!(shorten("", "%22ya29.0123456789%22"), "%22ya29.0123456…%22");
        assert_eq!(shorten("authorization", "no-scheme/no-scheme"), "no-scheme/no…");
        assert_eq!(shorten("cookie", "a=é; eyJé"), "a=é; eyJé");
        assert_eq!(shorten("x-real-ip", "127.0.0.1"), "127.0.0.1");
    }

    #[test]
    fn basic_credentials_are_cut_as_well() {
        let shown = shorten("proxy-authorization", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        assert!(!shown.contains("VuIHNl"), "{shown}");
    }
}
