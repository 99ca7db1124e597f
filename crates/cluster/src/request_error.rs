//! Why the API server gave no answer that could be used.

use hybrid_cache_tools::{Error, ErrorClass, Result};

/// Why a request has no answer that could be used.
pub struct RequestError {
    /// The HTTP status, if the server refused.
    pub status: Option<u16>,
    /// What is told about it.
    pub error: Error,
}

impl From<RequestError> for Error {
    fn from(refused: RequestError) -> Error {
        refused.error
    }
}

impl From<Error> for RequestError {
    fn from(error: Error) -> RequestError {
        RequestError { status: None, error }
    }
}

impl RequestError {
    /// True if the server knows no such thing.
    pub fn is_unknown(&self) -> bool {
        self.status == Some(404)
    }

    /// True if this account may not.
    pub fn is_forbidden(&self) -> bool {
        self.status == Some(403)
    }
}

/// `None` if the server knows no such thing, or this account may not see it.
///
/// # Errors
/// Any other error.
pub fn allowed<T>(answer: std::result::Result<T, RequestError>) -> Result<Option<T>> {
    match answer {
        Err(error) if error.is_unknown() || error.is_forbidden() => Ok(None),
        answer => Ok(answer.map(Some)?),
    }
}

/// An error of the client.
pub fn library_error(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::other(ErrorClass::Failed, error)
}

/// The innermost cause, which says most: the outer ones name layers of the client.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
