//! Reads the links of an HTML page of an index (PEP 503), and writes such a page.

use std::collections::BTreeMap;

/// An element's attributes, names in lower case.
pub type Attributes = BTreeMap<String, String>;

/// The elements `a` and `base` of a page, in order, at most `most`. No page is refused: what cannot be read has no links.
pub fn elements(page: &str, most: usize) -> Vec<(String, Attributes)> {
    let mut found = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = comment.find("-->").map_or("", |end| &comment[end + 3..]);
            continue;
        }
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(rest.len());
        let name = rest[..end].to_ascii_lowercase();
        rest = &rest[end..];
        if name.is_empty() {
            continue;
        }
        let (attributes, after) = attributes(rest);
        rest = after;
        if matches!(name.as_str(), "a" | "base") {
            found.push((name, attributes));
            if found.len() == most {
                break;
            }
        }
    }
    found
}

/// The attributes up to the end of a tag, and what is behind it.
fn attributes(mut rest: &str) -> (Attributes, &str) {
    let mut found = Attributes::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '/');
        let Some(first) = rest.chars().next() else {
            return (found, rest);
        };
        if first == '>' {
            return (found, &rest[1..]);
        }
        // A name may begin with `=`, which ends it elsewhere.
        let from = first.len_utf8();
        let is_end = |c: char| c.is_whitespace() || matches!(c, '=' | '>' | '/');
        let end = rest[from..].find(is_end).map_or(rest.len(), |at| at + from);
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_start();
        let mut value = "";
        if let Some(behind) = rest.strip_prefix('=') {
            (value, rest) = attribute_value(behind.trim_start());
        }
        found.entry(name).or_insert_with(|| unescaped(value));
    }
}

fn attribute_value(text: &str) -> (&str, &str) {
    for quote in ['"', '\''] {
        if let Some(inside) = text.strip_prefix(quote) {
            return inside.split_once(quote).unwrap_or((inside, ""));
        }
    }
    let end = text.find(|c: char| c.is_whitespace() || c == '>').unwrap_or(text.len());
    text.split_at(end)
}

/// Longest reference to a character that is read, with its semicolon and without its ampersand, in bytes.
const MAX_REFERENCE: usize = 12;

/// Without references to characters, as far as index pages have them.
fn unescaped(text: &str) -> String {
    let mut whole = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        whole.push_str(&rest[..at]);
        rest = &rest[at..];
        // A page with many ampersands and no semicolon would otherwise be read to its end for each of them.
        let end = rest.bytes().skip(1).take(MAX_REFERENCE).position(|byte| byte == b';');
        let reference = end.map_or("", |end| &rest[1..=end]);
        match character(reference) {
            Some(character) => {
                whole.push(character);
                rest = &rest[reference.len() + 2..];
            }
            None => {
                whole.push('&');
                rest = &rest[1..];
            }
        }
    }
    whole.push_str(rest);
    whole
}

fn character(reference: &str) -> Option<char> {
    let number = reference.strip_prefix('#');
    match (reference, number) {
        ("amp", _) => Some('&'),
        ("lt", _) => Some('<'),
        ("gt", _) => Some('>'),
        ("quot", _) => Some('"'),
        ("apos", _) => Some('\''),
        (_, Some(number)) => {
            let hexadecimal = number.strip_prefix(['x', 'X']);
            let code = match hexadecimal {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?)
        }
        _ => None,
    }
}

/// A text as part of a page.
pub fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_however_they_are_written() {
        let page = "<!DOCTYPE html><!-- <a href='no'> --><BASE HREF='https://x.example/'><p class=y>\
                    <a href=\"a.whl#sha256=1\" data-requires-python='&gt;=3.8&#44;&#x3c;4' data-yanked>a</a>\
                    <A\nHREF=b.whl\n>b</a><a href = 'c&amp;d.whl'/><abbr href=no><a =x href=e.whl><a href='open";
        let found = elements(page, 100);
        let addresses: Vec<_> = found
            .iter()
            .map(|(name, all)| (name.as_str(), all["href"].as_str()))
            .collect();
        assert_eq!(
            addresses,
            [
                ("base", "https://x.example/"),
                ("a", "a.whl#sha256=1"),
                ("a", "b.whl"),
                ("a", "c&d.whl"),
                ("a", "e.whl"),
                ("a", "open"),
            ]
        );
        assert_eq!(found[1].1["data-requires-python"], ">=3.8,<4");
        assert_eq!(found[1].1["data-yanked"], "");
        assert_eq!(elements(page, 2).len(), 2);
    }

    #[test]
    fn odd_pages_end() {
        for page in [
            "<",
            "<a",
            "<a href",
            "<a href=",
            "<a =",
            "<a ==>",
            "<!--",
            "<a href='",
            "&#x110000;",
            "<ä>",
            "<a ä=ö>",
        ] {
            elements(page, 10);
        }
        assert_eq!(unescaped("a&b&unknown;&#xD800;&"), "a&b&unknown;&#xD800;&");
        assert_eq!(unescaped(&escaped("<a href=\"x&y\">")), "<a href=\"x&y\">");
    }
    #[test]
    fn a_page_of_ampersands_is_read_at_once() {
        let page = format!("<a href='{}'>", "&".repeat(400_000));
        let began = std::time::Instant::now();
        assert_eq!(elements(&page, 10)[0].1["href"].len(), 400_000);
        assert!(
            began.elapsed() < std::time::Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
        assert_eq!(unescaped("&é;&#x10FFFF;&#1114111;&"), "&é;\u{10ffff}\u{10ffff}&");
    }
}
