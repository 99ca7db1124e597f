//! Defines the exit codes, and the exit code of each error.

use std::process::ExitCode;

use hybrid_cache_tools::{Error, ErrorClass};

/// How a command ended. Documented in docs/troubleshooting.md and tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was requested was done.
    Good = 0,
    /// The tool itself failed.
    Failed = 1,
    /// The command line or an input file is wrong.
    Usage = 2,
    /// A gate, target, promise or prediction did not hold, or damage was found.
    Gate = 3,
    /// Something the command needs is missing on this machine.
    Prerequisite = 4,
    /// The user's task failed.
    Task = 5,
    /// Interrupted by Ctrl-C; what was done so far is kept.
    Interrupted = 130,
    /// Everything was done, but the reader of standard output closed it before the end.
    OutputClosed = 141,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

impl From<&Error> for Exit {
    fn from(error: &Error) -> Exit {
        match error.class() {
            ErrorClass::Input => Exit::Usage,
            ErrorClass::Prerequisite => Exit::Prerequisite,
            ErrorClass::Task => Exit::Task,
            ErrorClass::Interrupted => Exit::Interrupted,
            ErrorClass::Failed => Exit::Failed,
        }
    }
}

/// The error class of an exit code of this program, if it was started as a child.
pub fn class_of_code(code: Option<i32>) -> ErrorClass {
    let is = |exit: Exit| code == Some(exit as i32);
    match code {
        _ if is(Exit::Usage) => ErrorClass::Input,
        _ if is(Exit::Prerequisite) => ErrorClass::Prerequisite,
        _ => ErrorClass::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hybrid_cache_tools::ErrorContext;

    #[test]
    fn context_does_not_hide_what_an_error_means() {
        let error = Err::<(), _>(Error::prerequisite("no uv"))
            .context("opening the driver")
            .unwrap_err();
        assert_eq!(Exit::from(&error), Exit::Prerequisite);
        assert_eq!(Exit::from(&Error::failed("a surprise")), Exit::Failed);
    }

    #[test]
    fn a_child_of_this_program_says_by_its_code_who_can_mend_its_error() {
        let classes = [Some(2), Some(4), Some(1), None].map(class_of_code);
        let failed = ErrorClass::Failed;
        assert_eq!(classes, [ErrorClass::Input, ErrorClass::Prerequisite, failed, failed]);
    }
}
