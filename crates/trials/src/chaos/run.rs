//! Tries the list, one fault after the other, each with a deadline, and records the result with its promise.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::caches::within;
use crate::chaos::fault::{Fault, Finding, Pledge};
use crate::chaos::fault_context::FaultContext;
use crate::promise::Standing;
use crate::site::Site;
use crate::verdict::Verdict;

/// Longest one fault may take beside its rounds.
const LIMIT: Duration = Duration::from_secs(600);
/// Longest one round of a fault may take.
const ROUND: Duration = Duration::from_secs(120);

/// One fault that was tried.
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
    /// Its result.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// One line of the table: a promise and all that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct PledgeRow {
    /// The promise.
    pub promise: Pledge,
    /// The same in words.
    pub text: &'static str,
    /// The worst that happened.
    pub standing: Standing,
    /// The faults.
    pub trials: Vec<FaultTrial>,
}

/// Tries those of the faults that can be tried at the field's site, and reports each as soon as it ends.
pub async fn run(faults: &[&Fault], field: &FaultContext, mut tell: impl FnMut(&FaultTrial)) -> Vec<FaultTrial> {
    let mut trials = Vec::new();
    for fault in faults.iter().filter(|fault| fault.runs_at(field.site())) {
        let trial = try_one(fault, field).await;
        tell(&trial);
        trials.push(trial);
    }
    trials
}

/// Tries one fault, and removes what it made.
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
        Verdict::Held | Verdict::NotHeld { .. } => finding.told(),
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
    /// What it says of its promise.
    pub fn standing(&self) -> Standing {
        self.verdict.standing()
    }

    /// What went wrong, or why nothing was tried.
    pub fn detail(&self) -> Option<&str> {
        self.verdict.detail()
    }
}

/// The table of the promises that were tested: the worst that happened decides.
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
