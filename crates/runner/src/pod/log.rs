//! Reports in a container's log, behind a mark.

use std::io::Write;

use hybrid_cache_model::pod::TRAILER_MARK;
use hybrid_cache_model::protocol::RunReport;
use serde::Serialize;

/// Appends the report to the task's output if there is a token: the log is available sooner than the container's state.
/// The token distinguishes the report from the task's own output.
///
/// # Errors
/// Standard output cannot be written.
pub fn trail(token: Option<&str>, report: &RunReport) -> std::io::Result<()> {
    let Some(token) = token else { return Ok(()) };
    let mut text = [TRAILER_MARK, token, " "].concat().into_bytes();
    serde_json::to_writer(&mut text, report)?;
    text.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&text)?;
    stdout.flush()
}

/// Writes one line of JSON behind a mark to this container's log.
///
/// # Errors
/// Standard output cannot be written.
pub fn log_line(mark: &str, value: &impl Serialize) -> std::io::Result<()> {
    let mut text = mark.as_bytes().to_vec();
    serde_json::to_writer(&mut text, value)?;
    text.push(b'\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&text)?;
    stdout.flush()
}
