//! What all pages share: the frame around them, and text with code in it.

use hybrid_cache_model::shown;
use hybrid_cache_web as web;
use maud::{Markup, html};

/// The path of the style sheet. Raise the number with each change, because browsers keep the file.
pub const STYLE_PATH: &str = concat!("/assets/style-", env!("CARGO_PKG_VERSION"), "-2.css");
/// The path of the script.
pub const SCRIPT_PATH: &str = concat!("/assets/live-", env!("CARGO_PKG_VERSION"), "-3.js");

/// The navigation entry that a page belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Here {
    /// The list of tasks.
    Tasks,
    /// The reference.
    Docs,
    /// No entry.
    Elsewhere,
}

/// A whole page.
pub fn document(title: &str, here: Here, main: &Markup) -> Markup {
    page(title, here, &html! {}, main)
}

/// A whole page with more in its head.
pub fn page(title: &str, here: Here, head: &Markup, main: &Markup) -> Markup {
    let entry = |path: &str, name: &str, own: Here| {
        html! { a href=(path) aria-current=[(own == here).then_some("page")] { (name) } }
    };
    let head = html! {
        link rel="icon" href="data:,";
        link rel="stylesheet" href=(STYLE_PATH);
        script src=(SCRIPT_PATH) defer {}
        (head)
    };
    let body = html! {
        header class="top" {
            a class="brand" href="/" { "hybrid-cache" }
            nav aria-label="Pages" {
                (entry("/", "Tasks", Here::Tasks))
                (entry("/docs", "API", Here::Docs))
            }
        }
        main id="main" { (main) }
    };
    web::document(&format!("{title} · hybrid-cache"), &head, "Skip to the content", &body)
}

/// Text of users: characters that would reorder or hide a part of it are made visible. A carriage return is a line
/// break, as in HTML.
pub fn foreign(text: &str) -> String {
    shown(&text.replace("\r\n", "\n").replace('\r', "\n")).into_owned()
}

/// Text with code between backticks.
pub fn prose(text: &str) -> Markup {
    let text = foreign(text);
    html! {
        @for (at, part) in text.split('`').enumerate() {
            @if at % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// The sentence with a capital letter.
pub fn capital(sentence: &str) -> String {
    let mut chars = sentence.chars();
    match chars.next() {
        Some(first) => first.to_uppercase().chain(chars).collect(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_text_cannot_reorder_or_hide_text() {
        assert_eq!(foreign("if \u{202e}x\x1b[8m\r10 %\r\n"), "if \\u{202e}x\n10 %\n");
        let page = prose("a\u{2066}`b`").into_string();
        assert!(page.contains("\\u{2066}") && !page.contains('\u{2066}'), "{page}");
    }

    #[test]
    fn user_text_is_escaped() {
        let page = document("<b>", Here::Tasks, &prose("a `<script>` & b")).into_string();
        assert!(page.contains("<code>&lt;script&gt;</code> &amp; b") && !page.contains("<b>"));
    }
}
