//! What a program sees: `{method, path, query, headers, form, json, text}`.

use bytes::Bytes;
use jaq_json::{Map, Val};

use super::{decode, json};

/// A message, before its body is understood.
pub(super) struct Message<'a> {
    pub(super) method: &'a str,
    pub(super) path: &'a str,
    pub(super) query: Option<&'a str>,
    /// Lower-case names and values; a repeated header stands there once for each line.
    pub(super) headers: Vec<(&'a str, &'a [u8])>,
    pub(super) body: Bytes,
}

/// Why there is no input: the sender's fault.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// The body or the query is not what it should be: what is wrong, for the sender.
    Bad(String),
    /// `Content-Encoding` is unknown.
    Encoding,
    /// The decoded body is too large.
    TooLarge,
}

impl Message<'_> {
    /// The input of a program. The body, decoded, may have at most `most` bytes.
    pub(super) fn input(self, most: usize) -> Result<Val, Unreadable> {
        let content_type = self.single("content-type")?;
        let kind = media_type(&content_type);
        let body = decode::body(&self.single("content-encoding")?, self.body.clone(), most)?;
        let query = pairs(self.query.unwrap_or_default().as_bytes(), "query")?;
        let form = match kind.as_str() {
            "application/x-www-form-urlencoded" => pairs(&body, "body")?,
            _ => Val::Null,
        };
        let json = if kind == "application/json" || (kind.contains('/') && kind.ends_with("+json")) {
            json::read(&body).map_err(Unreadable::Bad)?
        } else {
            Val::Null
        };
        let text = if std::str::from_utf8(&body).is_ok() { Val::utf8_str(body) } else { Val::Null };
        Ok(object([
            ("method", string(self.method)),
            ("path", string(self.path)),
            ("query", query),
            ("headers", self.headers()),
            ("form", form),
            ("json", json),
            ("text", text),
        ]))
    }

    /// The value of a header that decides how the body is read; two of them could be read in two ways.
    fn single(&self, name: &str) -> Result<String, Unreadable> {
        let mut values = self.headers.iter().filter(|(other, _)| *other == name);
        let value = values.next().map(|(_, value)| String::from_utf8_lossy(value).into_owned());
        match values.next() {
            Some(_) => Err(Unreadable::Bad(format!("there are several headers {name}"))),
            None => Ok(value.unwrap_or_default()),
        }
    }

    fn headers(&self) -> Val {
        let mut joined: Vec<(&str, String)> = Vec::with_capacity(self.headers.len());
        for (name, value) in &self.headers {
            let value = String::from_utf8_lossy(value);
            match joined.iter_mut().find(|(other, _)| other == name) {
                Some((_, values)) => {
                    values.push_str(", ");
                    values.push_str(&value);
                }
                None => joined.push((name, value.into_owned())),
            }
        }
        Val::obj(joined.into_iter().map(|(name, value)| (string(name), Val::utf8_str(value))).collect())
    }
}

/// Type and subtype of a `Content-Type` in lower case, without parameters.
fn media_type(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Name → value, or → array of values where a name is repeated.
fn pairs(bytes: &[u8], what: &str) -> Result<Val, Unreadable> {
    let pairs = decode::form(bytes)
        .ok_or_else(|| Unreadable::Bad(format!("the {what} has a stray % or is not UTF-8 when decoded")))?;
    let mut object: Map<Val, Vec<Val>> = Map::default();
    for (name, value) in pairs {
        object.entry(Val::utf8_str(name)).or_default().push(Val::utf8_str(value));
    }
    let value = |mut values: Vec<Val>| match values.len() {
        1 => values.pop().unwrap_or_default(),
        _ => values.into_iter().collect(),
    };
    Ok(Val::obj(object.into_iter().map(|(name, values)| (name, value(values))).collect()))
}

fn string(text: &str) -> Val {
    Val::utf8_str(text.to_owned())
}

fn object<const N: usize>(members: [(&'static str, Val); N]) -> Val {
    Val::obj(members.into_iter().map(|(name, value)| (Val::utf8_str(name), value)).collect())
}
