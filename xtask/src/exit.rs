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
    /// A gate could prove neither that all is well nor that something is not.
    CannotTell = 6,
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
    fn every_exit_code_is_in_the_help_and_in_the_docs_with_its_meaning() {
        let all = [
            (Exit::Good, "0 good", "done"),
            (Exit::Failed, "1 the tool failed", "the tool failed"),
            (Exit::Usage, "2 usage", "wrong usage"),
            (
                Exit::Gate,
                "3 a gate, target or promise failed",
                "something measured or checked did not hold",
            ),
            (
                Exit::Prerequisite,
                "4 a prerequisite is missing",
                "a prerequisite is missing",
            ),
            (Exit::Task, "5 the task failed", "the task failed"),
            (Exit::CannotTell, "6 a gate cannot tell", "a gate cannot tell"),
            (Exit::Interrupted, "130 interrupted", "interrupted"),
            (
                Exit::OutputClosed,
                "141 the reader",
                "the reader of standard output has gone",
            ),
        ];
        let help = <crate::flags::Flags as clap::CommandFactory>::command()
            .render_long_help()
            .to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/troubleshooting.md")).unwrap();
        let (_, page) = page.split_once("## Exit codes of the command line").unwrap();
        let (page, _) = page.split_once("\n## ").unwrap();
        for (exit, in_help, in_docs) in all {
            assert!(help.contains(in_help), "{in_help:?} is not in {help}");
            let row = format!("| {} | {in_docs} |", exit as u8);
            assert!(page.contains(&row), "no row {row:?}");
        }
        let rows = page
            .lines()
            .filter(|line| line.split(' ').nth(1).is_some_and(|code| code.parse::<u8>().is_ok()));
        assert_eq!(rows.count(), all.len(), "a code without a meaning here");
    }

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
