//! Runs at levels of cold on a terminal: one table, and what a reader should know.

use comfy_table::CellAlignment;
use hybrid_cache_model::sample::RunRecord;

use super::table::{align, fits, fitted, framed};
use crate::cells::plain;
use crate::levels::{COLUMNS, HEAD, ScenarioLevels, levels, warnings};

/// Columns that stand in lines below the table, or that a narrow terminal drops, one more each time, by their place: warnings have the
/// runs that do not count as well.
const DISPENSABLE: [usize; 5] = [9, 2, 8, 6, 7];

/// The run as text.
pub(super) fn text(record: &RunRecord, width: u16) -> String {
    let scenarios = levels(record);
    let all_count = scenarios
        .iter()
        .flat_map(|one| &one.levels)
        .all(|row| row.not_counted().is_empty());
    let least = 1 + usize::from(all_count);
    let mut drawn: Vec<_> = (least..=DISPENSABLE.len())
        .map(|without| table(&scenarios, &DISPENSABLE[..without]))
        .collect();
    let fitting = drawn.iter().position(|table| fits(&table.to_string(), width));
    let chosen = fitting.unwrap_or(drawn.len() - 1);
    let mut text = fitted(drawn.swap_remove(chosen), width);
    text.push_str(&format!("\n{}\n", wrapped(COLUMNS, width)));
    for scenario in &scenarios {
        let name = plain(&scenario.name);
        for row in scenario.levels.iter().filter(|row| !row.seen.is_empty()) {
            let line = format!("seen of {name}, {}: {}", row.level.explanation(), row.seen);
            text.push_str(&format!("{}\n", wrapped(&line, width)));
        }
    }
    for warning in warnings(record, &scenarios) {
        text.push_str(&format!("\nwarning: {}\n", plain(&warning)));
    }
    text
}

/// Text in lines of at most `width`, broken between words.
fn wrapped(text: &str, width: u16) -> String {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let last = lines.last().map_or(0, |line| line.chars().count());
        match lines.last_mut() {
            Some(line) if last + 1 + word.chars().count() <= usize::from(width) || last == 0 => {
                line.push_str(if last == 0 { "" } else { " " });
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
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
