//! Every class of problem that a client may meet, once: code, status, title and what to do.

use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::ServiceError;

/// A class of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The body is no JSON.
    InvalidJson,
    /// The body is no UTF-8.
    InvalidUtf8,
    /// A parameter of the query or a header cannot be used.
    InvalidParameter,
    /// The credentials are missing or wrong.
    Unauthorized,
    /// Another site sent the request.
    CrossSite,
    /// There is no such task.
    NotFound,
    /// There is no such path.
    UnknownRoute,
    /// The path is there, but not with this method.
    MethodNotAllowed,
    /// The task's state does not allow it.
    Conflict,
    /// The body did not come in time.
    TooSlow,
    /// The body is too large.
    TooLarge,
    /// The body is of another media type than this path takes.
    UnsupportedMediaType,
    /// The Host header names another machine.
    MisdirectedRequest,
    /// A field of the task is missing, unknown, of the wrong type or not acceptable.
    InvalidTask,
    /// The Idempotency-Key came with another body before.
    IdempotencyMismatch,
    /// As many tasks wait as may.
    QueueFull,
    /// There is too much of something.
    TooMany,
    /// A bug of the service.
    Internal,
    /// There is no room left to keep anything.
    StorageFull,
    /// The database is locked.
    StorageBusy,
    /// The database does not answer.
    Storage,
    /// The service did not answer in time.
    Timeout,
    /// The service cannot work at the moment.
    NotReady,
    /// The service is about to end.
    ShuttingDown,
}

impl Kind {
    /// All of them, by status.
    pub const ALL: [Kind; 24] = [
        Kind::InvalidJson,
        Kind::InvalidUtf8,
        Kind::InvalidParameter,
        Kind::Unauthorized,
        Kind::CrossSite,
        Kind::NotFound,
        Kind::UnknownRoute,
        Kind::MethodNotAllowed,
        Kind::TooSlow,
        Kind::Conflict,
        Kind::TooLarge,
        Kind::UnsupportedMediaType,
        Kind::MisdirectedRequest,
        Kind::InvalidTask,
        Kind::IdempotencyMismatch,
        Kind::QueueFull,
        Kind::TooMany,
        Kind::Internal,
        Kind::StorageFull,
        Kind::StorageBusy,
        Kind::Storage,
        Kind::Timeout,
        Kind::NotReady,
        Kind::ShuttingDown,
    ];

    /// Of an error of the service.
    pub fn of(error: &ServiceError) -> Kind {
        match error {
            ServiceError::Invalid(_) => Kind::InvalidTask,
            ServiceError::Parameter { .. } => Kind::InvalidParameter,
            ServiceError::NotFound => Kind::NotFound,
            ServiceError::IdempotencyMismatch => Kind::IdempotencyMismatch,
            ServiceError::Conflict { .. } => Kind::Conflict,
            ServiceError::QueueFull { .. } => Kind::QueueFull,
            ServiceError::TooMany { .. } => Kind::TooMany,
            ServiceError::StorageFull { .. } => Kind::StorageFull,
            ServiceError::StorageBusy { .. } => Kind::StorageBusy,
            ServiceError::Storage { .. } => Kind::Storage,
            ServiceError::ShuttingDown => Kind::ShuttingDown,
            ServiceError::Internal { .. } => Kind::Internal,
        }
    }

    /// The word for programs: what serde writes.
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status.
    pub fn status(self) -> StatusCode {
        self.row().status
    }

    /// A few words, the same for every problem of the class.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// When it happens and what to do about it, for the reference.
    pub fn advice(self) -> &'static str {
        self.row().advice
    }

    fn row(self) -> &'static Row {
        // A test holds the table to the order of the classes.
        &ROWS[self as usize]
    }
}

/// What is said of one class.
struct Row {
    code: &'static str,
    status: StatusCode,
    title: &'static str,
    advice: &'static str,
}

const fn row(code: &'static str, status: StatusCode, title: &'static str, advice: &'static str) -> Row {
    Row {
        code,
        status,
        title,
        advice,
    }
}

/// In the order of the classes.
const ROWS: [Row; 24] = [
    row(
        "invalid_json",
        StatusCode::BAD_REQUEST,
        "The body is not JSON",
        "`line` and `column` say where reading it stopped.",
    ),
    row(
        "invalid_utf8",
        StatusCode::BAD_REQUEST,
        "The body is not UTF-8",
        "Send text as UTF-8; other bytes cannot be part of a program's text.",
    ),
    row(
        "invalid_parameter",
        StatusCode::BAD_REQUEST,
        "A parameter cannot be used",
        "`parameter` names the parameter or header.",
    ),
    row(
        "unauthorized",
        StatusCode::UNAUTHORIZED,
        "A token is required",
        "Send `Authorization: Bearer` and the token that the operator gave you; in a browser, sign in at `/login`.",
    ),
    row(
        "cross_site",
        StatusCode::FORBIDDEN,
        "Another site sent this request",
        "A browser says that the request comes from a page of another origin. Programs send no Origin header.",
    ),
    row(
        "not_found",
        StatusCode::NOT_FOUND,
        "There is no such task",
        "Ended tasks are kept for a limited time. `GET /api/v1/tasks` lists those that are there.",
    ),
    row(
        "unknown_route",
        StatusCode::NOT_FOUND,
        "There is no such path",
        "This page lists the paths that there are.",
    ),
    row(
        "method_not_allowed",
        StatusCode::METHOD_NOT_ALLOWED,
        "The path does not take this method",
        "The Allow header names those it takes.",
    ),
    row(
        "conflict",
        StatusCode::CONFLICT,
        "The task's state does not allow this",
        "`detail` says which state it is in: read the task again and decide anew.",
    ),
    row(
        "too_slow",
        StatusCode::REQUEST_TIMEOUT,
        "The body came too slowly",
        "Send it at once; the connection is closed.",
    ),
    row(
        "too_large",
        StatusCode::PAYLOAD_TOO_LARGE,
        "The body is too large",
        "Programs are short; put the bulk into a package, or let the program read it as data.",
    ),
    row(
        "unsupported_media_type",
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The body has another media type",
        "Send `Content-Type: application/json`.",
    ),
    row(
        "misdirected_request",
        StatusCode::MISDIRECTED_REQUEST,
        "This name is not served here",
        "The Host header names a machine that this service was not told of. On its own machine it answers to localhost only, so that no foreign page can reach it by a name it controls.",
    ),
    row(
        "invalid_task",
        StatusCode::UNPROCESSABLE_ENTITY,
        "The task is not acceptable",
        "`pointer` names the field, `line` the line within its text, `hint` the next step.",
    ),
    row(
        "idempotency_mismatch",
        StatusCode::UNPROCESSABLE_ENTITY,
        "This Idempotency-Key was used for another task",
        "A key stands for one task: use a new key for a new body.",
    ),
    row(
        "queue_full",
        StatusCode::TOO_MANY_REQUESTS,
        "The queue is full",
        "Try again after as many seconds as Retry-After says.",
    ),
    row(
        "too_many",
        StatusCode::TOO_MANY_REQUESTS,
        "There is too much at one time",
        "Try again after as many seconds as Retry-After says, with fewer requests at one time.",
    ),
    row(
        "internal",
        StatusCode::INTERNAL_SERVER_ERROR,
        "The service failed",
        "A bug of ours: the operator finds it in the log under the X-Request-Id of the answer.",
    ),
    row(
        "storage_full",
        StatusCode::SERVICE_UNAVAILABLE,
        "The service's disk is full",
        "Nothing was kept. The operator must make room on the service's volume, or keep tasks for a shorter time.",
    ),
    row(
        "storage_busy",
        StatusCode::SERVICE_UNAVAILABLE,
        "The service's database is locked",
        "Another program holds it. Try again after as many seconds as Retry-After says.",
    ),
    row(
        "storage",
        StatusCode::SERVICE_UNAVAILABLE,
        "The service's database does not answer",
        "The operator finds the reason in the log under the X-Request-Id of the answer.",
    ),
    row(
        "timeout",
        StatusCode::SERVICE_UNAVAILABLE,
        "The answer took too long",
        "What was asked may have been done: ask for the task, or send the request again with the same Idempotency-Key.",
    ),
    row(
        "not_ready",
        StatusCode::SERVICE_UNAVAILABLE,
        "The service cannot work at the moment",
        "`detail` says what it lacks.",
    ),
    row(
        "shutting_down",
        StatusCode::SERVICE_UNAVAILABLE,
        "The service is about to end",
        "Try again after as many seconds as Retry-After says.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_what_serde_writes_and_nobody_shares_it() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.code());
            assert!(kind.status().is_client_error() || kind.status().is_server_error());
            assert_eq!(Kind::ALL.iter().filter(|other| other.code() == kind.code()).count(), 1);
        }
        assert_eq!(Kind::ShuttingDown as usize + 1, Kind::ALL.len());
    }
}
