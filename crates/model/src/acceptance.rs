//! Whether a sample counts.

use serde::{Deserialize, Serialize};

use crate::outcome::{CacheStatus, Outcome};
use crate::scenario::Scenario;
use crate::timeline::Temperature;

/// Whether a sample counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Acceptance {
    /// It counts.
    Accepted,
    /// The run ended, but not as its temperature or its level demands (a "cached" run that missed, a "first" one that hit).
    WrongTemperature {
        /// What was observed instead.
        reason: String,
    },
    /// The run failed or printed something else than its scenario expects.
    Failed {
        /// What was observed instead.
        reason: String,
    },
}

/// Judges a run against what its scenario and temperature demand, once everything that belongs to it has ended.
pub fn judge(scenario: &Scenario, temperature: Temperature, outcome: &Outcome, stdout: &str) -> Acceptance {
    if !outcome.end.is_success() {
        return Acceptance::Failed {
            reason: format!("the run did not succeed: {:?}", outcome.end),
        };
    }
    if let Err(reason) = scenario.expect.stdout.check(stdout) {
        return Acceptance::Failed { reason };
    }
    let task_asks = [
        ("python", outcome.cache.python, scenario.asks_python()),
        ("system", outcome.cache.system, scenario.asks_system()),
    ];
    for (cache, status, asked) in task_asks {
        let fits = match (asked, temperature, status) {
            (false, _, status) => status == CacheStatus::NotAsked,
            (true, Temperature::Uncached, status) => status == CacheStatus::Bypassed,
            (true, Temperature::First, status) => matches!(status, CacheStatus::Built { .. }),
            (true, Temperature::Cached, status) => status == CacheStatus::Hit,
        };
        if !fits {
            let reason = format!("{cache} cache: {status:?} in a run meant to be {}", temperature.name());
            return Acceptance::WrongTemperature { reason };
        }
    }
    // What could not be kept was not measured as a first run is meant: the next one would find nothing.
    match &outcome.not_kept {
        Some(failure) => Acceptance::Failed {
            reason: format!("what was prepared could not be kept: {failure}"),
        },
        None => Acceptance::Accepted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{CacheReport, End, Failure, FailureKind, Output, Resolved};
    use crate::scenario::{Expectation, ExpectedOutput};
    use crate::task::TaskSpec;
    use crate::timeline::Timeline;

    fn scenario() -> Scenario {
        Scenario {
            name: "small".into(),
            why: "a test".into(),
            request: TaskSpec {
                dependencies: "numpy".into(),
                ..TaskSpec::new("print(1)")
            },
            expect: Expectation {
                stdout: ExpectedOutput::Equals("1".into()),
                first: None,
                cached: None,
            },
        }
    }

    fn outcome(python: CacheStatus) -> Outcome {
        Outcome {
            end: End::Exited { code: 0 },
            cache: CacheReport {
                python,
                system: CacheStatus::NotAsked,
            },
            timeline: Timeline::default(),
            runner_us: 0,
            stdout: Output::default(),
            stderr: Output::default(),
            resolved: Resolved::default(),
            warnings: Vec::new(),
            not_kept: None,
        }
    }

    #[test]
    fn a_run_counts_at_its_own_temperature_alone() {
        let hit = outcome(CacheStatus::Hit);
        assert_eq!(
            judge(&scenario(), Temperature::Cached, &hit, "1\n"),
            Acceptance::Accepted
        );
        let wrong = judge(&scenario(), Temperature::First, &hit, "1");
        assert!(matches!(wrong, Acceptance::WrongTemperature { .. }));
        let printed = judge(&scenario(), Temperature::Cached, &hit, "2");
        assert!(matches!(printed, Acceptance::Failed { .. }));
    }

    #[test]
    fn a_first_run_that_was_not_published_is_rejected_with_the_reason() {
        let mut built = outcome(CacheStatus::Built {
            downloaded_bytes: 1,
            reused_bytes: 0,
        });
        assert_eq!(
            judge(&scenario(), Temperature::First, &built, "1"),
            Acceptance::Accepted
        );
        built.not_kept = Some(Failure::new(FailureKind::DiskFull, "the volume is full"));
        let judged = judge(&scenario(), Temperature::First, &built, "1");
        assert!(matches!(judged, Acceptance::Failed { reason } if reason.ends_with("the volume is full")));
    }

    #[test]
    fn an_outcome_from_before_there_was_not_kept_still_reads() {
        let text = serde_json::to_string(&outcome(CacheStatus::Hit)).unwrap();
        assert!(!text.contains("not_kept"));
        assert_eq!(
            serde_json::from_str::<Outcome>(&text).unwrap(),
            outcome(CacheStatus::Hit)
        );
    }
}
