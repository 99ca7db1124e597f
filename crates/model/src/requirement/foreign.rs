//! Recognises what people paste by mistake: texts of other programs, and lines that another program left behind.

use super::lines::physical_lines;
use super::refusal::{Refusal, quote};

/// Lines that are looked at for what kind of text this is.
const LOOKED_AT: usize = 1000;

/// What the whole text is, if it is another program's: the line that shows it, and what to give instead.
///
/// Then no line of it is worth a message of its own.
pub(super) fn whole_text(text: &str) -> Option<(usize, Refusal)> {
    let lines = || physical_lines(text).take(LOOKED_AT);
    if let Some((number, _)) = lines().find(|(_, line)| line.trim_end() == "@EXPLICIT") {
        let message = "the text is the output of `conda list --explicit`";
        return Some((number, Refusal::new(message, CONDA)));
    }
    let is_item = |line: &str| line.trim_start_matches(' ').starts_with("- ");
    if let Some((number, _)) = lines().find(|(_, line)| line.trim_end() == "dependencies:")
        && lines().any(|(_, line)| is_item(line))
    {
        let message = "the text is a conda environment file (environment.yml)";
        return Some((number, Refusal::new(message, CONDA)));
    }
    let is_rule = |line: &str| line.starts_with("---") && line.chars().all(|c| matches!(c, '-' | ' ' | '\t'));
    let mut before = "";
    for (number, line) in lines() {
        let mut words = before.split_whitespace();
        if is_rule(line) && words.next() == Some("Package") && words.next() == Some("Version") {
            let message = "the text is the table that `pip list` prints";
            let hint = "give the output of `pip freeze` instead, or write `name==version`";
            return Some((number - 1, Refusal::new(message, hint)));
        }
        before = line;
    }
    None
}

const CONDA: &str = "give the Python packages as `name==version`, one a line, with those below `pip:`; other packages \
                     belong into systemDependencies";

/// What a single line was left behind by, if it is no requirement.
pub(super) fn line(text: &str) -> Option<Refusal> {
    let starts = |mark: &str| text == mark || text.strip_prefix(mark).is_some_and(|rest| rest.starts_with(' '));
    if ["<<<<<<<", "|||||||", "=======", ">>>>>>>"]
        .iter()
        .any(|mark| starts(mark))
    {
        let message = format!("{} is the mark of a merge conflict", quote(text));
        return Some(Refusal::new(
            message,
            "keep one side of the conflict and delete its marks",
        ));
    }
    if is_command(text) {
        let message = format!("{} is a command", quote(text));
        let hint = "write only the packages that it installs, one a line";
        return Some(Refusal::new(message, hint));
    }
    if is_conda_pin(text) {
        let message = format!("{} is a line of `conda list --export`", quote(text));
        let hint =
            "write `name==version` without conda's build; what is not a Python package belongs into systemDependencies";
        return Some(Refusal::new(message, hint));
    }
    None
}

/// `pip install …`, as a terminal or a notebook takes it.
fn is_command(text: &str) -> bool {
    let words: Vec<&str> = text
        .trim_start_matches(['$', '!', '%', ' '])
        .split_whitespace()
        .collect();
    let words = match words.as_slice() {
        ["uv", rest @ ..] | ["python" | "python3" | "py", "-m", rest @ ..] => rest,
        words => words,
    };
    matches!(words, ["pip" | "pip3" | "conda", "install", ..])
}

/// `name=version=build`.
fn is_conda_pin(text: &str) -> bool {
    let mut parts = 0;
    text.split('=').all(|part| {
        parts += 1;
        let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | '!');
        !part.is_empty() && part.chars().all(inner)
    }) && parts == 3
}
