//! The encoding that a program declares in its first two lines (PEP 263).
//!
//! The API carries a program as text, so the runner always writes it as UTF-8. A line such as `# -*- coding: latin-1 -*-`
//! would make Python read those bytes as something else. [`as_utf8`] names UTF-8 in such a line; [`check`] refuses the
//! encodings that are no character set, because nobody can know what their text means.

use std::borrow::Cow;
use std::ops::Range;

use crate::task_error::TaskError;

/// How the names of Python's character sets begin, in lower case and with `_` for `-`.
const CHARACTER_SETS: [&str; 25] = [
    "latin", "l1", "iso", "8859", "ascii", "us_ascii", "646", "cp", "ibm", "windows", "1250", "1251", "1252", "koi8",
    "mac", "gb", "big5", "euc", "shift", "sjis", "s_jis", "ms_kanji", "tis", "johab", "hz",
];

/// Where a program declares its encoding.
#[derive(Debug, PartialEq, Eq)]
struct Declaration {
    /// The line, from 1.
    line: usize,
    /// The bytes of the encoding's name.
    name: Range<usize>,
}

/// Refuses a program whose declared encoding cannot hold text as it was sent.
///
/// A program of ASCII alone is accepted as it is: Python reads it by its own rules.
///
/// # Errors
/// The line, with the name it declares.
pub(crate) fn check(code: &str) -> Result<(), TaskError> {
    match foreign(code) {
        Some(declaration) if !is_character_set(&code[declaration.name.clone()]) => Err(TaskError {
            pointer: "/pythonCode",
            line: Some(declaration.line),
            message: format!(
                "the line declares the encoding `{}`, which is not a known character set",
                &code[declaration.name]
            ),
            hint: Some("the program is sent as text and stored as UTF-8: delete the line, or write `utf-8`".to_owned()),
        }),
        _ => Ok(()),
    }
}

/// The same program, declaring UTF-8 if it declares another encoding and holds more than ASCII. No line moves.
pub fn as_utf8(code: &str) -> Cow<'_, str> {
    match foreign(code) {
        Some(Declaration { name, .. }) => Cow::Owned([&code[..name.start], "utf-8", &code[name.end..]].concat()),
        None => Cow::Borrowed(code),
    }
}

/// The declaration that would make Python misread the program's UTF-8.
fn foreign(code: &str) -> Option<Declaration> {
    let declaration = declaration(code)?;
    // Every character set of Python's source holds ASCII, so only other characters can be misread.
    (!is_utf8(&code[declaration.name.clone()]) && !code.is_ascii()).then_some(declaration)
}

/// Finds the declaration as Python does: a comment of the first line, or of the second if the first has no code.
fn declaration(code: &str) -> Option<Declaration> {
    let mut start = if code.starts_with('\u{feff}') {
        '\u{feff}'.len_utf8()
    } else {
        0
    };
    for line in 1..=2 {
        let rest = &code[start..];
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let blank = rest[..end].len() - rest[..end].trim_start_matches([' ', '\t', '\x0c']).len();
        let text = &rest[blank..end];
        if text.starts_with('#') {
            if let Some(name) = declared(text) {
                let at = start + blank;
                return Some(Declaration {
                    line,
                    name: at + name.start..at + name.end,
                });
            }
        } else if !text.is_empty() {
            return None;
        }
        let newline = if rest[end..].starts_with("\r\n") { 2 } else { 1 };
        start = (start + end + newline).min(code.len());
    }
    None
}

/// The bytes of the name in a comment: what matches `coding[:=][ \t]*([-_.a-zA-Z0-9]+)`.
fn declared(comment: &str) -> Option<Range<usize>> {
    const WORD: &str = "coding";
    comment.match_indices(WORD).find_map(|(at, _)| {
        let behind = at + WORD.len();
        let rest = comment[behind..].strip_prefix([':', '='])?;
        let name = rest.trim_start_matches([' ', '\t']);
        let bytes = name
            .find(|letter: char| !(letter.is_ascii_alphanumeric() || "-_.".contains(letter)))
            .unwrap_or(name.len());
        let start = comment.len() - name.len();
        (bytes > 0).then_some(start..start + bytes)
    })
}

fn normal(name: &str) -> String {
    name.to_ascii_lowercase().replace('-', "_")
}

fn is_utf8(name: &str) -> bool {
    let name = normal(name);
    matches!(name.as_str(), "utf_8" | "utf8" | "u8" | "utf" | "cp65001" | "utf_8_sig") || name.starts_with("utf_8_")
}

fn is_character_set(name: &str) -> bool {
    let name = normal(name);
    CHARACTER_SETS.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_set_is_replaced_if_the_program_has_more_than_ascii() {
        for (code, expected) in [
            (
                "# -*- coding: latin-1 -*-\nprint('é')",
                "# -*- coding: utf-8 -*-\nprint('é')",
            ),
            (
                "#!/bin/x\r\n# vim: fileencoding=cp1252 :\r\n'é'",
                "#!/bin/x\r\n# vim: fileencoding=utf-8 :\r\n'é'",
            ),
            ("\n \t# coding:ascii\n'é'", "\n \t# coding:utf-8\n'é'"),
            ("\u{feff}# coding: big5\n'é'", "\u{feff}# coding: utf-8\n'é'"),
            ("# é coding coding: gbk", "# é coding coding: utf-8"),
        ] {
            assert_eq!(as_utf8(code), expected);
            assert!(check(code).is_ok(), "{code}");
        }
    }

    #[test]
    fn what_python_reads_rightly_or_does_not_take_for_a_declaration_stays() {
        for code in [
            "# coding: latin-1\nprint('e')",
            "# coding: utf-8\n'é'",
            "# coding: UTF8\n'é'",
            "x = 1\n# coding: rot13\n'é'",
            "x = '''\n# coding: rot13 é'''",
            "\n\n# coding: rot13\n'é'",
            "# encoding latin-1\n'é'",
            "print('coding: rot13 é')",
            "# coding:",
            "é",
            "",
        ] {
            assert!(matches!(as_utf8(code), Cow::Borrowed(_)), "{code}");
            assert!(check(code).is_ok(), "{code}");
        }
    }

    #[test]
    fn an_encoding_that_is_no_character_set_is_refused_with_line_and_remedy() {
        for name in ["rot13", "utf-16", "unicode_escape", "no-such"] {
            let error = check(&format!("#!/bin/x\n# coding: {name}\n'é'"))
                .unwrap_err()
                .to_string();
            assert!(error.contains("/pythonCode line 2:") && error.contains(name), "{error}");
            assert!(error.contains("delete the line"), "{error}");
        }
    }
}
