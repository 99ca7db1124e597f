//! Runs a program that must end within a deadline and gives back what it printed.
use std::io::Read as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::environment;
use crate::tool_error::ToolError;

/// Runs `command` and returns its stdout. A failure carries the last lines of its stderr.
pub fn output(command: &mut Command, deadline: Duration) -> Result<String, ToolError> {
    let ended = run(command, deadline)?;
    if ended.status.success() {
        return Ok(ended.stdout);
    }
    let problem = format!("{}: {}", ended.status, error_lines(&ended.stderr));
    Err(failure(command, problem))
}

/// How a program ended, and what it said.
pub struct Ended {
    /// Its exit.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs `command` to its end, whatever its exit code. One that cannot be started, or does not end in time, is a failure.
pub fn run(command: &mut Command, deadline: Duration) -> Result<Ended, ToolError> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .map_err(|e| failure(command, format!("cannot start: {e}")))?;
    let (Some(mut stdout), Some(mut stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(failure(command, "its output cannot be read".into()));
    };
    // read on the side: a program that fills a pipe would never end
    let read_out = std::thread::spawn(move || {
        let mut text = Vec::new();
        stdout.read_to_end(&mut text).map(|_| text)
    });
    let read_err = std::thread::spawn(move || {
        let mut text = Vec::new();
        stderr.read_to_end(&mut text).map(|_| text)
    });
    let started = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if started.elapsed() > deadline => {
                let _ = child.kill();
                let _ = child.wait();
                let problem = format!("it did not end within {} s", deadline.as_secs());
                return Err(failure(command, problem));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(e) => return Err(failure(command, e.to_string())),
        }
    };
    let text = |thread: std::thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        let bytes = thread.join().ok().and_then(Result::ok).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(Ended {
        status,
        stdout: text(read_out),
        stderr: text(read_err),
    })
}

fn failure(command: &Command, problem: String) -> ToolError {
    let program = command.get_program().to_string_lossy().into_owned();
    ToolError::Program { program, problem }
}

/// The last lines of a failed program's standard error: only its errors, if it marks them.
fn error_lines(err: &str) -> String {
    let said: Vec<&str> = err.lines().filter(|line| !line.trim().is_empty()).collect();
    let errors: Vec<&str> = said
        .iter()
        .copied()
        .filter(|line| !line.starts_with("WARNING"))
        .collect();
    let lines = if errors.is_empty() { said } else { errors };
    lines[lines.len().saturating_sub(4)..].join(" | ")
}

/// The file that `name` stands for in PATH.
pub fn find(name: &str) -> Option<std::path::PathBuf> {
    environment::search_path()
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|file| is_program(file))
}

fn is_program(file: &std::path::Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::error_lines;

    #[test]
    fn warnings_are_left_out_if_there_are_errors() {
        let err = "WARNING: Retrying\n\nERROR: no such version\nWARNING: a newer pip\n";
        assert_eq!(error_lines(err), "ERROR: no such version");
        assert_eq!(error_lines("WARNING: only this\n"), "WARNING: only this");
    }
}
