//! What is wrong with a configuration: every problem with its position, its key and, where there is one, a hint.

use std::fmt;

/// Longest piece of a value that a message repeats, in characters.
const SHOWN: usize = 60;

/// Where something stands in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// Line, from 1; 0 when the problem belongs to the file as a whole.
    pub(super) line: u64,
    /// Column in characters, from 1.
    pub(super) column: u64,
    /// The key, such as `locations[2].allow.domains[0]`; empty at the top level.
    pub(super) key: String,
}

impl Place {
    /// The key of a member of the section at this place.
    pub(super) fn member(&self, name: &str) -> String {
        if self.key.is_empty() { name.to_owned() } else { format!("{}.{name}", self.key) }
    }

    /// The same position under the key of a member, for what is said about a key that is not there.
    pub(super) fn of_member(&self, name: &str) -> Self {
        Self { key: self.member(name), ..*self }
    }
}

/// A value together with its place.
#[derive(Clone, Debug)]
pub(super) struct Spanned<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// What is wrong with a value, before it is known where the value stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    what: String,
    help: Option<String>,
}

impl Fault {
    /// A fault without a hint.
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), help: None }
    }

    /// Adds a hint.
    #[must_use]
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Adds a hint if there is one.
    #[must_use]
    pub(super) fn maybe_help(self, help: Option<String>) -> Self {
        Self { help, ..self }
    }

    /// Puts the fault where it belongs.
    pub(super) fn at(self, place: &Place) -> Problem {
        Problem { place: place.clone(), what: self.what, help: self.help }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    place: Place,
    what: String,
    help: Option<String>,
}

impl Problem {
    /// The key, such as `locations[2].access`; empty at the top level.
    pub(super) fn key(&self) -> &str {
        &self.place.key
    }
}

/// Everything that is wrong with one file, sorted by position. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
}

impl Problems {
    /// Sorts the problems found in `file`.
    pub(super) fn new(file: impl Into<String>, mut list: Vec<Problem>) -> Self {
        // Stable, so that two problems of one value keep the order in which they were found.
        list.sort_by_key(|problem| (problem.place.line, problem.place.column));
        list.dedup();
        Self { file: file.into(), list }
    }

    /// The same without the count, for a process that goes on.
    pub fn without_count(&self) -> String {
        let mut text = String::new();
        // A string takes whatever is written.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, f: &mut impl fmt::Write) -> fmt::Result {
        for Problem { place, what, help } in &self.list {
            f.write_str(&self.file)?;
            if place.line > 0 {
                write!(f, ":{}:{}", place.line, place.column)?;
            }
            if !place.key.is_empty() {
                write!(f, ": {}", place.key)?;
            }
            writeln!(f, ": {what}")?;
            if let Some(help) = help {
                writeln!(f, "    help: {help}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f)?;
        let count = self.list.len();
        write!(f, "{count} problem{}; nothing was started", if count == 1 { "" } else { "s" })
    }
}

impl std::error::Error for Problems {}

/// A value in quotes for a message: its beginning, with control characters escaped. One from the environment may
/// turn out to be something else than what was meant.
pub(super) fn shown(value: &str) -> String {
    let mut cut: String = value.chars().take(SHOWN).collect();
    if cut.len() < value.len() {
        cut.push('…');
    }
    format!("{cut:?}")
}

/// The same without the quotes.
pub(super) fn cut(value: &str) -> String {
    let shown = shown(value);
    shown.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default().to_owned()
}

/// The hint `did you mean …?` when one of the candidates is close to what was written.
pub(super) fn did_you_mean<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    nearest(written, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

/// The candidate closest to what was written, if any is close.
pub(super) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = written.to_ascii_lowercase();
    // One slip in three letters is a typing error; more is another word.
    let allowed = (lower.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: u64, key: &str, fault: Fault) -> Problem {
        fault.at(&Place { line, column: 3, key: key.to_owned() })
    }

    #[test]
    fn problems_are_printed_by_position_with_hints_and_a_count() {
        let list = vec![
            problem(9, "locations[0]", Fault::new("second").help("do this")),
            problem(2, "", Fault::new("first")),
        ];
        let text = Problems::new("x.yaml", list).to_string();
        assert_eq!(
            text,
            "x.yaml:2:3: first\nx.yaml:9:3: locations[0]: second\n    help: do this\n2 problems; nothing was started"
        );
    }

    #[test]
    fn a_problem_of_the_whole_file_has_no_position() {
        let list = vec![Fault::new("cannot be read").at(&Place::default())];
        assert_eq!(
            Problems::new("x.yaml", list).to_string(),
            "x.yaml: cannot be read\n1 problem; nothing was started"
        );
    }

    #[test]
    fn long_values_are_cut_and_controls_escaped() {
        assert_eq!(shown("a\nb"), r#""a\nb""#);
        assert_eq!(cut("\u{1b}[1m\""), r#"\u{1b}[1m\""#);
        assert!(shown(&"x".repeat(5000)).chars().count() < 70);
    }

    #[test]
    fn only_close_words_are_suggested() {
        assert_eq!(nearest("acess", ["access", "allow"]), Some("access"));
        assert_eq!(nearest("Upstraem", ["upstream", "host"]), Some("upstream"));
        assert_eq!(nearest("webhook", ["access", "allow", "host"]), None);
    }
}
