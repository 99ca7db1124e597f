//! Why a user's text is refused, and how little of that text a message may repeat.

use std::fmt::Write;

use crate::task_error::TaskError;

/// Most characters of a user's text that a message repeats.
const EXCERPT_CHARS: usize = 60;

/// Why a requirement or a package's name is refused: what is wrong, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {hint}")]
pub struct Refusal {
    /// What is wrong, in lower case.
    pub message: String,
    /// The next step.
    pub hint: String,
}

impl Refusal {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal {
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// A short piece of a user's text, escaped and between back-quotes, for a message.
    pub(crate) fn quote(text: &str) -> String {
        quote(text)
    }

    /// Says in which field, and on which of its lines, the text stands.
    pub(crate) fn at(self, pointer: &'static str, line: Option<usize>) -> TaskError {
        TaskError {
            pointer,
            line,
            message: self.message,
            hint: Some(self.hint),
        }
    }
}

/// A short piece of a user's text between back-quotes, all of it printable ASCII.
///
/// Nothing behind a `://` is repeated: credentials stand there, and messages end up in logs.
pub(super) fn quote(text: &str) -> String {
    let shown = text.find("://").map_or(text, |at| &text[..at + 3]);
    let mut quoted = String::from("`");
    for c in shown.chars().take(EXCERPT_CHARS) {
        if c == ' ' || (c.is_ascii_graphic() && c != '\\') {
            quoted.push(c);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(quoted, "{}", c.escape_default());
        }
    }
    if shown.len() < text.len() || shown.chars().nth(EXCERPT_CHARS).is_some() {
        quoted.push('…');
    }
    quoted.push('`');
    quoted
}
