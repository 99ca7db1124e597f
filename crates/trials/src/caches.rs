//! Caches of a trial's own, on which tasks are started, awaited and judged.

use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{Driver, Epoch, SubmitOptions, Ticket};
use hybrid_cache_model::{End, Outcome, TaskSpec};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::error::TrialError;

/// Milliseconds that a task of a trial may take.
const TASK_MS: u64 = 20_000;
/// How much of a task's output an error shows, in characters.
const SHOWN: usize = 600;

/// Caches of a trial's own, and the driver that uses them.
#[derive(Clone)]
pub struct Caches {
    /// The driver.
    pub driver: Arc<dyn Driver>,
    /// The caches.
    pub epoch: Epoch,
    /// The deadline of one step here.
    pub patience: Duration,
}

/// A finished run with its output.
#[derive(Clone, Debug)]
pub struct Ran {
    /// How it ended.
    pub outcome: Outcome,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// What a probe reports.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Findings {
    /// How many things it tried.
    pub tried: u32,
    /// What it could do.
    pub got: Vec<String>,
}

impl Caches {
    /// Options for a task of a trial, with `changes` over the defaults. Fields are named as JSON names them.
    ///
    /// # Errors
    /// A change that does not fit.
    pub fn options(&self, changes: &Value) -> Result<SubmitOptions, TrialError> {
        let mut options = SubmitOptions {
            epoch: self.epoch.clone(),
            ..SubmitOptions::default()
        };
        options.limits.time_ms = TASK_MS;
        options.prepare_ms = u64::try_from(self.patience.as_millis()).unwrap_or(u64::MAX);
        changed(&options, changes)
    }

    /// Starts a task.
    ///
    /// # Errors
    /// The driver refuses it.
    pub async fn submit(&self, spec: &TaskSpec, changes: &Value) -> Result<Ticket, TrialError> {
        let options = self.options(changes)?;
        Ok(within("submitting a task", self.patience, self.driver.submit(spec, &options)).await??)
    }

    /// Runs a task to its end, publishing included.
    ///
    /// # Errors
    /// The driver refuses it, or it does not end in time.
    pub async fn run(&self, spec: &TaskSpec) -> Result<Ran, TrialError> {
        self.run_with(spec, &json!({})).await
    }

    /// The same with options set.
    ///
    /// # Errors
    /// See [`Caches::run`].
    pub async fn run_with(&self, spec: &TaskSpec, changes: &Value) -> Result<Ran, TrialError> {
        let ticket = self.submit(spec, changes).await?;
        let ran = self.finish(&ticket).await;
        self.driver.forget(&ticket);
        ran
    }

    /// The same; a task that does not exit with 0 is an error.
    ///
    /// # Errors
    /// See [`Caches::run`].
    pub async fn run_well(&self, task: &str, spec: &TaskSpec) -> Result<Ran, TrialError> {
        self.run(spec).await?.good(task)
    }

    /// Waits for the end of a task. One that does not come is cancelled.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn finish(&self, ticket: &Ticket) -> Result<Ran, TrialError> {
        let settled = within("a task", self.patience, self.driver.settle(ticket)).await;
        let outcome = match settled {
            Ok(outcome) => outcome?,
            Err(late) => {
                // The first problem is the one to report.
                let _ = self.driver.cancel(ticket).await;
                return Err(late);
            }
        };
        let log = self.driver.logs(ticket)?;
        let text = |stream| String::from_utf8_lossy(&log.collect(stream)).into_owned();
        Ok(Ran {
            outcome,
            stdout: text(Stream::Stdout),
            stderr: text(Stream::Stderr),
        })
    }

    /// Waits for the first output of a task that contains `mark`.
    ///
    /// # Errors
    /// It does not come.
    pub async fn until_printed(&self, ticket: &Ticket, mark: &str) -> Result<(), TrialError> {
        let mut log = self.driver.logs(ticket)?;
        let mut seen = Vec::new();
        let read = async {
            while let Some(chunk) = log.next().await {
                seen.extend_from_slice(&chunk.bytes);
                if String::from_utf8_lossy(&seen).contains(mark) {
                    return true;
                }
            }
            false
        };
        if within("output", self.patience, read).await? {
            return Ok(());
        }
        Err(TrialError::NoResult {
            task: format!("should print `{mark}`"),
            said: tail(&String::from_utf8_lossy(&seen)),
        })
    }
}

impl Ran {
    /// The run, if its program exited with 0.
    ///
    /// # Errors
    /// It ended in another way.
    pub fn good(self, task: &str) -> Result<Ran, TrialError> {
        if self.outcome.end.is_success() {
            return Ok(self);
        }
        Err(self.ended(task))
    }

    pub(crate) fn ended(&self, task: &str) -> TrialError {
        TrialError::Ended {
            task: task.to_owned(),
            end: self.outcome.end.clone().into(),
            said: tail(&format!("{}{}", self.stdout, self.stderr)),
        }
    }

    /// What a probe reports.
    ///
    /// # Errors
    /// It does not report, or tried nothing.
    pub fn findings(&self, task: &str) -> Result<Findings, TrialError> {
        let found = self
            .stdout
            .lines()
            .rev()
            .find_map(|line| serde_json::from_str::<Findings>(line).ok());
        match found {
            Some(findings) if findings.tried > 0 => Ok(findings),
            _ if !matches!(self.outcome.end, End::Exited { code: 0 }) => Err(self.ended(task)),
            _ => Err(TrialError::NoResult {
                task: task.to_owned(),
                said: tail(&format!("{}{}", self.stdout, self.stderr)),
            }),
        }
    }
}

/// The end of a text, for an error.
fn tail(text: &str) -> String {
    let text = text.trim();
    let skipped = text.chars().count().saturating_sub(SHOWN);
    text.chars().skip(skipped).collect()
}

/// Bounds a wait.
///
/// # Errors
/// It took longer.
pub async fn within<T>(what: &str, limit: Duration, work: impl Future<Output = T>) -> Result<T, TrialError> {
    timeout(limit, work).await.map_err(|_| TrialError::Deadline {
        what: what.to_owned(),
        limit,
    })
}

/// `value` with fields replaced by those of `changes`, objects field by field.
///
/// # Errors
/// The result is not one value.
pub fn changed<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T, changes: &Value) -> Result<T, TrialError> {
    let unfit = |error: serde_json::Error| TrialError::Other(format!("{changes} cannot be set: {error}"));
    let mut json = serde_json::to_value(value).map_err(unfit)?;
    merge(&mut json, changes);
    serde_json::from_value(json).map_err(unfit)
}

fn merge(into: &mut Value, changes: &Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (name, change) in changes {
                merge(into.entry(name.clone()).or_insert(Value::Null), change);
            }
        }
        (into, changes) => *into = changes.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_reach_single_fields() {
        let changed = changed(&SubmitOptions::default(), &json!({"limits": {"processes": 7}})).unwrap();
        let mut expected = SubmitOptions::default();
        expected.limits.processes = 7;
        assert_eq!(changed, expected);
    }
}
