//! A run on a terminal: one compact table, the verdicts, what we add, the warnings.

mod figures;

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, presets};
use hybrid_cache_model::sample::RunRecord;
use hybrid_cache_model::shown;

use crate::claim::{ClaimResult, Verdict};
use crate::figure::Attainment;
use crate::load::LoadSummary;
use crate::stats::{self, Distribution, Ratio};
use crate::summary::{GroupSummary, ScenarioSummary, Summary};
use crate::units;

/// Columns that a narrow terminal does without, one after the other: warnings tell what the first and the last would,
/// and the verdict stays.
const DISPENSABLE: [&str; 5] = ["not counted", "p90", "min–max", "claim", "n"];

/// What the two times of a run are, below the table that shows both.
const CLOCKS: &str =
    "median to min–max: client-seen, from submit to its end seen; inside: the task's own runner, in its sandbox or pod";

const COLUMNS: [(&str, CellAlignment); 12] = [
    ("scenario", CellAlignment::Left),
    ("run", CellAlignment::Left),
    ("n", CellAlignment::Right),
    ("not counted", CellAlignment::Left),
    ("median", CellAlignment::Right),
    ("interval", CellAlignment::Right),
    ("p90", CellAlignment::Right),
    ("min–max", CellAlignment::Right),
    ("inside", CellAlignment::Right),
    ("claim", CellAlignment::Right),
    ("verdict", CellAlignment::Left),
    ("ratio", CellAlignment::Right),
];

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
        Some(load) => crate::load::terminal(record, &LoadSummary::of(load)),
        None => latency(record, width),
    };
    match color {
        Color::Plain => text,
        Color::Ansi => painted(&text),
    }
}

/// A run whose samples were taken one by one.
fn latency(record: &RunRecord, width: u16) -> String {
    let summary = Summary::from_record(record);
    let mut text = table(&summary, width);
    text.push_str(&format!("\n{CLOCKS}\n"));
    if let Some(service) = crate::provenance::through_service(record) {
        text.push_str(&format!("{}\n", plain(&service)));
    }
    if !summary.figures.is_empty() {
        text.push_str(&format!("\nwhat we add\n{}\n", figures::table(&summary, width)));
    }
    for warning in &summary.warnings {
        let about = warning
            .about
            .as_ref()
            .map(|about| format!("{about}: "))
            .unwrap_or_default();
        text.push_str(&format!(
            "\nwarning: {}{}\n   hint: {}\n",
            plain(&about),
            plain(&warning.message),
            plain(&warning.remedy)
        ));
    }
    text
}

/// The table with as many columns as `width` has room for.
fn table(summary: &Summary, width: u16) -> String {
    let mut groups = summary.scenarios.iter().flat_map(|s| &s.groups);
    let aside = groups.any(|group| group.rejected + group.failed > 0);
    let least = usize::from(!aside);
    let tables = (least..=DISPENSABLE.len()).map(|without| columns(summary, &DISPENSABLE[..without]));
    let mut drawn: Vec<Table> = tables.collect();
    let fitting = drawn.iter().position(|table| fits(&table.to_string(), width));
    let chosen = fitting.unwrap_or(drawn.len() - 1);
    fitted(drawn.swap_remove(chosen), width)
}

fn columns(summary: &Summary, without: &[&str]) -> Table {
    let shown = |column: &str| !without.contains(&column);
    let mut table = framed();
    table.set_header(COLUMNS.iter().map(|(column, _)| *column).filter(|column| shown(column)));
    for scenario in &summary.scenarios {
        for (index, group) in scenario.groups.iter().enumerate() {
            let cells = row(scenario, index, group);
            table.add_row(
                COLUMNS
                    .iter()
                    .zip(cells)
                    .filter(|((column, _), _)| shown(column))
                    .map(|(_, cell)| cell),
            );
        }
    }
    let alignments = COLUMNS
        .iter()
        .filter(|(column, _)| shown(column))
        .map(|(_, alignment)| *alignment);
    align(&mut table, alignments);
    table
}

/// Aligns and pads the columns, in order.
pub(crate) fn align(table: &mut Table, alignments: impl Iterator<Item = CellAlignment>) {
    for (column, alignment) in table.column_iter_mut().zip(alignments) {
        column.set_cell_alignment(alignment);
        column.set_padding((0, 1));
    }
}

/// The scenario's name stands in its first row only, the ratio in its last, below both figures it is made of.
fn row(scenario: &ScenarioSummary, index: usize, group: &GroupSummary) -> [String; 12] {
    let [median, interval, p90, range] = figures(group.wall.as_ref());
    let last = index + 1 == scenario.groups.len();
    let (claimed, verdict) = match &group.claim {
        Some(result) => (
            units::seconds_range(result.claim.min_s, result.claim.max_s),
            verdict(result.verdict),
        ),
        None => (String::new(), String::new()),
    };
    [
        if index == 0 {
            plain(&scenario.name)
        } else {
            String::new()
        },
        group.temperature.name().to_owned(),
        group.accepted.to_string(),
        not_counted(group),
        median,
        interval,
        p90,
        range,
        inside(group),
        claimed,
        verdict,
        scenario
            .ratio
            .filter(|_| last)
            .map(|ratio| units::ratio(ratio.value))
            .unwrap_or_default(),
    ]
}

/// A table in the house style: rules between rows would double its height.
pub(crate) fn framed() -> Table {
    let mut table = Table::new();
    let rule = || LineStyle::none().fill('─').junction('─');
    table.load_style(
        presets::NOTHING
            .top_border(rule())
            .header_separator(rule())
            .bottom_border(rule()),
    );
    table
}

/// The table as text. Words are broken only where they must be: the dynamic arrangement gives columns an equal share
/// first and breaks long names even where all would fit.
pub(crate) fn fitted(mut table: Table, width: u16) -> String {
    table.set_content_arrangement(ContentArrangement::Disabled);
    let natural = table.to_string();
    if fits(&natural, width) {
        return natural;
    }
    table
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table.to_string()
}

/// True where no line is longer than `width`, white space at its end aside.
fn fits(text: &str, width: u16) -> bool {
    text.lines()
        .all(|line| line.trim_end().chars().count() <= usize::from(width))
}

/// Median, interval, p90 and range as text; a dash where n does not carry the figure.
pub(crate) fn figures(wall: Option<&Distribution>) -> [String; 4] {
    let dash = || "–".to_owned();
    let Some(wall) = wall else {
        return [dash(), dash(), dash(), dash()];
    };
    [
        units::duration(wall.median_us),
        wall.interval.as_ref().map_or_else(dash, units::interval),
        wall.p90_us.map_or_else(dash, |us| units::duration(stats::as_f64(us))),
        units::duration_range(stats::as_f64(wall.min_us), stats::as_f64(wall.max_us)),
    ]
}

/// Median of the runner's own time, in its sandbox or pod.
pub(crate) fn inside(group: &GroupSummary) -> String {
    let median = |runner: &Distribution| units::duration(runner.median_us);
    group.runner.as_ref().map_or("–".to_owned(), median)
}

/// Samples that count, and those that do not: `30 (2 rejected, 1 failed)`.
pub(crate) fn counted(group: &GroupSummary) -> String {
    let aside = not_counted(group);
    if aside.is_empty() {
        group.accepted.to_string()
    } else {
        format!("{} ({aside})", group.accepted)
    }
}

fn not_counted(group: &GroupSummary) -> String {
    let aside: Vec<String> = [(group.rejected, "rejected"), (group.failed, "failed")]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    aside.join(", ")
}

/// `10–60 s ▼ beaten`.
pub(crate) fn claim(result: &ClaimResult) -> String {
    let range = units::seconds_range(result.claim.min_s, result.claim.max_s);
    format!("{range} {}", verdict(result.verdict))
}

fn verdict(verdict: Verdict) -> String {
    format!("{} {}", verdict.mark(), verdict.name())
}

/// `✓ met`.
pub(crate) fn attainment(attainment: Attainment) -> String {
    format!("{} {}", attainment.mark(), attainment.name())
}

/// `19.1× (18.2–20.3)`.
pub(crate) fn ratio(ratio: &Ratio) -> String {
    match ratio.interval {
        Some(interval) => {
            let [low, high] = [interval.low, interval.high].map(units::ratio);
            format!(
                "{} ({}–{})",
                units::ratio(ratio.value),
                low.trim_end_matches('×'),
                high.trim_end_matches('×')
            )
        }
        None => units::ratio(ratio.value),
    }
}

/// Text from a record without its control characters: a task's output must not move the reader's cursor.
pub(crate) fn plain(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // What reorders text is left to be shown.
    shown(&line).into_owned()
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
