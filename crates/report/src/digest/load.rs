//! The digest of a run under load.

use std::fmt::Write;

use hybrid_cache_model::load::LoadRecord;

use super::text::{end_fold, fold, inert, table};
use crate::load::LoadSummary;
use crate::units;

/// Reasons that are listed at most.
const REASONS: usize = 5;

/// Writes it whole.
pub(super) fn write_load(out: &mut String, record: &LoadRecord) {
    let load = LoadSummary::from_record(record);
    let _ = writeln!(out, "## The task service under load\n\n{}.\n", inert(&load.headline()));
    let _ = writeln!(out, "{}.\n", inert(&load.accounted()));
    let outcomes = load.outcomes().into_iter();
    let rows: Vec<_> = outcomes
        .map(|(what, count)| [what.to_owned(), units::count(count)])
        .collect();
    table(out, [("tasks", false), ("number", true)], &rows, rows.len());
    fold(out, "Times");
    let [n, p50, p90, p95, p99, max] = LoadSummary::durations_head().map(|name| (name, true));
    let rows: Vec<_> = load
        .durations()
        .into_iter()
        .map(|line| {
            let [n, p50, p90, p95, p99, max] = line.cells;
            [line.name.to_owned(), n, p50, p90, p95, p99, max]
        })
        .collect();
    table(out, [("time", false), n, p50, p90, p95, p99, max], &rows, rows.len());
    out.push('\n');
    for reason in record.reasons.iter().take(REASONS) {
        let _ = writeln!(out, "- {}", inert(reason));
    }
    end_fold(out);
}
