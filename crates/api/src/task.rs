//! Everything that the service reports about one task.

use std::collections::BTreeMap;

use hybrid_cache_model::outcome::{Output, Resolved};
use hybrid_cache_model::resources::RESOURCE_FIELDS;
use hybrid_cache_model::task::TASK_FIELDS;
use hybrid_cache_model::{CacheReport, CacheStatus, End, Failure, FailureKind, Outcome, TaskSpec, Timeline};
use serde::{Deserialize, Deserializer, Serialize};

use crate::cache::CacheView;
use crate::end::EndName;
use crate::failure::FailureView;
use crate::id::TaskId;
#[cfg(feature = "openapi")]
use crate::schema::TaskBody;
use crate::state::StateName;
use crate::timeline::TimelineView;

/// Everything known of one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TaskView {
    /// What a list shows of it: its state, times and result.
    #[serde(flatten)]
    pub summary: TaskSummary,
    /// The task as submitted; the values of `secretEnv` are null.
    #[cfg_attr(feature = "openapi", schema(value_type = TaskBody))]
    #[serde(deserialize_with = "known_fields")]
    pub request: TaskSpec,
    /// Number of the signal that killed the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Milliseconds of the time limit that the program ran into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<u64>,
    /// Why it failed, if the failure is not the program's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureView>,
    /// Where the time went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineView>,
    /// Microseconds that the runner took by its own clock, inside the sandbox or pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_us: Option<u64>,
    /// The package versions that it got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<ResolvedView>,
    /// What it has printed so far.
    pub output: OutputView,
    /// Warnings that did not fail the run.
    pub warnings: Vec<String>,
    /// Why the prepared packages were used but not stored in the caches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<FailureView>,
}

/// What a list shows of each task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct TaskSummary {
    /// The task's id.
    #[cfg_attr(feature = "openapi", schema(value_type = String, example = "task-abc123"))]
    pub id: TaskId,
    /// The task's state.
    pub state: StateName,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// When it was submitted, RFC 3339.
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub created_at: String,
    /// When it was queued, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub queued_at: Option<String>,
    /// When the driver got it, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub started_at: Option<String>,
    /// When it ended or was cancelled, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(format = DateTime))]
    pub ended_at: Option<String>,
    /// True if a client has cancelled it and it has not ended yet.
    pub cancel_requested: bool,
    /// Why it still waits, if it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<EndName>,
    /// The program's exit code, if it exited by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What the caches did for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheView>,
    /// Microseconds from its start to its end, as the driver saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_us: Option<u64>,
}

/// The package versions that a task got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ResolvedView {
    /// `name==version`, sorted.
    pub python: Vec<String>,
    /// The hashes of the files that they were installed from, by `name==version`, as far as they are known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub python_hashes: BTreeMap<String, Vec<String>>,
    /// The version of the interpreter that they are installed for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub python_version: Option<String>,
    /// Store paths, in the order of the search path.
    pub system: Vec<String>,
}

/// What a task printed: of a long stream the beginning and the end, while it runs only the beginning. Its log has all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct OutputView {
    /// Standard output, with a line for what is left out; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
    /// Bytes of standard output that are stored.
    pub stdout_bytes: u64,
    /// Bytes of standard error that are stored.
    pub stderr_bytes: u64,
    /// True if more is stored than is shown here.
    pub truncated: bool,
}

impl TaskView {
    /// Fills in everything that an outcome says, except for the summary's end and times.
    pub fn set_outcome(&mut self, outcome: Outcome) {
        self.timeline = Some(TimelineView::from(&outcome.timeline));
        self.runner_us = Some(outcome.runner_us);
        self.summary.cache = Some(CacheView {
            python: outcome.cache.python.into(),
            system: outcome.cache.system.into(),
        });
        match outcome.end {
            End::Signaled { signal } => self.signal = Some(signal),
            End::TimedOut { limit_ms } => self.limit_ms = Some(limit_ms),
            End::Failed { failure } => self.failure = Some(failure.into()),
            End::Exited { .. } | End::Cancelled => {}
        }
        self.resolved = Some(ResolvedView {
            python: outcome.resolved.python,
            python_hashes: outcome.resolved.python_hashes,
            python_version: outcome.resolved.python_version,
            system: outcome.resolved.system,
        });
        self.warnings = outcome.warnings;
        self.not_kept = outcome.not_kept.map(FailureView::from);
    }

    /// The task's outcome in the model's words, without its output. A task that has not ended, or ended in a way that this
    /// version does not know, gives [`End::Failed`].
    pub fn outcome(&self) -> Outcome {
        let cache = self.summary.cache.map_or([CacheStatus::NotAsked; 2], |cache| {
            [cache.python, cache.system].map(CacheStatus::from)
        });
        let resolved = self.resolved.clone().unwrap_or_default();
        Outcome {
            end: self.end(),
            cache: CacheReport {
                python: cache[0],
                system: cache[1],
            },
            timeline: self
                .timeline
                .as_ref()
                .map_or_else(Timeline::default, TimelineView::timeline),
            runner_us: self.runner_us.unwrap_or_default(),
            stdout: Output::default(),
            stderr: Output::default(),
            resolved: Resolved {
                python: resolved.python,
                python_hashes: resolved.python_hashes,
                python_version: resolved.python_version,
                system: resolved.system,
            },
            warnings: self.warnings.clone(),
            not_kept: self.not_kept.as_ref().map(FailureView::failure),
        }
    }

    fn end(&self) -> End {
        let summary = &self.summary;
        match (summary.end, summary.exit_code, self.signal) {
            (Some(EndName::Exited), Some(code), _) => End::Exited { code },
            (Some(EndName::Signaled), _, Some(signal)) => End::Signaled { signal },
            (Some(EndName::TimedOut), ..) => End::TimedOut {
                limit_ms: self.limit_ms.unwrap_or_default(),
            },
            (Some(EndName::Cancelled), ..) => End::Cancelled,
            _ if summary.state == StateName::Cancelled => End::Cancelled,
            _ => {
                let unknown = || Failure::new(FailureKind::Internal, "the service does not say how the task ended");
                let failure = self.failure.as_ref().map_or_else(unknown, FailureView::failure);
                End::Failed { failure }
            }
        }
    }
}

/// Leaves out fields that a newer service may have added: the model refuses unknown ones, which is for submits.
fn known_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<TaskSpec, D::Error> {
    let mut fields = serde_json::Map::deserialize(deserializer)?;
    fields.retain(|name, _| TASK_FIELDS.contains(&name.as_str()));
    let resources = fields.get_mut("resources").and_then(serde_json::Value::as_object_mut);
    if let Some(resources) = resources {
        resources.retain(|name, _| RESOURCE_FIELDS.contains(&name.as_str()));
    }
    serde_json::from_value(fields.into()).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(fields: &str) -> TaskView {
        let text = format!(
            r#"{{"id": "task-abc123", "createdAt": "2026-01-01T00:00:00Z", "cancelRequested": false, "new": 1,
            "request": {{"pythonCode": "print(1)", "useCache": true, "new": 1, "resources": {{"new": "1"}}}}, "warnings": [],
            "output": {{"stdout": "", "stderr": "", "stdoutBytes": 0, "stderrBytes": 0, "truncated": false}}, {fields}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_task_of_a_newer_service_is_read_and_gives_its_outcome() {
        let task = task(
            r#""state": "ended", "end": "exited", "exitCode": 0, "runnerUs": 900,
            "cache": {"python": {"status": "built", "downloadedBytes": 5, "reusedBytes": 1}, "system": {"status": "warmed"}},
            "timeline": {"totalUs": 1000, "spans": []}"#,
        );
        let outcome = task.outcome();
        assert_eq!((outcome.end, outcome.runner_us), (End::Exited { code: 0 }, 900));
        let built = CacheStatus::Built {
            downloaded_bytes: 5,
            reused_bytes: 1,
        };
        assert_eq!(
            (outcome.cache.python, outcome.cache.system),
            (built, CacheStatus::NotAsked)
        );
        assert_eq!(
            (outcome.timeline.total_us, task.request.python_code.as_str()),
            (1000, "print(1)")
        );
    }

    #[test]
    fn every_end_becomes_an_outcome_and_an_outcome_survives_the_view() {
        let failure = Failure {
            hint: Some("h".to_owned()),
            ..Failure::new(FailureKind::Offline, "no index")
        };
        let ends = [
            End::Exited { code: 3 },
            End::Signaled { signal: 9 },
            End::TimedOut { limit_ms: 5 },
            End::Cancelled,
            End::Failed { failure },
        ];
        for end in ends {
            let mut view = task(r#""state": "ended""#);
            let mut outcome = view.outcome();
            assert!(matches!(outcome.end, End::Failed { .. }));
            view.summary.end = Some(EndName::from_end(&end));
            if let End::Exited { code } = end {
                view.summary.exit_code = Some(code);
            }
            outcome.end = end;
            view.set_outcome(outcome.clone());
            let read: TaskView = serde_json::from_value(serde_json::to_value(&view).unwrap()).unwrap();
            assert_eq!(read, view);
            assert_eq!(read.outcome(), outcome);
        }
        assert_eq!(task(r#""state": "cancelled""#).outcome().end, End::Cancelled);
        let strange = task(r#""state": "paused", "end": "evaporated""#);
        assert_eq!(strange.summary.state, StateName::Unknown);
        assert_eq!(strange.summary.end, Some(EndName::Unknown));
    }

    #[test]
    fn the_fields_of_a_request_are_those_of_a_task() {
        let mut spec = TaskSpec {
            dependencies: "a".to_owned(),
            requirements_file: "b".to_owned(),
            constraints: "d".to_owned(),
            python_version: "3.12".to_owned(),
            system_dependencies: "c".to_owned(),
            timeout_seconds: Some(1),
            stdin: "d".to_owned(),
            args: vec![String::new()],
            ..TaskSpec::new("1")
        };
        spec.env.insert("A".to_owned(), String::new());
        spec.secret_env.insert("B", "");
        spec.labels.insert("c".to_owned(), String::new());
        spec.resources.cpu = Some("1".to_owned());
        let json = serde_json::to_value(spec).unwrap();
        let mut named: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut fields = TASK_FIELDS.to_vec();
        named.sort_unstable();
        fields.sort_unstable();
        assert_eq!(named, fields);
    }
}
