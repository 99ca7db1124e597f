//! Makes text from other people safe to display on a terminal and on a page.
//!
//! Terminals obey control characters: they set titles, move the cursor over what was said before, and some answer by typing. Bidirectional
//! overrides show code in another order than it runs. Here such characters become visible ones: `␛` for ESC, `\u{202e}` for an
//! override. Colours (`ESC [ … m` and other whole control sequences) are dropped.
//!
//! The available crates (`strip-ansi-escapes`, `anstream`) take out sequences and pass on what stands alone: BEL, backspace, C1, overrides.
//! One that is not closed swallows all that follows.

use std::borrow::Cow;

use crate::Protection;

/// Longest control sequence that is dropped as a whole, in bytes.
const LONGEST: usize = 64;
const ESC: u8 = 0x1b;

/// True for a character that a terminal obeys or that reorders others; line breaks and tabs are not.
fn is_harmful(c: char) -> bool {
    let is_control = c.is_control() && !matches!(c, '\n' | '\t');
    is_control || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn push(c: char, to: &mut String) {
    match c {
        '\u{0}'..='\u{1f}' => to.extend(char::from_u32(0x2400 + u32::from(c))),
        '\u{7f}' => to.push('\u{2421}'),
        other => to.extend(other.escape_unicode()),
    }
}

/// A text of any origin as it may be shown: line breaks and tabs stay, a carriage return in front of a line break goes.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) || !Protection::TerminalEscapes.is_on() {
        return Cow::Borrowed(text);
    }
    let mut filter = Filter {
        is_live: false,
        ..Filter::default()
    };
    let mut shown = filter.take(text.as_bytes());
    shown.push_str(&filter.finish());
    Cow::Owned(shown)
}

/// Makes output harmless that comes in pieces, cut anywhere. What is no UTF-8 is replaced.
///
/// A carriage return stays if it is, so that a progress bar stays one line: nothing but the same line can be overwritten. Whoever
/// writes a line of its own behind this asks [`Filter::is_at_line_start`] first.
#[derive(Debug)]
pub struct Filter {
    /// The beginning of a character or of a control sequence.
    held: Vec<u8>,
    /// True if a carriage return may stay.
    is_live: bool,
    at_line_start: bool,
}

impl Default for Filter {
    /// For output as it comes.
    fn default() -> Filter {
        Filter {
            held: Vec::new(),
            is_live: true,
            at_line_start: true,
        }
    }
}

/// What stands at the beginning of some bytes.
enum Next {
    /// A character of so many bytes.
    Character(char, usize),
    /// A control sequence of so many bytes.
    Sequence(usize),
    /// So many bytes that are no text.
    Broken(usize),
    /// More has to come first.
    Open,
}

impl Filter {
    /// The harmless text of one more piece.
    pub fn take(&mut self, piece: &[u8]) -> String {
        self.held.extend_from_slice(piece);
        self.pass(false)
    }

    /// What was held back, at the end.
    pub fn finish(&mut self) -> String {
        self.pass(true)
    }

    /// True if what comes next begins a line.
    pub fn is_at_line_start(&self) -> bool {
        self.at_line_start
    }

    fn pass(&mut self, is_end: bool) -> String {
        let bytes = std::mem::take(&mut self.held);
        let mut text = String::with_capacity(bytes.len());
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let used = match next(rest, is_end) {
                Next::Open => break,
                Next::Character('\r', _) if rest.starts_with(b"\r\n") => 1,
                Next::Character('\r', _) if rest.len() == 1 && !is_end => break,
                Next::Character(c, used) => {
                    if is_harmful(c) && !(c == '\r' && self.is_live) {
                        push(c, &mut text);
                    } else {
                        text.push(c);
                    }
                    used
                }
                Next::Sequence(used) => used,
                Next::Broken(used) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    used
                }
            };
            rest = &rest[used..];
        }
        self.held = rest.to_vec();
        if let Some(last) = text.chars().next_back() {
            self.at_line_start = last == '\n';
        }
        text
    }
}

fn next(bytes: &[u8], is_end: bool) -> Next {
    if bytes[0] == ESC {
        return sequence(bytes, is_end);
    }
    let character = &bytes[..bytes.len().min(4)];
    let valid = match std::str::from_utf8(character) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(&character[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(error) => match error.error_len() {
            Some(length) => return Next::Broken(length),
            None if is_end => return Next::Broken(bytes.len()),
            None => return Next::Open,
        },
    };
    valid
        .chars()
        .next()
        .map_or(Next::Broken(1), |c| Next::Character(c, c.len_utf8()))
}

/// `ESC [`, parameters, intermediate bytes and a final one (ECMA-48, 5.4). Anything else that begins with ESC is shown as it is.
fn sequence(bytes: &[u8], is_end: bool) -> Next {
    let alone = Next::Character(char::from(ESC), 1);
    if bytes.len() == 1 {
        return if is_end { alone } else { Next::Open };
    }
    if bytes[1] != b'[' {
        return alone;
    }
    let body = &bytes[2..];
    let parameters = body.iter().take_while(|byte| (0x30..=0x3f).contains(*byte)).count();
    let between = body[parameters..]
        .iter()
        .take_while(|byte| (0x20..=0x2f).contains(*byte))
        .count();
    let length = 2 + parameters + between;
    match bytes.get(length) {
        Some(0x40..=0x7e) if length < LONGEST => Next::Sequence(length + 1),
        None if length < LONGEST && !is_end => Next::Open,
        _ => alone,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn live(pieces: &[&[u8]]) -> String {
        let mut filter = Filter::default();
        let text: String = pieces.iter().map(|piece| filter.take(piece)).collect();
        text + &filter.finish()
    }

    #[test]
    fn control_characters_and_overrides_are_made_visible() {
        for (sent, expected) in [
            ("plain ü €\tx\n", "plain ü €\tx\n"),
            ("\x1b[31mred\x1b[0m \x1b[2J\x1b[1;1H", "red "),
            ("\x1b]0;title\x07", "␛]0;title␇"),
            ("\x1bc\x1bP+q\x1b\\", "␛c␛P+q␛\\"),
            ("a\x08b\x7f\x00", "a␈b␡␀"),
            ("\u{9b}31m \u{85}", "\\u{9b}31m \\u{85}"),
            ("if \u{202e}x\u{2066}", "if \\u{202e}x\\u{2066}"),
            ("\x1b[31", "␛[31"),
            ("\x1b", "␛"),
        ] {
            assert_eq!(shown(sent), expected, "{sent:?}");
            assert_eq!(live(&[sent.as_bytes()]), expected, "{sent:?}");
        }
        assert_eq!(live(&[b"\xff\x9b31m\xe2\x82"]), "\u{fffd}\u{fffd}31m\u{fffd}");
        let endless = format!("\x1b[{}", "1".repeat(1000));
        assert_eq!(shown(&endless), format!("␛[{}", "1".repeat(1000)));
    }

    #[test]
    fn a_progress_bar_stays_one_line_and_a_message_cannot_overwrite_itself() {
        assert_eq!(live(&[b"10 %\r20 %\r\ndone\r", b"\n"]), "10 %\r20 %\ndone\n");
        assert_eq!(shown("error: x\rexit code 0\r\n"), "error: x␍exit code 0\n");
        let mut filter = Filter::default();
        filter.take(b"exit code 0\r");
        filter.finish();
        assert!(!filter.is_at_line_start());
        filter.take(b"\n");
        assert!(filter.is_at_line_start());
    }

    proptest! {
        #[test]
        fn output_is_made_safe_independently_of_how_it_is_split(
            parts in proptest::collection::vec(0_usize..14, 0..20),
            size in 1_usize..9,
        ) {
            let words: [&[u8]; 14] = [
                b"\x1b", b"[", b"31", b"m", b"\r", b"\n", b"x", b"\xe2", b"\x80", b"\xae", b"\xc2\x9b", b"\xff", b"]0;", b"\x07",
            ];
            let bytes: Vec<u8> = parts.iter().flat_map(|part| words[*part]).copied().collect();
            let pieces: Vec<&[u8]> = bytes.chunks(size).collect();
            let text = live(&pieces);
            prop_assert_eq!(&text, &live(&[&bytes]));
            prop_assert!(!text.chars().any(|c| is_harmful(c) && c != '\r'), "{:?}", text);
        }
    }
}
