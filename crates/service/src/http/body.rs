//! Reads request bodies with bounds on size, time and memory, and names the place of every mistake.

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hybrid_cache_model::TaskSpec;
use serde_json::Value;
use tokio::time::timeout;

use super::app::App;
use super::memory::{Memory, Reservation, SMALL_BYTES};
use super::rejection::Answer;
use hybrid_cache_api::{Problem, ProblemType};

/// Bytes of a body that is too large which are read and thrown away, so that its sender reads the response.
const DRAINED_BYTES: usize = 24 << 20;
/// Most characters of a name that a response repeats.
const SHOWN_CHARS: usize = 60;
const TEXT_FIELDS: &[&str] = &[
    "pythonCode",
    "dependencies",
    "requirementsFile",
    "constraints",
    "pythonVersion",
    "systemDependencies",
];
const FLAG_FIELD: &str = "useCache";

/// How many times its size a large body counts: for itself and for what is parsed from it.
const TIMES: usize = 2;

/// A body that was read completely.
pub struct ReceivedBody {
    /// Its bytes.
    pub bytes: Bytes,
    /// Its share of the memory, if it is large. Hold it as long as anything made from the body.
    pub reservation: Option<Reservation>,
}

/// Reads a body of this media type.
///
/// # Errors
/// The body has another type, is too large or too slow, or breaks off.
pub async fn read(app: &App, headers: &HeaderMap, media_type: &str, body: Body) -> Answer<ReceivedBody> {
    check_media_type(headers, media_type)?;
    let most = app.config().body_bytes;
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let within = app.config().body_timeout;
    let reading = collect(body, app.memory(), announced.unwrap_or(most).min(most), most);
    match timeout(within, reading).await {
        Ok(read) => read,
        Err(_) => {
            let detail = format!("the body was not complete after {} s", within.as_secs());
            Err(Problem::new(ProblemType::TooSlow, detail).into())
        }
    }
}

fn check_media_type(headers: &HeaderMap, expected: &str) -> Answer<()> {
    let sent = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = sent.map(|sent| sent.split(';').next().unwrap_or_default().trim());
    let detail = match essence {
        Some(essence) if essence.eq_ignore_ascii_case(expected) => return Ok(()),
        Some(essence) => format!("the Content-Type is {}", shown(essence)),
        None => "there is no Content-Type header".to_owned(),
    };
    let problem = Problem::new(ProblemType::UnsupportedMediaType, detail).parameter("Content-Type");
    Err(problem.hint(format!("send `Content-Type: {expected}`")).into())
}

/// Reads up to `most` bytes of about `expected`. If the body is not small, it waits for memory.
async fn collect(mut body: Body, memory: &Memory, expected: usize, most: usize) -> Answer<ReceivedBody> {
    let mut read = BytesMut::new();
    let mut reservation = None;
    let mut passed = 0;
    while let Some(frame) = body.frame().await {
        let broken = |_| Problem::new(ProblemType::InvalidJson, "the body breaks off");
        let Ok(data) = frame.map_err(broken)?.into_data() else {
            continue;
        };
        passed += data.len();
        if passed > SMALL_BYTES && passed <= most && reservation.is_none() {
            reservation = memory.take(expected.saturating_mul(TIMES)).await;
            read.reserve(expected.saturating_sub(read.len()));
        }
        if passed <= most {
            read.extend_from_slice(&data);
        } else if passed > DRAINED_BYTES {
            break;
        } else {
            // The bytes read so far are no longer needed.
            (read, reservation) = (BytesMut::new(), None);
        }
    }
    if passed <= most {
        let bytes = read.freeze();
        return Ok(ReceivedBody { bytes, reservation });
    }
    let problem = Problem::new(ProblemType::TooLarge, format!("the body has more than {most} bytes"));
    Err(problem
        .hint("put the bulk into a package, or let the program read it as data")
        .into())
}

/// Parses a task.
///
/// # Errors
/// The body is not UTF-8 or not JSON, or a field is missing, unknown or of the wrong type.
pub fn task(bytes: &[u8]) -> Answer<TaskSpec> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let detail = format!("the body is not UTF-8 at byte {}", error.valid_up_to());
        Problem::new(ProblemType::InvalidUtf8, detail).hint("send text as UTF-8")
    })?;
    serde_json::from_str(text).map_err(|error| explain(text, &error).into())
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
    Some(Problem::new(ProblemType::InvalidTask, detail).at(pointer(name)))
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
        task(body).unwrap_err().into_problem()
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
}
