//! Runs at levels of cold on a terminal: one table, and what a reader should know.

use comfy_table::CellAlignment;
use hybrid_cache_model::sample::RunRecord;

use super::table::{align, fits, fitted, framed};
use crate::cells::plain;
use crate::levels::{COLUMNS, HEAD, ScenarioLevels, levels, warnings};

/// Columns that a narrow terminal drops, one more each time, by their place: the counts of runs that do not count stand in warnings too.
const DISPENSABLE: [usize; 5] = [2, 8, 6, 9, 7];

/// The run as text.
pub(super) fn text(record: &RunRecord, width: u16) -> String {
    let scenarios = levels(record);
    let all_count = scenarios
        .iter()
        .flat_map(|one| &one.levels)
        .all(|row| row.not_counted().is_empty());
    let least = usize::from(all_count);
    let mut drawn: Vec<_> = (least..=DISPENSABLE.len())
        .map(|without| table(&scenarios, &DISPENSABLE[..without]))
        .collect();
    let fitting = drawn.iter().position(|table| fits(&table.to_string(), width));
    let chosen = fitting.unwrap_or(drawn.len() - 1);
    let mut text = fitted(drawn.swap_remove(chosen), width);
    text.push_str(&format!("\n{COLUMNS}\n"));
    for warning in warnings(record, &scenarios) {
        text.push_str(&format!("\nwarning: {}\n", plain(&warning)));
    }
    text
}

fn table(scenarios: &[ScenarioLevels], without: &[usize]) -> comfy_table::Table {
    let is_shown = |at: &usize| !without.contains(at);
    let mut table = framed();
    let shown = || HEAD.iter().enumerate().filter(|(at, _)| is_shown(at));
    table.set_header(std::iter::once("scenario").chain(shown().map(|(_, (name, _))| *name)));
    for scenario in scenarios {
        for (index, row) in scenario.levels.iter().enumerate() {
            let name = if index == 0 {
                plain(&scenario.name)
            } else {
                String::new()
            };
            let cells = row.cells().into_iter().enumerate().filter(|(at, _)| is_shown(at));
            table.add_row(std::iter::once(name).chain(cells.map(|(_, cell)| cell)));
        }
    }
    let sides = shown().map(|(_, (_, is_number))| match is_number {
        true => CellAlignment::Right,
        false => CellAlignment::Left,
    });
    align(&mut table, std::iter::once(CellAlignment::Left).chain(sides));
    table
}
