//! How long a task waited and ran: differences between readings of the service's own clock.

use hybrid_cache_api::TaskSummary;
use jiff::Timestamp;

/// Microseconds that a task waited in the queue; 0 if the service does not say.
pub fn queue_us(task: &TaskSummary) -> u64 {
    match (read(&task.queued_at), read(&task.started_at)) {
        (Some(queued), Some(started)) => between(queued, started),
        _ => 0,
    }
}

/// Microseconds of an ended task from the queue to the driver, and from the queue to the end.
pub fn spent_us(task: &TaskSummary) -> Option<(u64, u64)> {
    let (queued, ended) = (read(&task.queued_at)?, read(&task.ended_at)?);
    // A task that the driver never got waited all the time.
    let started = read(&task.started_at).unwrap_or(ended);
    Some((between(queued, started), between(queued, ended)))
}

/// A clock that was set back gives 0.
fn between(from_us: i64, until_us: i64) -> u64 {
    u64::try_from(until_us - from_us).unwrap_or(0)
}

fn read(text: &Option<String>) -> Option<i64> {
    text.as_ref()?.parse().ok().map(Timestamp::as_microsecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(times: [Option<&str>; 3]) -> TaskSummary {
        let [queued, started, ended] = times.map(|seconds| {
            let time = seconds.map(|seconds| format!("\"2026-01-01T00:00:{seconds}Z\""));
            time.unwrap_or_else(|| "null".to_owned())
        });
        let text = format!(
            r#"{{"id": "task-abc123", "state": "ended", "createdAt": "", "cancelRequested": false,
            "queuedAt": {queued}, "startedAt": {started}, "endedAt": {ended}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn a_task_waited_and_ran_by_the_services_clock() {
        let ran = task([Some("01.0001"), Some("01.0035"), Some("03.0001")]);
        assert_eq!((queue_us(&ran), spent_us(&ran)), (3400, Some((3400, 2_000_000))));
        let cancelled = task([Some("01"), None, Some("03")]);
        assert_eq!(
            (queue_us(&cancelled), spent_us(&cancelled)),
            (0, Some((2_000_000, 2_000_000)))
        );
        assert_eq!(spent_us(&task([Some("01"), Some("02"), None])), None);
    }

    #[test]
    fn a_clock_that_was_set_back_gives_no_negative_time() {
        let back = task([Some("05"), Some("04"), Some("03")]);
        assert_eq!((queue_us(&back), spent_us(&back)), (0, Some((0, 0))));
    }
}
