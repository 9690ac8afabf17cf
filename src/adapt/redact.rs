//! What an error message may say: the interpreter repeats values, and logs must not hold what senders sent.

/// Longest message in characters.
const LONGEST: usize = 300;
/// Longest string that is kept because it stands in the program.
const LONGEST_KEY: usize = 64;

/// Replaces strings, arrays and objects by what they are. A string stays when it stands in the program as well, as the
/// key that is missing usually does.
pub(super) fn without_values(message: &str, program: &str) -> String {
    let mut text = String::new();
    let mut rest = message;
    while let Some(start) = rest.find(['"', '[', '{']) {
        let (before, value) = rest.split_at(start);
        text.push_str(before);
        let (value, after) = value.split_at(end_of_value(value));
        text.push_str(match value.as_bytes().first() {
            Some(b'[') => "an array",
            Some(b'{') => "an object",
            _ if is_of_program(value, program) => value,
            _ => "a string",
        });
        if text.len() > LONGEST * 4 {
            break;
        }
        rest = after;
    }
    text.push_str(rest.split(['"', '[', '{']).next().unwrap_or_default());
    shortened(&text, LONGEST)
}

fn is_of_program(quoted: &str, program: &str) -> bool {
    let content = quoted.trim_matches('"');
    !content.is_empty() && content.len() <= LONGEST_KEY && program.contains(content)
}

/// Length of the JSON value at the start of a text: a string, or what is in brackets.
fn end_of_value(text: &str) -> usize {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (index, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => depth += 1,
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && !in_string {
            return index + 1;
        }
    }
    text.len()
}

/// The first characters of a text.
pub(super) fn shortened(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_replaced_by_what_they_are() {
        for (message, expected) in [
            (r#"cannot index "xoxb-1" with "user""#, r#"cannot index a string with "user""#),
            (r#"cannot index {"a":"] \" }"} with "other""#, "cannot index an object with a string"),
            (r#"cannot calculate [1,[2]] + {"token":"x"}"#, "cannot calculate an array + an object"),
            ("cannot use null as string", "cannot use null as string"),
            (r#"cut "short"#, "cut a string"),
            (r#"cut {"short"#, "cut an object"),
            (r#"an empty one: """#, "an empty one: a string"),
        ] {
            assert_eq!(without_values(message, ".user | .x"), expected);
        }
    }

    #[test]
    fn messages_are_bounded() {
        let text = without_values(&"é".repeat(1000), "");
        assert_eq!(text.chars().count(), LONGEST + 1);
        assert!(without_values(&"[] ".repeat(100_000), "").len() < 2000);
    }
}
