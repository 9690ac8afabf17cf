//! Nodes → the typed fields of the mirror, noting everything that does not fit on the way.

use super::Environment;
use super::file::{Key, Node, Value};
use super::problem::{Fault, Place, Problem, Spanned, cut, nearest, shown};

/// Fills the mirror, and collects what is wrong.
pub(super) struct Reader<'a> {
    environment: &'a Environment,
    pub(super) problems: Vec<Problem>,
}

/// A type that a node can be read into.
pub(super) trait FromNode: Sized {
    /// Reads the node at `place`; what does not fit is noted, and then there may be no value.
    fn from_node(node: Node, place: &Place, reader: &mut Reader<'_>) -> Option<Self>;

    /// The keys below `prefix` that this type knows, for the test of the reference file.
    #[cfg(test)]
    fn keys(prefix: &str, out: &mut std::collections::BTreeSet<String>) {
        out.insert(prefix.to_owned());
    }
}

/// A scalar whose text decides, such as `10MiB`, `60s`, or a plain number.
#[derive(Clone, Debug)]
pub(super) struct Scalar(pub(super) String);

impl AsRef<str> for Scalar {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A jq program: the text of a file's name, or `{ jq: '…' }`.
#[derive(Clone, Debug)]
pub(super) enum Adapt {
    /// In a file.
    File(String),
    /// In the configuration.
    Inline(Spanned<String>),
}

/// Any YAML, as the JSON of the same meaning.
#[derive(Clone, Debug)]
pub(super) struct Json(pub(super) String);

/// The entries of a map whose keys are names of the operator's choice. The value is absent when it did not fit.
#[derive(Clone, Debug)]
pub(super) struct Named<T>(pub(super) Vec<(Spanned<String>, Option<T>)>);

/// A map with known keys, while it is read.
pub(super) struct Section {
    place: Place,
    entries: Vec<(Key, Node)>,
}

impl<'a> Reader<'a> {
    /// A reader that takes `${NAME}` from this environment.
    pub(super) fn new(environment: &'a Environment) -> Self {
        Self { environment, problems: Vec::new() }
    }

    /// Reads the node that stands under `key`.
    pub(super) fn read<T: FromNode>(&mut self, node: Node, key: String) -> Option<Spanned<T>> {
        let place = Place { line: node.line, column: node.column, key };
        let value = T::from_node(node, &place, self)?;
        Some(Spanned { value, place })
    }

    /// Opens a map that knows these keys.
    ///
    /// An unknown key that looks like a misspelled one is noted, and then read as the one that was meant: what is
    /// wrong below it is found in the same run, and nobody is told that the meant key is missing.
    pub(super) fn section(&mut self, node: Node, place: &Place, known: &[&str]) -> Option<Section> {
        let help = || format!("the keys known here are {}", known.join(", "));
        let entries = self.map(node, place, help)?;
        let mut section = Section { place: place.clone(), entries: Vec::with_capacity(entries.len()) };
        let free: Vec<&str> =
            known.iter().copied().filter(|name| entries.iter().all(|(key, _)| key.name != *name)).collect();
        for (mut key, node) in entries {
            if !known.contains(&key.name.as_str()) {
                let meant = nearest(&key.name, free.iter().copied());
                let help = match nearest(&key.name, known.iter().copied()) {
                    Some(name) => format!("did you mean `{name}`?"),
                    None => help(),
                };
                let fault = Fault::new(format!("unknown key `{}`", cut(&key.name))).help(help);
                self.problems.push(fault.at(&key.place(&place.key)));
                let Some(meant) = meant else { continue };
                meant.clone_into(&mut key.name);
            }
            section.entries.push((key, node));
        }
        Some(section)
    }

    /// The entries of a map, each key once.
    fn map(&mut self, node: Node, place: &Place, help: impl Fn() -> String) -> Option<Vec<(Key, Node)>> {
        let Value::Map(all) = node.value else {
            self.unfit(&node.value, place, "a map of keys and values", Some(help()));
            return None;
        };
        let mut entries: Vec<(Key, Node)> = Vec::with_capacity(all.len());
        for (key, node) in all {
            match entries.iter().find(|(earlier, _)| earlier.name == key.name) {
                Some((earlier, _)) => {
                    let what =
                        format!("the key `{}` is already set in line {}", cut(&key.name), earlier.line);
                    self.problems.push(Fault::new(what).at(&key.place(&place.key)));
                }
                None => entries.push((key, node)),
            }
        }
        Some(entries)
    }

    /// Replaces the references in a text.
    fn expand(&mut self, text: &str, place: &Place) -> Option<String> {
        match self.environment.expand(text) {
            Ok(text) => Some(text),
            Err(faults) => {
                self.problems.extend(faults.into_iter().map(|fault| fault.at(place)));
                None
            }
        }
    }

    /// Notes that a value has the wrong type.
    fn unfit(&mut self, value: &Value, place: &Place, expected: &str, help: Option<String>) {
        let found = match value {
            Value::Null => {
                let fault = Fault::new("has no value").help("give it one, or leave it out");
                self.problems.push(fault.at(place));
                return;
            }
            Value::Bool(value) => value.to_string(),
            Value::Number(value) => format!("the number {}", cut(value)),
            Value::Text(value) => format!("the text {}", shown(value)),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        };
        let fault = Fault::new(format!("must be {expected}, not {found}"));
        self.problems.push(fault.maybe_help(help).at(place));
    }
}

impl Key {
    /// The place of the key itself, spoken of as a part of the section that holds it.
    fn place(&self, section: &str) -> Place {
        Place { line: self.line, column: self.column, key: section.to_owned() }
    }
}

impl Section {
    /// Takes the value of a known key, if it is set and fits.
    pub(super) fn take<T: FromNode>(&mut self, name: &str, reader: &mut Reader<'_>) -> Option<Spanned<T>> {
        let index = self.entries.iter().position(|(key, _)| key.name == name)?;
        let (_, node) = self.entries.swap_remove(index);
        reader.read(node, self.place.member(name))
    }
}

impl FromNode for String {
    fn from_node(node: Node, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        if let Value::Text(text) = &node.value {
            return reader.expand(text, place);
        }
        let scalar = matches!(node.value, Value::Bool(_) | Value::Number(_));
        let help = scalar.then(|| "put it in quotes if that is what you mean".to_owned());
        reader.unfit(&node.value, place, "text", help);
        None
    }
}

impl FromNode for Scalar {
    fn from_node(node: Node, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        match node.value {
            Value::Text(text) => reader.expand(&text, place).map(Self),
            Value::Number(text) => Some(Self(text)),
            other @ (Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_)) => {
                reader.unfit(&other, place, "text or a number", None);
                None
            }
        }
    }
}

impl FromNode for Adapt {
    fn from_node(node: Node, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            return String::from_node(node, place, reader).map(Self::File);
        }
        let mut section = reader.section(node, place, &["jq"])?;
        let program = section.take("jq", reader);
        if program.is_none() && reader.problems.iter().all(|problem| !problem.key().starts_with(&place.key)) {
            let fault = Fault::new("holds no program").help("write `{ jq: '…' }`, or the name of a file");
            reader.problems.push(fault.at(place));
        }
        program.map(Self::Inline)
    }

    #[cfg(test)]
    fn keys(prefix: &str, out: &mut std::collections::BTreeSet<String>) {
        out.insert(format!("{prefix}.jq"));
    }
}

impl FromNode for Json {
    fn from_node(node: Node, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let mut text = String::new();
        reader.write_json(node, place, &mut text)?;
        Some(Self(text))
    }
}

impl Reader<'_> {
    /// Writes a node as JSON, keys in the order of the file.
    fn write_json(&mut self, node: Node, place: &Place, out: &mut String) -> Option<()> {
        match node.value {
            Value::Null => out.push_str("null"),
            Value::Bool(value) => out.push_str(if value { "true" } else { "false" }),
            Value::Number(number) => {
                if serde_json::from_str::<serde_json::Number>(&number).is_err() {
                    self.problems
                        .push(Fault::new(format!("{} is not a number of JSON", cut(&number))).at(place));
                    return None;
                }
                out.push_str(&number);
            }
            Value::Text(text) => out.push_str(&quoted(&self.expand(&text, place)?)),
            Value::List(items) => {
                out.push('[');
                for (index, item) in items.into_iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    let place = Place {
                        line: item.line,
                        column: item.column,
                        key: format!("{}[{index}]", place.key),
                    };
                    self.write_json(item, &place, out)?;
                }
                out.push(']');
            }
            Value::Map(_) => {
                out.push('{');
                let entries = self.map(node, place, String::new)?;
                for (index, (key, item)) in entries.into_iter().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    out.push_str(&quoted(&key.name));
                    out.push(':');
                    let place =
                        Place { line: item.line, column: item.column, key: place.member(&cut(&key.name)) };
                    self.write_json(item, &place, out)?;
                }
                out.push('}');
            }
        }
        Some(())
    }
}

/// A text as JSON has it.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl FromNode for u64 {
    fn from_node(node: Node, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let text = match &node.value {
            Value::Number(text) => text.clone(),
            // Text is taken too, since that is what a reference to the environment leaves.
            Value::Text(text) => reader.expand(text, place)?,
            other @ (Value::Null | Value::Bool(_) | Value::List(_) | Value::Map(_)) => {
                reader.unfit(other, place, "a whole number", None);
                return None;
            }
        };
        let number = text.parse().ok();
        if number.is_none() {
            reader.unfit(&Value::Text(text), place, "a whole number", None);
        }
        number
    }
}

impl FromNode for bool {
    fn from_node(node: Node, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let value = match node.value {
            Value::Bool(value) => return Some(value),
            Value::Text(text) => Value::Text(reader.expand(&text, place)?),
            other @ (Value::Null | Value::Number(_) | Value::List(_) | Value::Map(_)) => other,
        };
        let word = if let Value::Text(text) = &value { text.parse().ok() } else { None };
        if word.is_none() {
            reader.unfit(&value, place, "`true` or `false`", None);
        }
        word
    }
}

impl<T: FromNode> FromNode for Vec<Spanned<T>> {
    fn from_node(node: Node, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let Value::List(items) = node.value else {
            let help = match node.value {
                Value::Bool(_) | Value::Number(_) | Value::Text(_) => "a list of one is written `[value]`",
                Value::Map(_) | Value::List(_) | Value::Null => "begin each entry with `- `",
            };
            reader.unfit(&node.value, place, "a list", Some(help.to_owned()));
            return None;
        };
        let items = items.into_iter().enumerate();
        Some(items.filter_map(|(index, item)| reader.read(item, format!("{}[{index}]", place.key))).collect())
    }

    #[cfg(test)]
    fn keys(prefix: &str, out: &mut std::collections::BTreeSet<String>) {
        T::keys(&format!("{prefix}[]"), out);
    }
}

impl<T: FromNode> FromNode for Named<T> {
    fn from_node(node: Node, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
        let help = || "write a name of your choice before each entry, such as `app:`".to_owned();
        let entries = reader.map(node, place, help)?;
        let read = entries.into_iter().map(|(key, node)| {
            let member = place.member(&cut(&key.name));
            let name = Spanned { place: key.place(&member), value: key.name };
            (name, reader.read(node, member).map(|value| value.value))
        });
        Some(Self(read.collect()))
    }

    #[cfg(test)]
    fn keys(prefix: &str, out: &mut std::collections::BTreeSet<String>) {
        T::keys(&format!("{prefix}.NAME"), out);
    }
}

/// Declares a section of the file: a struct of optional fields, whose names are the only keys it knows.
macro_rules! section {
    ($($(#[$about:meta])* struct $name:ident { $($(#[$field_about:meta])* $field:ident: $type:ty,)+ })+) => { $(
        $(#[$about])*
        #[derive(Clone, Debug, Default)]
        pub(in crate::config) struct $name { $($(#[$field_about])* pub(in crate::config) $field: Option<Spanned<$type>>,)+ }

        impl FromNode for $name {
            fn from_node(node: Node, place: &Place, reader: &mut Reader<'_>) -> Option<Self> {
                let mut section = reader.section(node, place, &[$(stringify!($field)),+])?;
                Some(Self { $($field: section.take(stringify!($field), reader),)+ })
            }

            #[cfg(test)]
            fn keys(prefix: &str, out: &mut std::collections::BTreeSet<String>) {
                let dot = if prefix.is_empty() { "" } else { "." };
                $(<$type as FromNode>::keys(&format!("{prefix}{dot}{}", stringify!($field)), out);)+
            }
        }
    )+ };
}

pub(super) use section;
