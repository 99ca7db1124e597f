//! Why a task's text is refused: the field, its line, what is wrong and what to write instead.
//!
//! Every parser of a field returns it.

/// Largest accepted `requirementsFile` or list of dependencies, in bytes.
pub const MAX_REQUIREMENTS_BYTES: usize = 64 << 10;

/// Why a task's text was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{pointer}{}: {message}{}", at_line(*line), at_hint(hint.as_deref()))]
pub struct TaskError {
    /// The field, as a JSON pointer: `/requirementsFile`.
    pub pointer: &'static str,
    /// The line within a text field, from 1; absent if the whole field is meant.
    pub line: Option<usize>,
    /// What is wrong with it, in lower case.
    pub message: String,
    /// The next step, if there is one.
    pub hint: Option<String>,
}

fn at_line(line: Option<usize>) -> String {
    line.map(|line| format!(" line {line}")).unwrap_or_default()
}

/// The hint as a line of its own behind a message.
pub(crate) fn at_hint(hint: Option<&str>) -> String {
    hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default()
}
