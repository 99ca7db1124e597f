//! A run on a terminal: one compact table, the verdicts, the overhead, the warnings.

mod alternatives;
mod figures;
mod latency;
mod levels;
mod load;
mod table;

use hybrid_cache_model::sample::RunRecord;

use crate::cells::{attainment, verdict};
use crate::claim::Verdict;
use crate::figure::Attainment;
use crate::load::LoadSummary;

pub(crate) use table::{align, fitted, framed};

/// Whether to write ANSI colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Escape sequences around verdicts and warnings.
    Ansi,
    /// Plain text.
    Plain,
}

/// The run as text for a terminal `width` columns wide.
pub fn terminal(record: &RunRecord, width: u16, color: Color) -> String {
    let text = match &record.load {
        Some(load) => load::load(record, &LoadSummary::from_record(load)),
        None if record.levels.is_some() => levels::text(record, width),
        None => latency::latency(record, width),
    };
    match color {
        Color::Plain => text,
        Color::Ansi => painted(&text),
    }
}

/// Colours the finished text: colour inside the cells would count as width.
fn painted(text: &str) -> String {
    // "? undecided" is written alike for claims and for targets.
    let words = [
        (verdict(Verdict::Beaten), "32"),
        (verdict(Verdict::Supported), "32"),
        (attainment(Attainment::Met), "32"),
        (verdict(Verdict::Refuted), "31"),
        (attainment(Attainment::Missed), "31"),
        (verdict(Verdict::Undecided), "33"),
    ];
    let mut text = text
        .replace("\nwarning:", "\n\u{1b}[33mwarning:\u{1b}[0m")
        .replace("\n   hint:", "\n   \u{1b}[36mhint:\u{1b}[0m");
    for (word, code) in words {
        text = text.replace(&word, &format!("\u{1b}[{code}m{word}\u{1b}[0m"));
    }
    text
}
