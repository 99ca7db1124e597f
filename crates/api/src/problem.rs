//! Problem documents (RFC 9457): the form of every error.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::problem_type::ProblemType;

/// The media type of a problem document.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// A problem document (RFC 9457), with what a program or a person needs to correct the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// Where this class of problem is explained, relative to the service's address.
    #[serde(rename = "type")]
    #[cfg_attr(feature = "openapi", schema(example = "/docs#invalid_task"))]
    pub kind: String,
    /// The class in a few words; the same for every problem of the class.
    pub title: String,
    /// The HTTP status.
    #[cfg_attr(feature = "openapi", schema(minimum = 400, maximum = 599))]
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// The requested path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// The class, for programs. It never changes.
    pub code: ProblemType,
    /// The field of the body at fault, as a JSON pointer (RFC 6901).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(example = "/dependencies"))]
    pub pointer: Option<String>,
    /// The parameter of the path or the query, or the header, at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<String>,
    /// The line, from 1: of the field's text if there is a pointer, of the body otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column of the body, in bytes from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What is wrong with the task: each remedy once, at most ten. The first is also at the top level.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldErrors>,
    /// How many faults the task has, with those that `errors` does not show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_count: Option<usize>,
    /// Seconds to wait before trying again; the Retry-After header has the same value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

/// Faults of one field of a task that have the same remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct FieldErrors {
    /// The field, as a JSON pointer (RFC 6901).
    #[cfg_attr(feature = "openapi", schema(example = "/requirementsFile"))]
    pub pointer: String,
    /// The line of the first one, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What is wrong with the first one.
    pub detail: String,
    /// What to do next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// How many there are.
    pub count: usize,
    /// The lines of the others, at most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_lines: Vec<usize>,
}

impl Problem {
    /// A problem of a class; `detail` says what is wrong, in lower case.
    pub fn new(kind: ProblemType, detail: impl Into<String>) -> Problem {
        Problem {
            kind: format!("/docs#{}", kind.code()),
            title: kind.title().to_owned(),
            status: kind.status(),
            detail: detail.into(),
            instance: None,
            code: kind,
            pointer: None,
            parameter: None,
            line: None,
            column: None,
            hint: None,
            errors: Vec::new(),
            error_count: None,
            retry_after_seconds: None,
        }
    }

    /// Reads the body of a response of this status. A proxy in front of the service may answer with something else, which
    /// gives a problem of [`ProblemType::Unknown`].
    pub fn read(status: u16, body: &[u8]) -> Problem {
        let read = serde_json::from_slice::<Problem>(body).unwrap_or_else(|_| Problem {
            kind: "about:blank".to_owned(),
            title: "the response is not a problem document".to_owned(),
            ..Problem::new(ProblemType::Unknown, "")
        });
        Problem { status, ..read }
    }

    /// The same problem with a hint.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Problem {
        Problem {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The same problem with the field at fault, as a JSON pointer.
    #[must_use]
    pub fn at(self, pointer: impl Into<String>) -> Problem {
        Problem {
            pointer: Some(pointer.into()),
            ..self
        }
    }

    /// The same problem with the parameter or header at fault.
    #[must_use]
    pub fn parameter(self, name: impl Into<String>) -> Problem {
        Problem {
            parameter: Some(name.into()),
            ..self
        }
    }

    /// The same problem with the seconds to wait before trying again, at least 1.
    #[must_use]
    pub fn retry_after(self, seconds: u64) -> Problem {
        Problem {
            retry_after_seconds: Some(seconds.max(1)),
            ..self
        }
    }

    /// Title, detail, status and place on one line, without the hint.
    pub fn summary(&self) -> String {
        let detail = match self.detail.as_str() {
            "" => String::new(),
            detail => format!(": {detail}"),
        };
        let place = self.pointer.as_ref().or(self.parameter.as_ref());
        let place = place.map(|place| format!(", {place}")).unwrap_or_default();
        let line = self.line.map(|line| format!(" line {line}")).unwrap_or_default();
        format!("{}{detail} (HTTP {}{place}{line})", self.title, self.status)
    }

    /// The document as JSON.
    pub fn json(&self) -> String {
        // A struct of strings and numbers always serialises; if it did not, the status would say enough.
        serde_json::to_string(self).unwrap_or_else(|_| format!("{{\"status\":{}}}", self.status))
    }
}

/// The summary on one line; the hint on a second one.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_survives_the_wire_and_shows_its_place_and_its_hint() {
        let problem = Problem {
            line: Some(2),
            ..Problem::new(ProblemType::InvalidTask, "`x` is not a name")
        };
        let problem = problem.at("/dependencies").hint("leave it out").retry_after(0);
        let read = Problem::read(422, problem.json().as_bytes());
        assert_eq!(read, problem);
        assert_eq!(read.retry_after_seconds, Some(1));
        let shown =
            "The task is not acceptable: `x` is not a name (HTTP 422, /dependencies line 2)\nhint: leave it out";
        assert_eq!(read.to_string(), shown);
    }

    #[test]
    fn a_document_of_a_newer_service_and_an_answer_of_a_proxy_are_read() {
        let newer =
            br#"{"type": "/docs#new", "title": "t", "status": 418, "detail": "d", "code": "new", "surprise": 1}"#;
        let read = Problem::read(418, newer);
        assert_eq!((read.code, read.detail.as_str()), (ProblemType::Unknown, "d"));
        let proxy = Problem::read(502, b"<html>");
        assert_eq!(proxy.to_string(), "the response is not a problem document (HTTP 502)");
    }
}
