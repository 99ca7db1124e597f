//! What clients are told about tasks: the JSON of the API, in camelCase.

use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_model::{CacheStatus, End, Failure, Lane, Outcome, Phase, TaskSpec, Timeline};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::http::schema::{self, TaskBody};
use crate::id::TaskId;
use crate::state::StateName;

/// Everything known of one task.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskView {
    /// What was asked of it and where it stands.
    #[serde(flatten)]
    pub summary: TaskSummary,
    /// The task as submitted.
    #[schema(value_type = TaskBody)]
    pub request: TaskSpec,
    /// Number of the signal that killed the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Milliseconds of the time limit that the program ran into.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit_ms: Option<u64>,
    /// Why it failed, where the failure is not the program's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<FailureView>,
    /// Where the time went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineView>,
    /// Microseconds the runner took by its own clock: what went on inside the sandbox or pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runner_us: Option<u64>,
    /// What the packages were resolved to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<ResolvedView>,
    /// What it printed so far.
    pub output: OutputView,
    /// What the user should know that did not fail the run.
    pub warnings: Vec<String>,
    /// Why what was prepared is not in the caches, though it was used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_kept: Option<FailureView>,
}

/// What a list of tasks tells of each.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TaskSummary {
    /// Its id.
    #[schema(value_type = String, example = "task-abc123")]
    pub id: TaskId,
    /// Where it stands.
    pub state: StateName,
    /// When it was submitted, RFC 3339.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it was asked to run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub queued_at: Option<String>,
    /// When it was given to the driver.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// When it ended or was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    /// True where somebody asked to cancel it and it has not ended yet.
    pub cancel_requested: bool,
    /// Why it still waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<EndName>,
    /// The program's exit code, where it exited by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// What the caches did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheView>,
    /// Microseconds from its start to its end, as the driver saw it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_us: Option<u64>,
}

/// How a run ended, without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum EndName {
    /// The program exited by itself.
    Exited,
    /// A signal killed it.
    Signaled,
    /// It ran into its time limit.
    TimedOut,
    /// Somebody cancelled it.
    Cancelled,
    /// We, the task's text or the machine kept it from running to its end.
    Failed,
    /// A newer version of the service has a word for it that this one does not know.
    Unknown,
}

impl EndName {
    /// All that this version knows.
    pub const ALL: [EndName; 5] = [
        EndName::Exited,
        EndName::Signaled,
        EndName::TimedOut,
        EndName::Cancelled,
        EndName::Failed,
    ];

    /// Of an outcome's end.
    pub fn of(end: &End) -> EndName {
        match end {
            End::Exited { .. } => EndName::Exited,
            End::Signaled { .. } => EndName::Signaled,
            End::TimedOut { .. } => EndName::TimedOut,
            End::Cancelled => EndName::Cancelled,
            End::Failed { .. } => EndName::Failed,
        }
    }

    /// The word on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            EndName::Exited => "exited",
            EndName::Signaled => "signaled",
            EndName::TimedOut => "timedOut",
            EndName::Cancelled => "cancelled",
            EndName::Failed => "failed",
            EndName::Unknown => "unknown",
        }
    }

    /// Reads [`EndName::name`] of a kept row.
    pub fn kept(text: &str) -> EndName {
        EndName::parse(text).unwrap_or(EndName::Unknown)
    }

    /// Reads [`EndName::name`] of what this version knows.
    pub fn parse(text: &str) -> Option<EndName> {
        EndName::ALL.into_iter().find(|end| end.name() == text)
    }
}

/// What both caches did for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheView {
    /// The Python environments.
    pub python: CacheStatusView,
    /// The system packages.
    pub system: CacheStatusView,
}

/// What one cache did for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct CacheStatusView {
    /// Which of the four.
    pub status: CacheName,
    /// Bytes fetched and unpacked, where it was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub downloaded_bytes: Option<u64>,
    /// Bytes shared with what the volume held before, where it was built.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reused_bytes: Option<u64>,
}

impl From<CacheStatus> for CacheStatusView {
    fn from(status: CacheStatus) -> CacheStatusView {
        let (downloaded_bytes, reused_bytes) = match status {
            CacheStatus::Built {
                downloaded_bytes,
                reused_bytes,
            } => (Some(downloaded_bytes), Some(reused_bytes)),
            _ => (None, None),
        };
        CacheStatusView {
            status: CacheName::of(status),
            downloaded_bytes,
            reused_bytes,
        }
    }
}

/// A cache's answer, without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum CacheName {
    /// It was there.
    Hit,
    /// It was made for this run.
    Built,
    /// The task asked for `useCache: false`.
    Bypassed,
    /// The task needs nothing of it.
    NotAsked,
    /// A newer version of the service has a word for it that this one does not know.
    Unknown,
}

impl CacheName {
    /// All that this version knows.
    pub const ALL: [CacheName; 4] = [
        CacheName::Hit,
        CacheName::Built,
        CacheName::Bypassed,
        CacheName::NotAsked,
    ];

    /// Of a report's status.
    pub fn of(status: CacheStatus) -> CacheName {
        match status {
            CacheStatus::Hit => CacheName::Hit,
            CacheStatus::Built { .. } => CacheName::Built,
            CacheStatus::Bypassed => CacheName::Bypassed,
            CacheStatus::NotAsked => CacheName::NotAsked,
        }
    }

    /// The word on the wire and in the database.
    pub fn name(self) -> &'static str {
        match self {
            CacheName::Hit => "hit",
            CacheName::Built => "built",
            CacheName::Bypassed => "bypassed",
            CacheName::NotAsked => "notAsked",
            CacheName::Unknown => "unknown",
        }
    }

    /// Reads [`CacheName::name`] of a kept row.
    pub fn kept(text: &str) -> CacheName {
        let known = CacheName::ALL.into_iter().find(|cache| cache.name() == text);
        known.unwrap_or(CacheName::Unknown)
    }
}

/// A failure that is not the program's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureView {
    /// The class, for programs.
    #[schema(schema_with = schema::failure_kind)]
    pub kind: FailureKind,
    /// What was wrong and where.
    pub message: String,
    /// The next step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl From<Failure> for FailureView {
    fn from(failure: Failure) -> FailureView {
        FailureView {
            kind: failure.kind,
            message: failure.message,
            hint: failure.hint,
        }
    }
}

/// Where the time of a run went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimelineView {
    /// Microseconds from the start to the end that a client waits for.
    pub total_us: u64,
    /// The phases, in the order in which they were recorded.
    pub spans: Vec<SpanView>,
}

/// One phase's place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpanView {
    /// What happened.
    #[schema(schema_with = schema::phase)]
    pub phase: Phase,
    /// Which lane it ran in; lanes overlap.
    #[schema(schema_with = schema::lane)]
    pub lane: Lane,
    /// Microseconds after the start at which it began.
    pub start_us: u64,
    /// Microseconds it took.
    pub duration_us: u64,
}

impl From<&Timeline> for TimelineView {
    fn from(timeline: &Timeline) -> TimelineView {
        let spans = timeline.spans.iter().map(|span| SpanView {
            phase: span.phase,
            lane: span.lane,
            start_us: span.start_us,
            duration_us: span.duration_us,
        });
        TimelineView {
            total_us: timeline.total_us,
            spans: spans.collect(),
        }
    }
}

/// What the packages were resolved to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResolvedView {
    /// `name==version`, sorted.
    pub python: Vec<String>,
    /// Store paths in the order of the search path.
    pub system: Vec<String>,
}

/// What a task printed, as far as it is told with the task; all of it is in its logs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputView {
    /// The beginning of standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// The beginning of standard error.
    pub stderr: String,
    /// Bytes of standard output that are kept.
    pub stdout_bytes: u64,
    /// Bytes of standard error that are kept.
    pub stderr_bytes: u64,
    /// True where more is kept than is told here.
    pub truncated: bool,
}

/// What to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListQuery {
    /// Only tasks in one of these states; all where empty.
    pub states: Vec<StateName>,
    /// Only tasks that ended so.
    pub end: Option<EndName>,
    /// Continue behind this [`Page::next`].
    pub cursor: Option<String>,
    /// At most so many, 1 to 200; 50 where absent.
    pub limit: Option<u32>,
}

/// A part of a list, the task submitted last first.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The tasks.
    pub items: Vec<T>,
    /// The cursor of the next part; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// RFC 3339 of a clock's microseconds.
pub(crate) fn timestamp(at_us: i64) -> String {
    Timestamp::from_microsecond(at_us).unwrap_or_default().to_string()
}

/// The parts of a view that an outcome fills, put into `view`.
pub(crate) fn tell_outcome(view: &mut TaskView, outcome: Outcome) {
    view.timeline = Some(TimelineView::from(&outcome.timeline));
    view.runner_us = Some(outcome.runner_us);
    view.summary.cache = Some(CacheView {
        python: outcome.cache.python.into(),
        system: outcome.cache.system.into(),
    });
    match outcome.end {
        End::Signaled { signal } => view.signal = Some(signal),
        End::TimedOut { limit_ms } => view.limit_ms = Some(limit_ms),
        End::Failed { failure } => view.failure = Some(failure.into()),
        End::Exited { .. } | End::Cancelled => {}
    }
    view.resolved = Some(ResolvedView {
        python: outcome.resolved.python,
        system: outcome.resolved.system,
    });
    view.warnings = outcome.warnings;
    view.not_kept = outcome.not_kept.map(FailureView::from);
}
