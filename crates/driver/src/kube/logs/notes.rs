//! What the runner of a standby pod wrote to its log before a task came: lines for an operator, no output of the task.

use std::borrow::Cow;

use hybrid_cache_model::pod::STANDBY_NOTE;

/// Removes the notes at the beginning of a log that arrives in pieces.
#[derive(Default)]
pub struct NoteFilter {
    /// The beginning of a line that may be a note.
    held: Vec<u8>,
    /// True once something else has come.
    is_over: bool,
}

impl NoteFilter {
    /// Takes a piece of the log, and returns what is no note.
    pub fn take<'a>(&mut self, piece: &'a [u8]) -> Cow<'a, [u8]> {
        if self.is_over {
            return Cow::Borrowed(piece);
        }
        self.held.extend_from_slice(piece);
        let mark = STANDBY_NOTE.as_bytes();
        while self.held.starts_with(mark) {
            let Some(end) = self.held.iter().position(|byte| *byte == b'\n') else {
                return Cow::default();
            };
            self.held.drain(..=end);
        }
        if mark.starts_with(&self.held) {
            return Cow::default();
        }
        self.is_over = true;
        Cow::Owned(std::mem::take(&mut self.held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_at_the_beginning_are_removed_wherever_the_log_is_cut_and_nothing_else_is() {
        let log = [
            STANDBY_NOTE,
            "\"one\"\n",
            STANDBY_NOTE,
            "\"two\"\n\u{1e}abc accepted\n",
            STANDBY_NOTE,
            "3\n",
        ]
        .concat();
        let rest = ["\u{1e}abc accepted\n", STANDBY_NOTE, "3\n"].concat();
        let without = "\u{1e}stand\nx";
        for (log, rest) in [(log.as_str(), rest.as_str()), (without, without), ("", "")] {
            for cut in 0..=log.len() {
                let (mut filter, mut read) = (NoteFilter::default(), Vec::new());
                let (one, other) = log.as_bytes().split_at(cut);
                for piece in [one, other] {
                    read.extend_from_slice(&filter.take(piece));
                }
                assert_eq!(read, rest.as_bytes(), "cut at {cut}");
            }
        }
    }
}
