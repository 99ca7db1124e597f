//! Prints for a person: text from others is made harmless for a terminal, and passed on unchanged to a pipe or a file.
//!
//! The macros replace the standard library's macros of the same names in the whole program, so that no message can be forgotten.
//! `hybrid_cache_report::terminal` draws tables with our own colours and makes their texts harmless in the same way;
//! [`print_drawn`] prints them.

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;

use hybrid_cache_model::Protection;
use hybrid_cache_model::shown::{Filter, shown};

use crate::exit::Exit;

/// One of this program's streams.
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

/// The first error with which standard output lost data; empty until then.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Records that standard output lost data: the process must not exit as if everything succeeded.
pub fn note_lost(error: &io::Error) {
    let kept = error
        .raw_os_error()
        .map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
    // Only the first error is kept, because it is the cause.
    let _ = LOST.set(kept);
}

/// The exit code, changed if output was lost: a failure keeps its own code, a success becomes a failure.
pub fn exit_with_output(exit: Exit) -> Exit {
    match LOST.get() {
        Some(error) if exit == Exit::Good => {
            // Exit like a process that SIGPIPE ended: the reader that closed our output needs no message.
            if error.kind() == io::ErrorKind::BrokenPipe {
                return Exit::OutputClosed;
            }
            eprintln!("error: output is lost: standard output cannot be written: {error}");
            Exit::Failed
        }
        _ => exit,
    }
}

/// Prints a message or data. A loss on standard output changes the exit code.
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

/// Prints a task's output live.
#[derive(Debug)]
pub struct Live {
    to: To,
    filter: Option<Filter>,
}

impl Live {
    /// Prints to one of our streams.
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

    /// What to write for one piece of output.
    fn pass(&mut self, piece: &[u8]) -> Vec<u8> {
        match &mut self.filter {
            Some(filter) => filter.take(piece).into_bytes(),
            None => piece.to_vec(),
        }
    }

    /// What to write at the end: text that was held back, and a line break if our own text comes next and the task's last line is
    /// incomplete, so that our text does not appear to be part of it.
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
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        let bytes = self.pass(piece);
        self.to.write(&bytes)
    }

    /// Ends the output.
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
