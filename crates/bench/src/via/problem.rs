//! Problem documents and other errors of a task service, and the command's error for each of them.

use std::fmt;
use std::time::Duration;

use hybrid_cache_tools::{Error, ErrorClass};
use serde::Deserialize;

/// A problem document (RFC 9457), reduced to what a person reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Problem {
    title: String,
    /// The HTTP status.
    pub status: u16,
    detail: String,
    pointer: Option<String>,
    line: Option<usize>,
    hint: Option<String>,
    retry_after_seconds: Option<u64>,
}

impl Problem {
    /// Reads the body of an answer; a proxy in front of a service may send something else.
    pub fn read(status: u16, body: &[u8]) -> Problem {
        let read = serde_json::from_slice::<Problem>(body).ok();
        let read = read.filter(|problem| !problem.title.is_empty());
        let problem = read.unwrap_or_else(|| Problem {
            title: "the answer is no problem document".to_owned(),
            ..Problem::default()
        });
        Problem { status, ..problem }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.title)?;
        if !self.detail.is_empty() {
            write!(f, ": {}", self.detail)?;
        }
        write!(f, " (HTTP {}", self.status)?;
        if let Some(pointer) = &self.pointer {
            write!(f, ", {pointer}")?;
        }
        if let Some(line) = self.line {
            write!(f, " line {line}")?;
        }
        write!(f, ")")?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// No answer came.
    #[error(
        "the task service at {url} does not answer: {why}\n\
         hint: start it with `cargo xtask serve`, or give another address with --service-url"
    )]
    Unreachable {
        /// Address of the request.
        url: String,
        /// What happened instead.
        why: String,
    },
    /// The service requires a token, or another one.
    #[error("the task service at {url} denied access: {problem}\nhint: give its token with --token-file FILE")]
    Unauthorized {
        /// Address of the request.
        url: String,
        /// The service's problem document.
        problem: Box<Problem>,
    },
    /// The service has too much to do, or is shutting down.
    #[error("the task service at {url} is busy: {problem}\nhint: try again when it has less to do")]
    Busy {
        /// Address of the request.
        url: String,
        /// The service's problem document.
        problem: Box<Problem>,
        /// Time after which the client should try again.
        retry_after: Duration,
    },
    /// The service refuses the request.
    #[error("the task service at {url} refuses: {problem}")]
    Refused {
        /// Address of the request.
        url: String,
        /// The service's problem document.
        problem: Box<Problem>,
    },
    /// The answer does not come from a task service.
    #[error(
        "{url} is no task service of hybrid-cache: {what}\nhint: give the address that `cargo xtask serve` prints with --service-url"
    )]
    Foreign {
        /// Address of the request.
        url: String,
        /// A description of the answer.
        what: String,
    },
    /// The task does not end.
    #[error("the task service at {url} did not tell the end of task {id} within {} s\nhint: look at it with GET /api/v1/tasks/{id}", limit.as_secs())]
    Overdue {
        /// Address of the request.
        url: String,
        /// Id of the task.
        id: String,
        /// How long the client waited.
        limit: Duration,
    },
    /// The user pressed Ctrl-C.
    #[error("interrupted")]
    Stopped,
}

impl ClientError {
    /// Converts an answer with an error status.
    pub fn of(url: &str, status: u16, retry_after: Option<u64>, body: &[u8]) -> ClientError {
        let (url, mut problem) = (url.to_owned(), Box::new(Problem::read(status, body)));
        let retry_after = retry_after.or(problem.retry_after_seconds);
        match (status, retry_after) {
            (401 | 403, _) => {
                problem.hint = None;
                ClientError::Unauthorized { url, problem }
            }
            (429 | 503, seconds) => ClientError::Busy {
                url,
                problem,
                retry_after: Duration::from_secs(seconds.unwrap_or(1).clamp(1, 3600)),
            },
            // A proxy could not reach the service behind it.
            (502 | 504, _) => ClientError::Unreachable {
                url,
                why: problem.to_string(),
            },
            (300..=399, _) => ClientError::Foreign {
                url,
                what: format!("it answers with a redirection (HTTP {status})"),
            },
            _ => ClientError::Refused { url, problem },
        }
    }

    /// Converts this to an error of a command, with its exit code.
    pub fn into_error(self) -> Error {
        let told = self.to_string();
        match self {
            ClientError::Unreachable { .. } | ClientError::Busy { .. } | ClientError::Foreign { .. } => {
                Error::prerequisite(told)
            }
            ClientError::Unauthorized { .. } => Error::input(told),
            // The submitted task, or the name in the request, is not acceptable.
            ClientError::Refused { problem, .. } if [421, 422].contains(&problem.status) => Error::input(told),
            other => Error::other(ErrorClass::Failed, other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_told_in_its_own_words_with_its_place_and_its_hint() {
        let body = br#"{"title": "The task is not acceptable", "detail": "`x` is no name", "pointer": "/dependencies",
            "line": 2, "hint": "leave it out", "surprise": 1}"#;
        let error = ClientError::of("http://here", 422, None, body);
        let told = "the task service at http://here refuses: The task is not acceptable: `x` is no name \
                    (HTTP 422, /dependencies line 2)\nhint: leave it out";
        assert_eq!(error.to_string(), told);
        assert_eq!(error.into_error().class(), ErrorClass::Input);
    }

    #[test]
    fn every_refusal_has_its_class() {
        let exits = [401, 403, 429, 502, 503, 302, 500, 409].map(|status| {
            let error = ClientError::of("http://here", status, None, b"<html>").into_error();
            error.class()
        });
        let (usage, missing, failed) = (ErrorClass::Input, ErrorClass::Prerequisite, ErrorClass::Failed);
        assert_eq!(
            exits,
            [usage, usage, missing, missing, missing, missing, failed, failed]
        );
    }

    #[test]
    fn the_header_stands_above_the_document_and_a_second_is_the_least() {
        let wait = |header, body: &[u8]| match ClientError::of("u", 429, header, body) {
            ClientError::Busy { retry_after, .. } => retry_after.as_secs(),
            other => panic!("{other}"),
        };
        let body = br#"{"title": "t", "retryAfterSeconds": 5}"#;
        assert_eq!(
            [
                wait(Some(7), body),
                wait(None, body),
                wait(Some(0), body),
                wait(None, b"")
            ],
            [7, 5, 1, 1]
        );
    }
}
