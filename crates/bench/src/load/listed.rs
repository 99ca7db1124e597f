//! The JSON of a task in the service's list.

use jiff::Timestamp;
use serde::Deserialize;

/// A page of the list.
#[derive(Debug, Deserialize)]
pub struct Part {
    /// The tasks, the last submitted one first.
    pub items: Vec<Listed>,
    /// Cursor of the next page.
    pub next: Option<String>,
}

/// Fields of a task in the list or in its own document; fields that a later service adds are ignored.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listed {
    /// Id of the task.
    pub id: String,
    state: String,
    queued_at: Option<String>,
    started_at: Option<String>,
    ended_at: Option<String>,
    end: Option<String>,
    exit_code: Option<i32>,
    cache: Option<Caches>,
}

#[derive(Clone, Debug, Deserialize)]
struct Caches {
    python: Cache,
    system: Cache,
}

#[derive(Clone, Debug, Deserialize)]
struct Cache {
    status: String,
}

impl Listed {
    /// True if the task has ended.
    pub fn has_ended(&self) -> bool {
        ["ended", "cancelled"].contains(&self.state.as_str())
    }

    /// Why the task does not count as succeeded; `None` if it does.
    pub fn failure(&self) -> Option<String> {
        match (self.end.as_deref(), self.exit_code) {
            (Some("exited"), Some(0)) => None,
            (Some("exited"), Some(code)) => Some(format!("the program exited with {code}")),
            (Some(end), _) => Some(format!("the task ended as {end}")),
            (None, _) => Some(format!("the task is {}", self.state)),
        }
    }

    /// True if a cache had to be filled.
    pub fn missed(&self) -> bool {
        let built = |cache: &Cache| cache.status == "built";
        let caches = self.cache.as_ref();
        caches.is_some_and(|caches| built(&caches.python) || built(&caches.system))
    }

    /// Microseconds from the queue to the driver, and from the queue to the end, both as differences of the service's own clock.
    pub fn spent_us(&self) -> Option<(u64, u64)> {
        let read = |text: &Option<String>| text.as_ref()?.parse::<Timestamp>().ok().map(Timestamp::as_microsecond);
        let (queued, ended) = (read(&self.queued_at)?, read(&self.ended_at)?);
        let since = |until: i64| u64::try_from(until - queued).unwrap_or(0);
        // A task that never reached the driver waited the whole time.
        Some((since(read(&self.started_at).unwrap_or(ended)), since(ended)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(rest: &str) -> Listed {
        serde_json::from_str(&format!(r#"{{"id": "task-abc123", "news": [1], {rest}}}"#)).unwrap()
    }

    #[test]
    fn a_task_tells_its_end_and_its_times() {
        let good = listed(
            r#""state": "ended", "end": "exited", "exitCode": 0, "queuedAt": "2026-01-01T00:00:01Z",
            "startedAt": "2026-01-01T00:00:01.5Z", "endedAt": "2026-01-01T00:00:03Z",
            "cache": {"python": {"status": "hit"}, "system": {"status": "notAsked"}}"#,
        );
        assert_eq!((good.has_ended(), good.failure(), good.missed()), (true, None, false));
        assert_eq!(good.spent_us(), Some((500_000, 2_000_000)));
        let built =
            listed(r#""state": "ended", "cache": {"python": {"status": "built"}, "system": {"status": "hit"}}"#);
        assert!(built.missed() && built.spent_us().is_none());
    }

    #[test]
    fn whatever_is_not_an_exit_with_0_is_a_failure() {
        let told = |rest: &str| listed(rest).failure().unwrap();
        assert!(told(r#""state": "ended", "end": "exited", "exitCode": 3"#).contains("exited with 3"));
        assert!(told(r#""state": "ended", "end": "failed""#).contains("failed"));
        assert!(told(r#""state": "cancelled""#).contains("cancelled"));
        assert!(!listed(r#""state": "running""#).has_ended());
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_negative_time() {
        let text = r#""state": "ended", "queuedAt": "2026-01-01T00:00:05Z", "endedAt": "2026-01-01T00:00:03Z""#;
        assert_eq!(listed(text).spent_us(), Some((0, 0)));
    }
}
