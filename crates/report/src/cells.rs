//! Formats the cells of tables, the same for the terminal, Markdown and HTML.

use hybrid_cache_model::shown;

use crate::claim::{ClaimResult, Verdict};
use crate::figure::Attainment;
use crate::stats::{self, Distribution, Estimate};
use crate::summary::GroupSummary;
use crate::units;

/// Median, interval, p90 and range as text; a dash if n does not carry the figure.
pub(crate) fn distribution(wall: Option<&Distribution>) -> [String; 4] {
    let dash = || "–".to_owned();
    let Some(wall) = wall else {
        return [dash(), dash(), dash(), dash()];
    };
    [
        units::duration(wall.median_us),
        wall.interval.as_ref().map_or_else(dash, units::interval),
        wall.p90_us.map_or_else(dash, |us| units::duration(stats::as_f64(us))),
        units::duration_range(stats::as_f64(wall.min_us), stats::as_f64(wall.max_us)),
    ]
}

/// Median of the runner's own time, in its sandbox or pod; a dash if no sample counts.
pub(crate) fn runner_median(group: &GroupSummary) -> String {
    let median = |runner: &Distribution| units::duration(runner.median_us);
    group.runner.as_ref().map_or("–".to_owned(), median)
}

/// Samples that count, and those that do not: `30 (2 rejected, 1 failed)`.
pub(crate) fn counted(group: &GroupSummary) -> String {
    let aside = not_counted(group);
    if aside.is_empty() {
        group.accepted.to_string()
    } else {
        format!("{} ({aside})", group.accepted)
    }
}

pub(crate) fn not_counted(group: &GroupSummary) -> String {
    let aside: Vec<String> = [(group.rejected, "rejected"), (group.failed, "failed")]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    aside.join(", ")
}

/// `10–60 s ▼ beaten`.
pub(crate) fn claim(result: &ClaimResult) -> String {
    let range = units::seconds_range(result.claim.min_s, result.claim.max_s);
    format!("{range} {}", verdict(result.verdict))
}

/// `▼ beaten`.
pub(crate) fn verdict(verdict: Verdict) -> String {
    format!("{} {}", verdict.mark(), verdict.name())
}

/// `✓ met`.
pub(crate) fn attainment(attainment: Attainment) -> String {
    format!("{} {}", attainment.mark(), attainment.name())
}

/// `19.1× (18.2–20.3)`.
pub(crate) fn ratio(ratio: &Estimate) -> String {
    match ratio.interval {
        Some(interval) => {
            let [low, high] = [interval.low, interval.high].map(units::ratio);
            format!(
                "{} ({}–{})",
                units::ratio(ratio.value),
                low.trim_end_matches('×'),
                high.trim_end_matches('×')
            )
        }
        None => units::ratio(ratio.value),
    }
}

/// Text from a record without its control characters: a task's output must not move the reader's cursor.
pub(crate) fn plain(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    // What reorders text is left to be shown.
    shown(&line).into_owned()
}
