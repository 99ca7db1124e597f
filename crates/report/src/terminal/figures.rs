//! The overhead, as a table with one headline for each kind of figure.

use comfy_table::CellAlignment;

use super::table::{align, fits, framed};
use crate::cells::{attainment, plain};
use crate::figure::{Figure, FigureKind};
use crate::summary::Summary;

const COLUMNS: [(&str, CellAlignment); 7] = [
    ("scenario", CellAlignment::Left),
    ("n", CellAlignment::Right),
    ("value", CellAlignment::Right),
    ("interval", CellAlignment::Right),
    ("verdict", CellAlignment::Left),
    ("could show", CellAlignment::Right),
    ("measured", CellAlignment::Left),
];
/// Columns that a narrow terminal drops, one after the other.
const DISPENSABLE: [&str; 3] = ["measured", "n", "could show"];
/// Lines above the first row: a rule, the header, a rule.
const HEADER_LINES: usize = 3;

/// The table with as many columns as `width` has room for.
pub(super) fn table(summary: &Summary, width: u16) -> String {
    let drawn: Vec<String> = (0..=DISPENSABLE.len())
        .map(|without| drawn(summary, &DISPENSABLE[..without]))
        .collect();
    // Where not even the narrowest fits, the terminal breaks its lines.
    let text = drawn
        .iter()
        .find(|text| fits(text, width))
        .or(drawn.last())
        .cloned()
        .unwrap_or_default();
    with_headlines(summary, &text)
}

fn drawn(summary: &Summary, without: &[&str]) -> String {
    let shown = |column: &str| !without.contains(&column);
    let mut table = framed();
    table.set_header(
        COLUMNS
            .map(|(column, _)| column)
            .into_iter()
            .filter(|column| shown(column)),
    );
    for figure in by_kind(summary).flat_map(|(_, figures)| figures) {
        let cells = [
            // Below its kind's headline.
            format!("  {}", plain(&figure.scenario)),
            figure.counts(),
            figure.value(),
            figure.interval(),
            attainment(figure.attainment),
            figure.could_show(),
            plain(&figure.sides()),
        ];
        let cells = COLUMNS.iter().zip(cells).filter(|((column, _), _)| shown(column));
        table.add_row(cells.map(|(_, cell)| cell));
    }
    let alignments = COLUMNS.iter().filter(|(column, _)| shown(column));
    align(&mut table, alignments.map(|(_, alignment)| *alignment));
    table.to_string()
}

/// Each row is one line, so the headlines go between the lines: a cell of the table would widen its column.
fn with_headlines(summary: &Summary, table: &str) -> String {
    let mut lines = table.lines().map(str::to_owned);
    let mut text: Vec<String> = lines.by_ref().take(HEADER_LINES).collect();
    for (kind, figures) in by_kind(summary) {
        text.push(format!("{}, target {}", kind.label(), kind.written_target()));
        text.extend(lines.by_ref().take(figures.len()));
    }
    text.extend(lines);
    text.join("\n")
}

fn by_kind(summary: &Summary) -> impl Iterator<Item = (FigureKind, Vec<&Figure>)> {
    FigureKind::ALL
        .into_iter()
        .map(|kind| (kind, summary.figures_of(kind).collect::<Vec<_>>()))
        .filter(|(_, figures)| !figures.is_empty())
}
