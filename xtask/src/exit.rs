//! Exit codes, and which error means which.

use std::process::ExitCode;

use hybrid_cache_driver::DriverError;
use hybrid_cache_service::OpenError;
use hybrid_cache_service::host::{ErrorClass, HostError};

/// How a command ended. Documented in docs/troubleshooting.md and tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything asked for was done.
    Good = 0,
    /// The tool itself failed.
    Failed = 1,
    /// The command line or an input file is wrong.
    Usage = 2,
    /// A gate or a claim did not hold.
    Gate = 3,
    /// Something the command needs is missing on this machine.
    Prerequisite = 4,
    /// The user's task failed.
    Task = 5,
    /// Interrupted by Ctrl-C; what was done so far stands.
    Interrupted = 130,
    /// All was done, but whoever read standard output closed it before the end.
    OutputClosed = 141,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error whose exit code is not simply "the tool failed".
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Expected {
    /// What the process exits with.
    pub exit: Exit,
    message: String,
}

impl Expected {
    /// Bad input: what was wrong, where, and the next step.
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Expected {
            exit: Exit::Usage,
            message: message.into(),
        }
        .into()
    }

    /// What a task asks for cannot be had, or it failed.
    pub fn task(message: impl Into<String>) -> anyhow::Error {
        Expected {
            exit: Exit::Task,
            message: message.into(),
        }
        .into()
    }

    /// Something is missing on this machine.
    pub fn prerequisite(message: impl Into<String>) -> anyhow::Error {
        Expected {
            exit: Exit::Prerequisite,
            message: message.into(),
        }
        .into()
    }

    /// Ctrl-C, and nothing is to be kept of what was interrupted.
    pub fn interrupted(message: impl Into<String>) -> anyhow::Error {
        Expected {
            exit: Exit::Interrupted,
            message: message.into(),
        }
        .into()
    }
}

/// The exit code that an error stands for.
pub fn of(error: &anyhow::Error) -> Exit {
    for cause in error.chain() {
        if let Some(expected) = cause.downcast_ref::<Expected>() {
            return expected.exit;
        }
        if let Some(DriverError::Invalid(_)) = cause.downcast_ref() {
            return Exit::Usage;
        }
        let host = cause.downcast_ref().map(HostError::class);
        if let Some(class) = host.or_else(|| cause.downcast_ref().map(OpenError::class)) {
            return match class {
                ErrorClass::Usage => Exit::Usage,
                ErrorClass::Prerequisite => Exit::Prerequisite,
                ErrorClass::Program => Exit::Failed,
            };
        }
    }
    Exit::Failed
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn context_does_not_hide_what_an_error_means() {
        let error = Err::<(), _>(Expected::prerequisite("no uv"))
            .context("opening the driver")
            .unwrap_err();
        assert_eq!(of(&error), Exit::Prerequisite);
        assert_eq!(of(&anyhow::anyhow!("a surprise")), Exit::Failed);
    }
}
