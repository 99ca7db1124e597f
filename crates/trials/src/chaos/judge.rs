//! Checks that judge faults, in addition to running tasks again.

use std::collections::BTreeMap;
use std::fs;

use hybrid_cache_model::End;
use hybrid_cache_model::maintain::VerifyReport;

use crate::caches::Ran;
use crate::chaos::fault_caches::FaultCaches;
use crate::chaos::stock;
use crate::error::TrialError;
use crate::volume;

/// Parts of the volumes that hold leftovers. Leftovers are counted, and these parts hold no environment.
const LEFT_OVERS: [&str; 3] = ["staging/", "trash/", "uv/.tmp"];

/// Findings of `verify`, without leftovers.
pub fn unclean(report: &VerifyReport) -> Vec<String> {
    let is_harm = |path: &str| !LEFT_OVERS.iter().any(|part| path.contains(part));
    let harm = report.problems.iter().filter(|problem| is_harm(&problem.path));
    harm.map(|problem| format!("verify: {}: {}", problem.path, problem.what))
        .collect()
}

/// The problems of visible environments: those found by reading every file, and those that `verify` reports.
///
/// # Errors
/// `verify` does not answer.
pub async fn environments(place: &FaultCaches) -> Result<Vec<String>, TrialError> {
    let visible = volume::environments(&place.volumes.python);
    let mut problems: Vec<String> = visible.iter().flat_map(|one| stock::problems(one)).collect();
    problems.extend(unclean(&place.verify().await?));
    Ok(problems)
}

/// Empties one file of a visible environment: damage that no kill and no power cut may cause. The environment gets its own copy of
/// the file, so that nothing else is damaged.
///
/// # Errors
/// There is no environment, or the file cannot be written.
pub fn damage(place: &FaultCaches) -> Result<(), TrialError> {
    let nothing = || TrialError::Other("there is no environment to damage".to_owned());
    let visible = volume::environments(&place.volumes.python);
    let environment = visible.first().ok_or_else(nothing)?;
    let file = stock::packages(environment)
        .ok_or_else(nothing)?
        .join(stock::NAME)
        .join("m3.py");
    let failed = TrialError::io(format!("damaging {}", file.display()));
    fs::remove_file(&file)
        .and_then(|()| fs::write(&file, ""))
        .map_err(failed)
}

/// The problem with the end of a task whose preparation was killed. The task may fail because of the kill, or succeed with the
/// expected output; any other end is a problem.
pub fn end_after_kill(ran: &Ran, expected: &str) -> Option<String> {
    match &ran.outcome.end {
        End::Failed { .. } => None,
        End::Exited { code: 0 } if ran.stdout.trim() == expected => None,
        end => Some(format!(
            "a task whose preparation was killed ended as {end:?} and printed {:?} {:?}",
            ran.stdout, ran.stderr
        )),
    }
}

/// True for a task whose output was not received completely, if its outcome says so.
pub fn has_lost_output(ran: &Ran) -> bool {
    let come = (ran.stdout.len() + ran.stderr.len()) as u64;
    let passed = ran.outcome.stdout.passed_bytes + ran.outcome.stderr.passed_bytes;
    come < passed
        && ran
            .outcome
            .warnings
            .iter()
            .any(|said| said.contains("output were lost"))
}

/// Facts about one task that a service has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFacts {
    /// Number of the task in the trial.
    pub number: u32,
    /// State that the service reports; empty if it does not know the task.
    pub state: String,
    /// How the task ended.
    pub end: String,
    /// The failure's class, if the task failed.
    pub failure: String,
    /// The failure's message.
    pub said: String,
    /// How often the task's mark is in its output.
    pub marks: usize,
}

/// The problems of tasks that a service was asked to run. Each must end once and run at most once, and a task that exited must
/// have printed its mark. `may_die` says whether the service's death may end a task; `runs` is how often each task was seen
/// running, if known.
pub fn exactly_once(tasks: &[TaskFacts], runs: Option<&BTreeMap<u32, u32>>, may_die: bool) -> Vec<String> {
    let mut problems = Vec::new();
    for task in tasks {
        let number = task.number;
        let ran = runs.map(|runs| runs.get(&number).copied().unwrap_or(0));
        match (task.state.as_str(), task.end.as_str()) {
            ("", _) => problems.push(format!("task {number} was acknowledged and is lost")),
            ("ended", "exited") => {
                if task.marks != 1 {
                    problems.push(format!(
                        "task {number} exited and has printed its mark {} times",
                        task.marks
                    ));
                }
                if ran.is_some_and(|ran| ran == 0) {
                    problems.push(format!("task {number} is reported as exited but never ran"));
                }
            }
            ("ended", "failed") if may_die && task.failure == "evicted" => {}
            (state, end) => {
                let (failure, said) = (&task.failure, &task.said);
                problems.push(
                    format!("task {number} is {state} {end} {failure} {said}")
                        .trim_end()
                        .to_owned(),
                );
            }
        }
        if task.marks > 1 || ran.is_some_and(|ran| ran > 1) {
            let ran = ran.unwrap_or(0);
            problems.push(format!(
                "task {number} ran {ran} times and printed {} marks",
                task.marks
            ));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use hybrid_cache_model::maintain::Problem;

    use super::*;

    fn task_facts(number: u32, state: &str, end: &str, failure: &str, marks: usize) -> TaskFacts {
        TaskFacts {
            number,
            state: state.to_owned(),
            end: end.to_owned(),
            failure: failure.to_owned(),
            said: String::new(),
            marks,
        }
    }

    #[test]
    fn lost_output_counts_if_the_outcome_says_so() {
        let ran = |printed: &str, warnings: &[&str]| {
            let outcome = serde_json::json!({
                "end": "exited", "code": 0, "timeline": {"total_us": 1, "spans": []}, "runner_us": 1, "resolved": {},
                "cache": {"python": {"status": "hit"}, "system": {"status": "not_asked"}},
                "stdout": {"written_bytes": 5, "passed_bytes": 5}, "stderr": {"written_bytes": 0, "passed_bytes": 0},
                "warnings": warnings,
            });
            Ran {
                outcome: serde_json::from_value(outcome).unwrap(),
                stdout: printed.to_owned(),
                stderr: String::new(),
            }
        };
        let reported = "5 bytes of output were lost on the way: the node had removed them, or did not send them";
        assert!(has_lost_output(&ran("", &[reported])));
        assert!(!has_lost_output(&ran("", &[])), "nothing was said");
        assert!(!has_lost_output(&ran("good\n", &[reported])), "all of it came");
    }

    #[test]
    fn lost_twice_run_and_never_run_tasks_are_noticed() {
        let good = [
            task_facts(1, "ended", "exited", "", 1),
            task_facts(2, "ended", "failed", "evicted", 0),
        ];
        let runs = BTreeMap::from([(1, 1), (2, 1)]);
        assert_eq!(exactly_once(&good, Some(&runs), true), Vec::<String>::new());
        assert_eq!(exactly_once(&good, Some(&runs), false).len(), 1);
        for (bad, runs) in [
            (task_facts(1, "", "", "", 0), 1),
            (task_facts(1, "queued", "", "", 0), 0),
            (task_facts(1, "ended", "exited", "", 0), 1),
            (task_facts(1, "ended", "exited", "", 1), 0),
            (task_facts(1, "ended", "exited", "", 1), 2),
            (task_facts(1, "ended", "failed", "internal", 0), 0),
            (task_facts(1, "ended", "failed", "evicted", 0), 2),
        ] {
            let runs = BTreeMap::from([(1, runs)]);
            assert_ne!(
                exactly_once(std::slice::from_ref(&bad), Some(&runs), true),
                Vec::<String>::new(),
                "{bad:?}"
            );
        }
        let twice = task_facts(1, "ended", "exited", "", 2);
        assert_ne!(exactly_once(&[twice], None, true), Vec::<String>::new());
    }

    #[test]
    fn leftovers_are_not_damage_and_other_findings_are() {
        let problem = |path: &str| Problem {
            path: path.to_owned(),
            what: "changed".to_owned(),
        };
        let mut report = VerifyReport {
            problems: vec![problem("tenants/default/staging/make-1"), problem("trash/x")],
            ..VerifyReport::default()
        };
        assert_eq!(unclean(&report), Vec::<String>::new());
        report.problems.push(problem("tenants/default/envs/x"));
        assert_eq!(unclean(&report).len(), 1);
    }
}
