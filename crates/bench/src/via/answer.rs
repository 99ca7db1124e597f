//! Converts the service's JSON of a task to an outcome that the bench judges like any other.

use hybrid_cache_model::outcome::{Output, Resolved};
use hybrid_cache_model::{CacheReport, CacheStatus, End, Failure, FailureKind, Outcome, Span, Timeline};
use jiff::Timestamp;
use serde::Deserialize;

/// The fields of a task's JSON that a measurement needs. Fields that a later service adds are ignored.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskAnswer {
    queued_at: Option<String>,
    started_at: Option<String>,
    state: String,
    end: Option<String>,
    exit_code: Option<i32>,
    signal: Option<i32>,
    limit_ms: Option<u64>,
    failure: Option<Told>,
    cache: Option<Caches>,
    timeline: Option<Spans>,
    runner_us: Option<u64>,
    not_kept: Option<Told>,
}

#[derive(Clone, Debug, Deserialize)]
struct Told {
    kind: serde_json::Value,
    message: String,
    hint: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct Caches {
    python: Cache,
    system: Cache,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Cache {
    status: Status,
    downloaded_bytes: Option<u64>,
    reused_bytes: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Status {
    Hit,
    Built,
    Bypassed,
    NotAsked,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spans {
    total_us: u64,
    spans: Vec<serde_json::Value>,
}

impl TaskAnswer {
    /// Returns the task's outcome.
    pub fn outcome(&self) -> Outcome {
        let not_asked = CacheStatus::NotAsked;
        let cache = self.cache.as_ref().map_or([not_asked; 2], |cache| {
            [&cache.python, &cache.system].map(Cache::status)
        });
        Outcome {
            end: self.end(),
            cache: CacheReport {
                python: cache[0],
                system: cache[1],
            },
            timeline: self.timeline(),
            runner_us: self.runner_us.unwrap_or_default(),
            stdout: Output::default(),
            stderr: Output::default(),
            resolved: Resolved::default(),
            warnings: Vec::new(),
            not_kept: self.not_kept.as_ref().map(Told::failure),
        }
    }

    /// Microseconds that the task waited in the queue: the difference of two readings of the service's clock.
    pub fn queue_us(&self) -> u64 {
        let read = |text: &Option<String>| text.as_ref()?.parse::<Timestamp>().ok();
        let (Some(queued), Some(started)) = (read(&self.queued_at), read(&self.started_at)) else {
            return 0;
        };
        u64::try_from(started.as_microsecond() - queued.as_microsecond()).unwrap_or(0)
    }

    fn end(&self) -> End {
        match (self.end.as_deref(), self.exit_code, self.signal, self.limit_ms) {
            (Some("exited"), Some(code), _, _) => End::Exited { code },
            (Some("signaled"), _, Some(signal), _) => End::Signaled { signal },
            (Some("timedOut"), _, _, limit_ms) => End::TimedOut {
                limit_ms: limit_ms.unwrap_or_default(),
            },
            (Some("cancelled"), ..) => End::Cancelled,
            _ if self.state == "cancelled" => End::Cancelled,
            _ => {
                let unknown = || Failure::new(FailureKind::Internal, "the service does not say how the task ended");
                let failure = self.failure.as_ref().map_or_else(unknown, Told::failure);
                End::Failed { failure }
            }
        }
    }

    /// The time of a phase that this client does not know is not covered by a span.
    fn timeline(&self) -> Timeline {
        let Some(told) = &self.timeline else {
            return Timeline::default();
        };
        let span = |span: &serde_json::Value| -> Option<Span> {
            Some(Span {
                phase: serde_json::from_value(span.get("phase")?.clone()).ok()?,
                lane: serde_json::from_value(span.get("lane")?.clone()).ok()?,
                start_us: span.get("startUs")?.as_u64()?,
                duration_us: span.get("durationUs")?.as_u64()?,
            })
        };
        Timeline {
            total_us: told.total_us,
            spans: told.spans.iter().filter_map(span).collect(),
        }
    }
}

impl Told {
    fn failure(&self) -> Failure {
        let kind = serde_json::from_value(self.kind.clone()).unwrap_or(FailureKind::Internal);
        Failure {
            hint: self.hint.clone(),
            ..Failure::new(kind, self.message.clone())
        }
    }
}

impl Cache {
    fn status(&self) -> CacheStatus {
        match self.status {
            Status::Hit => CacheStatus::Hit,
            Status::Built => CacheStatus::Built {
                downloaded_bytes: self.downloaded_bytes.unwrap_or_default(),
                reused_bytes: self.reused_bytes.unwrap_or_default(),
            },
            Status::Bypassed => CacheStatus::Bypassed,
            Status::NotAsked => CacheStatus::NotAsked,
        }
    }
}

#[cfg(test)]
mod tests {
    use hybrid_cache_model::Phase;

    use super::*;

    fn answer(text: &str) -> TaskAnswer {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_task_as_the_service_tells_it_is_an_outcome() {
        let told = answer(
            r#"{"id": "task-abc123", "state": "ended", "end": "exited", "exitCode": 0, "runnerUs": 900, "news": 1,
            "queuedAt": "2026-01-01T00:00:00.0001Z", "startedAt": "2026-01-01T00:00:00.0035Z",
            "cache": {"python": {"status": "built", "downloadedBytes": 5, "reusedBytes": 1}, "system": {"status": "notAsked"}},
            "timeline": {"totalUs": 1000, "spans": [
                {"phase": "user_code", "lane": "runner", "startUs": 10, "durationUs": 800},
                {"phase": "coffee", "lane": "runner", "startUs": 0, "durationUs": 1}]}}"#,
        );
        let outcome = told.outcome();
        assert_eq!(
            (outcome.end, outcome.runner_us, told.queue_us()),
            (End::Exited { code: 0 }, 900, 3400)
        );
        let built = CacheStatus::Built {
            downloaded_bytes: 5,
            reused_bytes: 1,
        };
        assert_eq!(outcome.cache.python, built);
        assert_eq!((outcome.timeline.total_us, outcome.timeline.spans.len()), (1000, 1));
        assert_eq!(outcome.timeline.phase_us(Phase::UserCode), 800);
    }

    #[test]
    fn every_end_is_told_and_a_clock_that_was_set_back_waits_for_nothing() {
        let end = |text: &str| answer(text).outcome().end;
        assert_eq!(
            end(r#"{"state": "ended", "end": "signaled", "signal": 9}"#),
            End::Signaled { signal: 9 }
        );
        assert_eq!(
            end(r#"{"state": "ended", "end": "timedOut", "limitMs": 5}"#),
            End::TimedOut { limit_ms: 5 }
        );
        assert_eq!(end(r#"{"state": "cancelled"}"#), End::Cancelled);
        let failed =
            end(r#"{"state": "ended", "end": "failed", "failure": {"kind": "offline", "message": "no index"}}"#);
        assert!(matches!(failed, End::Failed { failure } if failure.kind == FailureKind::Offline));
        assert!(matches!(end(r#"{"state": "running"}"#), End::Failed { .. }));
        let text = r#"{"state": "x", "queuedAt": "2026-01-01T00:00:01Z", "startedAt": "2026-01-01T00:00:00Z"}"#;
        assert_eq!(answer(text).queue_us(), 0);
    }
}
