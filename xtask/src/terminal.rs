//! What a person sees: text of others is made harmless where it goes to a terminal, and passed on as it is to a pipe or a file.
//!
//! The macros stand in for the standard library's of the same names in this whole program, so that no message can be forgotten.
//! Tables with colours of our own are drawn by `hybrid_cache_report::terminal`, which does the same with their texts, and are
//! printed by [`print_drawn`].

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use hybrid_cache_model::Protection;
use hybrid_cache_model::shown::{Filter, shown};

use crate::exit::Exit;

/// Which of this program's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Standard output: data.
    Stdout,
    /// Standard error: messages.
    Stderr,
}

impl To {
    fn is_terminal(self) -> bool {
        match self {
            To::Stdout => io::stdout().is_terminal(),
            To::Stderr => io::stderr().is_terminal(),
        }
    }

    fn write(self, bytes: &[u8]) -> io::Result<()> {
        match self {
            To::Stdout => write_flushed(io::stdout().lock(), bytes).inspect_err(note_lost),
            To::Stderr => write_flushed(io::stderr().lock(), bytes),
        }
    }
}

fn write_flushed(mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// The first error with which standard output lost data; nothing before.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Notes that data for standard output was lost: the process must not end as if all were good.
pub fn note_lost(error: &io::Error) {
    let kept = error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
    // The first one is the cause.
    let _ = LOST.set(kept);
}

/// How the process ends if it lost output: a failure keeps its own code, success becomes one.
pub fn exit_with_output(exit: Exit) -> Exit {
    match LOST.get() {
        Some(error) if exit == Exit::Good => {
            // As a process that SIGPIPE ended: whoever closed our output knows, and wants no message.
            if error.kind() == io::ErrorKind::BrokenPipe {
                return Exit::OutputClosed;
            }
            eprintln!("error: output is lost: standard output cannot be written: {error}");
            Exit::Failed
        }
        _ => exit,
    }
}

/// Prints a message or data. What standard output loses decides over the exit code.
pub fn print(to: To, message: Arguments<'_>, end: &str) {
    let mut text = format!("{message}");
    if to.is_terminal() {
        text = shown(&text).into_owned();
    }
    let _ = to.write((text + end).as_bytes());
}

/// Prints a table that was drawn with control sequences of our own.
pub fn print_drawn(table: &str) {
    let _ = To::Stdout.write(table.as_bytes());
}

/// A task's output as it comes.
#[derive(Debug)]
pub struct Live {
    to: To,
    filter: Option<Filter>,
}

impl Live {
    /// To one of our streams.
    pub fn new(to: To) -> Live {
        Live::to(to, to.is_terminal())
    }

    fn to(to: To, is_terminal: bool) -> Live {
        let filter = is_terminal && Protection::TerminalEscapes.is_on();
        Live {
            to,
            filter: filter.then(Filter::default),
        }
    }

    /// What to write for one piece.
    fn pass(&mut self, piece: &[u8]) -> Vec<u8> {
        match &mut self.filter {
            Some(filter) => filter.take(piece).into_bytes(),
            None => piece.to_vec(),
        }
    }

    /// What to write at the end: what was held back, and a line break where our own words come next and the task's line is open, so
    /// that it cannot pass for a part of them.
    fn rest(&mut self) -> Vec<u8> {
        let Some(filter) = &mut self.filter else {
            return Vec::new();
        };
        let mut rest = filter.finish();
        if !filter.is_at_line_start() {
            rest.push('\n');
        }
        rest.into_bytes()
    }

    /// Writes one piece.
    ///
    /// # Errors
    /// Our stream is closed.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        let bytes = self.pass(piece);
        self.to.write(&bytes)
    }

    /// Ends the output.
    ///
    /// # Errors
    /// Our stream is closed.
    pub fn finish(&mut self) -> io::Result<()> {
        let rest = self.rest();
        self.to.write(&rest)
    }
}

macro_rules! println {
    () => { $crate::terminal::print($crate::terminal::To::Stdout, format_args!(""), "\n") };
    ($($message:tt)*) => { $crate::terminal::print($crate::terminal::To::Stdout, format_args!($($message)*), "\n") };
}

macro_rules! eprintln {
    () => { $crate::terminal::print($crate::terminal::To::Stderr, format_args!(""), "\n") };
    ($($message:tt)*) => { $crate::terminal::print($crate::terminal::To::Stderr, format_args!($($message)*), "\n") };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_harmless_on_a_terminal_and_untouched_in_a_pipe() {
        let sent: &[u8] = b"\x1b]0;pwned\x07\x9b\xff ok";
        let mut terminal = Live::to(To::Stdout, true);
        let shown = [terminal.pass(&sent[..3]), terminal.pass(&sent[3..]), terminal.rest()].concat();
        let shown = String::from_utf8(shown).unwrap();
        assert_eq!(shown, "␛]0;pwned␇\u{fffd}\u{fffd} ok\n");
        let mut pipe = Live::to(To::Stdout, false);
        assert_eq!([pipe.pass(sent), pipe.rest()].concat(), sent);
    }
}
