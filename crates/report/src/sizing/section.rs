//! A part of the report that consists of tables with text above and below: the same in every form.

use comfy_table::{CellAlignment, Table, presets};
use hybrid_cache_web::scrolling;
use maud::{Markup, html};

use crate::markdown::escape;

/// A part of the report.
pub(super) struct Section {
    /// Its place on the page, and its title.
    pub id: &'static str,
    pub title: &'static str,
    /// What it comes to, in a sentence without its full stop.
    pub lead: String,
    pub tables: Vec<Rows>,
    /// What is said in the end.
    pub notes: Vec<String>,
}

/// A table. The first and the last column are words, the others figures.
pub(super) struct Rows {
    pub headline: String,
    pub columns: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
    pub sentences: Vec<String>,
}

impl Rows {
    fn is_figure(&self, column: usize) -> bool {
        (1..self.columns.len() - 1).contains(&column)
    }
}

impl Section {
    pub fn terminal(&self) -> String {
        let mut text = format!("\n{}: {}\n", self.title.to_lowercase(), self.lead);
        for rows in &self.tables {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header(rows.columns.clone());
            for row in &rows.rows {
                table.add_row(row.clone());
            }
            for (at, column) in table.column_iter_mut().enumerate() {
                if rows.is_figure(at) {
                    column.set_cell_alignment(CellAlignment::Right);
                }
            }
            text.push_str(&format!("  {}\n\n{table}\n\n", rows.headline));
            for sentence in &rows.sentences {
                text.push_str(&format!("  {sentence}\n"));
            }
        }
        for note in &self.notes {
            text.push_str(&format!("  {note}\n"));
        }
        text
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("\n## {}\n\n**{}.**\n", self.title, escape(&self.lead));
        for rows in &self.tables {
            text.push_str(&format!(
                "\n{}.\n\n| {} |\n|",
                escape(&rows.headline),
                rows.columns.join(" | ")
            ));
            for at in 0..rows.columns.len() {
                text.push_str(if rows.is_figure(at) { "---:|" } else { "---|" });
            }
            text.push('\n');
            for row in &rows.rows {
                let cells: Vec<String> = row.iter().map(|cell| escape(cell)).collect();
                text.push_str(&format!("| {} |\n", cells.join(" | ")));
            }
            text.push_str(&list(&rows.sentences));
        }
        text.push_str(&list(&self.notes));
        text
    }

    pub fn page(&self) -> Markup {
        html! {
            section aria-labelledby=(self.id) {
                h2 id=(self.id) { (self.title) }
                p class="headline" { (self.lead) "." }
                @for rows in &self.tables { (rows.page()) }
                @if !self.notes.is_empty() { ul class="warnings" { @for note in &self.notes { li { (note) } } } }
            }
        }
    }
}

fn list(sentences: &[String]) -> String {
    if sentences.is_empty() {
        return String::new();
    }
    let lines = sentences.iter().map(|sentence| format!("- {}\n", escape(sentence)));
    format!("\n{}", lines.collect::<String>())
}

impl Rows {
    fn page(&self) -> Markup {
        let figure = |at: usize| self.is_figure(at).then_some("n");
        html! {
            p class="small headline" { (self.headline) "." }
            (scrolling(&self.headline, &html! {
                table {
                    thead { tr { @for (at, name) in self.columns.iter().enumerate() { th scope="col" class=[figure(at)] { (name) } } } }
                    tbody {
                        @for row in &self.rows {
                            tr {
                                @for (at, cell) in row.iter().enumerate() {
                                    @if at == 0 { th scope="row" { (cell) } }
                                    @else { td class=[figure(at)] { (cell) } }
                                }
                            }
                        }
                    }
                }
            }))
            @if !self.sentences.is_empty() { ul class="warnings" { @for sentence in &self.sentences { li { (sentence) } } } }
        }
    }
}
