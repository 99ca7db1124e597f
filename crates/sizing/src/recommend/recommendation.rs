//! Targets, and the recommendation with everything that explains it.

use serde::Serialize;

use super::growth::Growth;
use crate::claim::{Claim, FileSystem};
use crate::detail;
use crate::latency::Latency;
use crate::stats::Interval;
use crate::trace::Volume;
use crate::weight::Weight;

/// What the sizes have to reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Targets {
    /// Share of requests that must hit, 0 to 1.
    pub hit: f64,
    /// Longest 95th percentile of what requests wait, in microseconds; `None` if that does not count.
    pub p95_us: Option<f64>,
    /// Days for which growth is provided for; `None`: none is.
    pub growth_days: Option<f64>,
    /// Room that is left free, as a share of what is used.
    pub headroom: f64,
    /// The file system of the volumes.
    pub file_system: FileSystem,
}

impl Default for Targets {
    fn default() -> Targets {
        Targets {
            hit: 0.95,
            p95_us: None,
            growth_days: None,
            headroom: 0.2,
            file_system: FileSystem::Ext4,
        }
    }
}

/// The answer: a size for each volume that the trace uses.
#[derive(Clone, Debug, Serialize)]
pub struct Recommendation {
    /// What had to be reached.
    pub targets: Targets,
    /// Requests in the trace.
    pub requests: u64,
    /// Days that the trace covers.
    pub days: f64,
    /// How long requests wait, and whether that was measured.
    pub latency: Latency,
    /// One for each volume that was asked for anything.
    pub volumes: Vec<Advice>,
    /// Both volumes at the recommended sizes.
    pub together: Joint,
}

/// What both volumes give together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Joint {
    /// Share of requests for which every volume that they ask hits.
    pub hit_rate: f64,
    /// What requests wait.
    pub waits: Waits,
    /// The sum of those, in seconds a day; as all rates `None` if the trace is shorter than an hour.
    pub wait_s_per_day: Option<f64>,
}

/// Percentiles of what requests wait, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Waits {
    /// Median.
    pub p50_us: f64,
    /// 95th percentile.
    pub p95_us: f64,
    /// 99th percentile.
    pub p99_us: f64,
}

/// The size of one volume, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Advice {
    /// Which volume.
    pub volume: Volume,
    /// Requests for it.
    pub requests: u64,
    /// First requests of an environment: no size makes them hit.
    pub first: u64,
    /// Requests that were resolved again because of their age, at any size.
    pub due: u64,
    /// Distinct environments.
    pub environments: usize,
    /// What the largest environment takes.
    pub largest: Weight,
    /// What everything that was ever used takes together.
    pub union: Weight,
    /// What counts against the budget and belongs to no environment.
    pub rest: Weight,
    /// False if no size reaches the targets.
    pub is_reached: bool,
    /// What decides the size.
    pub decided_by: Decided,
    /// The best hit rate that any size gives.
    pub best_hit_rate: f64,
    /// What the least size gives that meets the targets.
    pub at: Point,
    /// What the claim gives, whose default budget is larger than that.
    pub on_claim: Point,
    /// Interval of the claim's hit rate, over blocks of time; `None` if there are too few.
    pub hit_interval: Option<Interval>,
    /// Interval of the budget that meets the target, in bytes, over blocks of time.
    pub budget_interval: Option<Interval>,
    /// Bytes that are fetched and unpacked a day, on the claim.
    pub fetched_bytes_per_day: Option<f64>,
    /// The claim to order.
    pub claim: Claim,
    /// How the working set grows.
    pub growth: Growth,
    /// The environments that keep the volume from being smaller, by as much as `less` says: most requests first.
    pub held_up_by: Vec<Holder>,
    /// What a little less costs; `None` if the largest environment needs it.
    pub less: Option<Less>,
    /// The least bytes, and the fewest inodes, that reach the hit rate with as much as is wanted of the other; `None` if
    /// none do.
    pub alone: Option<Weight>,
    /// True if inodes decide the size: the file system has so few that bytes would need less.
    pub is_for_inodes: bool,
    /// The next smaller claim that people order.
    pub smaller: Option<Alternative>,
    /// The next larger one.
    pub larger: Option<Alternative>,
    /// The curve, smallest budget first.
    pub curve: Vec<Point>,
    /// False if distances were rounded because there were too many different ones.
    pub is_exact: bool,
}

/// What decides the size of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decided {
    /// The share of requests that must hit.
    Hit,
    /// The 95th percentile of what requests wait.
    P95,
    /// The largest environment: the volume must hold at least that one.
    Largest,
    /// No size reaches the targets; this one gives nearly the best that there is.
    Best,
}

/// What a budget gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// Bytes that environments may take.
    pub budget_bytes: u64,
    /// Share of requests that hit.
    pub hit_rate: f64,
    /// The same, each request weighted by the bytes of its environment.
    pub byte_hit_rate: f64,
    /// Interval of the hit rate over blocks of time.
    pub hit_low: f64,
    /// Its upper end.
    pub hit_high: f64,
    /// What requests wait.
    pub waits: Waits,
    /// The sum of those, in seconds a day.
    pub wait_s_per_day: Option<f64>,
    /// Environments that were evicted in the time of the trace.
    pub evictions: u64,
    /// The same, a day.
    pub evictions_per_day: Option<f64>,
    /// Of those, how many had to wait for the end of a task that used the environment; `None` if no request of the trace records how
    /// long its program ran.
    pub delayed_evictions: Option<u64>,
}

/// An environment whose requests miss in a smaller volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Holder {
    /// Its label, or its key.
    pub name: String,
    /// Requests a day that would miss.
    pub requests_per_day: Option<f64>,
    /// What it takes with all its parts.
    pub weight: Weight,
}

/// What a smaller budget costs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Less {
    /// How much smaller: one GiB, or what lies above the largest environment.
    pub bytes: u64,
    /// Seconds a day that tasks wait longer.
    pub s_per_day: Option<f64>,
}

/// Another size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// The claim in GiB.
    pub gib: u64,
    /// What it gives.
    pub at: Point,
}

impl Recommendation {
    /// True if the trace is long enough to show rates: an hour.
    pub fn has_rates(&self) -> bool {
        detail::per_day(0.0, self.days).is_some()
    }

    /// True if every volume reaches the targets at its size.
    pub fn is_reached(&self) -> bool {
        self.volumes.iter().all(|advice| advice.is_reached)
    }

    /// The advice for one volume; `None` if nothing was asked of it.
    pub fn advice_for(&self, volume: Volume) -> Option<&Advice> {
        self.volumes.iter().find(|advice| advice.volume == volume)
    }
}
