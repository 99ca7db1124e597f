//! Refuses what no requirement may contain, before its grammar is parsed: signs of options, paths, URLs, variables and
//! control characters.

use super::options;
use super::refusal::{Refusal, quote};

/// Longest accepted requirement, in bytes, its comment aside.
pub const MAX_REQUIREMENT_BYTES: usize = 1024;

const PLAIN: &str = "write a plain requirement, such as `numpy>=2,<3`";

/// Endings of file names: an installer takes such a "name" for a file if one exists.
const FILE_ENDINGS: [&str; 9] = [".whl", ".zip", ".tar", ".gz", ".bz2", ".xz", ".tgz", ".egg", ".txt"];

/// A line without its comment: from a `#` on that begins the line or follows white space.
pub(super) fn without_comment(line: &str) -> &str {
    let starts = |&(at, _): &(usize, &str)| at == 0 || line[..at].ends_with([' ', '\t']);
    match line.match_indices('#').find(starts) {
        // A control character could end the line, and with it the comment, for another reader: leave it to be refused.
        Some((at, _)) if !line[at..].chars().any(is_control) => &line[..at],
        _ => line,
    }
}

/// Controls, and what Unicode takes for a line's end. A tab is white space.
fn is_control(c: char) -> bool {
    (c.is_control() && c != '\t') || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Refuses characters that no requirement needs, and variables.
pub(super) fn check_characters(text: &str) -> Result<(), Refusal> {
    check_controls(text)?;
    if text.contains("${") {
        return Err(Refusal::new(
            format!("an environment variable in {}", quote(text)),
            PLAIN,
        ));
    }
    check_ascii(text)
}

fn check_controls(text: &str) -> Result<(), Refusal> {
    if text.len() > MAX_REQUIREMENT_BYTES {
        let message = format!(
            "a requirement of {} bytes, at most {MAX_REQUIREMENT_BYTES} are accepted",
            text.len()
        );
        return Err(Refusal::new(message, PLAIN));
    }
    if let Some(c) = text.chars().find(|c| is_control(*c)) {
        let message = format!("a control character (U+{:04X}) in {}", u32::from(c), quote(text));
        return Err(Refusal::new(
            message,
            "remove it; one requirement a line, in plain text",
        ));
    }
    Ok(())
}

fn check_ascii(text: &str) -> Result<(), Refusal> {
    match text.chars().find(|c| !c.is_ascii()) {
        None => Ok(()),
        Some(c) => Err(Refusal::new(
            format!("a character outside ASCII (U+{:04X}) in {}", u32::from(c), quote(text)),
            "package names are ASCII; look for a look-alike letter or a typographic quote",
        )),
    }
}

/// Refuses everything that is not the text of a plain requirement, before its grammar is looked at.
pub(super) fn check(text: &str) -> Result<(), Refusal> {
    check_controls(text)?;
    // What the quotes of a marker hold is checked there.
    let head = text.split(';').next().unwrap_or(text).trim_end_matches([' ', '\t']);
    let mut words = head.split([' ', '\t']).filter(|word| !word.is_empty());
    if let Some(option) = words.find(|word| word.starts_with('-')) {
        return Err(options::refused(option));
    }
    if let Some(refusal) = marks_of_a_place(head) {
        return Err(refusal);
    }
    if text.contains("${") {
        return Err(Refusal::new(
            format!("an environment variable in {}", quote(text)),
            PLAIN,
        ));
    }
    if head.contains('#') {
        let message = format!("a `#` within {}", quote(text));
        return Err(Refusal::new(
            message,
            "comments belong into requirementsFile, with a space before the `#`",
        ));
    }
    check_ascii(text)
}

fn marks_of_a_place(text: &str) -> Option<Refusal> {
    let shown = quote(text);
    let names_file = |at: usize| {
        text[at..]
            .get(..5)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"))
    };
    if text.char_indices().any(|(at, _)| names_file(at)) {
        let hint =
            "this machine's file is not there when the task runs; write `name==version` of the published package";
        return Some(Refusal::new(
            format!("a local file (`file:`, as `pip freeze` leaves it) in {shown}"),
            hint,
        ));
    }
    let version_control = ["git+", "hg+", "svn+", "bzr+", "git@"];
    if version_control.iter().any(|scheme| text.contains(scheme)) {
        let hint = "packages come from the index only; name a published package and its version";
        return Some(Refusal::new(format!("a repository in {shown}"), hint));
    }
    if text.contains("://") {
        return Some(Refusal::new(
            format!("a URL in {shown}"),
            "name a published package and its version",
        ));
    }
    if text.contains('@') {
        let hint = "packages come from the index by name; a version is written `name==1.2`";
        return Some(Refusal::new(format!("a direct reference (`@`) in {shown}"), hint));
    }
    if text.contains(['/', '\\']) || text.starts_with('.') {
        return Some(Refusal::new(
            format!("a path in {shown}"),
            "name a published package and its version",
        ));
    }
    let first = text.split([' ', '\t']).next().unwrap_or(text).to_ascii_lowercase();
    if FILE_ENDINGS.iter().any(|ending| first.ends_with(ending)) {
        return Some(Refusal::new(
            format!("{shown} is the name of a file"),
            "name a published package and its version",
        ));
    }
    None
}
