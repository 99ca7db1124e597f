//! What can go wrong, with stable codes for programs and the next step for people.

use hybrid_cache_api::StateName;
use std::path::PathBuf;
use std::time::Duration;

use hybrid_cache_model::TaskError;

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The task's text is not acceptable.
    #[error(transparent)]
    Invalid(#[from] TaskError),
    /// A parameter other than the task's text is not acceptable.
    #[error("{name}: {message}")]
    Parameter {
        /// Its name, as the client wrote it.
        name: &'static str,
        /// What is wrong with it, in lower case.
        message: String,
    },
    /// There is no such task, or there is no more.
    #[error("there is no task of this id\nhint: ended tasks are kept for a limited time")]
    NotFound,
    /// The same Idempotency-Key came with another body.
    #[error("this Idempotency-Key came with another body before\nhint: use a new key for a new task")]
    IdempotencyMismatch,
    /// The task's state does not allow it.
    #[error("{message}")]
    Conflict {
        /// The task's state.
        state: StateName,
        /// What was asked and why it cannot be, in lower case.
        message: String,
    },
    /// As many tasks wait as may.
    #[error("{waiting} tasks wait already, no more are taken\nhint: try again in {} s", .retry_after.as_secs())]
    QueueFull {
        /// Tasks in the queue.
        waiting: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// As many tasks are kept without having ended as may be, or requests come faster than they can be kept.
    #[error("{message}\nhint: try again in {} s", .retry_after.as_secs())]
    TooMany {
        /// What there is too much of, in lower case.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// There is no room left for the database or for output.
    #[error(
        "there is no room left to keep anything: {message}\nhint: make room on the service's volume, or keep tasks for a shorter time"
    )]
    StorageFull {
        /// The system's answer.
        message: String,
    },
    /// Another process holds the database.
    #[error("the database is locked by another process: {message}\nhint: end what else uses the service's folder")]
    StorageBusy {
        /// The system's answer.
        message: String,
    },
    /// The database cannot be read or written.
    #[error("the database does not answer: {message}")]
    Storage {
        /// The system's answer.
        message: String,
    },
    /// The service is about to end.
    #[error("the service is shutting down\nhint: try again in a few seconds")]
    ShuttingDown,
    /// A bug of ours.
    #[error("internal error: {message}")]
    Internal {
        /// What did not hold.
        message: String,
    },
}

impl ServiceError {
    /// The class, for programs. It never changes.
    pub fn code(&self) -> &'static str {
        match self {
            ServiceError::Invalid(_) => "invalid_task",
            ServiceError::Parameter { .. } => "invalid_parameter",
            ServiceError::NotFound => "not_found",
            ServiceError::IdempotencyMismatch => "idempotency_mismatch",
            ServiceError::Conflict { .. } => "conflict",
            ServiceError::QueueFull { .. } => "queue_full",
            ServiceError::TooMany { .. } => "too_many",
            ServiceError::StorageFull { .. } => "storage_full",
            ServiceError::StorageBusy { .. } => "storage_busy",
            ServiceError::Storage { .. } => "storage",
            ServiceError::ShuttingDown => "shutting_down",
            ServiceError::Internal { .. } => "internal",
        }
    }

    /// The field of the body that is meant, as a JSON pointer.
    pub fn pointer(&self) -> Option<&'static str> {
        match self {
            ServiceError::Invalid(error) => Some(error.pointer),
            _ => None,
        }
    }

    /// When trying again makes sense.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ServiceError::QueueFull { retry_after, .. } | ServiceError::TooMany { retry_after, .. } => {
                Some(*retry_after)
            }
            ServiceError::StorageBusy { .. } | ServiceError::Storage { .. } | ServiceError::ShuttingDown => {
                Some(Duration::from_secs(5))
            }
            // As often as old tasks are looked for.
            ServiceError::StorageFull { .. } => Some(Duration::from_secs(60)),
            _ => None,
        }
    }
}

/// Why the service could not be opened. Nothing on disk was changed where the file is not ours or damaged.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be used.
    #[error("cannot use the service's folder {path:?}: {source}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Another service runs on the same folder.
    #[error("another service uses {path:?}\nhint: end it first, or give this one a folder of its own")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Another process holds the database.
    #[error("the database {path:?} is locked by another process\nhint: end what else has it open")]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// The database is damaged.
    #[error(
        "the database {path:?} is damaged: {detail}\nhint: it was left as it is; move it away to start with an empty one, or put a backup in its place"
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What the check found.
        detail: String,
    },
    /// The file is a database of something else.
    #[error(
        "{path:?} is a database, but not of this service\nhint: it was left as it is; give the service a folder of its own"
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A newer version has written the database.
    #[error(
        "the database {path:?} has schema version {found}, this program knows up to {known}\nhint: it was left as it is; use the newer program"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// Something else about the database.
    #[error("cannot open the database {path:?}: {message}")]
    Database {
        /// The database file.
        path: PathBuf,
        /// What went wrong.
        message: String,
    },
}
