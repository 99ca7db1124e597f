//! HdrHistogram interval logs, so that other tools can read the latencies without knowing our JSON.

use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use hybrid_cache_model::Temperature;
use hybrid_cache_model::load::LoadRecord;
use hybrid_cache_model::sample::{RunRecord, Sample};

use crate::duration_histogram::{DIGITS, DurationHistogram, LARGEST_US};
use crate::samples::{accepted, scenario_names};

/// One log for each scenario and temperature with samples that count: file name and content.
pub fn hdr_logs(record: &RunRecord) -> Vec<(String, Vec<u8>)> {
    let mut logs = Vec::new();
    for name in scenario_names(record) {
        for temperature in Temperature::ALL {
            if let Some(log) = hdr_log(record, name, temperature) {
                logs.push((format!("{}-{}.hlog", file_stem(name), temperature.name()), log));
            }
        }
    }
    if let Some(log) = record.load.as_deref().and_then(|load| load_log(record, load)) {
        logs.push(("load.hlog".to_owned(), log));
    }
    logs
}

/// The log of a run under load: intervals tagged `latency`, `queue` and `sending`, values in microseconds.
fn load_log(record: &RunRecord, load: &LoadRecord) -> Option<Vec<u8>> {
    let tagged = [
        ("latency", &load.latency),
        ("queue", &load.queue),
        ("sending", &load.sending),
    ];
    let spreads: Vec<_> = tagged
        .into_iter()
        .filter_map(|(tag, text)| Some((tag, DurationHistogram::decode(text)?)))
        .collect();
    let intervals: Vec<_> = spreads.iter().map(|(tag, spread)| (*tag, spread.histogram())).collect();
    let comments = [
        "hybrid-cache: the task service under load",
        "values in microseconds; latency: scheduled arrival to end; queue: waiting for a turn; sending: late by",
    ];
    log(record, &comments, Duration::from_micros(load.watched_us), &intervals)
}

/// The log of one group: an interval tagged `wall` and one tagged `runner`, values in microseconds; `None` if no
/// sample counts.
pub fn hdr_log(record: &RunRecord, scenario: &str, temperature: Temperature) -> Option<Vec<u8>> {
    let samples = accepted(record, scenario, temperature);
    let wall = histogram(&samples, |sample| sample.wall_us)?;
    let runner = histogram(&samples, |sample| sample.runner_us)?;
    // The samples of a group are interleaved with others, so the interval is not a stretch of the calendar: it starts
    // at 0 and is as long as the time spent in the samples.
    let measured = Duration::from_micros(samples.iter().map(|sample| sample.wall_us).sum());
    let comments = [
        &format!("hybrid-cache: {}, {}", printable(scenario), temperature.name()),
        "values in microseconds; wall: submit to end as the client saw it; runner: by the runner's clock",
    ];
    log(record, &comments, measured, &[("wall", &wall), ("runner", &runner)])
}

/// A log of one interval for each histogram.
fn log(
    record: &RunRecord,
    comments: &[&str; 2],
    measured: Duration,
    intervals: &[(&str, &Histogram<u64>)],
) -> Option<Vec<u8>> {
    let mut builder = IntervalLogWriterBuilder::new();
    for comment in comments {
        builder.add_comment(comment);
    }
    builder.with_max_value_divisor(1.0);
    if let Ok(start) = record.provenance.started_at.parse::<jiff::Timestamp>() {
        builder.with_start_time(SystemTime::from(start));
    }
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let mut log = builder.begin_log_with(&mut bytes, &mut serializer).ok()?;
    for (tag, histogram) in intervals {
        log.write_histogram(histogram, Duration::ZERO, measured, Tag::new(tag))
            .ok()?;
    }
    Some(bytes)
}

fn histogram(samples: &[&Sample], value_us: impl Fn(&Sample) -> u64) -> Option<Histogram<u64>> {
    if samples.is_empty() {
        return None;
    }
    let mut histogram = Histogram::new_with_bounds(1, LARGEST_US, DIGITS).ok()?;
    for sample in samples {
        histogram.saturating_record(value_us(sample));
    }
    Some(histogram)
}

/// The name as part of a file name: no name of a scenario can lead out of the folder.
fn file_stem(name: &str) -> String {
    name.chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .collect()
}

fn printable(name: &str) -> String {
    name.chars().filter(|c| !c.is_control()).collect()
}
