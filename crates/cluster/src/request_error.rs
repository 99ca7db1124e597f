//! The error of a request to the API server that brought no usable answer.

use hybrid_cache_tools::{Error, ErrorClass, Result};

/// Why a request has no usable answer.
pub struct RequestError {
    /// The HTTP status, if the server refused.
    pub status: Option<u16>,
    /// The error to report.
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
    /// True if the server does not know the object or kind.
    pub fn is_unknown(&self) -> bool {
        self.status == Some(404)
    }

    /// True if this account is not allowed to do this.
    pub fn is_forbidden(&self) -> bool {
        self.status == Some(403)
    }
}

/// Returns `None` if the server does not know the object or kind, or if this account may not read it.
///
/// # Errors
/// Any other error.
pub fn allowed<T>(answer: std::result::Result<T, RequestError>) -> Result<Option<T>> {
    match answer {
        Err(error) if error.is_unknown() || error.is_forbidden() => Ok(None),
        answer => Ok(answer.map(Some)?),
    }
}

/// Converts an error of the client library.
pub fn library_error(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::other(ErrorClass::Failed, error)
}

/// The innermost cause, which is the most informative: the outer ones name layers of the client.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
