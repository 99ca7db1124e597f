//! A run on a terminal: one compact table, the verdicts, the warnings.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets};
use hybrid_cache_model::sample::RunRecord;

use crate::claim::{ClaimResult, Verdict};
use crate::stats::{self, Distribution, Ratio};
use crate::summary::{GroupSummary, ScenarioSummary, Summary};
use crate::units;

/// Below this width the columns p90 and min–max are left out.
const WIDE: u16 = 100;

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
    let summary = Summary::from_record(record);
    let mut text = table(&summary, width).to_string();
    text.push('\n');
    for warning in &summary.warnings {
        let about = warning.about.as_ref().map(|about| format!("{about}: ")).unwrap_or_default();
        text.push_str(&format!("\nwarning: {}{}\n   hint: {}\n", plain(&about), plain(&warning.message), plain(&warning.remedy)));
    }
    match color {
        Color::Plain => text,
        Color::Ansi => painted(&text),
    }
}

fn table(summary: &Summary, width: u16) -> Table {
    let wide = width >= WIDE;
    let mut table = framed(width);
    let columns = ["scenario", "temperature", "n", "median", "interval", "p90", "min–max", "claim", "first/cached"];
    table.set_header(columns.into_iter().filter(|column| wide || !["p90", "min–max"].contains(column)));
    for scenario in &summary.scenarios {
        for (index, group) in scenario.groups.iter().enumerate() {
            let [median, interval, p90, range] = figures(group.wall.as_ref());
            let name = if index == 0 { plain(&scenario.name) } else { String::new() };
            let mut cells = vec![name, group.temperature.name().to_owned(), counted(group), median, interval];
            if wide {
                cells.extend([p90, range]);
            }
            cells.extend([group.claim.as_ref().map(claim).unwrap_or_default(), ratio_cell(scenario, index)]);
            table.add_row(cells);
        }
    }
    let right = 2..if wide { 7 } else { 5 };
    for column in right {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// A table in the house style: rules between rows would double its height.
pub(crate) fn framed(width: u16) -> Table {
    let mut table = Table::new();
    let rule = || LineStyle::none().fill('─').junction('─');
    table.load_style(presets::NOTHING.top_border(rule()).header_separator(rule()).bottom_border(rule()));
    table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
    table
}

/// Median, interval, p90 and range as text; a dash where n does not carry the figure.
pub(crate) fn figures(wall: Option<&Distribution>) -> [String; 4] {
    let dash = || "–".to_owned();
    let Some(wall) = wall else { return [dash(), dash(), dash(), dash()] };
    [
        units::duration(wall.median_us),
        wall.interval.as_ref().map_or_else(dash, units::interval),
        wall.p90_us.map_or_else(dash, |us| units::duration(stats::as_f64(us))),
        units::duration_range(stats::as_f64(wall.min_us), stats::as_f64(wall.max_us)),
    ]
}

/// Samples that count, and those that do not: `30 (2 rejected, 1 failed)`.
pub(crate) fn counted(group: &GroupSummary) -> String {
    let aside: Vec<String> = [(group.rejected, "rejected"), (group.failed, "failed")]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if aside.is_empty() { group.accepted.to_string() } else { format!("{} ({})", group.accepted, aside.join(", ")) }
}

/// `10–60 s ▼ beaten`.
pub(crate) fn claim(result: &ClaimResult) -> String {
    let range = units::seconds_range(result.claim.min_s, result.claim.max_s);
    format!("{range} {} {}", result.verdict.mark(), result.verdict.name())
}

/// `19.1× (18.2–20.3)`.
pub(crate) fn ratio(ratio: &Ratio) -> String {
    match ratio.interval {
        Some(interval) => {
            let [low, high] = [interval.low, interval.high].map(units::ratio);
            format!("{} ({}–{})", units::ratio(ratio.value), low.trim_end_matches('×'), high.trim_end_matches('×'))
        }
        None => units::ratio(ratio.value),
    }
}

/// The ratio stands in the last row of its scenario, below both figures it is made of.
fn ratio_cell(scenario: &ScenarioSummary, index: usize) -> String {
    let last = index + 1 == scenario.groups.len();
    scenario.ratio.as_ref().filter(|_| last).map(ratio).unwrap_or_default()
}

/// Text from a record without its control characters: a task's output must not move the reader's cursor.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Colours the finished text: colour inside the cells would count as width.
fn painted(text: &str) -> String {
    let verdicts = [
        (Verdict::Beaten, "32"),
        (Verdict::Supported, "32"),
        (Verdict::Refuted, "31"),
        (Verdict::Undecided, "33"),
    ];
    let mut text = text.replace("\nwarning:", "\n\u{1b}[33mwarning:\u{1b}[0m").replace("\n   hint:", "\n   \u{1b}[36mhint:\u{1b}[0m");
    for (verdict, code) in verdicts {
        let word = format!("{} {}", verdict.mark(), verdict.name());
        text = text.replace(&word, &format!("\u{1b}[{code}m{word}\u{1b}[0m"));
    }
    text
}
