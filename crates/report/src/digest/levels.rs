//! The digest of runs at levels of cold.

use std::fmt::Write;

use hybrid_cache_model::sample::RunRecord;

use super::text::{inert, table};
use crate::levels::{HEAD, levels, warnings};

/// Rows of the table, and warnings, at most.
const ROWS: usize = 20;
const WARNINGS: usize = 5;

/// Writes it whole.
pub(super) fn write_levels(out: &mut String, record: &RunRecord) {
    let scenarios = levels(record);
    let _ = writeln!(out, "## Cold, in levels\n");
    let rows = scenarios.iter().flat_map(|scenario| {
        scenario.levels.iter().map(|row| {
            let [level, n, aside, median, interval, saves, ..] = row.cells();
            let n = if aside.is_empty() { n } else { format!("{n} ({aside})") };
            [inert(&scenario.name), level, n, median, interval, saves]
        })
    });
    let [level, n, _, median, interval, saves, ..] = HEAD;
    let rows: Vec<_> = rows.collect();
    table(
        out,
        [("scenario", false), level, n, median, interval, saves],
        &rows,
        ROWS,
    );
    out.push('\n');
    for warning in warnings(record, &scenarios).iter().take(WARNINGS) {
        let _ = writeln!(out, "- warning: {}", inert(warning));
    }
}
