//! Turns errors into problem documents with the headers that belong to them.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hybrid_cache_api::{FieldErrors, Problem, ProblemType};
use hybrid_cache_model::task_error::TaskErrorGroup;

use crate::error::ServiceError;

/// What handlers return.
pub type Answer<T> = Result<T, Rejection>;

/// A refused request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection(Box<Problem>);

impl Rejection {
    /// The problem document.
    pub fn problem(&self) -> &Problem {
        &self.0
    }

    /// The problem document, to be changed.
    pub fn into_problem(self) -> Problem {
        *self.0
    }
}

impl From<Problem> for Rejection {
    fn from(problem: Problem) -> Rejection {
        Rejection(Box::new(problem))
    }
}

impl From<Box<Problem>> for Rejection {
    fn from(problem: Box<Problem>) -> Rejection {
        Rejection(problem)
    }
}

/// The class of an error of the service.
fn problem_type(error: &ServiceError) -> ProblemType {
    match error {
        ServiceError::Invalid(_) => ProblemType::InvalidTask,
        ServiceError::Parameter { .. } => ProblemType::InvalidParameter,
        ServiceError::NotFound => ProblemType::NotFound,
        ServiceError::IdempotencyMismatch => ProblemType::IdempotencyMismatch,
        ServiceError::Conflict { .. } => ProblemType::Conflict,
        ServiceError::QueueFull { .. } => ProblemType::QueueFull,
        ServiceError::TooMany { .. } => ProblemType::TooMany,
        ServiceError::StorageFull { .. } => ProblemType::StorageFull,
        ServiceError::StorageBusy { .. } => ProblemType::StorageBusy,
        ServiceError::Storage { .. } => ProblemType::Storage,
        ServiceError::ShuttingDown => ProblemType::ShuttingDown,
        ServiceError::Internal { .. } => ProblemType::Internal,
    }
}

impl From<ServiceError> for Rejection {
    fn from(error: ServiceError) -> Rejection {
        let kind = problem_type(&error);
        let message = match &error {
            // Messages of the disk and the database go to the operator's log only: they may hold paths.
            ServiceError::Storage { .. } => "the database does not answer".to_owned(),
            ServiceError::StorageFull { .. } => "there is no room left on the disk".to_owned(),
            ServiceError::StorageBusy { .. } => "the database is locked".to_owned(),
            ServiceError::Internal { .. } => "something went wrong in the service".to_owned(),
            ServiceError::Parameter { message, .. } => message.clone(),
            ServiceError::Invalid(errors) => errors.first().message.clone(),
            other => other.to_string(),
        };
        let (detail, hint) = match message.split_once("\nhint: ") {
            Some((detail, hint)) => (detail.to_owned(), Some(hint.to_owned())),
            None => (message, None),
        };
        let mut problem = Problem::new(kind, detail);
        problem.hint = hint;
        problem.pointer = error.pointer().map(str::to_owned);
        problem.retry_after_seconds = error.retry_after().map(|after| after.as_secs().max(1));
        match error {
            ServiceError::Parameter { name, .. } => problem.parameter = Some(name.to_owned()),
            ServiceError::Invalid(errors) => {
                let first = errors.first();
                problem.line = first.line;
                problem.hint.clone_from(&first.hint);
                problem.errors = errors.groups().map(field_errors).collect();
                problem.error_count = Some(errors.total());
            }
            ServiceError::Storage { message } | ServiceError::StorageFull { message } => {
                tracing::error!(%message, "the store does not answer");
            }
            ServiceError::StorageBusy { message } => tracing::warn!(%message, "the store is locked"),
            ServiceError::Internal { message } => tracing::error!(%message, "internal error"),
            _ => {}
        }
        problem.into()
    }
}

fn field_errors(group: &TaskErrorGroup) -> FieldErrors {
    let first = &group.first;
    FieldErrors {
        pointer: first.pointer.to_owned(),
        line: first.line,
        detail: first.message.clone(),
        hint: first.hint.clone(),
        count: group.count,
        more_lines: group.more_lines.clone(),
    }
}

/// The status of a problem's class.
pub fn status(kind: ProblemType) -> StatusCode {
    // A test holds every class to a valid status.
    StatusCode::from_u16(kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The response without its body. The middleware writes that, because only it knows the path and whether a program or a
/// person asks.
impl IntoResponse for Rejection {
    fn into_response(self) -> Response {
        let problem = self.into_problem();
        let mut response = status(problem.code).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = problem.retry_after_seconds {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        match problem.code {
            ProblemType::Unauthorized => {
                let scheme = HeaderValue::from_static("Bearer realm=\"hybrid-cache\"");
                headers.insert(header::WWW_AUTHENTICATE, scheme);
            }
            // The rest of the body is not read, so the connection cannot be used again.
            ProblemType::TooLarge | ProblemType::TooSlow => {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            _ => {}
        }
        response.extensions_mut().insert(problem);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hybrid_cache_model::TaskSpec;

    use super::*;

    #[test]
    fn a_refused_task_names_its_field_its_line_and_the_next_step() {
        let spec = TaskSpec {
            requirements_file: "numpy\n--index-url=x\n-e .\n-e ./b".into(),
            ..TaskSpec::new("1")
        };
        let problem = Rejection::from(ServiceError::Invalid(spec.check().unwrap_err())).into_problem();
        assert_eq!(status(problem.code), StatusCode::UNPROCESSABLE_ENTITY);
        assert_eq!(problem.pointer.as_deref(), Some("/requirementsFile"));
        assert_eq!(problem.line, Some(2));
        assert!(problem.hint.is_some());
        assert_eq!((problem.errors.len(), problem.error_count), (2, Some(3)));
        let editable = &problem.errors[1];
        assert_eq!(
            (editable.line, editable.count, &editable.more_lines),
            (Some(3), 2, &vec![4])
        );
        let json: serde_json::Value = serde_json::from_str(&problem.json()).unwrap();
        assert_eq!(json["type"], "/docs#invalid_task");
        assert_eq!(json["code"], "invalid_task");
    }

    #[test]
    fn messages_of_the_disk_stay_in_the_log() {
        let problem = Rejection::from(ServiceError::StorageFull {
            message: "/var/lib/secret: no space".into(),
        })
        .into_problem();
        assert_eq!(status(problem.code), StatusCode::SERVICE_UNAVAILABLE);
        assert!(!problem.json().contains("secret"));
    }

    #[test]
    fn every_class_has_a_valid_status() {
        for kind in ProblemType::ALL {
            assert_eq!(status(kind).as_u16(), kind.status());
        }
    }

    #[test]
    fn every_429_and_503_of_the_service_carries_retry_after() {
        let message = || String::from("x");
        let retry_after = Duration::from_secs(7);
        let errors = [
            ServiceError::QueueFull {
                waiting: 1,
                retry_after,
            },
            ServiceError::TooMany {
                message: message(),
                retry_after,
            },
            ServiceError::StorageFull { message: message() },
            ServiceError::StorageBusy { message: message() },
            ServiceError::Storage { message: message() },
            ServiceError::ShuttingDown,
            ServiceError::NotFound,
            ServiceError::Internal { message: message() },
        ];
        for error in errors {
            let response = Rejection::from(error).into_response();
            let busy = [429, 503].contains(&response.status().as_u16());
            assert_eq!(
                response.headers().contains_key(header::RETRY_AFTER),
                busy,
                "{response:?}"
            );
        }
    }
}
