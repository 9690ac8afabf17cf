//! YAML text → a tree of nodes that know where they stand. The only module that knows the YAML crate.
//!
//! The tree keeps repeated keys and leaves all judgement about keys and types to its reader, so that one run
//! finds every problem; only text that is not YAML at all ends at the first one.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, MergeKeyPolicy, NonFiniteFloatPolicy};

use super::problem::{Fault, Place, Problem};

/// How much a file may hold; aliases count as often as they are used.
const NODES: usize = 50_000;
const DEPTH: usize = 32;

/// A piece of the file.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) value: Value,
}

/// What a node holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, in its shortest spelling.
    Number(String),
    /// Text, before `${…}` is replaced.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// Keys and values in the order of the file; a key may be repeated.
    Map(Vec<(Key, Node)>),
}

/// A key of a map.
#[derive(Clone, Debug)]
pub(super) struct Key {
    pub(super) line: u64,
    pub(super) column: u64,
    pub(super) name: String,
}

/// Reads one YAML document.
pub(super) fn tree(text: &str) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_nodes: NODES, max_depth: DEPTH },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: NODES },
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        merge_keys: MergeKeyPolicy::Error,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
        ignore_binary_tag_for_string: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| problem(text, &error))
}

/// The YAML crate's error in our words where they are clearer, else in its own.
fn problem(text: &str, error: &serde_saphyr::Error) -> Problem {
    let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
    let fault = if matches!(error, serde_saphyr::Error::MultipleDocuments { .. }) {
        Fault::new("a second document begins here").help("keep one document in the file, without `---`")
    } else if matches!(error, serde_saphyr::Error::MergeKeyNotAllowed { .. }) {
        Fault::new("merge keys (`<<`) are not supported").help("write the keys out")
    } else {
        let said = error.render_with_formatter(&serde_saphyr::UserMessageFormatter);
        let said = said.split(" at line ").next().unwrap_or_default();
        let index = usize::try_from(line.saturating_sub(1)).unwrap_or(usize::MAX);
        let help = text.lines().nth(index).and_then(|line| hint(line, column, said)).map(str::to_owned);
        Fault::new(format!("this is not valid YAML: {said}")).maybe_help(help)
    };
    fault.at(&Place { line, column, key: String::new() })
}

/// What to do about a line that is not YAML: the slips that operators make most.
fn hint(line: &str, column: u64, said: &str) -> Option<&'static str> {
    let before = usize::try_from(column.saturating_sub(1)).unwrap_or(usize::MAX);
    let first = line.chars().nth(before);
    if line.contains("${") {
        Some("inside `{ }` and `[ ]`, put a value with `${…}` in quotes")
    } else if line.contains('\t') || said.contains("found a tab") {
        Some("indent with spaces, not with tabs")
    } else if said.contains("unclosed quote") {
        Some("the quote that begins here has no end")
    } else if first == Some('*') {
        Some("put the value in quotes; without them, `*name` repeats what stands at `&name`")
    } else if first.is_some_and(|first| "@&!%`".contains(first)) || line.contains("[::") {
        Some("put the value in quotes")
    } else if !line.contains(": ") && !line.trim_end().ends_with(':') && line.contains(':') {
        Some("write a space after the colon of a key")
    } else if said.contains("did not find expected") {
        Some("the keys of one section begin in the same column; look at the lines just before, too")
    } else {
        None
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<Value>::deserialize(deserializer)?;
        let at = spanned.referenced;
        Ok(Self { line: at.line(), column: at.column(), value: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = serde_saphyr::Spanned::<String>::deserialize(deserializer)?;
        let at = spanned.referenced;
        Ok(Self { line: at.line(), column: at.column(), name: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            map.push(entry);
        }
        Ok(Value::Map(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_know_their_position() {
        let Value::Map(entries) = tree("a: 1\nlist:\n  - {b: x}\n").unwrap().value else { panic!("no map") };
        let (key, list) = &entries[1];
        assert_eq!((key.line, key.column), (2, 1));
        let Value::List(items) = &list.value else { panic!("no list") };
        assert_eq!((items[0].line, items[0].column), (3, 5));
    }

    #[test]
    fn an_alias_bomb_is_refused() {
        let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let alias = format!("*a{}, ", level - 1).repeat(10);
            text.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
        }
        assert!(tree(&text).is_err());
    }

    #[test]
    fn deep_nesting_is_refused() {
        assert!(tree(&format!("a: {}{}", "[".repeat(5000), "]".repeat(5000))).is_err());
    }
}
