//! Splits a list or a file into single requirements.

use super::refusal::Refusal;
use crate::task_error::MAX_REQUIREMENTS_BYTES;

/// Most lines of one requirements text, comments and blank lines included.
pub const MAX_LINES: usize = 2048;

pub(super) fn check_size(text: &str) -> Result<(), Refusal> {
    if text.len() > MAX_REQUIREMENTS_BYTES {
        let message = format!(
            "the text has {} bytes, at most {MAX_REQUIREMENTS_BYTES} are accepted",
            text.len()
        );
        return Err(Refusal::new(
            message,
            "list what the code imports, not everything that comes with it",
        ));
    }
    let lines = text.split('\n').count();
    if lines > MAX_LINES {
        let message = format!("the text has {lines} lines, at most {MAX_LINES} are accepted");
        return Err(Refusal::new(
            message,
            "list what the code imports, not everything that comes with it",
        ));
    }
    Ok(())
}

/// The lines of a file with their numbers, from 1. Line ends are LF or CRLF; a byte order mark in front is dropped.
///
/// A lone CR stays in its line, if it is refused as a control character: some readers take it for a line's end.
pub(super) fn split_file(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = without_mark(text)
        .split('\n')
        .map(|line| line.strip_suffix('\r').unwrap_or(line));
    lines.enumerate().map(|(index, line)| (index + 1, line))
}

fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// The entries of a comma-separated list, trimmed, none empty.
pub(super) fn split_list(text: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for (_, line) in split_file(text) {
        for segment in split_commas(line) {
            let segment = segment.trim_matches([' ', '\t']);
            match entries.last_mut() {
                _ if segment.is_empty() => {}
                // `>=1,<2` is one requirement's two bounds, though a comma stands between them.
                Some(before) if starts_with_comparison(segment) => {
                    before.push(',');
                    before.push_str(segment);
                }
                _ => entries.push(segment.to_owned()),
            }
        }
    }
    entries
}

fn starts_with_comparison(segment: &str) -> bool {
    segment.starts_with(['<', '>', '=', '!', '~'])
}

/// Splits at commas outside of brackets and quotes. An unclosed one protects the rest of the line, which is then
/// refused as a whole.
fn split_commas(line: &str) -> Vec<&str> {
    let mut segments = Vec::new();
    let mut start = 0;
    let mut quote = None;
    let mut in_brackets = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '[') => in_brackets = true,
            (None, ']') => in_brackets = false,
            (None, ',') if !in_brackets => {
                segments.push(&line[start..at]);
                start = at + 1;
            }
            (None, _) => {}
        }
    }
    segments.push(&line[start..]);
    segments
}
