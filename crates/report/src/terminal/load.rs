//! A run under load on a terminal.

use comfy_table::CellAlignment;
use hybrid_cache_model::sample::RunRecord;

use super::table::{align, framed};
use crate::cells::plain;
use crate::load::LoadSummary;
use crate::load::rows::{OVER_TIME, cells, few_rows, gauge, gauges};
use crate::units;

/// Rows over time that a terminal shows.
const ROWS: usize = 12;

/// The run as text.
pub(super) fn load(record: &RunRecord, load: &LoadSummary<'_>) -> String {
    let mut text = format!("{}\n", load.headline());
    if let Some(service) = crate::provenance::through_service(record) {
        text.push_str(&format!("{}\n", plain(&service)));
    }
    text.push_str(&format!("\n{}\n{}\n", durations(load), over_time(load)));
    let outcomes: Vec<String> = load
        .outcomes()
        .into_iter()
        .map(|(what, count)| format!("{} {what}", units::count(count)))
        .collect();
    text.push_str(&format!("\ntasks: {}\n{}\n", outcomes.join(", "), load.accounted()));
    for (name, slope, peak) in gauges(load) {
        text.push_str(&format!("{name}: {}\n", gauge(slope, peak)));
    }
    text.push_str(&format!("memory read: {}\n", load.memory_source()));
    for reason in &load.record.reasons {
        text.push_str(&format!("\nwarning: {}\n", plain(reason)));
    }
    text
}

fn durations(load: &LoadSummary<'_>) -> String {
    let mut table = framed();
    let head = LoadSummary::durations_head();
    table.set_header(std::iter::once("time").chain(head));
    for line in load.durations() {
        table.add_row(std::iter::once(line.name.to_owned()).chain(line.cells));
    }
    let right = std::iter::repeat_n(CellAlignment::Right, head.len());
    align(&mut table, std::iter::once(CellAlignment::Left).chain(right));
    table.to_string()
}

fn over_time(load: &LoadSummary<'_>) -> String {
    let (rows, each) = few_rows(&load.record.rows, ROWS);
    let mut table = framed();
    table.set_header(OVER_TIME);
    for (at, row) in rows.iter().enumerate() {
        table.add_row(cells(load.record.row_us * (at * each) as u64, row));
    }
    align(&mut table, std::iter::repeat_n(CellAlignment::Right, OVER_TIME.len()));
    table.to_string()
}
