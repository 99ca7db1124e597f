//! Rows over time and gauges in words, the same for the terminal, Markdown and HTML.

use hybrid_cache_model::load::LoadRow;

use super::{LoadSummary, Slope};
use crate::units;

/// Memory and disk, with slope and peak.
pub(crate) fn gauges<'a>(load: &'a LoadSummary<'_>) -> [(&'static str, Option<&'a Slope>, Option<u64>); 2] {
    let [memory, disk] = load.peaks();
    [
        ("memory of the service", load.memory.as_ref(), memory),
        ("disk of the service", load.disk.as_ref(), disk),
    ]
}

/// A gauge in words.
pub(crate) fn gauge(slope: Option<&Slope>, peak: Option<u64>) -> String {
    let Some(peak) = peak else { return "unknown".to_owned() };
    let peak = format!("at most {}", units::bytes(peak));
    let Some(slope) = slope else {
        return format!("{peak}; too few independent values for a slope");
    };
    let (low, high) = slope.interval;
    let [per_hour, low, high] = [slope.per_s, low, high].map(hourly);
    format!(
        "{peak}; {} over the second half: {per_hour} an hour (95 %: {low} to {high})",
        slope.trend().name()
    )
}

/// Bytes a second as signed bytes an hour.
fn hourly(per_s: f64) -> String {
    let per_hour = per_s * 3600.0;
    let sign = if per_hour < 0.0 { "−" } else { "+" };
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a slope above 2^64 bytes an hour does not occur"
    )]
    #[expect(clippy::cast_sign_loss, reason = "it is an absolute value")]
    let size = per_hour.abs().round() as u64;
    if size == 0 {
        return "0 B".to_owned();
    }
    format!("{sign}{}", units::bytes(size))
}

/// Neighbours together until there are few enough rows, and how many each one is.
pub(crate) fn few_rows(rows: &[LoadRow], most: usize) -> (Vec<LoadRow>, usize) {
    let each = rows.len().div_ceil(most).max(1);
    let merged = rows
        .chunks(each)
        .map(|chunk| chunk.iter().copied().fold(LoadRow::default(), LoadRow::and));
    (merged.collect(), each)
}

/// Heads of the table over time.
pub(crate) const OVER_TIME: [&str; 9] = [
    "from", "queued", "done", "failed", "refused", "waiting", "running", "memory", "disk",
];

/// One row of it.
pub(crate) fn cells(at_us: u64, row: &LoadRow) -> [String; 9] {
    let maybe = |value: Option<u64>, write: fn(u64) -> String| value.map_or("–".to_owned(), write);
    [
        format!("{} s", at_us / 1_000_000),
        units::count(row.submitted),
        units::count(row.done),
        units::count(row.failed),
        units::count(row.refused),
        maybe(row.waiting, units::count),
        maybe(row.running, units::count),
        maybe(row.memory_bytes, units::bytes),
        maybe(row.disk_bytes, units::bytes),
    ]
}
