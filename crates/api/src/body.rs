//! Reads a task from the bytes of a JSON document, and names the place of every mistake: for the service's requests and
//! for the task files of `cargo xtask run`.

use hybrid_cache_model::TaskSpec;
use serde_json::Value;

use crate::problem::Problem;
use crate::problem_type::ProblemType;

/// Most characters of a name that a problem repeats.
const SHOWN_CHARS: usize = 60;
/// Most bytes of a list that a hint writes again as one string.
const MAX_LIST_BYTES: usize = 200;
const TEXT_FIELDS: [&str; 4] = ["pythonCode", "dependencies", "requirementsFile", "systemDependencies"];
const FLAG_FIELD: &str = "useCache";

/// Parses a task. A byte order mark at the beginning is skipped: some editors write one into every file.
///
/// # Errors
/// The document is not UTF-8 or not JSON, or a field is missing, unknown or of the wrong type.
pub fn parse_task(bytes: &[u8]) -> Result<TaskSpec, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let detail = format!("the body is not UTF-8 at byte {}", error.valid_up_to());
        Problem::new(ProblemType::InvalidUtf8, detail).hint("send text as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|error| explain(text, &error))
}

fn explain(text: &str, error: &serde_json::Error) -> Problem {
    if error.classify() != serde_json::error::Category::Data {
        return syntax(error);
    }
    match serde_json::from_str::<Value>(text) {
        Err(error) => syntax(&error),
        Ok(Value::Object(fields)) => {
            let wrong = fields.iter().find_map(|(name, value)| wrong_field(name, value));
            wrong.unwrap_or_else(|| {
                if fields.contains_key("pythonCode") {
                    repeated(error)
                } else {
                    let problem = Problem::new(ProblemType::InvalidTask, "the field is missing").at("/pythonCode");
                    problem.hint("give the program's text, such as `print(1)`")
                }
            })
        }
        Ok(other) => {
            let detail = format!("the body is {}, not an object", type_of(&other));
            let problem = Problem::new(ProblemType::InvalidTask, detail).at("");
            problem.hint("send an object such as {\"pythonCode\": \"print(1)\"}")
        }
    }
}

fn wrong_field(name: &str, value: &Value) -> Option<Problem> {
    let expected = match (name, value) {
        (FLAG_FIELD, Value::Bool(_)) => return None,
        (FLAG_FIELD, _) => "true or false",
        (name, Value::String(_)) if TEXT_FIELDS.contains(&name) => return None,
        (name, _) if TEXT_FIELDS.contains(&name) => "a string",
        (name, _) => {
            let problem = Problem::new(ProblemType::InvalidTask, format!("unknown field {}", shown(name)));
            let known = format!("the fields are {} and {FLAG_FIELD}", TEXT_FIELDS.join(", "));
            return Some(problem.at(pointer(name)).hint(known));
        }
    };
    let detail = format!("{expected} is expected, not {}", type_of(value));
    let problem = Problem::new(ProblemType::InvalidTask, detail).at(pointer(name));
    Some(match remedy(name, value) {
        Some(hint) => problem.hint(hint),
        None => problem,
    })
}

/// What to write instead of a value that says what is meant: a list of texts, a flag in quotation marks.
fn remedy(name: &str, value: &Value) -> Option<String> {
    match (name, value) {
        (FLAG_FIELD, _) => Some(format!("write \"{FLAG_FIELD}\": true or \"{FLAG_FIELD}\": false")),
        ("pythonCode", Value::Array(_)) => Some("join the lines into one string, with \\n between them".to_owned()),
        (_, Value::Array(items)) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            let separator = if name == "requirementsFile" { "\n" } else { "," };
            let joined = texts?.join(separator);
            let written = Value::String(joined).to_string();
            (written.len() <= MAX_LIST_BYTES).then(|| format!("write it as one string: \"{name}\": {written}"))
        }
        (_, Value::Null) if name != "pythonCode" => Some("leave the field out".to_owned()),
        _ => None,
    }
}

/// Every field is valid by itself, so one of them appears twice.
fn repeated(error: &serde_json::Error) -> Problem {
    let told = message(error);
    let named = TEXT_FIELDS.iter().chain([&FLAG_FIELD]);
    let twice = named.into_iter().find(|name| told.contains(&format!("`{name}`")));
    let problem = Problem::new(ProblemType::InvalidTask, told.clone());
    match twice {
        Some(name) => problem.at(pointer(name)),
        None => problem,
    }
}

fn syntax(error: &serde_json::Error) -> Problem {
    Problem {
        line: Some(error.line()),
        column: Some(error.column()),
        ..Problem::new(ProblemType::InvalidJson, message(error))
    }
}

/// serde_json's message without its position, which has fields of its own.
fn message(error: &serde_json::Error) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

/// A JSON pointer to a field of the body (RFC 6901).
fn pointer(name: &str) -> String {
    let cut: String = name.chars().take(SHOWN_CHARS).collect();
    format!("/{}", cut.replace('~', "~0").replace('/', "~1"))
}

fn shown(text: &str) -> String {
    let cut: String = text.chars().take(SHOWN_CHARS).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("`{cut}{more}`")
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(body: &[u8]) -> Problem {
        parse_task(body).unwrap_err()
    }

    #[test]
    fn every_mistake_in_a_body_names_its_field() {
        let cases: [(&[u8], ProblemType, Option<&str>); 12] = [
            (b"{\"pythonCode\": 5}", ProblemType::InvalidTask, Some("/pythonCode")),
            (b"{\"pythonCode\": null}", ProblemType::InvalidTask, Some("/pythonCode")),
            (
                b"{\"pythonCode\": \"1\", \"useCache\": \"no\"}",
                ProblemType::InvalidTask,
                Some("/useCache"),
            ),
            (
                b"{\"pythonCode\": \"1\", \"dependencies\": [\"numpy\"]}",
                ProblemType::InvalidTask,
                Some("/dependencies"),
            ),
            (
                b"{\"pythonCode\": \"1\", \"usecache\": true}",
                ProblemType::InvalidTask,
                Some("/usecache"),
            ),
            (
                b"{\"pythonCode\": \"1\", \"a/b~c\": true}",
                ProblemType::InvalidTask,
                Some("/a~1b~0c"),
            ),
            (
                b"{\"pythonCode\": \"1\", \"pythonCode\": \"2\"}",
                ProblemType::InvalidTask,
                Some("/pythonCode"),
            ),
            (b"{}", ProblemType::InvalidTask, Some("/pythonCode")),
            (b"[]", ProblemType::InvalidTask, Some("")),
            (b"{\"pythonCode\": \"1\"", ProblemType::InvalidJson, None),
            (b"", ProblemType::InvalidJson, None),
            (b"{\"pythonCode\": \"\xff\"}", ProblemType::InvalidUtf8, None),
        ];
        for (body, kind, pointer) in cases {
            let problem = refused(body);
            assert_eq!(
                (problem.code, problem.pointer.as_deref()),
                (kind, pointer),
                "{problem:?}"
            );
        }
    }

    #[test]
    fn malformed_json_has_line_and_column() {
        let problem = refused(b"{\n  \"pythonCode\": print(1)\n}");
        assert_eq!((problem.line, problem.column), (Some(2), Some(17)));
        assert!(!problem.detail.contains("line"), "{}", problem.detail);
    }

    #[test]
    fn deep_nesting_and_long_names_are_refused_cheaply() {
        let deep = format!("{{\"pythonCode\": {}1{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(refused(deep.as_bytes()).code, ProblemType::InvalidJson);
        let long = format!("{{\"pythonCode\": \"1\", \"{}\": 1}}", "é".repeat(100_000));
        assert!(refused(long.as_bytes()).json().len() < 1000);
    }

    #[test]
    fn a_value_of_the_wrong_type_comes_with_what_to_write_instead() {
        for (value, hint) in [
            (
                r#""dependencies": ["idna", "six>=1"]"#,
                r#"write it as one string: "dependencies": "idna,six>=1""#,
            ),
            (
                r#""requirementsFile": ["idna", "six"]"#,
                r#"write it as one string: "requirementsFile": "idna\nsix""#,
            ),
            (r#""useCache": "yes""#, r#"write "useCache": true or "useCache": false"#),
            (r#""systemDependencies": null"#, "leave the field out"),
        ] {
            let problem = refused(format!("{{\"pythonCode\": \"1\", {value}}}").as_bytes());
            assert_eq!(problem.hint.as_deref(), Some(hint), "{value}");
        }
        let long = format!(
            "{{\"pythonCode\": \"1\", \"dependencies\": [\"{}\"]}}",
            "x".repeat(100_000)
        );
        assert_eq!(refused(long.as_bytes()).hint, None);
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let spec = parse_task(b"\xef\xbb\xbf{\"pythonCode\": \"1\"}").unwrap();
        assert_eq!(spec.python_code, "1");
    }
}
