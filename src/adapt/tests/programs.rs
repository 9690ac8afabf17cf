use std::sync::Arc;

use super::super::command::{self, Trial, Tried};
use super::super::{Adapters, Limits, WorkerCommand};
use super::*;

/// The problems of a program, as an operator sees them.
fn problems(text: &str) -> Vec<String> {
    match Program::compile(&source(text)) {
        Ok(_) => panic!("compiles: {text}"),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn problems_are_shown_where_they_are() {
    for (text, expected) in [
        ("", "a.jq:1:1: expected a filter, found the end of the program"),
        (".json |", "a.jq:1:8: expected a filter, found the end of the program"),
        ("# é\n  {a: (.b}", "a.jq:2:7: `(` is never closed"),
        ("\"abc", "a.jq:1:1: `\"` is never closed"),
        ("if . then 1 fi", "a.jq:1:13: expected `else`, `elif` or `end`, found `fi`"),
        (".a .b c", "a.jq:1:7: expected the end of the program or an operator such as `|`, found `c`"),
        ("\"é\" | frobnicate", "a.jq:1:7: there is no filter `frobnicate` without arguments"),
        (
            "lenght",
            "a.jq:1:1: there is no filter `lenght` without arguments\n    help: did you mean `length`?",
        ),
        ("map", "a.jq:1:1: there is no filter `map` without arguments\n    help: `map` takes 1 argument"),
        ("$x", "a.jq:1:1: there is no variable `$x`"),
        ("break $x", "a.jq:1:7: there is no label `$x`"),
        ("\"\\q\"", "a.jq:1:3: expected one of n, t, r, b, f, u, (, /, \\ or \" after `\\`, found `q\"`"),
        (". & 1", "a.jq:1:3: jq has nothing that begins with `& 1`"),
    ] {
        assert_eq!(problems(text)[0], expected, "{text}");
    }
}

#[test]
fn all_problems_of_a_program_are_shown() {
    let found = problems("[foo, $y] |\n bar(1)");
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("a.jq:1:2: there is no filter `foo`"), "{found:?}");
    assert!(found[2].starts_with("a.jq:2:2: there is no filter `bar` with one argument"), "{found:?}");
}

#[test]
fn all_problems_of_all_programs_are_shown() {
    let sources = ["foo", ".", "bar"].map(|text| Arc::new(source(text)));
    let problems =
        Adapters::new(&sources, WorkerCommand::new("portcullis"), Limits::default()).err().unwrap();
    assert_eq!(problems.len(), 2, "{problems:?}");
}

#[test]
fn a_program_is_a_function_of_the_message() {
    for text in [
        "env",
        "env.HOME",
        "$ENV",
        "$ENV.PATH",
        "input",
        "inputs",
        "[inputs]",
        "input_filename",
        "now",
        "halt",
        "halt_error",
        "halt(1)",
        "halt_error(1)",
        "debug",
        "debug(\"x\")",
        "stderr",
        "localtime",
        "strflocaltime(\"%H\")",
        "input_line_number",
        "get_search_list",
        "$__loc__",
        "$__prog_args",
    ] {
        let found = problems(text);
        assert!(found[0].contains("adapters have no `"), "{found:?}");
        assert!(found[0].contains("\n    help: "), "{found:?}");
    }
    for text in [
        "import \"a\" as a; a::f",
        "include \"a\"; f",
        "import \"a\" as $a; $a",
        "import \"/etc/passwd\" as $a; $a",
    ] {
        let found = problems(text);
        assert!(found[0].contains("an adapter cannot use other files"), "{found:?}");
    }
    // What is private to the library must not bring back what was left out.
    for text in ["debug_empty", "stderr_empty", "env()"] {
        assert!(!problems(text).is_empty());
    }
}

#[test]
fn a_program_of_any_length_is_no_danger() {
    for text in
        ["-".repeat(40_000), "(".repeat(32_000), "-".repeat(32_000), "[".repeat(32_000), "1|".repeat(16_000)]
    {
        let sources = [Arc::new(source(&text))];
        let problems = Adapters::new(&sources, WorkerCommand::new("portcullis"), Limits::default());
        assert!(!problems.err().unwrap().is_empty());
    }
    let nested = format!("{}.{}", "(".repeat(16_000), ")".repeat(16_000));
    let sources = [Arc::new(source(&nested))];
    assert!(Adapters::new(&sources, WorkerCommand::new("portcullis"), Limits::default()).is_ok());
}

#[test]
fn the_library_is_there() {
    for (program, expected) in [
        ("[.json[] | select(. > 1)]", "[2,3]"),
        ("\"a-b\" | split(\"-\") | join(\"+\")", "\"a+b\""),
        ("\"x1y22\" | [scan(\"[0-9]+\")]", "[\"1\",\"22\"]"),
        ("1700000000 | todate", "\"2023-11-14T22:13:20Z\""),
        ("1700000000 | strftime(\"%H:%M\")", "\"22:13\""),
        ("\"aGk=\" | @base64d", "\"hi\""),
        ("{a: 1} | tojson", "\"{\\\"a\\\":1}\""),
        ("try error(\"x\") catch .", "\"x\""),
        ("try (1 | keys) catch \"caught\"", "\"caught\""),
        ("[limit(2; repeat(1))]", "[1,1]"),
        ("first(range(10; 20))", "10"),
        ("\"10\" | tonumber", "10"),
    ] {
        assert_eq!(of_json(program, "[1,2,3]"), Ok(Some(expected.to_owned())), "{program}");
    }
}

#[test]
fn errors_are_the_programs_own_or_its_faults() {
    let rejected = |text: &str| Err(Failure::Rejected(text.to_owned()));
    let failed = |text: &str| Err(Failure::Failed(text.to_owned()));
    assert_eq!(of_json("error(\"no\")", "1"), rejected("no"));
    assert_eq!(of_json(".json | error", "\"no\""), rejected("no"));
    assert_eq!(of_json("error({a: 1})", "1"), rejected("{\"a\":1}"));
    assert_eq!(of_json("error(null)", "1"), rejected("null"));
    assert_eq!(of_json("try error(\"x\") catch error(\"y\")", "1"), rejected("y"));
    assert_eq!(of_json("1, error(\"late\")", "1"), rejected("late"));
    let caught = of_json("try error(\"x\") catch (1 | keys)", "1");
    assert!(matches!(caught, Err(Failure::Failed(_))), "{caught:?}");
    assert_eq!(of_json(".json | .a", "1"), failed("cannot index 1 with \"a\""));
    assert_eq!(of_json(".json | tonumber", "\"null\""), failed("cannot parse as number"));
    assert_eq!(of_json("{} | keys | .[0] | error_empty", "1"), failed("null"));
}

#[test]
fn messages_of_errors_are_bounded() {
    let Err(Failure::Rejected(text)) = of_json("error(\"é\" * 10000)", "1") else { panic!() };
    assert_eq!(text.chars().count(), 501);
    let program = compiled(".json.user");
    let Err(Failure::Failed(text)) = of_json(".json.user", "[\"xoxb-canary\"]") else { panic!() };
    assert!(text.contains("canary"), "{text}");
    assert_eq!(program.redacted(&text), "cannot index an array with \"user\"");
}

#[test]
fn there_is_one_result_or_none() {
    assert_eq!(of_json("empty", "1"), Ok(None));
    assert_eq!(of_json("select(.json > 1)", "1"), Ok(None));
    assert_eq!(of_json(".json | select(. > 1)", "2"), Ok(Some("2".to_owned())));
    assert_eq!(of_json("null", "1"), Ok(Some("null".to_owned())));
    let Err(Failure::Failed(text)) = of_json(".json[]", "[1,2]") else { panic!() };
    assert!(text.starts_with("has several results"), "{text}");
}

#[test]
fn what_json_cannot_express_is_no_result() {
    for program in [
        "nan",
        "infinite",
        "[-infinite]",
        "{(1 | tostring | tobytes): 1}",
        "{a: (\"x\" | tobytes)}",
        "[255] | tobytes",
    ] {
        let result = of_json(program, "1");
        let Err(Failure::Failed(text)) = result else { panic!("{program}: {result:?}") };
        assert!(text.starts_with("has a result that JSON cannot express"), "{text}");
    }
}

#[test]
fn a_terminal_gets_lines() {
    let directory = tempfile::tempdir().unwrap();
    let body = directory.path().join("body");
    std::fs::write(&body, "{\"a\":[1,{}]}").unwrap();
    let trial = Trial { body: Some(body), indented: true, ..Trial::default() };
    let expected = "{\n  \"a\": [\n    1,\n    {}\n  ]\n}";
    assert_eq!(command::run(&source(".json"), &trial), Tried::Result(expected.to_owned()));
}
