//! Runs programs of the machine, and says what they said when they fail.

use hybrid_cache_tools::{ErrorContext, Result, failed};
use std::process::Command;

/// Lines of a failed program's standard error that an error repeats.
const LAST_LINES: usize = 12;

/// Runs a command to its end and returns its standard output, as far as that is not sent elsewhere. It reads nothing
/// unless its standard input is set.
///
/// # Errors
/// It cannot be started or fails: the error holds the end of its standard error.
pub fn run(command: impl Into<Command>, doing: &str) -> Result<String> {
    let mut command = command.into();
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .output()
        .with_context(|| format!("{doing}: cannot start {program}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    let end = said[said.len().saturating_sub(LAST_LINES)..].join("\n  ");
    Err(failed!("{doing}: {program} ended with {}\n  {end}", output.status))
}

#[cfg(test)]
mod tests {
    use super::*;
    use xshell::{Shell, cmd};

    #[test]
    fn a_failure_names_the_work_and_repeats_what_was_said() {
        let shell = Shell::new().unwrap();
        let script = "echo out; echo why >&2; exit 3";
        let error = run(cmd!(shell, "sh -c {script}"), "making x").unwrap_err().to_string();
        assert!(
            error.starts_with("making x: sh ended with") && error.ends_with("why"),
            "{error}"
        );
        assert_eq!(run(cmd!(shell, "echo good"), "saying").unwrap(), "good");
    }
}
