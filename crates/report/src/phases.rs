//! Attribution: the phases in which a group of samples spent its time, in bars that add up exactly.
//!
//! The bar of a group is that of its *median sample*, a real run, so that its parts add up to its wall time to the
//! microsecond without scaling. The table also gives the median of each phase over all samples; these need not add up.

use hybrid_cache_model::sample::Sample;
use hybrid_cache_model::{Phase, Span, Timeline};
use serde::Serialize;

use crate::stats;

/// One row of the attribution of a group.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PhaseRow {
    /// The phase; `None` is time that no span covers.
    pub phase: Option<Phase>,
    /// Microseconds in the median sample.
    pub bar_us: u64,
    /// `bar_us` as a share of the median sample's wall time, 0 to 1.
    pub share: f64,
    /// Median over all accepted samples, in microseconds; a sample without the phase counts as 0.
    pub median_us: f64,
    /// Least over all accepted samples, in microseconds.
    pub min_us: u64,
    /// Most over all accepted samples, in microseconds.
    pub max_us: u64,
}

impl PhaseRow {
    /// The label a person reads.
    pub fn label(&self) -> &'static str {
        label(self.phase)
    }
}

/// Label of a phase, or of time that no span covers.
pub fn label(phase: Option<Phase>) -> &'static str {
    phase.map_or("unattributed", Phase::label)
}

/// Where the time of a group went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attribution {
    /// `sequence` of the median sample.
    pub sequence: u32,
    /// Wall time of the median sample in microseconds: the exact sum of all `bar_us`.
    pub total_us: u64,
    /// A row for each phase that took any time in any sample, in the order of [`Phase::ALL`]; `unattributed` is last
    /// and always there.
    pub rows: Vec<PhaseRow>,
    /// Median over the samples of the time that publishing went on after the client had the answer, in microseconds.
    pub background_us: f64,
    /// Median over the samples of work that ran in parallel with, and hidden behind, what the client waited for.
    pub hidden_us: f64,
}

impl Attribution {
    /// Attributes a group; `None` if it has no samples.
    pub fn from_samples(samples: &[&Sample]) -> Option<Attribution> {
        let median = median_sample(samples)?;
        let bar = spent(median);
        let all: Vec<Spent> = samples.iter().map(|sample| spent(sample)).collect();
        let phases = Phase::ALL.into_iter().map(Some).chain([None]);
        let rows = phases
            .filter(|phase| phase.is_none() || all.iter().any(|spent| us_of(spent, *phase) > 0))
            .map(|phase| row(phase, us_of(&bar, phase), median.wall_us, &all))
            .collect();
        let medians = |of: fn(&Sample) -> u64| {
            let values: Vec<u64> = samples.iter().map(|sample| of(sample)).collect();
            stats::median(&values).unwrap_or_default()
        };
        Some(Attribution {
            sequence: median.sequence,
            total_us: median.wall_us,
            rows,
            background_us: medians(background_us),
            hidden_us: medians(hidden_us),
        })
    }

    /// The row of time that no span covers.
    pub fn unattributed(&self) -> Option<&PhaseRow> {
        self.rows.iter().find(|row| row.phase.is_none())
    }
}

/// The sample whose wall time is the median: the faster of the middle two if their number is even.
pub fn median_sample<'a>(samples: &[&'a Sample]) -> Option<&'a Sample> {
    let mut sorted = samples.to_vec();
    sorted.sort_by_key(|sample| (sample.wall_us, sample.sequence));
    sorted.get(stats::middle(sorted.len())).copied()
}

/// Microseconds that the sample's spans go on after the client had the answer.
pub fn background_us(sample: &Sample) -> u64 {
    let last_us = sample.timeline.spans.iter().map(Span::end_us).max().unwrap_or(0);
    last_us.saturating_sub(sample.wall_us)
}

/// Microseconds of work that ran while something else was waited for: all spans within the wall time, less the time
/// they cover together.
pub fn hidden_us(sample: &Sample) -> u64 {
    let wall_us = sample.wall_us;
    let within = |span: &Span| span.end_us().min(wall_us).saturating_sub(span.start_us.min(wall_us));
    let worked_us: u64 = sample.timeline.spans.iter().map(within).sum();
    let covered_us: u64 = spent(sample)
        .iter()
        .filter(|(phase, _)| phase.is_some())
        .map(|(_, us)| us)
        .sum();
    worked_us.saturating_sub(covered_us)
}

type Spent = Vec<(Option<Phase>, u64)>;

/// The critical path over the client's wall time. Both are durations on the client's own clock; where the timeline
/// ends before the client had the answer, the difference belongs to no phase and is `unattributed`.
fn spent(sample: &Sample) -> Spent {
    Timeline {
        total_us: sample.wall_us,
        spans: sample.timeline.spans.clone(),
    }
    .critical_path()
}

fn us_of(spent: &Spent, phase: Option<Phase>) -> u64 {
    spent
        .iter()
        .filter(|(known, _)| *known == phase)
        .map(|(_, us)| us)
        .sum()
}

fn row(phase: Option<Phase>, bar_us: u64, total_us: u64, all: &[Spent]) -> PhaseRow {
    let values: Vec<u64> = all.iter().map(|spent| us_of(spent, phase)).collect();
    PhaseRow {
        phase,
        bar_us,
        share: if total_us == 0 {
            0.0
        } else {
            stats::as_f64(bar_us) / stats::as_f64(total_us)
        },
        median_us: stats::median(&values).unwrap_or_default(),
        min_us: values.iter().copied().min().unwrap_or(0),
        max_us: values.iter().copied().max().unwrap_or(0),
    }
}
