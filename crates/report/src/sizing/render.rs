//! The forms of a report: text for a terminal, Markdown, a page and JSON.

use super::report::SizingReport;
use super::{markdown, page, terminal};

impl SizingReport {
    /// As text for a terminal.
    pub fn terminal(&self) -> String {
        terminal::terminal(self)
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        markdown::markdown(self)
    }

    /// As a page with nothing outside it.
    pub fn html(&self) -> String {
        page::page(self)
    }

    /// As JSON.
    ///
    /// # Errors
    /// Never: every type in it has a form in JSON.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self)
    }
}
