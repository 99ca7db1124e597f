//! What a task of the service's list counts as.

use hybrid_cache_api::{CacheName, EndName, StateName, TaskSummary};

/// True if the task has ended. A state that this version does not know may still change.
pub fn has_ended(task: &TaskSummary) -> bool {
    matches!(task.state, StateName::Ended | StateName::Cancelled)
}

/// Why the task does not count as succeeded; `None` if it does.
pub fn failure(task: &TaskSummary) -> Option<String> {
    match (task.end, task.exit_code) {
        (Some(EndName::Exited), Some(0)) => None,
        (Some(EndName::Exited), Some(code)) => Some(format!("the program exited with {code}")),
        (Some(end), _) => Some(format!("the task ended as {}", end.name())),
        (None, _) => Some(format!("the task is {}", task.state.name())),
    }
}

/// True if a cache had to be filled for the task.
pub fn missed(task: &TaskSummary) -> bool {
    let caches = task.cache.map(|cache| [cache.python.status, cache.system.status]);
    caches.is_some_and(|caches| caches.contains(&CacheName::Built))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(fields: &str) -> TaskSummary {
        let text = format!(r#"{{"id": "task-abc123", "createdAt": "", "cancelRequested": false, {fields}}}"#);
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_task_that_exits_with_0_has_succeeded_and_one_that_built_has_missed() {
        let good = listed(
            r#""state": "ended", "end": "exited", "exitCode": 0,
            "cache": {"python": {"status": "hit"}, "system": {"status": "notAsked"}}"#,
        );
        assert_eq!((has_ended(&good), failure(&good), missed(&good)), (true, None, false));
        let built =
            listed(r#""state": "ended", "cache": {"python": {"status": "built"}, "system": {"status": "hit"}}"#);
        assert!(missed(&built));
    }

    #[test]
    fn whatever_is_not_an_exit_with_0_is_a_failure() {
        let reason = |fields: &str| failure(&listed(fields)).unwrap();
        assert!(reason(r#""state": "ended", "end": "exited", "exitCode": 3"#).contains("exited with 3"));
        assert!(reason(r#""state": "ended", "end": "failed""#).contains("failed"));
        assert!(reason(r#""state": "cancelled""#).contains("cancelled"));
        assert!(!has_ended(&listed(r#""state": "running""#)));
    }
}
