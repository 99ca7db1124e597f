//! A scenario in one sentence.

use std::fmt::Write;

use hybrid_cache_model::Temperature;

use crate::summary::ScenarioSummary;
use crate::units;

/// End-to-end time divided by the runner's from which a headline gives both.
const FAR: f64 = 2.0;

/// The scenario in one sentence: `Python only: 1.90 s first, 101 ms cached — 18.8×; claim 10–60 s: beaten`.
pub(crate) fn headline(scenario: &ScenarioSummary) -> String {
    let times: Vec<String> = scenario
        .measured()
        .map(|(group, wall)| {
            let time = format!("{} {}", units::duration(wall.median_us), group.temperature.name());
            match &group.runner {
                // They differ little on a machine and much in a pod.
                Some(runner) if group.temperature == Temperature::Cached && wall.median_us > FAR * runner.median_us => {
                    format!("{time} ({} in the runner)", units::duration(runner.median_us))
                }
                _ => time,
            }
        })
        .collect();
    let mut text = format!("{}: {}", units::title(&scenario.name), times.join(", "));
    if times.is_empty() {
        text.push_str("no sample counts");
    }
    if let Some(ratio) = &scenario.ratio {
        let _ = write!(text, " — {}", units::ratio(ratio.value));
    }
    let claims: Vec<_> = scenario
        .groups
        .iter()
        .filter_map(|group| group.claim.as_ref())
        .collect();
    let range = |claim: &crate::claim::ClaimResult| units::seconds_range(claim.claim.min_s, claim.claim.max_s);
    match claims.as_slice() {
        [] => {}
        [first, rest @ ..] if rest.iter().all(|claim| claim.verdict == first.verdict) => {
            let ranges: Vec<String> = claims.iter().map(|claim| range(claim)).collect();
            let _ = write!(text, "; claim {}: {}", ranges.join(" / "), first.verdict.name());
        }
        claims => {
            let each: Vec<String> = claims
                .iter()
                .map(|c| format!("claim {}: {}", range(c), c.verdict.name()))
                .collect();
            let _ = write!(text, "; {}", each.join(", "));
        }
    }
    text
}
