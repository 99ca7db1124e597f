//! Verdicts on claimed latency ranges: what a measured median and its interval say about a documented figure.

use hybrid_cache_model::Claim;
use serde::Serialize;

use crate::stats::{Distribution, MIN_SAMPLES};
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
    /// Too few samples, or an interval across an end of the range.
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

/// A claim and its verdict.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClaimResult {
    /// The claimed range, in seconds.
    pub claim: Claim,
    /// The verdict.
    pub verdict: Verdict,
    /// Why it is what it is, in a sentence without a full stop.
    pub reason: String,
}

/// Compares the wall-clock times of a group with a claimed range; `None` stands for a group without samples.
pub fn judge(claim: Claim, wall: Option<&Distribution>) -> ClaimResult {
    let range = units::seconds_range(claim.min_s, claim.max_s);
    let n = wall.map_or(0, |wall| wall.n);
    let Some(interval) = wall.and_then(|wall| wall.interval) else {
        let reason = format!("n = {n}, at least {MIN_SAMPLES} accepted samples are needed");
        return ClaimResult {
            claim,
            verdict: Verdict::Undecided,
            reason,
        };
    };
    let (low_s, high_s) = (interval.low / 1e6, interval.high / 1e6);
    let measured = units::interval(&interval);
    let (verdict, reason) = if high_s < claim.min_s {
        (Verdict::Beaten, format!("{measured} lies below {range}"))
    } else if low_s > claim.max_s {
        (Verdict::Refuted, format!("{measured} lies above {range}"))
    } else if low_s >= claim.min_s && high_s <= claim.max_s {
        (Verdict::Supported, format!("{measured} lies within {range}"))
    } else {
        (
            Verdict::Undecided,
            format!("{measured} reaches across an end of {range}"),
        )
    };
    ClaimResult { claim, verdict, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(samples_ms: &[u64]) -> Verdict {
        let samples_us: Vec<u64> = samples_ms.iter().map(|ms| ms * 1000).collect();
        judge(
            Claim { min_s: 2.0, max_s: 5.0 },
            Distribution::from_durations(&samples_us).as_ref(),
        )
        .verdict
    }

    #[test]
    fn each_side_of_the_range_has_its_verdict() {
        assert_eq!(verdict(&[100, 110, 120]), Verdict::Beaten);
        assert_eq!(verdict(&[2000, 3000, 5000]), Verdict::Supported);
        assert_eq!(verdict(&[5001, 6000, 7000]), Verdict::Refuted);
    }

    #[test]
    fn an_interval_across_an_end_decides_nothing() {
        assert_eq!(verdict(&[1900, 2100, 2200]), Verdict::Undecided);
        assert_eq!(verdict(&[4000, 4500, 5100]), Verdict::Undecided);
        assert_eq!(verdict(&[1000, 3000, 9000]), Verdict::Undecided);
    }

    #[test]
    fn two_samples_or_none_decide_nothing() {
        assert_eq!(verdict(&[100, 100]), Verdict::Undecided);
        let none = judge(Claim { min_s: 2.0, max_s: 5.0 }, None);
        assert_eq!(none.verdict, Verdict::Undecided);
        assert!(none.reason.starts_with("n = 0"), "{}", none.reason);
    }
}
