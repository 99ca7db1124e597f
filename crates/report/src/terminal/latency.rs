//! A run whose samples were taken one by one: the table, the overhead, the warnings.

use comfy_table::{CellAlignment, Table};
use hybrid_cache_model::sample::RunRecord;

use super::table::{align, fits, fitted, framed};
use super::{alternatives, figures};
use crate::cells::{distribution, not_counted, plain, runner_median, verdict};
use crate::summary::{GroupSummary, ScenarioSummary, Summary};
use crate::units;

/// Columns that a narrow terminal drops, one after the other: warnings say what the first and the last would,
/// and the verdict stays.
const DISPENSABLE: [&str; 6] = ["not counted", "p90", "min–max", "claim", "n", "could show"];

/// Explains the two times of a run, below the table that shows both.
const CLOCKS: &str = "median to min–max: end-to-end time, from submit to the end as the client saw it; runner: its own time, in its sandbox or pod\n\
    could show: the smallest distance from the limit that this run shows in 8 of 10 cases";

const COLUMNS: [(&str, CellAlignment); 13] = [
    ("scenario", CellAlignment::Left),
    ("run", CellAlignment::Left),
    ("n", CellAlignment::Right),
    ("not counted", CellAlignment::Left),
    ("median", CellAlignment::Right),
    ("interval", CellAlignment::Right),
    ("p90", CellAlignment::Right),
    ("min–max", CellAlignment::Right),
    ("runner", CellAlignment::Right),
    ("claim", CellAlignment::Right),
    ("verdict", CellAlignment::Left),
    ("could show", CellAlignment::Right),
    ("ratio", CellAlignment::Right),
];

/// A run whose samples were taken one by one.
pub(super) fn latency(record: &RunRecord, width: u16) -> String {
    let summary = Summary::from_record(record);
    let mut text = table(&summary, width);
    text.push_str(&format!("\n{CLOCKS}\n"));
    if summary.claims().next().is_some() {
        text.push_str(&format!("{}\n", crate::claim::place(&record.provenance)));
    }
    if let Some(noise) = crate::host_noise::line(record) {
        text.push_str(&format!("host noise: {noise}\n"));
    }
    if let Some(until) = &record.until {
        text.push_str(&format!("until {}\n", plain(&crate::until::line(until))));
    }
    if let Some(service) = crate::provenance::through_service(record) {
        text.push_str(&format!("{}\n", plain(&service)));
    }
    if !summary.figures.is_empty() {
        text.push_str(&format!("\noverhead\n{}\n", figures::table(&summary, width)));
    }
    for one in &summary.kubelet {
        let [median, interval, ..] = distribution(Some(&one.delay));
        let name = plain(&one.scenario);
        text.push_str(&format!(
            "kubelet's delay, {name}: {median} ({interval}), n = {}\n",
            one.n
        ));
    }
    text.push_str(&alternatives::section(&summary, width));
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

/// The scenario's name stands in its first row only, the ratio in its last, below both figures it is made of.
fn row(scenario: &ScenarioSummary, index: usize, group: &GroupSummary) -> [String; 13] {
    let [median, interval, p90, range] = distribution(group.wall.as_ref());
    let last = index + 1 == scenario.groups.len();
    let [claimed, verdict, effect] = match &group.claim {
        Some(result) => [
            units::seconds_range(result.claim.min_s, result.claim.max_s),
            verdict(result.verdict),
            result.could_show(),
        ],
        None => Default::default(),
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
        runner_median(group),
        claimed,
        verdict,
        effect,
        scenario
            .ratio
            .filter(|_| last)
            .map(|ratio| units::ratio(ratio.value))
            .unwrap_or_default(),
    ]
}
