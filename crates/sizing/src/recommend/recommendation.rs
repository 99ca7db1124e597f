//! Targets, and the recommendation with everything that explains it.

use serde::Serialize;

use super::growth::Growth;
use crate::claim::{Claim, FileSystem};
use crate::detail;
use crate::latency::Latency;
use crate::stats::Interval;
use crate::trace::Volume;
use crate::weight::Weight;

/// The targets of the sizes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Targets {
    /// Share of requests that must hit, 0 to 1.
    pub hit: f64,
    /// Longest allowed 95th percentile of waiting, in microseconds; `None` if there is no such target.
    pub p95_us: Option<f64>,
    /// Days of growth that the sizes include; `None` includes none.
    pub growth_days: Option<f64>,
    /// Free space to keep, as a share of the used space.
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

/// The recommendation: a size for each volume that the trace uses.
#[derive(Clone, Debug, Serialize)]
pub struct Recommendation {
    /// The targets.
    pub targets: Targets,
    /// Requests in the trace.
    pub requests: u64,
    /// Days that the trace covers.
    pub days: f64,
    /// How long requests wait, and whether that was measured.
    pub latency: Latency,
    /// One for each volume that the trace uses.
    pub volumes: Vec<Advice>,
    /// Both volumes at the recommended sizes.
    pub together: Joint,
}

/// The result of both volumes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Joint {
    /// Share of requests that hit in every volume that they use.
    pub hit_rate: f64,
    /// How long requests wait.
    pub waits: Waits,
    /// The sum of the waits, in seconds per day; like all rates, `None` if the trace is shorter than an hour.
    pub wait_s_per_day: Option<f64>,
}

/// Percentiles of how long requests wait, in microseconds.
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
    /// Requests for the volume.
    pub requests: u64,
    /// First requests of an environment: no size makes them hit.
    pub first: u64,
    /// Requests that were resolved again because of their age, at any size.
    pub due: u64,
    /// Distinct environments.
    pub environments: usize,
    /// Usage of the largest environment.
    pub largest: Weight,
    /// Usage of all requested environments together.
    pub union: Weight,
    /// Usage that counts against the budget and belongs to no environment.
    pub rest: Weight,
    /// False if no size reaches the targets.
    pub is_reached: bool,
    /// What decides the size.
    pub decided_by: Decided,
    /// The best hit rate of any size.
    pub best_hit_rate: f64,
    /// The result of the smallest budget that meets the targets.
    pub at: Point,
    /// The result of the claim, whose default budget is larger than that.
    pub on_claim: Point,
    /// Interval of the claim's hit rate, resampled from blocks of time; `None` if there are too few.
    pub hit_interval: Option<Interval>,
    /// Interval of the budget that meets the target, in bytes, resampled from blocks of time.
    pub budget_interval: Option<Interval>,
    /// Bytes that are fetched and unpacked per day, on the claim.
    pub fetched_bytes_per_day: Option<f64>,
    /// The claim to order.
    pub claim: Claim,
    /// How the working set grows.
    pub growth: Growth,
    /// The environments that would no longer fit if the volume were smaller by what `less` says: most requests first.
    pub held_up_by: Vec<Holder>,
    /// The cost of a slightly smaller budget; `None` if the largest environment needs it.
    pub less: Option<Less>,
    /// The smallest number of bytes and the smallest number of inodes that reach the hit rate without a limit of the other; `None`
    /// if none do.
    pub alone: Option<Weight>,
    /// True if inodes decide the size: the file system has so few that the bytes alone would need less.
    pub is_for_inodes: bool,
    /// The next smaller common claim.
    pub smaller: Option<Alternative>,
    /// The next larger common claim.
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
    /// The 95th percentile of how long requests wait.
    P95,
    /// The largest environment: the volume must hold at least this one.
    Largest,
    /// No size reaches the targets; this one gives almost the best possible result.
    Best,
}

/// The result of a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Point {
    /// Bytes that environments may use.
    pub budget_bytes: u64,
    /// Share of requests that hit.
    pub hit_rate: f64,
    /// The hit rate with each request weighted by the bytes of its environment.
    pub byte_hit_rate: f64,
    /// Lower end of the hit rate's interval, resampled from blocks of time.
    pub hit_low: f64,
    /// Upper end of the hit rate's interval.
    pub hit_high: f64,
    /// How long requests wait.
    pub waits: Waits,
    /// The sum of the waits, in seconds per day.
    pub wait_s_per_day: Option<f64>,
    /// Environments that were evicted during the trace.
    pub evictions: u64,
    /// Environments that were evicted per day.
    pub evictions_per_day: Option<f64>,
    /// Evictions among these that had to wait for the end of a task that used the environment; `None` if no request of the trace
    /// records how long its program ran.
    pub delayed_evictions: Option<u64>,
}

/// An environment whose requests miss in a smaller volume.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Holder {
    /// Its label, or its key.
    pub name: String,
    /// Requests per day that would miss.
    pub requests_per_day: Option<f64>,
    /// Usage of the environment with all its parts.
    pub weight: Weight,
}

/// The cost of a smaller budget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Less {
    /// The reduction: one GiB, or what exceeds the largest environment.
    pub bytes: u64,
    /// Seconds per day that tasks wait longer.
    pub s_per_day: Option<f64>,
}

/// Another size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// The claim in GiB.
    pub gib: u64,
    /// The result of the claim.
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

    /// The advice for one volume; `None` if no request uses the volume.
    pub fn advice_for(&self, volume: Volume) -> Option<&Advice> {
        self.volumes.iter().find(|advice| advice.volume == volume)
    }
}
