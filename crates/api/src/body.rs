//! Reads a task from the bytes of a JSON document, and names the place of every mistake: for the service's requests and
//! for the task files of `cargo xtask run`.

use hybrid_cache_model::TaskSpec;
use hybrid_cache_model::resources::RESOURCE_FIELDS;
use hybrid_cache_model::task_error::MAX_SHOWN;
use serde_json::Value;

use crate::problem::{FieldErrors, Problem};
use crate::problem_type::ProblemType;

/// Most characters of a name that a problem repeats.
const SHOWN_CHARS: usize = 60;
/// Most bytes of a list that a hint writes again as one string.
const MAX_LIST_BYTES: usize = 200;
/// The fields of a task, with what each of them holds.
const FIELDS: &[(&str, Kind)] = &[
    ("pythonCode", Kind::Text),
    ("dependencies", Kind::Text),
    ("requirementsFile", Kind::Text),
    ("constraints", Kind::Text),
    ("pythonVersion", Kind::Text),
    ("systemDependencies", Kind::Text),
    ("useCache", Kind::Flag),
    ("timeoutSeconds", Kind::Seconds),
    ("env", Kind::Texts),
    ("secretEnv", Kind::Texts),
    ("stdin", Kind::Text),
    ("args", Kind::List),
    ("labels", Kind::Texts),
    (RESOURCES, Kind::Texts),
];
/// The field whose own fields are known.
const RESOURCES: &str = "resources";

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A string.
    Text,
    /// True or false.
    Flag,
    /// A whole number; absent may be null.
    Seconds,
    /// A list of strings.
    List,
    /// An object of strings.
    Texts,
}

impl Kind {
    fn is_of(self, value: &Value) -> bool {
        match (self, value) {
            (Kind::Text, Value::String(_))
            | (Kind::Flag, Value::Bool(_))
            | (Kind::List, Value::Array(_))
            | (Kind::Texts, Value::Object(_))
            | (Kind::Seconds, Value::Null) => true,
            (Kind::Seconds, value) => value.is_u64(),
            _ => false,
        }
    }

    fn expected(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Flag => "true or false",
            Kind::Seconds => "a whole number of seconds",
            Kind::List => "a list of strings",
            Kind::Texts => "an object of strings",
        }
    }
}

/// Parses a task. A byte order mark at the beginning is skipped: some editors write one into every file.
///
/// # Errors
/// The document is not UTF-8 or not JSON, or a field is missing, unknown or of the wrong type.
pub fn parse_task(bytes: &[u8]) -> Result<TaskSpec, Box<Problem>> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let detail = format!("the body is not UTF-8 at byte {}", error.valid_up_to());
        Problem::new(ProblemType::InvalidUtf8, detail).hint("send text as UTF-8")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_json::from_str(text).map_err(|error| Box::new(explain(text, &error)))
}

fn explain(text: &str, error: &serde_json::Error) -> Problem {
    if error.classify() != serde_json::error::Category::Data {
        return syntax(error);
    }
    match serde_json::from_str::<Value>(text) {
        Err(error) => syntax(&error),
        Ok(Value::Object(fields)) => {
            let wrong: Vec<Problem> = fields
                .iter()
                .flat_map(|(name, value)| wrong_field(name, value))
                .collect();
            together(wrong).unwrap_or_else(|| {
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

/// The first of several problems, with all of them in its list.
fn together(wrong: Vec<Problem>) -> Option<Problem> {
    let count = wrong.len();
    let mut first = wrong.first()?.clone();
    if count > 1 {
        first.errors = wrong.into_iter().take(MAX_SHOWN).map(field_errors).collect();
        first.error_count = Some(count);
    }
    Some(first)
}

fn field_errors(problem: Problem) -> FieldErrors {
    FieldErrors {
        pointer: problem.pointer.unwrap_or_default(),
        line: None,
        detail: problem.detail,
        hint: problem.hint,
        count: 1,
        more_lines: Vec::new(),
    }
}

/// What is wrong with a field, and with the values in it.
fn wrong_field(name: &str, value: &Value) -> Vec<Problem> {
    let Some((_, kind)) = FIELDS.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        return vec![unknown_field("", name, &names)];
    };
    if !kind.is_of(value) {
        let problem = unexpected(kind.expected(), value).at(pointer(name));
        return vec![match remedy(name, *kind, value) {
            Some(hint) => problem.hint(hint),
            None => problem,
        }];
    }
    match value {
        Value::Array(items) => wrong_values(name, items.iter().enumerate()),
        Value::Object(fields) if name == RESOURCES => {
            let unknown = fields.keys().filter(|key| !RESOURCE_FIELDS.contains(&key.as_str()));
            let mut wrong: Vec<_> = unknown.map(|key| unknown_field(name, key, RESOURCE_FIELDS)).collect();
            wrong.extend(wrong_values(name, fields.iter()));
            wrong
        }
        Value::Object(fields) => wrong_values(name, fields.iter()),
        _ => Vec::new(),
    }
}

/// A field that does not exist; `inside` is the field around it, or empty.
fn unknown_field(inside: &str, name: &str, known: &[&str]) -> Problem {
    let problem = Problem::new(ProblemType::InvalidTask, format!("unknown field {}", shown(name)));
    let (last, others) = known.split_last().unwrap_or((&"", &[]));
    let known = format!("the fields are {} and {last}", others.join(", "));
    let around = if inside.is_empty() {
        String::new()
    } else {
        pointer(inside)
    };
    problem.at(format!("{around}{}", pointer(name))).hint(known)
}

/// The values of a list or an object that are no strings. None of them is repeated: a field may hold secrets.
fn wrong_values<'a, K: ToString>(name: &str, values: impl Iterator<Item = (K, &'a Value)>) -> Vec<Problem> {
    let wrong =
        values.filter(|(_, value)| !(value.is_string() || ["secretEnv", RESOURCES].contains(&name) && value.is_null()));
    let problems = wrong.map(|(key, value)| {
        let place = format!("{}{}", pointer(name), pointer(&key.to_string()));
        let problem = unexpected("a string", value).at(place);
        match value {
            Value::Number(_) | Value::Bool(_) => problem.hint("write the value between quotation marks"),
            _ => problem,
        }
    });
    problems.collect()
}

fn unexpected(expected: &str, value: &Value) -> Problem {
    let detail = format!("{expected} is expected, not {}", type_of(value));
    Problem::new(ProblemType::InvalidTask, detail)
}

/// What to write instead of a value that says what is meant: a list of texts, a flag in quotation marks.
fn remedy(name: &str, kind: Kind, value: &Value) -> Option<String> {
    match (name, kind, value) {
        (_, Kind::Flag, _) => Some(format!("write \"{name}\": true or \"{name}\": false")),
        ("pythonCode", _, Value::Array(_)) => Some("join the lines into one string, with \\n between them".to_owned()),
        (_, Kind::Text, Value::Array(items)) => {
            let texts: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
            let separator = if ["requirementsFile", "constraints", "stdin"].contains(&name) {
                "\n"
            } else {
                ","
            };
            let joined = texts?.join(separator);
            let written = Value::String(joined).to_string();
            (written.len() <= MAX_LIST_BYTES).then(|| format!("write it as one string: \"{name}\": {written}"))
        }
        (_, Kind::List, Value::String(_)) => Some(format!("write one string for each: \"{name}\": [\"-v\", \"file\"]")),
        (RESOURCES, _, Value::Array(_) | Value::String(_)) => Some(format!(
            "write an object: \"{name}\": {{\"cpu\": \"2\", \"memory\": \"1Gi\"}}"
        )),
        (_, Kind::Texts, Value::Array(_) | Value::String(_)) => {
            Some(format!("write an object: \"{name}\": {{\"NAME\": \"value\"}}"))
        }
        (_, Kind::Seconds, Value::String(_) | Value::Number(_)) => Some(format!("write it as \"{name}\": 60")),
        (_, _, Value::Null) if name != "pythonCode" => Some("leave the field out".to_owned()),
        _ => None,
    }
}

/// Every field is valid by itself, so one of them appears twice.
fn repeated(error: &serde_json::Error) -> Problem {
    let message_text = message(error);
    let mut named = FIELDS.iter().map(|(name, _)| *name);
    let twice = named.find(|name| message_text.contains(&format!("`{name}`")));
    let problem = Problem::new(ProblemType::InvalidTask, message_text.clone());
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
        *parse_task(body).unwrap_err()
    }

    #[test]
    fn every_field_of_a_task_has_its_kind() {
        let named: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
        assert_eq!(named, hybrid_cache_model::task::TASK_FIELDS);
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
    fn all_values_of_the_wrong_type_are_named_and_no_secret_is_repeated() {
        let body = r#"{"pythonCode": "1", "args": ["a", 5], "env": {"A": "x", "a/b": true}, "labels": ["team"],
                       "secretEnv": {"TOKEN": 271828, "B": ["hush"], "C": null}, "timeoutSeconds": 1.5}"#;
        let problem = refused(body.as_bytes());
        let places: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
        let mut expected = [
            "/args/1",
            "/env/a~1b",
            "/labels",
            "/secretEnv/B",
            "/secretEnv/TOKEN",
            "/timeoutSeconds",
        ];
        let mut named = places.clone();
        named.sort_unstable();
        expected.sort_unstable();
        assert_eq!((named.as_slice(), problem.error_count), (&expected[..], Some(6)));
        let json = problem.json();
        assert!(!json.contains("271828") && !json.contains("hush"), "{json}");
        let alone = refused(br#"{"pythonCode": "1", "env": "A=1"}"#);
        assert_eq!(alone.errors, []);
        assert!(alone.hint.unwrap().contains(r#""env": {"NAME": "value"}"#));
        assert!(parse_task(br#"{"pythonCode": "1", "timeoutSeconds": null}"#).is_ok());
    }

    #[test]
    fn resources_have_fields_of_their_own_and_every_mistake_in_them_has_its_place() {
        let problem =
            refused(br#"{"pythonCode": "1", "resources": {"cpu": 2, "gpu": "1", "disk": ["1Gi"], "memory": null}}"#);
        let mut places: Vec<_> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
        places.sort_unstable();
        assert_eq!(places, ["/resources/cpu", "/resources/disk", "/resources/gpu"]);
        let gpu = problem
            .errors
            .iter()
            .find(|error| error.pointer == "/resources/gpu")
            .unwrap();
        assert_eq!(gpu.hint.as_deref(), Some("the fields are cpu, memory and disk"));
        let text = refused(br#"{"pythonCode": "1", "resources": "1Gi"}"#);
        assert_eq!(text.pointer.as_deref(), Some("/resources"));
        assert!(text.hint.unwrap().contains(r#""resources": {"cpu": "2""#));
        let spec = parse_task(br#"{"pythonCode": "1", "resources": {"cpu": "2", "memory": null}}"#).unwrap();
        assert_eq!(spec.resources.shown(), "cpu 2");
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        let spec = parse_task(b"\xef\xbb\xbf{\"pythonCode\": \"1\"}").unwrap();
        assert_eq!(spec.python_code, "1");
    }
}
