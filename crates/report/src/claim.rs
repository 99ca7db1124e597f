//! Verdicts on claimed latency ranges: what a measured median and its interval say about a documented figure.

use hybrid_cache_model::Claim;
use hybrid_cache_model::sample::Provenance;
use serde::Serialize;

use crate::stats::{ALPHA, Decision, Evidence};
use crate::units;

/// What the samples say about a claimed range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The whole interval of the median lies below the range: faster than claimed.
    Beaten,
    /// The whole interval lies within the range.
    Supported,
    /// The whole interval lies above the range: slower than claimed.
    Refuted,
    /// Too few rounds, an interval across an end of the range, or not proven as one of several tests.
    Undecided,
}

impl Verdict {
    /// The word in a report.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Beaten => "beaten",
            Verdict::Supported => "supported",
            Verdict::Refuted => "refuted",
            Verdict::Undecided => "undecided",
        }
    }

    /// A mark next to the word, so that colour never carries the verdict alone.
    pub fn mark(self) -> &'static str {
        match self {
            Verdict::Beaten => "▼",
            Verdict::Supported => "✓",
            Verdict::Refuted => "✗",
            Verdict::Undecided => "?",
        }
    }
}

/// Where the claims hold, and whether this run measured there.
pub fn place(provenance: &Provenance) -> &'static str {
    let driver = match &provenance.service {
        Some(service) => service.driver.as_deref().unwrap_or_default(),
        None => provenance.driver.as_str(),
    };
    match driver {
        "kube" | "argo" => "Claims are about tasks in pods, as in this run.",
        "local" => {
            "Claims are about tasks in pods. This run measured sandboxes of one machine, so the verdicts of a run with --driver kube \
             are the ones that count."
        }
        _ => "Claims are about tasks in pods. The service does not say where the tasks of this run were.",
    }
}

/// A claim and its verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClaimResult {
    /// The claimed range, in seconds.
    pub claim: Claim,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is what it is, in a sentence without a full stop.
    pub reason: String,
    /// The test behind the verdict.
    pub decision: Decision,
    /// The side on which the samples lie, proven or not.
    #[serde(skip)]
    side: Verdict,
    /// Medians of the rounds, in microseconds.
    #[serde(skip)]
    evidence: Evidence,
}

impl ClaimResult {
    /// Tests the wall times of a group against a claimed range. The verdict is open until [`ClaimResult::conclude`].
    pub(crate) fn new(claim: Claim, evidence: Evidence) -> ClaimResult {
        let [min_us, max_us] = [claim.min_s, claim.max_s].map(|seconds| seconds * 1e6);
        let within = evidence.p_at_least(min_us).max(evidence.p_at_most(max_us));
        let sides = [
            (Verdict::Supported, within),
            (Verdict::Beaten, evidence.p_at_most(min_us)),
            (Verdict::Refuted, evidence.p_above(max_us)),
        ];
        let likeliest = sides
            .into_iter()
            .reduce(|best, side| if side.1 < best.1 { side } else { best });
        let (side, p) = likeliest.unwrap_or((Verdict::Undecided, 1.0));
        ClaimResult {
            claim,
            verdict: Verdict::Undecided,
            reason: String::new(),
            decision: Decision::alone(p),
            side,
            evidence,
        }
    }

    /// One-sided p for "the median is at most the range's upper end", and for "it is above".
    pub(crate) fn p_of_the_upper_end(&self) -> (f64, f64) {
        let max_us = self.claim.max_s * 1e6;
        (self.evidence.p_above(max_us), self.evidence.p_at_most(max_us))
    }

    /// The interval and the range: `2.1–2.4 s, claimed 10–60 s`.
    pub(crate) fn measured(&self) -> String {
        let range = units::seconds_range(self.claim.min_s, self.claim.max_s);
        let interval = self.evidence.interval();
        let interval = interval.as_ref().map_or("no interval".to_owned(), units::interval);
        format!("{interval}, claimed {range}")
    }

    /// The smallest distance from an end of the range that this run could have shown, as text; a dash if it could show none.
    pub fn could_show(&self) -> String {
        self.decision.smallest_effect.map_or("–".to_owned(), units::effect)
    }

    /// Decides, as one of the tests of a family, with the p that the family's correction leaves.
    pub(crate) fn conclude(&mut self, adjusted: f64, tests: usize) {
        self.decision = self.decision.corrected(adjusted, tests, &self.evidence);
        let range = units::seconds_range(self.claim.min_s, self.claim.max_s);
        let place = match self.side {
            Verdict::Beaten => "below",
            Verdict::Refuted => "above",
            Verdict::Supported | Verdict::Undecided => "within",
        };
        let interval = self.evidence.interval();
        let measured = interval.as_ref().map(units::interval).unwrap_or_default();
        if self.decision.is_proven() {
            self.verdict = self.side;
            self.reason = format!("{measured} lies {place} {range}");
        } else if let Some(why) = self.decision.too_few(self.evidence.rounds()) {
            self.reason = why;
        } else if self.decision.p <= ALPHA {
            self.reason = format!("{measured} lies {place} {range} by itself, not as one of {tests} tests");
        } else {
            self.reason = format!("{measured} reaches across an end of {range}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::durations;

    fn result(samples_ms: &[u64], tests: usize) -> ClaimResult {
        let samples_us: Vec<(u32, u64)> = (0..).zip(samples_ms.iter().map(|ms| ms * 1000)).collect();
        let mut result = ClaimResult::new(Claim { min_s: 2.0, max_s: 5.0 }, durations(&samples_us));
        let adjusted = result.decision.p * tests as f64;
        result.conclude(adjusted, tests);
        result
    }

    fn verdict(samples_ms: &[u64]) -> Verdict {
        result(samples_ms, 1).verdict
    }

    #[test]
    fn each_side_of_the_range_has_its_verdict() {
        assert_eq!(verdict(&[100, 110, 120, 130, 140, 150]), Verdict::Beaten);
        assert_eq!(verdict(&[2000, 3000, 5000, 3000, 3000, 3000]), Verdict::Supported);
        assert_eq!(verdict(&[5001, 6000, 7000, 6000, 6000, 6000]), Verdict::Refuted);
    }

    #[test]
    fn an_interval_across_an_end_decides_nothing() {
        assert_eq!(verdict(&[1900, 2100, 2200, 2300, 2400, 2500]), Verdict::Undecided);
        assert_eq!(verdict(&[4000, 4500, 5100, 4000, 4000, 4000]), Verdict::Undecided);
        assert_eq!(verdict(&[1000, 3000, 9000, 3000, 3000, 3000]), Verdict::Undecided);
    }

    #[test]
    fn too_few_rounds_decide_nothing_and_say_how_many_are_needed() {
        for few in [&[100; 5][..], &[]] {
            let result = result(few, 1);
            assert_eq!(result.verdict, Verdict::Undecided);
            assert_eq!(
                result.reason,
                format!("too few rounds: {}, at least 6 are needed", few.len())
            );
        }
        let one_of_many = result(&[100; 6], 22);
        assert_eq!(one_of_many.verdict, Verdict::Undecided);
        let reason = "too few rounds: 6, at least 10 are needed as one of 22 tests";
        assert_eq!(one_of_many.reason, reason);
    }

    #[test]
    fn what_is_proven_alone_and_not_with_the_others_says_so() {
        let mostly: Vec<u64> = (0..12).map(|at| if at < 2 { 2100 } else { 100 }).collect();
        assert_eq!(result(&mostly, 1).verdict, Verdict::Beaten);
        let result = result(&mostly, 22);
        assert_eq!(result.verdict, Verdict::Undecided);
        assert!(
            result.reason.ends_with("by itself, not as one of 22 tests"),
            "{}",
            result.reason
        );
    }
}
