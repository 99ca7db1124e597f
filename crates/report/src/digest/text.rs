//! Text that stays text in Markdown as GitHub and GitLab render it, and tables and folded parts made of it.

use std::fmt::Write;

use crate::cells::plain;

/// Most characters of one piece of text from a record.
const MOST_CHARACTERS: usize = 240;
/// Keeps what stands before and after it apart without being seen (a word joiner).
const APART: &str = "&#8288;";

/// Text that renders as just this text, in a line, a table cell or bold: no markup, mention, reference, link or formula.
pub(super) fn inert(text: &str) -> String {
    let text = plain(text);
    let mut written = String::with_capacity(text.len());
    let mut rest = text.chars().take(MOST_CHARACTERS).peekable();
    while let Some(c) = rest.next() {
        match c {
            '<' => written.push_str("&lt;"),
            '>' => written.push_str("&gt;"),
            '&' => written.extend(["&amp;", APART]),
            '%' if rest.peek().is_some_and(char::is_ascii_digit) => written.extend(["%", APART]),
            '-' if written.to_ascii_uppercase().ends_with("GH") => written.extend(["-", APART]),
            // The person behind an @name is notified of the comment, and a number behind # or ! becomes a link.
            '@' | '#' | '!' => written.extend(["\\", c.encode_utf8(&mut [0; 4]), APART]),
            ':' if rest.peek() == Some(&'/') => written.extend([":", APART]),
            '.' if written.to_ascii_lowercase().ends_with("www") => written.extend([APART, "."]),
            '|' | '`' | '*' | '_' | '~' | '$' | '[' | ']' | '\\' => written.extend(['\\', c]),
            c => written.push(c),
        }
    }
    if text.chars().nth(MOST_CHARACTERS).is_some() {
        written.push('…');
    }
    written
}

/// A table of at most `most` rows, and a line that says how many are left out. Cells are written as they are.
pub(super) fn table<const N: usize>(out: &mut String, head: [(&str, bool); N], rows: &[[String; N]], most: usize) {
    let names = head.map(|(name, _)| name);
    let sides = head.map(|(_, is_number)| if is_number { "--:" } else { "---" });
    // Writing to a String cannot fail.
    let _ = writeln!(out, "| {} |\n|{}|", names.join(" | "), sides.join("|"));
    for row in rows.iter().take(most) {
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    let left = rows.len().saturating_sub(most);
    if left > 0 {
        let _ = writeln!(out, "\n{left} more rows are in the report.");
    }
}

/// Opens a part that is folded until a reader asks for it.
pub(super) fn fold(out: &mut String, title: &str) {
    let _ = writeln!(out, "\n<details><summary>{title}</summary>\n");
}

/// Closes it.
pub(super) fn end_fold(out: &mut String) {
    let _ = writeln!(out, "\n</details>");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_a_record_stays_text() {
        let hostile =
            "a|b\n# c <script> `d` **e** [f](https://g) @owner #12 ~h~ $i$ www.j.k \u{202e}l !9 <!-- m GH-12 %12 &12";
        let text = inert(hostile);
        for markup in [
            "<", "https://", "www.", "@owner", "#12", "\n", "\u{202e}", "!9", " **", " `d", "GH-12", "%12", "&amp;12",
        ] {
            assert!(!text.contains(markup), "{markup:?} is in {text}");
        }
        let mut before = ' ';
        for c in text.chars() {
            assert!(!"|`*[]~$".contains(c) || before == '\\', "{c:?} in {text}");
            before = c;
        }
        assert_eq!(inert("python-only, cached: 95.2 ms"), "python-only, cached: 95.2 ms");
        assert_eq!(inert(&"x".repeat(1000)).chars().count(), MOST_CHARACTERS + 1);
    }

    #[test]
    fn a_table_says_how_many_rows_it_leaves_out() {
        let mut text = String::new();
        let rows: Vec<[String; 1]> = (0..5).map(|row| [row.to_string()]).collect();
        table(&mut text, [("one", true)], &rows, 3);
        assert_eq!(
            text,
            "| one |\n|--:|\n| 0 |\n| 1 |\n| 2 |\n\n2 more rows are in the report.\n"
        );
    }
}
