//! What a driver reports of its standby pods.

use serde::{Deserialize, Serialize};

/// The standby pods of a namespace, and what a driver has made of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyStatus {
    /// Pods that the pools should have.
    pub wanted: u32,
    /// Pods that wait for a task.
    pub ready: u32,
    /// Pods that are starting, or will never be ready.
    pub starting: u32,
    /// Pods that run a task, or have run one and are not deleted yet.
    pub claimed: u32,
    /// Pods of other drivers or earlier settings, from which this driver takes none.
    pub foreign: u32,
    /// Age in seconds of the oldest pod that waits; `None` if there is none.
    pub oldest_s: Option<u64>,
    /// Why there may be fewer pods than wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What this driver has counted since it was opened.
    pub counts: StandbyCounts,
}

/// Counts since a driver was opened. Times are sums, so that a mean over any period can be computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyCounts {
    /// Cached tasks that ran in a standby pod.
    pub used: u64,
    /// Cached tasks that found none free, and ran as a Job.
    pub none_free: u64,
    /// Claimed pods that did not begin their task, which then ran as a Job.
    pub not_begun: u64,
    /// Claims that another driver, or a change of the pod, was faster than.
    pub conflicts: u64,
    /// Microseconds of all claims that succeeded.
    pub claim_us: u64,
    /// Times a pool was full again.
    pub refills: u64,
    /// Milliseconds that pools lacked pods before that.
    pub refill_ms: u64,
    /// The same of the latest time.
    pub last_refill_ms: u64,
}

impl StandbyCounts {
    /// Counts a pool that is full again after this number of milliseconds.
    pub fn note_refill(&mut self, ms: u64) {
        self.refills += 1;
        self.refill_ms = self.refill_ms.saturating_add(ms);
        self.last_refill_ms = ms;
    }
}
