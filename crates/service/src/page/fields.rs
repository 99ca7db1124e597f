//! The form's fields: a label, what was typed, and a mark if it was refused.

use hybrid_cache_api::Problem;
use maud::{Markup, html};

/// True if the problem is about this field.
pub fn is_meant(name: &str, refused: Option<&Problem>) -> bool {
    refused
        .and_then(|problem| problem.pointer.as_deref())
        .is_some_and(|pointer| pointer.strip_prefix('/') == Some(name))
}

/// A field of several lines.
pub fn area(name: &str, label: &str, text: &str, example: &str, rows: u32, refused: Option<&Problem>) -> Markup {
    let meant = is_meant(name, refused);
    html! {
        label for=(name) { (label) }
        textarea id=(name) name=(name) rows=(rows) placeholder=(example) spellcheck="false" autocapitalize="off"
            autofocus[meant] aria-invalid=[meant.then_some("true")] aria-describedby=[meant.then_some("refused")] {
            // The HTML parser drops one line break at the beginning.
            "\n" (text)
        }
    }
}

/// A field of one line.
pub fn line(name: &str, label: &str, text: &str, example: &str, refused: Option<&Problem>) -> Markup {
    let meant = is_meant(name, refused);
    html! {
        div {
            label for=(name) { (label) }
            input type="text" id=(name) name=(name) value=(text) placeholder=(example) spellcheck="false" autocapitalize="off"
                autocomplete="off" autofocus[meant] aria-invalid=[meant.then_some("true")] aria-describedby=[meant.then_some("refused")];
        }
    }
}
