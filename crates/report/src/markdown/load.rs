//! A run under load as Markdown.

use std::fmt::Write;

use hybrid_cache_model::sample::RunRecord;

use super::escape::escape;
use super::provenance::write_provenance;
use crate::load::rows::{OVER_TIME, cells, few_rows, gauge, gauges};
use crate::load::{CLOCKS, LoadSummary};
use crate::units;

/// Rows over time that Markdown shows.
const ROWS: usize = 30;

/// The whole report.
pub(super) fn load(record: &RunRecord, load: &LoadSummary<'_>) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_report(&mut text, record, load);
    text
}

fn write_report(out: &mut String, record: &RunRecord, load: &LoadSummary<'_>) -> std::fmt::Result {
    let driver = escape(&record.provenance.driver);
    writeln!(out, "# The task service under load, driver `{driver}`\n")?;
    writeln!(out, "{}.\n", escape(&load.headline()))?;
    if let Some(service) = crate::provenance::through_service(record) {
        writeln!(out, "This was {}.\n", escape(&service))?;
    }
    writeln!(out, "{}.\n", escape(&load.accounted()))?;
    writeln!(out, "| tasks | number |\n|---|---:|")?;
    for (what, count) in load.outcomes() {
        writeln!(out, "| {what} | {} |", units::count(count))?;
    }
    let head = LoadSummary::durations_head();
    writeln!(out, "\n## Times\n\n| time | {} |", head.join(" | "))?;
    writeln!(out, "|---|{}", "---:|".repeat(head.len()))?;
    for line in load.durations() {
        writeln!(out, "| {} | {} |", line.name, line.cells.join(" | "))?;
    }
    writeln!(out, "\n{}\n", CLOCKS)?;
    writeln!(out, "## Memory and disk\n")?;
    for (name, slope, peak) in gauges(load) {
        writeln!(out, "- {name}: {}", gauge(slope, peak))?;
    }
    writeln!(out, "- memory read: {}", load.memory_source())?;
    writeln!(out, "\n## Over time\n\n| {} |", OVER_TIME.join(" | "))?;
    writeln!(out, "|{}", "---:|".repeat(OVER_TIME.len()))?;
    let (rows, each) = few_rows(&load.record.rows, ROWS);
    for (at, row) in rows.iter().enumerate() {
        let at_us = load.record.row_us * (at * each) as u64;
        writeln!(out, "| {} |", cells(at_us, row).join(" | "))?;
    }
    if !load.record.reasons.is_empty() {
        writeln!(out, "\n## Why tasks failed or were not taken\n")?;
    }
    for reason in &load.record.reasons {
        writeln!(out, "- {}", escape(reason))?;
    }
    write_provenance(out, record)
}
