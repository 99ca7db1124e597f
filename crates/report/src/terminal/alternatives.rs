//! What people would use instead, as a table, and what was not measured.

use comfy_table::CellAlignment;

use super::table::{align, fits, fitted, framed};
use crate::alternatives::name;
use crate::cells::plain;
use crate::summary::Summary;
use crate::units;

const COLUMNS: [(&str, CellAlignment); 8] = [
    ("scenario", CellAlignment::Left),
    ("instead", CellAlignment::Left),
    ("pairs", CellAlignment::Right),
    ("rounds", CellAlignment::Right),
    ("cached run", CellAlignment::Right),
    ("takes", CellAlignment::Right),
    ("ratio", CellAlignment::Right),
    ("interval", CellAlignment::Right),
];
/// Columns that a narrow terminal drops, one after the other.
const DISPENSABLE: [&str; 3] = ["rounds", "pairs", "cached run"];

/// The table and the lines below it; empty if the run was not asked for it.
pub(super) fn section(summary: &Summary, width: u16) -> String {
    let mut text = String::new();
    if !summary.alternatives.is_empty() {
        text.push_str("\nwhat people would use instead (ratio: cached run / instead, on filled caches)\n");
        text.push_str(&table(summary, width));
        text.push('\n');
    }
    for missing in &summary.missing_peers {
        let scenarios = missing.scenarios.join(", ");
        let line = format!("{} ({scenarios}): {}", name(missing.peer), missing.reason);
        text.push_str(&format!("\n{}\n", plain(&line)));
    }
    text
}

fn table(summary: &Summary, width: u16) -> String {
    let mut drawn: Vec<_> = (0..=DISPENSABLE.len())
        .map(|without| columns(summary, &DISPENSABLE[..without]))
        .collect();
    let fitting = drawn.iter().position(|table| fits(&table.to_string(), width));
    let chosen = fitting.unwrap_or(drawn.len() - 1);
    fitted(drawn.swap_remove(chosen), width)
}

fn columns(summary: &Summary, without: &[&str]) -> comfy_table::Table {
    let shown = |column: &str| !without.contains(&column);
    let mut table = framed();
    table.set_header(COLUMNS.iter().map(|(column, _)| *column).filter(|column| shown(column)));
    for one in &summary.alternatives {
        let cells = [
            plain(&one.scenario),
            name(one.peer).to_owned(),
            one.pairs.to_string(),
            one.ratio.rounds.to_string(),
            units::duration(one.ours_us),
            units::duration(one.theirs_us),
            one.value(),
            one.interval(),
        ];
        let cells = COLUMNS.iter().zip(cells).filter(|((column, _), _)| shown(column));
        table.add_row(cells.map(|(_, cell)| cell));
    }
    let alignments = COLUMNS.iter().filter(|(column, _)| shown(column));
    align(&mut table, alignments.map(|(_, alignment)| *alignment));
    table
}
