//! Why a client cannot be made, and why a request failed.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::problem::Problem;

/// Longest wait that [`ClientError::Busy`] asks for.
const MAX_RETRY_AFTER_S: u64 = 3600;

/// Why a client cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The address cannot be used. The message does not repeat it: it may hold a password.
    #[error(
        "the service's address cannot be used: {reason}\nhint: give scheme, host and port, such as http://localhost:8000"
    )]
    Address {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The token cannot be used.
    #[error("a token is one line of visible ASCII characters")]
    Token,
    /// The token file cannot be used.
    #[error("the token file {} cannot be used: {reason}", file.display())]
    TokenFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Why a request failed. It is shown as its [message](ClientError::message) and a line with its [hint](ClientError::hint).
#[derive(Clone, Debug)]
pub enum ClientError {
    /// There is no response, or it broke off.
    Unreachable {
        /// The service's address.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// The service requires a token, or another one.
    Unauthorized {
        /// The service's address.
        url: String,
        /// The response.
        problem: Box<Problem>,
    },
    /// The service has too much to do, shuts down, or cannot write.
    Busy {
        /// The service's address.
        url: String,
        /// The response.
        problem: Box<Problem>,
        /// When to try again: 1 s to 1 h.
        retry_after: Duration,
    },
    /// The service refuses the request, or failed.
    Refused {
        /// The service's address.
        url: String,
        /// The response.
        problem: Box<Problem>,
    },
    /// The response is not one of a task service.
    Foreign {
        /// The service's address.
        url: String,
        /// What it is instead.
        reason: String,
    },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())?;
        match self.hint() {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ClientError {}

impl ClientError {
    /// The error of a response with a status other than 2xx. The Retry-After header takes precedence over the document.
    pub(crate) fn from_response(url: &str, status: u16, retry_after_s: Option<u64>, body: &[u8]) -> ClientError {
        let (url, problem) = (url.to_owned(), Box::new(Problem::read(status, body)));
        match status {
            401 | 403 => ClientError::Unauthorized { url, problem },
            429 | 503 => {
                let seconds = retry_after_s.or(problem.retry_after_seconds).unwrap_or(1);
                ClientError::Busy {
                    url,
                    problem,
                    retry_after: Duration::from_secs(seconds.clamp(1, MAX_RETRY_AFTER_S)),
                }
            }
            // A proxy without a service behind it.
            502 | 504 => ClientError::Unreachable {
                url,
                reason: problem.summary(),
            },
            300..=399 => ClientError::Foreign {
                url,
                reason: format!("it answers with a redirection (HTTP {status})"),
            },
            _ => ClientError::Refused { url, problem },
        }
    }

    /// What failed, on one line.
    pub fn message(&self) -> String {
        match self {
            ClientError::Unreachable { url, reason } => format!("the task service at {url} does not answer: {reason}"),
            ClientError::Unauthorized { url, problem } => {
                format!("the task service at {url} denied access: {}", problem.summary())
            }
            ClientError::Busy { url, problem, .. } => {
                format!("the task service at {url} is busy: {}", problem.summary())
            }
            ClientError::Refused { url, problem } => {
                format!("the task service at {url} refused the request: {}", problem.summary())
            }
            ClientError::Foreign { url, reason } => format!("{url} is not a task service of hybrid-cache: {reason}"),
        }
    }

    /// What to do next. `None` for a refusal without a hint. A program that knows how its user chose the address and the
    /// token can give advice of its own with [`ClientError::message`] instead.
    pub fn hint(&self) -> Option<String> {
        match self {
            ClientError::Unreachable { .. } => Some("check that it runs, and its address".to_owned()),
            ClientError::Unauthorized { .. } => Some("give the token that its operator has".to_owned()),
            ClientError::Busy {
                problem, retry_after, ..
            } => {
                let wait = || format!("try again in {} s", retry_after.as_secs());
                Some(problem.hint.clone().unwrap_or_else(wait))
            }
            ClientError::Refused { problem, .. } => problem.hint.clone(),
            ClientError::Foreign { .. } => Some("check the address".to_owned()),
        }
    }

    /// The service's own words, if it answered.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            ClientError::Unauthorized { problem, .. }
            | ClientError::Busy { problem, .. }
            | ClientError::Refused { problem, .. } => Some(problem),
            ClientError::Unreachable { .. } | ClientError::Foreign { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_carries_the_problem_document() {
        let body = br#"{"type": "/docs#invalid_task", "title": "The task is not acceptable", "status": 422, "code": "invalid_task",
            "detail": "`x` is not a name", "pointer": "/dependencies", "line": 2, "hint": "leave it out", "surprise": 1}"#;
        let error = ClientError::from_response("http://here", 422, None, body);
        let message = "the task service at http://here refused the request: The task is not acceptable: `x` is not a name \
                       (HTTP 422, /dependencies line 2)\nhint: leave it out";
        assert_eq!(error.to_string(), message);
        assert_eq!(error.problem().unwrap().pointer.as_deref(), Some("/dependencies"));
    }

    #[test]
    fn every_status_has_its_error() {
        let kinds = [401, 403, 429, 502, 503, 504, 302, 500, 409].map(|status| {
            match ClientError::from_response("http://here", status, None, b"<html>") {
                ClientError::Unauthorized { .. } => "unauthorized",
                ClientError::Busy { .. } => "busy",
                ClientError::Unreachable { .. } => "unreachable",
                ClientError::Foreign { .. } => "foreign",
                ClientError::Refused { .. } => "refused",
            }
        });
        let expected = "unauthorized unauthorized busy unreachable busy unreachable foreign refused refused";
        assert_eq!(kinds.join(" "), expected);
    }

    #[test]
    fn an_error_has_a_message_of_one_line_and_at_most_one_hint() {
        let document = Problem::new(crate::ProblemType::Unauthorized, "no header").hint("ask the operator");
        for status in [401, 429, 502, 302, 500] {
            for body in [document.json().as_bytes(), b"<html>"] {
                let error = ClientError::from_response("http://here", status, None, body);
                assert_eq!(error.message().lines().count(), 1, "{error}");
                let hint = error.hint().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
                assert_eq!(error.to_string(), format!("{}{hint}", error.message()));
                assert!(error.to_string().matches("hint: ").count() <= 1, "{error}");
            }
        }
        let busy = ClientError::from_response("u", 429, Some(7), b"");
        assert_eq!(busy.hint().as_deref(), Some("try again in 7 s"));
    }

    #[test]
    fn the_retry_after_header_takes_precedence_and_one_second_is_the_least() {
        let wait = |header, body: &[u8]| match ClientError::from_response("u", 429, header, body) {
            ClientError::Busy { retry_after, .. } => retry_after.as_secs(),
            other => panic!("{other}"),
        };
        let body = Problem::new(crate::ProblemType::QueueFull, "d").retry_after(5).json();
        let body = body.as_bytes();
        let waits = [
            wait(Some(7), body),
            wait(None, body),
            wait(Some(0), body),
            wait(None, b""),
            wait(Some(u64::MAX), b""),
        ];
        assert_eq!(waits, [7, 5, 1, 1, 3600]);
    }
}
