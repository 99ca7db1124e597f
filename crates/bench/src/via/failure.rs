//! Why a measurement through the service failed, as the error of a command: its class, and a hint that names the command's flags.

use std::time::Duration;

use hybrid_cache_api::{ClientError, ConfigError, TaskId};
use hybrid_cache_tools::Error;

/// Why a task through the service was not measured.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TaskError {
    /// A request failed.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The task does not come to an end.
    #[error(
        "the task service at {url} did not report the end of task {id} within {} s\nhint: look at it with GET /api/v1/tasks/{id}",
        limit.as_secs()
    )]
    Overdue {
        /// The service's address.
        url: String,
        /// The task.
        id: TaskId,
        /// How long the measurement waited.
        limit: Duration,
    },
    /// The measurement was asked to stop.
    #[error("interrupted")]
    Stopped,
}

impl TaskError {
    /// The same as an error of a command.
    pub fn into_error(self) -> Error {
        match self {
            TaskError::Client(error) => client_error(&error),
            other => Error::failed(other.to_string()),
        }
    }
}

/// A failed request as an error of a command.
pub fn client_error(error: &ClientError) -> Error {
    let hint = match error {
        ClientError::Unreachable { .. } => {
            Some("start it with `cargo xtask serve`, or give another address with --service-url")
        }
        ClientError::Unauthorized { .. } => Some("give its token with --token-file FILE"),
        ClientError::Foreign { .. } => Some("give the address that `cargo xtask serve` prints with --service-url"),
        ClientError::Busy { .. } | ClientError::Refused { .. } => None,
    };
    let own_words = || error.to_string();
    let text = hint.map_or_else(own_words, |hint| format!("{}\nhint: {hint}", error.message()));
    match error {
        ClientError::Unreachable { .. } | ClientError::Busy { .. } | ClientError::Foreign { .. } => {
            Error::prerequisite(text)
        }
        ClientError::Unauthorized { .. } => Error::input(text),
        // The submitted task, or the Host header, is not acceptable.
        ClientError::Refused { problem, .. } if [421, 422].contains(&problem.status) => Error::input(text),
        ClientError::Refused { .. } => Error::failed(text),
    }
}

/// An unusable address or token as an error of a command, with the flag that gave it.
pub fn config_error(error: &ConfigError) -> Error {
    let flag = match error {
        ConfigError::Address { .. } => "--service-url",
        ConfigError::Token | ConfigError::TokenFile { .. } => "--token-file",
    };
    Error::input(format!("{flag}: {error}"))
}

#[cfg(test)]
mod tests {
    use hybrid_cache_api::{Problem, ProblemType};
    use hybrid_cache_tools::ErrorClass;

    use super::*;

    fn refused(problem: Problem) -> ClientError {
        ClientError::Refused {
            url: "http://here".to_owned(),
            problem: Box::new(problem),
        }
    }

    #[test]
    fn a_refusal_keeps_the_services_own_words_and_hint() {
        let problem = Problem::new(ProblemType::InvalidTask, "`x` is not a name").at("/dependencies");
        let error = client_error(&refused(problem.hint("leave it out")));
        let text = "the task service at http://here refused the request: The task is not acceptable: `x` is not a name \
                    (HTTP 422, /dependencies)\nhint: leave it out";
        assert_eq!((error.to_string().as_str(), error.class()), (text, ErrorClass::Input));
    }

    #[test]
    fn every_error_has_its_class_and_a_hint_that_names_the_flag() {
        let url = || "http://here".to_owned();
        let problem = |kind| Box::new(Problem::new(kind, "d").hint("ask the operator"));
        let error = |error: ClientError| {
            let error = client_error(&error);
            (error.class(), error.to_string())
        };
        let (class, text) = error(ClientError::Unauthorized {
            url: url(),
            problem: problem(ProblemType::Unauthorized),
        });
        assert_eq!(class, ErrorClass::Input);
        assert!(
            text.ends_with("(HTTP 401)\nhint: give its token with --token-file FILE"),
            "{text}"
        );
        let reason = "r".to_owned();
        for failure in [
            ClientError::Unreachable {
                url: url(),
                reason: reason.clone(),
            },
            ClientError::Foreign { url: url(), reason },
        ] {
            let (class, text) = error(failure);
            assert_eq!(class, ErrorClass::Prerequisite, "{text}");
            assert!(text.contains("hint: ") && text.contains("--service-url"), "{text}");
        }
        let (class, _) = error(ClientError::Busy {
            url: url(),
            problem: problem(ProblemType::QueueFull),
            retry_after: Duration::from_secs(1),
        });
        assert_eq!(class, ErrorClass::Prerequisite);
        let conflict = refused(Problem::new(ProblemType::Conflict, "d"));
        assert_eq!(client_error(&conflict).class(), ErrorClass::Failed);
    }
}
