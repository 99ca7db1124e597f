//! Every class of problem with its code, status, title and advice.

use serde::{Deserialize, Serialize};

/// A class of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemType {
    /// The body is not JSON.
    InvalidJson,
    /// The body is not UTF-8.
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
    /// The path does not support this method.
    MethodNotAllowed,
    /// The task's state does not allow it.
    Conflict,
    /// The body did not arrive in time.
    TooSlow,
    /// The body is too large.
    TooLarge,
    /// This path accepts another media type.
    UnsupportedMediaType,
    /// The Host header names another machine.
    MisdirectedRequest,
    /// A field of the task is missing, unknown, of the wrong type or not acceptable.
    InvalidTask,
    /// The Idempotency-Key was used with another body before.
    IdempotencyMismatch,
    /// The queue is full.
    QueueFull,
    /// There is too much of something.
    TooMany,
    /// A bug of the service.
    Internal,
    /// The disk is full.
    StorageFull,
    /// The database is locked.
    StorageBusy,
    /// The database does not answer.
    Storage,
    /// The service did not answer in time.
    Timeout,
    /// The service cannot accept tasks at the moment.
    NotReady,
    /// The service is shutting down.
    ShuttingDown,
    /// A newer service, or another server in front of it, answers with a class that this version does not know.
    #[serde(other)]
    Unknown,
}

impl ProblemType {
    /// All that this version knows, by status.
    pub const ALL: [ProblemType; 24] = [
        ProblemType::InvalidJson,
        ProblemType::InvalidUtf8,
        ProblemType::InvalidParameter,
        ProblemType::Unauthorized,
        ProblemType::CrossSite,
        ProblemType::NotFound,
        ProblemType::UnknownRoute,
        ProblemType::MethodNotAllowed,
        ProblemType::TooSlow,
        ProblemType::Conflict,
        ProblemType::TooLarge,
        ProblemType::UnsupportedMediaType,
        ProblemType::MisdirectedRequest,
        ProblemType::InvalidTask,
        ProblemType::IdempotencyMismatch,
        ProblemType::QueueFull,
        ProblemType::TooMany,
        ProblemType::Internal,
        ProblemType::StorageFull,
        ProblemType::StorageBusy,
        ProblemType::Storage,
        ProblemType::Timeout,
        ProblemType::NotReady,
        ProblemType::ShuttingDown,
    ];

    /// The word for programs, as serde writes it.
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
        self.row().status
    }

    /// A few words that are the same for every problem of the class.
    pub fn title(self) -> &'static str {
        self.row().title
    }

    /// When it happens and what to do, for the reference.
    pub fn advice(self) -> &'static str {
        self.row().advice
    }

    fn row(self) -> &'static Row {
        // A test holds the table to the order of the classes.
        &ROWS[self as usize]
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for ProblemType {
    fn name() -> std::borrow::Cow<'static, str> {
        "Kind".into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for ProblemType {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        let mut types = ProblemType::ALL;
        types.sort_by_key(|kind| *kind as usize);
        crate::schema::words("A class of problem.", &types).into()
    }
}

/// The texts of one class.
struct Row {
    code: &'static str,
    status: u16,
    title: &'static str,
    advice: &'static str,
}

const fn row(code: &'static str, status: u16, title: &'static str, advice: &'static str) -> Row {
    Row {
        code,
        status,
        title,
        advice,
    }
}

/// In the order of the classes.
const ROWS: [Row; 25] = [
    row(
        "invalid_json",
        400,
        "The body is not JSON",
        "`line` and `column` say where reading it stopped.",
    ),
    row(
        "invalid_utf8",
        400,
        "The body is not UTF-8",
        "Send text as UTF-8; other bytes cannot be part of a program's text.",
    ),
    row(
        "invalid_parameter",
        400,
        "A parameter cannot be used",
        "`parameter` names the parameter or header.",
    ),
    row(
        "unauthorized",
        401,
        "A token is required",
        "Send `Authorization: Bearer` and the token that the operator gave you; in a browser, sign in at `/login`.",
    ),
    row(
        "cross_site",
        403,
        "Another site sent this request",
        "The browser reports that the request comes from a page of another site. Programs send no Origin header.",
    ),
    row(
        "not_found",
        404,
        "There is no such task",
        "Ended tasks are deleted after some time. `GET /api/v1/tasks` lists all tasks.",
    ),
    row(
        "unknown_route",
        404,
        "There is no such path",
        "`/docs` lists all paths.",
    ),
    row(
        "method_not_allowed",
        405,
        "The path does not support this method",
        "The Allow header lists the supported methods.",
    ),
    row(
        "conflict",
        409,
        "The task's state does not allow this",
        "`detail` names its state. Read the task again, then decide what to do.",
    ),
    row(
        "too_slow",
        408,
        "The body arrived too slowly",
        "Send the body faster. The connection is closed.",
    ),
    row(
        "too_large",
        413,
        "The body is too large",
        "Put large parts of the program into a package, or let the program read them as data.",
    ),
    row(
        "unsupported_media_type",
        415,
        "The body has another media type",
        "Send `Content-Type: application/json`.",
    ),
    row(
        "misdirected_request",
        421,
        "This name is not served here",
        "The Host header is not one of the service's names. Without tokens the service accepts only localhost, so that no page of another site can reach it by a name of its own.",
    ),
    row(
        "invalid_task",
        422,
        "The task is not acceptable",
        "`pointer` names the field, `line` the line within its text, `hint` the next step.",
    ),
    row(
        "idempotency_mismatch",
        422,
        "This Idempotency-Key was used for another task",
        "A key belongs to one task. Use a new key for a new body.",
    ),
    row(
        "queue_full",
        429,
        "The queue is full",
        "Try again after the seconds in Retry-After.",
    ),
    row(
        "too_many",
        429,
        "There is too much at the same time",
        "Send fewer requests at the same time, and try again after the seconds in Retry-After.",
    ),
    row(
        "internal",
        500,
        "The service failed",
        "This is a bug. The operator finds it in the log under the response's X-Request-Id.",
    ),
    row(
        "storage_full",
        503,
        "The service's disk is full",
        "Nothing was stored. The operator must free space on the service's volume, or keep tasks for a shorter time.",
    ),
    row(
        "storage_busy",
        503,
        "The service's database is locked",
        "Another program holds it. Try again after the seconds in Retry-After.",
    ),
    row(
        "storage",
        503,
        "The service's database does not answer",
        "The operator finds the reason in the log under the response's X-Request-Id.",
    ),
    row(
        "timeout",
        503,
        "The response took too long",
        "The request may have succeeded. Read the task, or send the request again with the same Idempotency-Key.",
    ),
    row(
        "not_ready",
        503,
        "The service cannot accept tasks at the moment",
        "`detail` gives the reason.",
    ),
    row(
        "shutting_down",
        503,
        "The service is shutting down",
        "Try again after the seconds in Retry-After.",
    ),
    row(
        "unknown",
        500,
        "The problem is of an unknown class",
        "`status` and `detail` say what happened.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_what_serde_writes_and_nobody_shares_it() {
        for kind in ProblemType::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.code());
            assert!((400..600).contains(&kind.status()));
            assert_eq!(
                ProblemType::ALL
                    .iter()
                    .filter(|other| other.code() == kind.code())
                    .count(),
                1
            );
        }
        assert_eq!(ProblemType::Unknown as usize, ProblemType::ALL.len());
        assert_eq!(
            serde_json::from_str::<ProblemType>("\"coffee\"").unwrap(),
            ProblemType::Unknown
        );
    }
}
