//! The style sheet and the components that the report, the sizing page and the task service's pages share.
//!
//! Pages are complete without a script, follow the reader's light or dark scheme, and are readable at 400 pixels and in
//! print. A page with figures of its own appends its own sheet to [`STYLE`].

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// The shared style sheet: colours, text, tables, badges, notices, facts, figures and print.
pub const STYLE: &str = include_str!("style.css");

/// A whole page. `head` holds its style and what else belongs there, `skip` names the target of the skip link, the element
/// with the id `main`.
pub fn document(title: &str, head: &Markup, skip: &str, body: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                (head)
            }
            body {
                a class="skip" href="#main" { (skip) }
                (body)
            }
        }
    }
}

/// [`STYLE`] and the page's own sheets within the page, for pages that are one file.
pub fn inline_style(own: &[&str]) -> Markup {
    html! { style { (PreEscaped(STYLE)) @for sheet in own { (PreEscaped(sheet)) } } }
}

/// A table that scrolls sideways by itself, so that the page does not. `label` names it for screen readers.
pub fn scrolling(label: &str, table: &Markup) -> Markup {
    html! { div class="scroll" tabindex="0" role="region" aria-label=(label) { (table) } }
}

/// What the colour of a badge says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// As wanted.
    Good,
    /// Not as wanted.
    Bad,
    /// Undecided, or waiting.
    Open,
    /// In progress.
    Running,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Good => "badge b-good",
            Tone::Bad => "badge b-bad",
            Tone::Open => "badge b-open",
            Tone::Running => "badge b-running",
        }
    }
}

/// A word on a coloured ground. The mark before it repeats what the colour says, so that colour never carries it alone.
pub fn badge(tone: Tone, mark: &str, word: &str) -> Markup {
    html! { span class=(tone.class()) { span aria-hidden="true" { (mark) " " } (word) } }
}

/// A sentence that the reader must not miss.
pub fn notice(content: &Markup) -> Markup {
    html! { p class="notice" { span aria-hidden="true" { "⚠ " } (content) } }
}

/// Pairs of a name and a value, in as many columns as there is room for.
pub fn facts<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> Markup {
    html! { dl class="facts" { @for (name, value) in pairs { div { dt { (name) } dd { (value) } } } } }
}

/// A drawing with what explains it below.
pub fn figure(drawing: &Markup, caption: Option<&Markup>) -> Markup {
    html! { figure { (drawing) @if let Some(caption) = caption { figcaption { (caption) } } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The colours that a block of the sheet sets.
    fn colours(block: &str) -> Vec<(&str, &str)> {
        let declarations = block
            .split(['{', ';'])
            .filter_map(|part| part.trim().strip_prefix("--"));
        declarations.filter_map(|part| part.split_once(": ")).collect()
    }

    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
        let linear = |value: f64| match value {
            value if value <= 0.03928 => value / 12.92,
            value => ((value + 0.055) / 1.055).powf(2.4),
        };
        0.2126 * linear(channel(1)) + 0.7152 * linear(channel(3)) + 0.0722 * linear(channel(5))
    }

    fn contrast(one: &str, other: &str) -> f64 {
        let (one, other) = (luminance(one), luminance(other));
        (one.max(other) + 0.05) / (one.min(other) + 0.05)
    }

    #[test]
    fn text_has_enough_contrast_in_light_and_in_dark() {
        let (light, rest) = STYLE
            .split_once("@media screen and (prefers-color-scheme: dark)")
            .unwrap();
        let dark = rest.split_once("@media").unwrap().0;
        for block in [light, dark] {
            let known = colours(block);
            let colour = |name: &str| known.iter().find(|(own, _)| *own == name).unwrap().1;
            let grounds = [
                ("ink", "ground"),
                ("ink", "card"),
                ("ink", "faint"),
                ("muted", "ground"),
                ("muted", "card"),
            ];
            let badges = [
                ("good", "good-ground"),
                ("bad", "bad-ground"),
                ("open", "open-ground"),
                ("blue", "blue-ground"),
                ("link", "card"),
                ("on-strong", "strong"),
            ];
            for (text, ground) in grounds.into_iter().chain(badges) {
                let found = contrast(colour(text), colour(ground));
                assert!(found >= 4.5, "{text} on {ground}: {found:.2}");
            }
        }
    }

    #[test]
    fn text_is_escaped_in_every_component() {
        let evil = "<script>\"&";
        let text = html! { (evil) };
        let page = document(
            evil,
            &inline_style(&[]),
            evil,
            &html! {
                (scrolling(evil, &text)) (badge(Tone::Bad, evil, evil)) (notice(&text)) (figure(&text, Some(&text)))
                (facts([(evil, evil.to_owned())]))
            },
        );
        assert!(!page.into_string().contains(evil));
    }
}
