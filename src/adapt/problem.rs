//! What is wrong with a program: where, what, and what to do about it.

use std::fmt;

use jaq_core::compile::Undefined;
use jaq_core::load::{self, lex, parse, span};

use super::program;

/// Longest piece of a program that a message repeats, in characters.
const SHOWN: usize = 40;

/// Filters and variables of jq that adapters do not have, and what to do instead.
const WITHOUT: [(&str, &str); 18] = [
    ("env", ENVIRONMENT),
    ("$ENV", ENVIRONMENT),
    ("$__prog_args", ENVIRONMENT),
    ("input", INPUT),
    ("inputs", INPUT),
    ("input_filename", INPUT),
    ("input_line_number", INPUT),
    ("$__loc__", INPUT),
    ("now", CLOCK),
    ("localtime", CLOCK),
    ("strflocaltime", CLOCK),
    ("halt", HALT),
    ("halt_error", HALT),
    ("debug", DEBUG),
    ("stderr", DEBUG),
    ("get_search_list", FILES),
    ("modulemeta", FILES),
    ("$ARGS", ENVIRONMENT),
];
const ENVIRONMENT: &str = "an adapter sees the message and nothing else; write constants into the program";
const INPUT: &str = "there is one input, the message, and it is `.`";
const CLOCK: &str =
    "the result may depend on the message only; `gmtime`, `strftime` and `mktime` work in UTC";
const HALT: &str = "`error(\"…\")` refuses the message, `empty` acknowledges and drops it";
const DEBUG: &str = "take it out; `portcullis adapt` runs the program on a message of your choice";
const FILES: &str = "a program is one file; write the definitions into it";

/// Something that is wrong with an adapter's program, for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdapterProblem {
    /// Name of the program.
    pub adapter: String,
    /// Line, from 1; 0 when the program as a whole is meant.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub help: Option<String>,
}

impl fmt::Display for AdapterProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.adapter)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {}", self.what)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, "\n    help: {help}"))
    }
}

/// A program's name and text, to tell positions in it.
#[derive(Clone, Copy)]
pub(super) struct Program<'a> {
    pub(super) name: &'a str,
    pub(super) text: &'a str,
}

impl Program<'_> {
    /// A problem of the program as a whole.
    pub(super) fn whole(self, what: impl Into<String>) -> AdapterProblem {
        AdapterProblem { adapter: self.name.to_owned(), line: 0, column: 0, what: what.into(), help: None }
    }

    /// A problem at a piece of the program's text.
    fn at(self, part: &str, what: String, help: Option<String>) -> AdapterProblem {
        let before = self.text.get(..span(self.text, part).start).unwrap_or(self.text);
        let line = before.rsplit('\n').next().unwrap_or_default();
        AdapterProblem {
            adapter: self.name.to_owned(),
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            what,
            help,
        }
    }

    /// What the loader found, in the order of the text.
    pub(super) fn loading(self, errors: load::Errors<&str, ()>) -> Vec<AdapterProblem> {
        let mut problems = Vec::new();
        for (_, error) in errors {
            match error {
                load::Error::Io(files) => problems.extend(files.into_iter().map(|(path, _)| {
                    self.at(path, "an adapter cannot use other files".to_owned(), Some(FILES.to_owned()))
                })),
                load::Error::Lex(list) => {
                    problems.extend(list.into_iter().map(|error| self.lexing(error)));
                }
                load::Error::Parse(list) => {
                    problems.extend(list.into_iter().map(|error| self.parsing(&error)));
                }
            }
        }
        sorted(problems)
    }

    fn lexing(self, (expected, rest): lex::Error<&str>) -> AdapterProblem {
        let (place, what) = match expected {
            lex::Expect::Delim(open) => (open, format!("`{open}` is never closed")),
            lex::Expect::Digit => (rest, format!("expected a digit, found {}", found(rest))),
            lex::Expect::Ident => (rest, format!("expected a name, found {}", found(rest))),
            lex::Expect::Escape => (
                rest,
                format!("expected one of n, t, r, b, f, u, (, /, \\ or \" after `\\`, found {}", found(rest)),
            ),
            lex::Expect::Unicode => {
                (rest, "expected the four hexadecimal digits of a character after `\\u`".to_owned())
            }
            // The enum is open: a later version may add some.
            lex::Expect::Token | _ => (rest, format!("jq has nothing that begins with {}", found(rest))),
        };
        self.at(place, what, None)
    }

    fn parsing(self, (expected, token): &parse::Error<&str>) -> AdapterProblem {
        let expected = match expected {
            parse::Expect::Just(word) => format!("`{word}`"),
            parse::Expect::Var => "a variable such as `$x`".to_owned(),
            parse::Expect::Pattern => "a variable or a pattern such as `[$x, $y]`".to_owned(),
            parse::Expect::ElseOrEnd => "`else`, `elif` or `end`".to_owned(),
            parse::Expect::CommaOrRBrack => "`,` or `]`".to_owned(),
            parse::Expect::CommaOrRBrace => "`,` or `}`".to_owned(),
            parse::Expect::SemicolonOrRParen => "`;` or `)`".to_owned(),
            parse::Expect::Term => "a filter".to_owned(),
            parse::Expect::Key => "a key".to_owned(),
            parse::Expect::Ident => "a name".to_owned(),
            parse::Expect::Arg => "the name of a parameter".to_owned(),
            parse::Expect::Str => "a string".to_owned(),
            parse::Expect::Nothing => "the end of the program or an operator such as `|`".to_owned(),
            other => other.as_str().to_owned(),
        };
        self.at(token, format!("expected {expected}, found {}", found(token)), None)
    }

    /// What the compiler found, in the order of the text.
    pub(super) fn compiling(self, errors: jaq_core::compile::Errors<&str, ()>) -> Vec<AdapterProblem> {
        let list = errors.into_iter().flat_map(|(_, list)| list);
        sorted(list.map(|(name, undefined)| self.undefined(name, &undefined)).collect())
    }

    fn undefined(self, name: &str, kind: &Undefined) -> AdapterProblem {
        let refused = WITHOUT.iter().find(|(other, _)| *other == name).map(|(_, why)| (*why).to_owned());
        if refused.is_some() {
            return self.at(name, format!("adapters have no `{name}`"), refused);
        }
        let (what, help) = match kind {
            Undefined::Filter(arguments) => {
                let takes = match arguments {
                    0 => "without arguments".to_owned(),
                    1 => "with one argument".to_owned(),
                    many => format!("with {many} arguments"),
                };
                (format!("there is no filter `{name}` {takes}"), similar(name))
            }
            Undefined::Var => (format!("there is no variable `{name}`"), None),
            Undefined::Mod | Undefined::Label | _ => {
                (format!("there is no {} `{name}`", kind.as_str()), None)
            }
        };
        self.at(name, what, help)
    }
}

fn sorted(mut problems: Vec<AdapterProblem>) -> Vec<AdapterProblem> {
    problems.sort_by_key(|problem| (problem.line, problem.column));
    problems.dedup();
    problems
}

/// The filter of the library that may have been meant.
fn similar(name: &str) -> Option<String> {
    let known = program::names();
    let arities: Vec<String> =
        known.iter().filter(|(other, _)| other == name).map(|(_, arguments)| arguments.to_string()).collect();
    if !arities.is_empty() {
        let arguments = if arities == ["1"] { "argument" } else { "arguments, separated by `;`" };
        return Some(format!("`{name}` takes {} {arguments}", arities.join(" or ")));
    }
    let distance = |other: &String| strsim::damerau_levenshtein(name, other);
    let (best, _) = known.iter().min_by_key(|(other, _)| distance(other))?;
    let most = if name.chars().count() < 5 { 1 } else { 2 };
    (distance(best) <= most).then(|| format!("did you mean `{best}`?"))
}

/// The next piece of a program, for a message.
fn found(rest: &str) -> String {
    let line = rest.lines().next().unwrap_or_default().trim_end();
    match line.char_indices().nth(SHOWN) {
        _ if rest.is_empty() => "the end of the program".to_owned(),
        Some((end, _)) => format!("`{}…`", line.get(..end).unwrap_or_default()),
        None => format!("`{line}`"),
    }
}
