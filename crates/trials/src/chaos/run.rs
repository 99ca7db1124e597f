//! Tries the list of faults, one after the other, each with a deadline, and records each result with its promise.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::caches::within;
use crate::chaos::fault::{Fault, Finding, Pledge};
use crate::chaos::fault_context::FaultContext;
use crate::promise::Standing;
use crate::site::Site;
use crate::verdict::Verdict;

/// Time limit of a fault, in addition to its rounds.
const LIMIT: Duration = Duration::from_secs(600);
/// Time limit of one round of a fault.
const ROUND: Duration = Duration::from_secs(120);

/// The record of a fault that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultTrial {
    /// The fault.
    pub id: String,
    /// The promise that must still hold.
    pub promise: Pledge,
    /// Where it was tried.
    pub site: Site,
    /// What was done, with numbers; empty if nothing was.
    pub tried: String,
    /// What was seen, with numbers; empty if nothing was done.
    pub seen: String,
    /// Result of the fault.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// Duration in milliseconds.
    pub took_ms: u64,
}

/// One row of the table: a promise and all of its trials.
#[derive(Clone, Debug, Serialize)]
pub struct PledgeRow {
    /// The promise.
    pub promise: Pledge,
    /// The promise in one sentence.
    pub text: &'static str,
    /// The worst result.
    pub standing: Standing,
    /// The faults.
    pub trials: Vec<FaultTrial>,
}

/// Tries the faults that can be tried at the context's site, and reports each as soon as it ends.
pub async fn run(faults: &[&Fault], field: &FaultContext, mut tell: impl FnMut(&FaultTrial)) -> Vec<FaultTrial> {
    let mut trials = Vec::new();
    for fault in faults.iter().filter(|fault| fault.runs_at(field.site())) {
        let trial = try_one(fault, field).await;
        tell(&trial);
        trials.push(trial);
    }
    trials
}

/// Tries one fault, and removes what it created.
pub async fn try_one(fault: &Fault, field: &FaultContext) -> FaultTrial {
    let began = Instant::now();
    let (finding, verdict) = match fault.needs.iter().find_map(|need| field.lacks(*need)) {
        Some(why) => (Finding::default(), Verdict::not_applicable(why)),
        None => {
            let limit = LIMIT + ROUND * field.rounds();
            let tried = within("the fault", limit, (fault.work)(field)).await;
            let recovered = field.recover().await;
            match tried.and_then(|finding| recovered.and(finding)) {
                Ok(finding) => {
                    let verdict = finding.verdict();
                    (finding, verdict)
                }
                Err(error) => (Finding::default(), Verdict::Failed { why: error.to_string() }),
            }
        }
    };
    field.clear();
    let seen = match verdict {
        Verdict::Held | Verdict::NotHeld { .. } => finding.summary(),
        Verdict::NotApplicable { .. } | Verdict::Failed { .. } => String::new(),
    };
    FaultTrial {
        id: fault.id.to_owned(),
        promise: fault.promise,
        site: field.site(),
        tried: finding.tried,
        seen,
        verdict,
        took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

impl FaultTrial {
    /// The result for the fault's promise.
    pub fn standing(&self) -> Standing {
        self.verdict.standing()
    }

    /// The problem, or why nothing was tried; `None` if the promise held.
    pub fn detail(&self) -> Option<&str> {
        self.verdict.detail()
    }
}

/// The table of the tested promises: the worst result decides.
pub fn table(trials: &[FaultTrial]) -> Vec<PledgeRow> {
    let rows = Pledge::ALL.into_iter().map(|promise| {
        let trials: Vec<FaultTrial> = trials
            .iter()
            .filter(|trial| trial.promise == promise)
            .cloned()
            .collect();
        let standing = trials.iter().map(FaultTrial::standing).max();
        PledgeRow {
            promise,
            text: promise.text(),
            standing: standing.unwrap_or(Standing::NotApplicable),
            trials,
        }
    });
    rows.filter(|row| !row.trials.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trial(promise: Pledge, verdict: Verdict) -> FaultTrial {
        FaultTrial {
            id: "x".to_owned(),
            promise,
            site: Site::Local,
            tried: String::new(),
            seen: String::new(),
            verdict,
            took_ms: 1,
        }
    }

    #[test]
    fn the_worst_of_a_promise_decides_and_untested_promises_are_left_out() {
        let rows = table(&[
            trial(Pledge::OneBuild, Verdict::Held),
            trial(Pledge::WholeOrMissed, Verdict::not_held("half")),
            trial(Pledge::WholeOrMissed, Verdict::Held),
        ]);
        let standings: Vec<_> = rows.iter().map(|row| (row.promise, row.standing)).collect();
        assert_eq!(
            standings,
            [
                (Pledge::WholeOrMissed, Standing::NotHeld),
                (Pledge::OneBuild, Standing::Held)
            ]
        );
    }

    #[test]
    fn a_trial_is_one_flat_object_for_programs() {
        let text = serde_json::to_value(trial(Pledge::OneBuild, Verdict::not_held("two"))).unwrap();
        assert_eq!(
            (&text["promise"], &text["verdict"]),
            (&"one-build".into(), &"not_held".into())
        );
        assert_eq!(text["what"], "two");
    }
}
