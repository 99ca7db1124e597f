//! Runs at levels of cold, and whether they count.

use serde::{Deserialize, Serialize};

use crate::acceptance::{Acceptance, judge};
use crate::host_noise::HostNoise;
use crate::level::{Level, LevelSeen, MAX_RESIDENT_SHARE, MAX_WARM_READ_BYTES};
use crate::outcome::{CacheReport, End, Outcome};
use crate::plan_place::PlanPlace;
use crate::scenario::Scenario;
use crate::timeline::Timeline;

/// One run of one scenario at one level.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelSample {
    /// The scenario's name.
    pub scenario: String,
    /// The level that was produced before the run.
    pub level: Level,
    /// Position in the whole interleaved order, from 0.
    pub sequence: u32,
    /// Where the plan put it. The levels of a scenario in one turn stood side by side.
    #[serde(flatten)]
    pub place: PlanPlace,
    /// Wall-clock time at the start, RFC 3339, for the reader only.
    pub started_at: String,
    /// Microseconds from submit to the end as the client saw it, with the time of bringing tools at [`Level::Nothing`].
    pub wall_us: u64,
    /// Microseconds from the runner's start to its exit, by its own clock.
    pub runner_us: u64,
    /// How the run ended.
    #[serde(flatten)]
    pub end: End,
    /// What the caches did, as the runner reports it.
    pub cache: CacheReport,
    /// Where the time went.
    pub timeline: Timeline,
    /// What was seen beside the runner's report.
    pub seen: LevelSeen,
    /// Whether it counts.
    #[serde(flatten)]
    pub acceptance: Acceptance,
    /// One-minute load average when it started.
    pub load1: f64,
    /// Share of CPU time stolen by the hypervisor while it ran, 0 to 1; absent if the kernel does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steal: Option<f64>,
    /// What else the machine did while it ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<HostNoise>,
}

/// The runs at levels of cold of a bench run, with what decided whether they count.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelsRecord {
    /// [`MAX_RESIDENT_SHARE`] at the time of writing.
    pub max_resident_share: f64,
    /// [`MAX_WARM_READ_BYTES`] at the time of writing.
    pub max_warm_read_bytes: u64,
    /// Every run, in the order in which it was taken.
    #[serde(default)]
    pub samples: Vec<LevelSample>,
}

impl Default for LevelsRecord {
    fn default() -> LevelsRecord {
        LevelsRecord {
            max_resident_share: MAX_RESIDENT_SHARE,
            max_warm_read_bytes: MAX_WARM_READ_BYTES,
            samples: Vec::new(),
        }
    }
}

/// Judges a run at a level: as [`judge`], and what was seen must not contradict the level.
pub fn judge_level(scenario: &Scenario, level: Level, outcome: &Outcome, stdout: &str, seen: &LevelSeen) -> Acceptance {
    let judged = judge(scenario, level.temperature(), outcome, stdout);
    let found = seen.contradictions(level);
    match judged {
        Acceptance::Accepted if !found.is_empty() => Acceptance::WrongTemperature {
            reason: format!("not at level {}: {}", level.name(), found.join("; ")),
        },
        judged => judged,
    }
}
