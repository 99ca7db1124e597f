//! The summary of a run under load: rates, what became of the arrivals, latencies, and whether the service's memory grew.
//! It is computed from the record when it is rendered.

pub(crate) mod rows;
mod slope;

use hybrid_cache_model::load::{LoadCounts, LoadRecord, LoadRow, MemorySource};

pub use slope::{Slope, Trend};

use crate::duration_histogram::DurationHistogram;
use crate::stats::as_f64;
use crate::units;

/// Percentiles that a report names.
const PERCENTILES: [(f64, &str); 4] = [(0.5, "p50"), (0.9, "p90"), (0.95, "p95"), (0.99, "p99")];
/// What the times are.
pub(crate) const CLOCKS: &str = "Times count from the scheduled arrival, not from the request, so that a slow service \
    is not measured less often. The client's clock stops at the queue's acknowledgement; from there to the end \
    the service's own clock counts.";
const MICROS: f64 = 1e6;

/// A run under load, summed up.
#[derive(Clone, Debug)]
pub struct LoadSummary<'a> {
    /// What was recorded.
    pub record: &'a LoadRecord,
    /// Tasks that ended, a second, while tasks arrived.
    pub achieved_per_s: f64,
    /// The service's memory over the second half of the run; absent if it is not known for long enough.
    pub memory: Option<Slope>,
    /// The same of its disk.
    pub disk: Option<Slope>,
}

/// One line of a table of durations, in microseconds.
pub(crate) struct Durations {
    /// What they are.
    pub name: &'static str,
    /// Number of values, the percentiles and the maximum, as people read them.
    pub cells: [String; 6],
}

impl<'a> LoadSummary<'a> {
    /// Sums it up.
    pub fn from_record(record: &'a LoadRecord) -> LoadSummary<'a> {
        let arriving_s = as_f64(record.arriving_us) / MICROS;
        let rows_arriving = record.arriving_us.checked_div(record.row_us).unwrap_or(0);
        let whole = usize::try_from(rows_arriving).unwrap_or(usize::MAX);
        // Rows that lie wholly within the arrivals; a run shorter than one row has only its end.
        let (rows, seconds) = match record.rows.get(..whole.min(record.rows.len())) {
            Some(rows) if !rows.is_empty() => (rows, as_f64(record.row_us * rows.len() as u64) / MICROS),
            _ => (&record.rows[..], arriving_s),
        };
        let done: u64 = rows.iter().map(|row| row.done).sum();
        LoadSummary {
            record,
            achieved_per_s: if seconds > 0.0 { as_f64(done) / seconds } else { 0.0 },
            memory: slope(record, |row| row.memory_bytes),
            disk: slope(record, |row| row.disk_bytes),
        }
    }

    /// What became of the arrivals, each with its count; minor ones are left out if their count is 0.
    pub(crate) fn outcomes(&self) -> Vec<(&'static str, u64)> {
        let LoadCounts {
            due,
            submitted,
            queued,
            succeeded,
            failed,
            missed,
            refused,
            retried,
            given_up,
            rejected,
            unanswered,
            unfinished,
            lost,
        } = self.record.counts;
        let always = [
            ("due", due),
            ("saved", submitted),
            ("queued", queued),
            ("succeeded", succeeded),
            ("failed", failed),
            ("lost", lost),
        ];
        let sometimes = [
            ("not ended when the run stopped", unfinished),
            ("refused at first (429, 503)", refused),
            ("requests sent again", retried),
            ("refused and given up", given_up),
            ("rejected", rejected),
            ("unanswered", unanswered),
            ("filled a cache", missed),
        ];
        let sometimes = sometimes.into_iter().filter(|(_, count)| *count > 0);
        always.into_iter().chain(sometimes).collect()
    }

    /// The tables of durations.
    pub(crate) fn durations(&self) -> Vec<Durations> {
        let spreads = [
            ("from schedule to end", &self.record.latency),
            ("waiting for its turn", &self.record.queue),
            ("sent late by", &self.record.sending),
        ];
        let known = spreads
            .into_iter()
            .filter_map(|(name, text)| Some((name, DurationHistogram::decode(text)?)));
        known
            .map(|(name, spread)| {
                let [p50, p90, p95, p99] = PERCENTILES.map(|(share, _)| micros(spread.at(share)));
                let cells = [units::count(spread.len()), p50, p90, p95, p99, micros(spread.max())];
                Durations { name, cells }
            })
            .collect()
    }

    /// Heads of the tables of durations.
    pub(crate) fn durations_head() -> [&'static str; 6] {
        let [p50, p90, p95, p99] = PERCENTILES.map(|(_, name)| name);
        ["n", p50, p90, p95, p99, "max"]
    }

    /// Whether each acknowledged task was seen to its end, once, as a sentence.
    pub(crate) fn accounted(&self) -> String {
        let counts = &self.record.counts;
        let seen = counts.succeeded + counts.failed;
        let mut text = match (counts.lost, counts.unfinished) {
            (0, 0) => format!(
                "Each of {} acknowledged tasks was listed with its end, none lost",
                units::count(counts.queued)
            ),
            (lost, unfinished) => format!(
                "Of {} acknowledged tasks {} were listed with their end, {lost} lost, {unfinished} not ended",
                units::count(counts.queued),
                units::count(seen)
            ),
        };
        let service = &self.record.service;
        text.push_str(&match (service.made, service.own) {
            (Some(made), _) if made == counts.submitted => "; the service created none twice".to_owned(),
            (Some(made), true) => format!("; the service created {made} tasks from {} submits", counts.submitted),
            (Some(made), false) => format!(
                "; the service created {made} tasks meanwhile, {} of them for this client: others use it too",
                counts.submitted
            ),
            (None, _) => "; the service does not report how many tasks it created".to_owned(),
        });
        text
    }

    /// Where the memory was read, as a sentence.
    pub(crate) fn memory_source(&self) -> &'static str {
        match self.record.service.memory {
            MemorySource::Metrics => "from the service's metrics",
            MemorySource::Process => "from the operating system, for the service's process",
            MemorySource::Unknown => {
                "unknown: the service does not report it, and its process is not this program's child"
            }
        }
    }

    /// Largest memory and disk that were seen, in bytes.
    pub(crate) fn peaks(&self) -> [Option<u64>; 2] {
        let rows = || self.record.rows.iter();
        [
            rows().filter_map(|row| row.memory_bytes).max(),
            rows().filter_map(|row| row.disk_bytes).max(),
        ]
    }

    /// The run in one sentence.
    pub(crate) fn headline(&self) -> String {
        let record = self.record;
        let latency = DurationHistogram::decode(&record.latency).filter(|spread| !spread.is_empty());
        let latency = latency.map_or("no task succeeded".to_owned(), |spread| {
            let [p50, p99] = [0.5, 0.99].map(|share| micros(spread.at(share)));
            format!("p50 {p50}, p99 {p99}")
        });
        format!(
            "{} tasks a second offered, {} achieved over {}: {latency}",
            rate(record.offered_per_s),
            rate(self.achieved_per_s),
            units::duration(as_f64(record.arriving_us))
        )
    }
}

/// Microseconds as people read them.
fn micros(us: u64) -> String {
    units::duration(as_f64(us))
}

/// Tasks a second.
pub(crate) fn rate(per_s: f64) -> String {
    match per_s {
        _ if per_s >= 99.95 => format!("{per_s:.0}"),
        _ if per_s >= 9.995 => format!("{per_s:.1}"),
        _ => format!("{per_s:.2}"),
    }
}

/// The slope of a gauge over the second half of the arrivals: the first is for caches and pools to fill, and behind the last
/// arrival the service does something else.
fn slope(record: &LoadRecord, of: impl Fn(&LoadRow) -> Option<u64>) -> Option<Slope> {
    let row_s = as_f64(record.row_us) / MICROS;
    let rows = record.arriving_us.checked_div(record.row_us)?;
    let rows = usize::try_from(rows).ok()?.min(record.rows.len());
    let half = record.rows.get(rows / 2..rows)?;
    let points = half
        .iter()
        .enumerate()
        .filter_map(|(at, row)| Some((as_f64(at as u64) * row_s, as_f64(of(row)?))));
    Slope::fit(&points.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use hybrid_cache_model::load::LoadService;

    use super::*;

    fn row(done: u64, memory: u64) -> LoadRow {
        LoadRow {
            done,
            memory_bytes: Some(memory),
            ..LoadRow::default()
        }
    }

    #[test]
    fn the_rate_is_of_the_time_in_which_tasks_arrived_and_the_slope_of_its_second_half() {
        let mut rows: Vec<LoadRow> = (0..20)
            .map(|at| row(10, if at < 10 { at << 30 } else { 5 << 20 }))
            .collect();
        // Behind the last arrival nothing is done any more, and memory is given back.
        rows.extend([row(0, 0); 20]);
        let record = LoadRecord {
            arriving_us: 20_000_000,
            row_us: 1_000_000,
            rows,
            ..LoadRecord::default()
        };
        let summary = LoadSummary::from_record(&record);
        assert_eq!(summary.achieved_per_s, 10.0);
        let memory = summary.memory.unwrap();
        assert_eq!((memory.per_s, memory.trend()), (0.0, Trend::Flat));
        assert_eq!(summary.disk, None);
        assert_eq!(summary.peaks(), [Some(9 << 30), None]);
    }

    #[test]
    fn a_run_without_rows_has_rates_of_zero() {
        let record = LoadRecord::default();
        let summary = LoadSummary::from_record(&record);
        assert_eq!((summary.achieved_per_s, summary.memory), (0.0, None));
        assert!(
            summary.headline().contains("no task succeeded"),
            "{}",
            summary.headline()
        );
    }

    #[test]
    fn created_tasks_are_compared_with_acknowledged_submits() {
        let sentence = |made: Option<u64>, own: bool, lost: u64| {
            let counts = LoadCounts {
                submitted: 5,
                queued: 5,
                succeeded: 5 - lost,
                lost,
                ..LoadCounts::default()
            };
            let service = LoadService {
                own,
                made,
                ..LoadService::default()
            };
            let record = LoadRecord {
                counts,
                service,
                ..LoadRecord::default()
            };
            LoadSummary::from_record(&record).accounted()
        };
        let fine = "Each of 5 acknowledged tasks was listed with its end, none lost; the service created none twice";
        assert_eq!(sentence(Some(5), true, 0), fine);
        assert!(sentence(Some(6), true, 0).ends_with("the service created 6 tasks from 5 submits"));
        assert!(sentence(Some(6), false, 0).ends_with("others use it too"));
        assert!(sentence(None, true, 1).starts_with("Of 5 acknowledged tasks 4 were listed with their end, 1 lost"));
    }
}
