//! A run under load on a terminal.

use comfy_table::CellAlignment;
use hybrid_cache_model::load::LoadRow;
use hybrid_cache_model::sample::RunRecord;

use super::{LoadSummary, Slope};
use crate::terminal::{align, framed, plain};
use crate::units;

/// Rows over time that a terminal shows.
const ROWS: usize = 12;

/// The run as text.
pub(crate) fn terminal(record: &RunRecord, load: &LoadSummary<'_>) -> String {
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
