//! What a bench run under load records: arrivals at a fixed rate through the task service, in counts, histograms and a
//! bounded number of rows over time, so that a day of it is no larger than a minute.

use serde::{Deserialize, Serialize};

/// A bench run under load.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadRecord {
    /// Tasks a second that were due.
    pub offered_per_s: f64,
    /// Seconds for which tasks were to arrive.
    pub planned_s: u64,
    /// How often a refused request was sent again at most.
    pub retries: u32,
    /// Microseconds during which tasks arrived: less than planned if the run was stopped.
    pub arriving_us: u64,
    /// Microseconds from the first arrival until the last look.
    pub watched_us: u64,
    /// What became of the arrivals.
    pub counts: LoadCounts,
    /// Microseconds from the scheduled arrival to the end, of tasks that succeeded: an HdrHistogram (V2, deflated, base64).
    pub latency: String,
    /// Microseconds from the queue to the driver, by the service's clock, of the same tasks, in the same form.
    pub queue: String,
    /// Microseconds from the scheduled arrival until its first request was sent, in the same form: how well the client kept
    /// its schedule.
    pub sending: String,
    /// What the service said of itself at the end.
    pub service: LoadService,
    /// Microseconds that a row spans.
    pub row_us: u64,
    /// What was seen over time, at most [`LoadRow::MOST`] rows.
    pub rows: Vec<LoadRow>,
    /// Why tasks failed or were not taken, the first of each kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// What became of the arrivals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadCounts {
    /// Arrivals that were due until the run stopped.
    pub due: u64,
    /// Tasks that the service acknowledged to have saved.
    pub submitted: u64,
    /// Of these, tasks that it acknowledged to have queued.
    pub queued: u64,
    /// Tasks that exited with 0.
    pub succeeded: u64,
    /// Tasks that ended in any other way.
    pub failed: u64,
    /// Of those that ended, tasks that a cache had to be filled for.
    pub missed: u64,
    /// Arrivals of which a request was refused for the time being (429, 503) at least once.
    pub refused: u64,
    /// Requests that were sent again after a refusal.
    pub retried: u64,
    /// Of the refused arrivals, those that were never taken.
    pub given_up: u64,
    /// Arrivals that the service refused for good (a status other than 429 and 503).
    pub rejected: u64,
    /// Arrivals unanswered when the run stopped.
    pub unanswered: u64,
    /// Acknowledged tasks that had not ended when the run stopped.
    pub unfinished: u64,
    /// Acknowledged tasks that the service does not know any more.
    pub lost: u64,
}

/// What the service said of itself; absent if it did not, or if it was started again meanwhile.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadService {
    /// True if the bench started it for this run, so that nobody else used it.
    pub own: bool,
    /// Where its memory was read.
    pub memory: MemorySource,
    /// Tasks that it made from the first arrival on, for whomever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made: Option<u64>,
    /// Tasks that ended from the first arrival on, for whomever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<u64>,
    /// Bytes that its data may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_limit_bytes: Option<u64>,
}

/// Where a service's memory was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemorySource {
    /// In its metrics.
    Metrics,
    /// In the system's table of processes, as it is a child of the bench.
    Process,
    /// Nowhere.
    #[default]
    Unknown,
}

/// What was seen in one stretch of time. Counts are sums; the rest is the largest value that was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadRow {
    /// Tasks acknowledged as queued.
    pub submitted: u64,
    /// Tasks seen to have ended.
    pub done: u64,
    /// Of these, tasks that did not succeed.
    pub failed: u64,
    /// Refusals.
    pub refused: u64,
    /// Tasks that waited for their turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<u64>,
    /// Tasks that the driver had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<u64>,
    /// Bytes of memory that the service held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Bytes of disk that its data took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
}

impl LoadRow {
    /// Most rows of a record.
    pub const MOST: usize = 120;

    /// This stretch and another one as one.
    #[must_use]
    pub fn and(self, other: LoadRow) -> LoadRow {
        LoadRow {
            submitted: self.submitted + other.submitted,
            done: self.done + other.done,
            failed: self.failed + other.failed,
            refused: self.refused + other.refused,
            waiting: self.waiting.max(other.waiting),
            running: self.running.max(other.running),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            disk_bytes: self.disk_bytes.max(other.disk_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_stretches_add_what_is_counted_and_keep_the_largest_of_the_rest() {
        let one = LoadRow {
            submitted: 2,
            done: 1,
            failed: 1,
            refused: 3,
            waiting: Some(5),
            running: Some(1),
            memory_bytes: None,
            disk_bytes: Some(7),
        };
        let other = LoadRow {
            submitted: 3,
            waiting: Some(4),
            running: Some(2),
            memory_bytes: Some(9),
            ..LoadRow::default()
        };
        let both = LoadRow {
            submitted: 5,
            done: 1,
            failed: 1,
            refused: 3,
            waiting: Some(5),
            running: Some(2),
            memory_bytes: Some(9),
            disk_bytes: Some(7),
        };
        assert_eq!((one.and(other), other.and(one)), (both, both));
    }
}
