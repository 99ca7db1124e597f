//! Every class of problem that a client may meet, once: code, status, title and what to do.

use serde::{Deserialize, Serialize};

/// A class of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemType {
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
    /// A newer service, or another server in front of it, answers with a class that this version does not know.
    #[serde(other)]
    Unknown,
}

impl ProblemType {
    /// All of them, by status.
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

    /// The word for programs: what serde writes.
    pub fn code(self) -> &'static str {
        self.row().code
    }

    /// The HTTP status.
    pub fn status(self) -> u16 {
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

/// What is said of one class.
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
        "A browser says that the request comes from a page of another origin. Programs send no Origin header.",
    ),
    row(
        "not_found",
        404,
        "There is no such task",
        "Ended tasks are kept for a limited time. `GET /api/v1/tasks` lists those that are there.",
    ),
    row(
        "unknown_route",
        404,
        "There is no such path",
        "This page lists the paths that there are.",
    ),
    row(
        "method_not_allowed",
        405,
        "The path does not take this method",
        "The Allow header names those it takes.",
    ),
    row(
        "conflict",
        409,
        "The task's state does not allow this",
        "`detail` says which state it is in: read the task again and decide anew.",
    ),
    row(
        "too_slow",
        408,
        "The body came too slowly",
        "Send it at once; the connection is closed.",
    ),
    row(
        "too_large",
        413,
        "The body is too large",
        "Programs are short; put the bulk into a package, or let the program read it as data.",
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
        "The Host header names a machine that this service was not told of. On its own machine it answers to localhost only, so that no foreign page can reach it by a name it controls.",
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
        "A key stands for one task: use a new key for a new body.",
    ),
    row(
        "queue_full",
        429,
        "The queue is full",
        "Try again after as many seconds as Retry-After says.",
    ),
    row(
        "too_many",
        429,
        "There is too much at one time",
        "Try again after as many seconds as Retry-After says, with fewer requests at one time.",
    ),
    row(
        "internal",
        500,
        "The service failed",
        "A bug of ours: the operator finds it in the log under the X-Request-Id of the answer.",
    ),
    row(
        "storage_full",
        503,
        "The service's disk is full",
        "Nothing was kept. The operator must make room on the service's volume, or keep tasks for a shorter time.",
    ),
    row(
        "storage_busy",
        503,
        "The service's database is locked",
        "Another program holds it. Try again after as many seconds as Retry-After says.",
    ),
    row(
        "storage",
        503,
        "The service's database does not answer",
        "The operator finds the reason in the log under the X-Request-Id of the answer.",
    ),
    row(
        "timeout",
        503,
        "The answer took too long",
        "What was asked may have been done: ask for the task, or send the request again with the same Idempotency-Key.",
    ),
    row(
        "not_ready",
        503,
        "The service cannot work at the moment",
        "`detail` says what it lacks.",
    ),
    row(
        "shutting_down",
        503,
        "The service is about to end",
        "Try again after as many seconds as Retry-After says.",
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
