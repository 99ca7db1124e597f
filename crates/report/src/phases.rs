//! Attribution: which phases the time of a group of samples went to, in bars that add up exactly.
//!
//! The bar of a group is the bar of its *median sample*, a run that took place, so that its parts add up to its wall
//! time to the microsecond without any scaling. Medians of each phase over all samples stand beside it in the table;
//! they need not add up, and say so.

use hybrid_cache_model::sample::Sample;
use hybrid_cache_model::{Lane, Phase, Span, Timeline};
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
    /// Attributes a group; `None` where it has no samples.
    pub fn of(samples: &[&Sample]) -> Option<Attribution> {
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

/// The sample whose wall time is the median: the faster of the middle two where their number is even.
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
/// ends before the client had the answer, the difference is nobody's, which is what `unattributed` means.
fn spent(sample: &Sample) -> Spent {
    Timeline {
        total_us: sample.wall_us,
        spans: waited_for(sample),
    }
    .critical_path()
}

/// The spans that the client waited for.
///
/// [`Timeline::critical_path`] gives an instant to the span that ends last. Two kinds of spans end late and are waited
/// for by nobody, so they count only while nothing else is under way: publishing beside user code (and not at all where
/// it outlives the answer), and the preparation that was ready before the other one, whose long last phase may well
/// outlast the other's short first one.
fn waited_for(sample: &Sample) -> Vec<Span> {
    let behind = earlier_preparation(&sample.timeline.spans);
    let is_behind = |span: &Span| span.lane == Lane::Publish || Some(span.lane) == behind;
    let (background, mut spans): (Vec<Span>, Vec<Span>) =
        sample.timeline.spans.iter().partition(|span| is_behind(span));
    let foreground = spans.clone();
    let outlives = |span: &Span| span.lane == Lane::Publish && span.end_us() > sample.wall_us;
    for span in background.iter().filter(|span| !outlives(span)) {
        spans.extend(alone(span, &foreground));
    }
    spans
}

/// The lane of the preparation that was ready first; `None` where only one cache was prepared, or none.
fn earlier_preparation(spans: &[Span]) -> Option<Lane> {
    let ready_us = |lane| spans.iter().filter(|span| span.lane == lane).map(Span::end_us).max();
    let (python_us, system_us) = (ready_us(Lane::Python)?, ready_us(Lane::System)?);
    Some(if python_us <= system_us {
        Lane::Python
    } else {
        Lane::System
    })
}

/// The pieces of a span during which none of the others was under way.
fn alone(span: &Span, others: &[Span]) -> Vec<Span> {
    let mut sorted: Vec<&Span> = others.iter().collect();
    sorted.sort_by_key(|other| other.start_us);
    let mut pieces = Vec::new();
    let mut from_us = span.start_us;
    for other in sorted {
        let until_us = other.start_us.min(span.end_us());
        if until_us > from_us {
            pieces.push(Span {
                start_us: from_us,
                duration_us: until_us - from_us,
                ..*span
            });
        }
        from_us = from_us.max(other.end_us());
    }
    if span.end_us() > from_us {
        pieces.push(Span {
            start_us: from_us,
            duration_us: span.end_us() - from_us,
            ..*span
        });
    }
    pieces
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

#[cfg(test)]
mod tests {
    use super::*;

    fn span(phase: Phase, lane: Lane, start_us: u64, end_us: u64) -> Span {
        Span {
            phase,
            lane,
            start_us,
            duration_us: end_us - start_us,
        }
    }

    #[test]
    fn a_background_span_counts_only_where_nothing_else_is_under_way() {
        let others = [
            span(Phase::UserCode, Lane::Runner, 10, 20),
            span(Phase::Drain, Lane::Runner, 15, 30),
        ];
        let publishing = span(Phase::PythonPublish, Lane::Publish, 5, 40);
        let pieces: Vec<(u64, u64)> = alone(&publishing, &others)
            .iter()
            .map(|s| (s.start_us, s.end_us()))
            .collect();
        assert_eq!(pieces, [(5, 10), (30, 40)]);
        assert_eq!(alone(&span(Phase::Lease, Lane::Runner, 12, 14), &others), []);
        assert_eq!(alone(&publishing, &[]), [publishing]);
    }

    #[test]
    fn the_preparation_that_is_ready_first_is_the_hidden_one() {
        let install = span(Phase::PythonInstall, Lane::Python, 0, 50);
        let realise = span(Phase::SystemRealise, Lane::System, 10, 90);
        assert_eq!(earlier_preparation(&[install, realise]), Some(Lane::Python));
        assert_eq!(earlier_preparation(&[install]), None);
    }
}
