//! Splits a list or a file into single entries.

use std::borrow::Cow;

use super::refusal::Refusal;
use super::scan;

/// Largest requirements text, in bytes, with its hashes and comments.
pub const MAX_TEXT_BYTES: usize = 4 << 20;
/// Most lines of one requirements text, comments, hashes and blank lines included.
pub const MAX_LINES: usize = 65_536;

pub(super) fn check_size(text: &str) -> Result<(), Refusal> {
    let hint = "list what the code imports, not everything that comes with it";
    if text.len() > MAX_TEXT_BYTES {
        let message = format!(
            "the text has {} bytes, at most {MAX_TEXT_BYTES} are accepted",
            text.len()
        );
        return Err(Refusal::new(message, hint));
    }
    let lines = physical_lines(text).count();
    if lines > MAX_LINES {
        let message = format!("the text has {lines} lines, at most {MAX_LINES} are accepted");
        return Err(Refusal::new(message, hint));
    }
    Ok(())
}

/// The lines of a text with their numbers, from 1. Line ends are LF, CRLF or a lone CR, as uv reads them; a byte order
/// mark in front is dropped.
pub(super) fn physical_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = Some(text);
    let lines = std::iter::from_fn(move || {
        let text = rest?;
        let Some(at) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let end = if text[at..].starts_with("\r\n") { 2 } else { 1 };
        rest = Some(&text[at + end..]);
        Some(&text[..at])
    });
    lines.enumerate().map(|(index, line)| (index + 1, line))
}

/// The entries of a file: lines without their comments, a line that ends with `\` joined with the next one. The number
/// is that of the first line.
pub(super) fn logical_lines(text: &str) -> impl Iterator<Item = (usize, Cow<'_, str>)> {
    let mut lines = physical_lines(text);
    std::iter::from_fn(move || {
        let (number, line) = lines.next()?;
        let entry = scan::without_comment(line);
        // A comment ends with its line, whatever it ends with.
        let continues = |whole: &str, entry: &str| entry.len() == whole.len() && entry.ends_with('\\');
        if !continues(line, entry) {
            return Some((number, Cow::Borrowed(entry)));
        }
        let mut joined = entry.strip_suffix('\\').unwrap_or(entry).to_owned();
        for (_, line) in lines.by_ref() {
            let entry = scan::without_comment(line);
            if continues(line, entry) {
                joined.push_str(&entry[..entry.len() - 1]);
            } else {
                joined.push_str(entry);
                return Some((number, Cow::Owned(joined)));
            }
        }
        Some((number, Cow::Owned(joined)))
    })
}

/// The entries of a comma-separated list, trimmed, none empty.
pub(super) fn split_list(text: &str) -> Vec<String> {
    let mut entries: Vec<String> = Vec::new();
    for (_, line) in physical_lines(text) {
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
            (None, '[' | '(') => in_brackets = true,
            (None, ']' | ')') => in_brackets = false,
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
