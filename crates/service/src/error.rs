//! The service's errors, with stable codes for programs and a hint for people.

use hybrid_cache_api::StateName;
use std::path::PathBuf;
use std::time::Duration;

use hybrid_cache_model::TaskErrors;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The task's text is not acceptable.
    #[error(transparent)]
    Invalid(#[from] TaskErrors),
    /// A parameter other than the task's text is not acceptable.
    #[error("{name}: {message}")]
    Parameter {
        /// Its name, as the client wrote it.
        name: &'static str,
        /// What is wrong with it, in lower case.
        message: String,
    },
    /// There is no such task: it was deleted, or never existed.
    #[error("there is no task of this id\nhint: ended tasks are kept for a limited time")]
    NotFound,
    /// The same Idempotency-Key came with another body.
    #[error("this Idempotency-Key was used with another body before\nhint: use a new key for a new task")]
    IdempotencyMismatch,
    /// The task's state does not allow it.
    #[error("{message}")]
    Conflict {
        /// The task's state.
        state: StateName,
        /// What was requested and why it is refused, in lower case.
        message: String,
    },
    /// The queue is full.
    #[error("the queue is full: {waiting} tasks are waiting\nhint: try again in {} s", .retry_after.as_secs())]
    QueueFull {
        /// Tasks in the queue.
        waiting: u64,
        /// When to try again.
        retry_after: Duration,
    },
    /// Too many tasks have not ended, or requests arrive faster than they can be written.
    #[error("{message}\nhint: try again in {} s", .retry_after.as_secs())]
    TooMany {
        /// What there is too much of, in lower case.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The disk has no room for the database or for output.
    #[error(
        "there is no room left on the disk: {message}\nhint: free space on the service's volume, or keep tasks for a shorter time"
    )]
    StorageFull {
        /// The system's answer.
        message: String,
    },
    /// Another process holds the database.
    #[error(
        "the database is locked by another process: {message}\nhint: end the other program that uses the service's folder"
    )]
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
    /// The service is shutting down.
    #[error("the service is shutting down\nhint: try again in a few seconds")]
    ShuttingDown,
    /// A bug of the service.
    #[error("internal error: {message}")]
    Internal {
        /// Which assumption did not hold.
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

    /// The field of the body at fault, as a JSON pointer.
    pub fn pointer(&self) -> Option<&'static str> {
        match self {
            ServiceError::Invalid(errors) => Some(errors.first().pointer),
            _ => None,
        }
    }

    /// When to try again; `None` if trying again does not help.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            ServiceError::QueueFull { retry_after, .. } | ServiceError::TooMany { retry_after, .. } => {
                Some(*retry_after)
            }
            ServiceError::StorageBusy { .. } | ServiceError::Storage { .. } | ServiceError::ShuttingDown => {
                Some(Duration::from_secs(5))
            }
            // As often as housekeeping deletes old tasks.
            ServiceError::StorageFull { .. } => Some(Duration::from_secs(60)),
            _ => None,
        }
    }
}

/// Why the service could not be opened. A file that is damaged or belongs to another program is left unchanged.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder cannot be used.
    #[error("cannot use the service's folder {path:?}: {source}")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// Another service runs on the same folder.
    #[error("another service uses {path:?}\nhint: end it first, or give this one its own folder")]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// Another process holds the database.
    #[error("the database {path:?} is locked by another process\nhint: end the program that has it open")]
    Locked {
        /// The database file.
        path: PathBuf,
    },
    /// The database is damaged.
    #[error(
        "the database {path:?} is damaged: {detail}\nhint: the file is unchanged; move it away to start with an empty one, or replace it with a backup"
    )]
    Damaged {
        /// The database file.
        path: PathBuf,
        /// What the check found.
        detail: String,
    },
    /// The file is a database of something else.
    #[error("{path:?} is a database of another program\nhint: the file is unchanged; give the service its own folder")]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// A newer version wrote the database.
    #[error(
        "the database {path:?} has schema version {found}, and this program knows versions up to {known}\nhint: the file is unchanged; use the newer program"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// Its schema version.
        found: i64,
        /// The newest schema version that this program knows.
        known: i64,
    },
    /// Any other error of the database.
    #[error("cannot open the database {path:?}: {message}")]
    Database {
        /// The database file.
        path: PathBuf,
        /// What went wrong.
        message: String,
    },
}
