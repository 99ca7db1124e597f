//! The error of the crates that `xtask` drives: a message with its next step, a class, and what caused it.
//!
//! The class says who can fix the error. The command line maps it to an exit code.

use std::error::Error as StdError;
use std::fmt;

use hybrid_cache_driver::DriverError;

use crate::tool_error::ToolError;

/// The result of what may fail with an [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who can fix an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The author of the input, which is wrong.
    Input,
    /// The administrator of this machine or the cluster: something is missing.
    Prerequisite,
    /// The author of the task: it asks for what does not exist, or it failed.
    Task,
    /// No one: Ctrl-C ended the work.
    Interrupted,
    /// The maintainers of the program or of what it uses: an operation failed.
    Failed,
}

/// An error with its class and its causes, which are its sources.
#[derive(Debug)]
pub struct Error {
    class: ErrorClass,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// A text of ours, and what caused it.
    Message { text: String, cause: Option<Box<Error>> },
    /// An error of a library.
    Other(Box<dyn StdError + Send + Sync>),
}

impl Error {
    fn new(class: ErrorClass, text: impl Into<String>) -> Error {
        let text = text.into();
        let content = Content::Message { text, cause: None };
        Error { class, content }
    }

    /// The error of a library.
    pub fn other(class: ErrorClass, error: impl StdError + Send + Sync + 'static) -> Error {
        let content = Content::Other(Box::new(error));
        Error { class, content }
    }

    /// Wrong input: what was wrong, where, and the next step.
    pub fn input(message: impl Into<String>) -> Error {
        Error::new(ErrorClass::Input, message)
    }

    /// Something that the work needs is missing.
    pub fn prerequisite(message: impl Into<String>) -> Error {
        Error::new(ErrorClass::Prerequisite, message)
    }

    /// What a task asks for does not exist, or the task failed.
    pub fn task(message: impl Into<String>) -> Error {
        Error::new(ErrorClass::Task, message)
    }

    /// Ctrl-C ended the work, and nothing of it is kept.
    pub fn interrupted(message: impl Into<String>) -> Error {
        Error::new(ErrorClass::Interrupted, message)
    }

    /// An operation failed.
    pub fn failed(message: impl Into<String>) -> Error {
        Error::new(ErrorClass::Failed, message)
    }

    /// Who can fix it.
    pub fn class(&self) -> ErrorClass {
        self.class
    }

    /// What was being done when this error happened. The class stays.
    #[must_use]
    pub fn during(self, action: impl Into<String>) -> Error {
        let class = self.class;
        let text = action.into();
        let cause = Some(Box::new(self));
        let content = Content::Message { text, cause };
        Error { class, content }
    }
}

impl fmt::Display for Error {
    /// The message; with `{:#}` also those of all causes, each after a colon.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = match &self.content {
            Content::Message { text, .. } => text.clone(),
            Content::Other(error) => error.to_string(),
        };
        f.write_str(&shown)?;
        if f.alternate() {
            let mut cause = self.source();
            // Some libraries repeat the cause in their own message.
            while let Some(error) = cause {
                let text = error.to_string();
                if !shown.ends_with(&text) {
                    write!(f, ": {text}")?;
                    shown = text;
                }
                cause = error.source();
            }
        }
        Ok(())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.content {
            Content::Message { cause, .. } => cause.as_deref().map(|cause| cause as _),
            Content::Other(error) => error.source(),
        }
    }
}

impl From<ToolError> for Error {
    fn from(error: ToolError) -> Error {
        Error::prerequisite(format!("{error}\nhint: {}", error.hint()))
    }
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Error {
        let class = match error {
            DriverError::Invalid(_) => ErrorClass::Input,
            _ => ErrorClass::Failed,
        };
        Error::other(class, error)
    }
}

/// Errors that say by themselves only that an operation failed.
macro_rules! failed_operations {
    ($($error:ty),+ $(,)?) => {$(
        impl From<$error> for Error {
            fn from(error: $error) -> Error {
                Error::other(ErrorClass::Failed, error)
            }
        }
    )+};
}

failed_operations!(
    std::io::Error,
    std::num::ParseIntError,
    std::num::TryFromIntError,
    std::string::FromUtf8Error,
    serde_json::Error,
    tokio::task::JoinError,
    tokio::time::error::Elapsed,
    toml::de::Error,
    toml::ser::Error,
    xshell::Error,
    hybrid_cache_model::Failure,
);

/// Says what was being done when an error happened.
pub trait ErrorContext<T> {
    /// With a text that is there already.
    ///
    /// # Errors
    /// The one that happened, after `action`.
    fn context(self, action: impl Into<String>) -> Result<T>;

    /// With a text that is made only for an error.
    ///
    /// # Errors
    /// The one that happened, after `action`.
    fn with_context(self, action: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<Error>> ErrorContext<T> for std::result::Result<T, E> {
    fn context(self, action: impl Into<String>) -> Result<T> {
        self.map_err(|error| error.into().during(action))
    }

    fn with_context(self, action: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| error.into().during(action()))
    }
}

/// A missing value is an operation that failed.
impl<T> ErrorContext<T> for Option<T> {
    fn context(self, problem: impl Into<String>) -> Result<T> {
        self.ok_or_else(|| Error::failed(problem))
    }

    fn with_context(self, problem: impl FnOnce() -> String) -> Result<T> {
        self.ok_or_else(|| Error::failed(problem()))
    }
}

/// An [`Error`] of an operation that failed, from a format string.
#[macro_export]
macro_rules! failed {
    ($($message:tt)*) => { $crate::Error::failed(format!($($message)*)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("reading it: {0}")]
    struct Repeating(#[source] std::io::Error);

    #[test]
    fn context_keeps_the_class_and_the_causes() {
        let lost = std::io::Error::other("disk on fire");
        let read: Result<()> = Err(lost).context("reading the pins");
        let error = read.context("opening the driver").unwrap_err();
        assert_eq!(error.class(), ErrorClass::Failed);
        assert_eq!(format!("{error}"), "opening the driver");
        assert_eq!(
            format!("{error:#}"),
            "opening the driver: reading the pins: disk on fire"
        );
        let error = Err::<(), _>(Error::prerequisite("no uv"))
            .context("opening")
            .unwrap_err();
        assert_eq!(error.class(), ErrorClass::Prerequisite);
        let twice = Error::other(ErrorClass::Failed, Repeating(std::io::Error::other("no such file")));
        assert_eq!(format!("{twice:#}"), "reading it: no such file");
        let none: Option<()> = None;
        assert_eq!(none.context("nothing there").unwrap_err().class(), ErrorClass::Failed);
    }
}
