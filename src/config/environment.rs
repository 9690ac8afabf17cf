//! The process environment as a value, and the `${NAME}` references of the file.

use std::collections::BTreeMap;

use super::problem::{Fault, cut, shown};

/// Where `${NAME}` and the few variables that the gateway honours are looked up.
#[derive(Clone, Debug)]
pub struct Environment(Source);

#[derive(Clone, Debug)]
enum Source {
    Process,
    Fixed(BTreeMap<String, String>),
}

impl Environment {
    /// The environment of this process.
    pub fn process() -> Self {
        Self(Source::Process)
    }

    /// Only these variables.
    pub fn of<K: Into<String>, V: Into<String>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        Self(Source::Fixed(variables.collect()))
    }

    /// No variable at all.
    pub fn empty() -> Self {
        Self(Source::Fixed(BTreeMap::new()))
    }

    /// The value of a variable. What is not UTF-8 in it becomes U+FFFD: a variable that cannot be read must not count
    /// as not set.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place of the configuration that reads the environment"
    )]
    pub fn get(&self, name: &str) -> Option<String> {
        match &self.0 {
            Source::Process => std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()),
            Source::Fixed(variables) => variables.get(name).cloned(),
        }
    }

    /// Replaces `${NAME}` and `${NAME:-default}`; `$${` stands for a plain `${`.
    ///
    /// As in a shell, the default also takes the place of an empty variable. It reaches to the next `}`, and is
    /// not looked into. All references that cannot be replaced are reported.
    pub(super) fn expand(&self, text: &str) -> Result<String, Vec<Fault>> {
        let (mut out, mut faults, mut rest) = (String::with_capacity(text.len()), Vec::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(escaped) = before.strip_suffix('$') {
                out.push_str(escaped);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            let Some((reference, tail)) = after.split_once('}') else {
                faults.push(Fault::new("`${` without `}`").help("write `$${` for a plain `${`"));
                return Err(faults);
            };
            match self.reference(reference) {
                Ok(value) => out.push_str(&value),
                Err(fault) => faults.push(fault),
            }
            rest = tail;
        }
        out.push_str(rest);
        if faults.is_empty() { Ok(out) } else { Err(faults) }
    }

    /// The value of what stands between the braces.
    fn reference(&self, reference: &str) -> Result<String, Fault> {
        let (name, default) = match reference.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (reference, None),
        };
        let first_is_digit = name.starts_with(|c: char| c.is_ascii_digit());
        if name.is_empty() || first_is_digit || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(Fault::new(format!("{} is not the name of an environment variable", shown(name)))
                .help("write `${NAME}` or `${NAME:-default}`, and `$${` for a plain `${`"));
        }
        match (self.get(name), default) {
            (Some(value), _) if value.contains(char::REPLACEMENT_CHARACTER) => {
                Err(Fault::new(format!("the environment variable `{}` is not UTF-8 text", cut(name)))
                    .help("set it to text"))
            }
            (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
            (Some(value), _) => Ok(value),
            (None, Some(default)) => Ok(default.to_owned()),
            (None, None) => Err(Fault::new(format!("the environment variable `{}` is not set", cut(name)))
                .help(format!("set it, or give a default: `${{{}:-…}}`", cut(name)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str) -> String {
        let environment = Environment::of([("A", "1"), ("EMPTY", ""), ("YAML", "x: [${A}]")]);
        environment.expand(text).unwrap_or_else(|faults| format!("{faults:?}"))
    }

    #[test]
    fn references_are_replaced_once() {
        assert_eq!(expand("a${A}b${A}"), "a1b1");
        assert_eq!(expand("${B:-8080}"), "8080");
        assert_eq!(expand("${EMPTY:-8080}${EMPTY}"), "8080");
        assert_eq!(expand("${A:-8080}"), "1");
        assert_eq!(expand("${B:-}"), "");
        assert_eq!(expand("${YAML}"), "x: [${A}]", "a value is never looked into");
    }

    #[test]
    fn dollars_that_are_no_reference_stay() {
        assert_eq!(expand("$${A} $ $$ $A"), "${A} $ $$ $A");
    }

    #[test]
    fn every_missing_name_is_reported() {
        let faults = Environment::empty().expand("${B}${C}").unwrap_err();
        assert_eq!(faults.len(), 2);
        assert!(format!("{faults:?}").contains("`C` is not set"));
        assert!(expand("${A").contains("without"));
        assert!(expand("${1A}${}${a-b}").contains("not the name"));
    }

    #[test]
    fn a_value_that_is_no_text_is_not_taken_for_none() {
        let environment = Environment::of([("A", "a\u{fffd}")]);
        let faults = environment.expand("${A:-8080}").unwrap_err();
        assert!(format!("{faults:?}").contains("`A` is not UTF-8 text"), "{faults:?}");
    }
}
