mod adapters;
mod any;
mod input;
mod programs;

use bytes::Bytes;

use super::input::{Message, Unreadable};
use super::program::{Failure, Program};
use crate::config::AdapterSource;

const MOST: usize = 10 * 1024 * 1024;

fn source(text: &str) -> AdapterSource {
    AdapterSource { name: "a.jq".to_owned(), text: text.to_owned() }
}

fn compiled(text: &str) -> Program {
    let problems = |problems: Vec<super::AdapterProblem>| -> Program {
        panic!("{:?}", problems.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    Program::compile(&source(text)).unwrap_or_else(problems)
}

/// A POST with these headers and this body.
fn message<'a>(headers: &[(&'a str, &'a str)], body: &[u8]) -> Message<'a> {
    Message {
        method: "POST",
        path: "/hook",
        query: None,
        headers: headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect(),
        body: Bytes::copy_from_slice(body),
    }
}

/// What a program makes of a message.
fn result(program: &str, message: Message<'_>) -> Result<Option<String>, Failure> {
    let input = message.input(MOST).unwrap();
    let bytes = compiled(program).run(input, MOST)?;
    Ok(bytes.map(|bytes| String::from_utf8(bytes).unwrap()))
}

/// The same for a body of JSON.
fn of_json(program: &str, body: &str) -> Result<Option<String>, Failure> {
    result(program, message(&[("content-type", "application/json")], body.as_bytes()))
}

fn unreadable(headers: &[(&str, &str)], body: &[u8]) -> Unreadable {
    message(headers, body).input(MOST).unwrap_err()
}
