//! One measured run, as a line of `samples.jsonl`, and what a whole bench run records beside its samples.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::maintain::LayerUsage;
use crate::outcome::{CacheReport, CacheStatus, End, Outcome};
use crate::scenario::Scenario;
use crate::timeline::{Temperature, Timeline};

/// Version of `samples.jsonl` and `report.json`; raised when a reader of the old form would misread the new one.
pub const SCHEMA_VERSION: u32 = 1;

/// Whether a sample counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Acceptance {
    /// It counts.
    Accepted,
    /// The run ended, but not as its temperature demands (a "cached" run that missed, a "first" one that hit).
    WrongTemperature {
        /// What was observed instead.
        reason: String,
    },
    /// The run failed or printed something else than its scenario expects.
    Failed {
        /// What was observed instead.
        reason: String,
    },
}

/// One run of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// [`SCHEMA_VERSION`] at the time of writing.
    pub schema: u32,
    /// The scenario's name.
    pub scenario: String,
    /// What the caches were meant to hold.
    pub temperature: Temperature,
    /// Position in the whole interleaved order, from 0.
    pub sequence: u32,
    /// Wall-clock time at the start, RFC 3339, for the reader only; nothing is computed from it.
    pub started_at: String,
    /// Microseconds from submit to the end, as the client saw it.
    pub wall_us: u64,
    /// Microseconds from the runner's start to its exit, by its own clock.
    pub runner_us: u64,
    /// How the run ended.
    #[serde(flatten)]
    pub end: End,
    /// What the caches did.
    pub cache: CacheReport,
    /// Where the time went.
    pub timeline: Timeline,
    /// Whether it counts.
    #[serde(flatten)]
    pub acceptance: Acceptance,
    /// One-minute load average when it started.
    pub load1: f64,
    /// Share of CPU time stolen by the hypervisor while it ran, 0 to 1; absent where the kernel does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steal: Option<f64>,
}

/// Judges a finished run against what its scenario and temperature demand.
pub fn judge(scenario: &Scenario, temperature: Temperature, outcome: &Outcome, stdout: &str) -> Acceptance {
    if !outcome.end.is_success() {
        return Acceptance::Failed {
            reason: format!("the run did not succeed: {:?}", outcome.end),
        };
    }
    if let Err(reason) = scenario.expect.stdout.check(stdout) {
        return Acceptance::Failed { reason };
    }
    let task_asks = [
        ("python", outcome.cache.python, scenario.asks_python()),
        ("system", outcome.cache.system, scenario.asks_system()),
    ];
    for (cache, status, asked) in task_asks {
        let fits = match (asked, temperature, status) {
            (false, _, status) => status == CacheStatus::NotAsked,
            (true, Temperature::Uncached, status) => status == CacheStatus::Bypassed,
            (true, Temperature::First, status) => matches!(status, CacheStatus::Built { .. }),
            (true, Temperature::Cached, status) => status == CacheStatus::Hit,
        };
        if !fits {
            let reason = format!("{cache} cache: {status:?} in a run meant to be {}", temperature.name());
            return Acceptance::WrongTemperature { reason };
        }
    }
    Acceptance::Accepted
}

/// Something else that does the same work, measured in the same run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// `uv venv`, `uv pip install` and the program, on an empty uv cache: the measure of a first run.
    PlainUv,
    /// The prepared environment's interpreter, started directly and without a sandbox: the measure of a cached run.
    DirectExec,
}

impl Peer {
    /// The temperature whose runs it is the measure of.
    pub fn temperature(self) -> Temperature {
        match self {
            Peer::PlainUv => Temperature::First,
            Peer::DirectExec => Temperature::Cached,
        }
    }

    /// The name used in reports.
    pub fn name(self) -> &'static str {
        match self {
            Peer::PlainUv => "uv venv + uv pip install + run",
            Peer::DirectExec => "direct exec",
        }
    }
}

/// One run of a peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerSample {
    /// The scenario's name.
    pub scenario: String,
    /// Which peer.
    pub peer: Peer,
    /// Position in the whole interleaved order, shared with [`Sample::sequence`].
    pub sequence: u32,
    /// Microseconds from start to exit.
    pub wall_us: u64,
}

/// Disk use after one scenario's first run in an empty epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioUsage {
    /// The scenario's name.
    pub scenario: String,
    /// Use by layer.
    pub layers: Vec<LayerUsage>,
}

/// One program that took part in the measurement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolRecord {
    /// Its name, such as `uv`.
    pub name: String,
    /// Its version, as it says itself or as pinned.
    pub version: String,
    /// sha256 of the program or of the package it came in, hexadecimal; absent where it was not computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// `found` on the machine or `brought` into the checkout.
    pub origin: String,
}

/// Where, when and with what a report was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Driver: `local`, `kube` or `argo`.
    pub driver: String,
    /// Start of the bench run, RFC 3339.
    pub started_at: String,
    /// git revision of the checkout, and whether it had changes; empty where there is no git.
    pub revision: String,
    /// True where the checkout had uncommitted changes.
    pub dirty: bool,
    /// The command line, as given.
    pub command: String,
    /// Kernel release.
    pub kernel: String,
    /// Distribution, as os-release names it.
    pub os: String,
    /// Machine architecture.
    pub arch: String,
    /// CPU model as the kernel names it.
    pub cpu: String,
    /// Processors this process may use.
    pub cpus: u32,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// File system type of each cache folder.
    pub file_systems: BTreeMap<String, String>,
    /// Python interpreter version.
    pub interpreter: String,
    /// Package index in use, without credentials; `default` where uv's own default is used.
    pub index: String,
    /// System package provider (`nix`, `nix-portable`) and source (`nixpkgs:<rev>`, `debnix:<hash>`).
    pub system_provider: String,
    /// See `system_provider`.
    pub system_source: String,
    /// Programs used.
    pub tools: Vec<ToolRecord>,
    /// Anything a reader should know (a forced choice, an interruption).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Why a bench run's record stops where it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completion {
    /// Every planned sample was taken.
    Complete,
    /// Somebody interrupted it; what was measured stands.
    Interrupted,
}

/// A whole bench run: `report.json`. Samples are the truth; every figure in a rendered report is computed from them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// [`SCHEMA_VERSION`].
    pub schema: u32,
    /// Whether it came to its end.
    pub completion: Completion,
    /// Where it comes from.
    pub provenance: Provenance,
    /// The scenarios as they were measured.
    pub scenarios: Vec<Scenario>,
    /// Disk use after each scenario's first run.
    #[serde(default)]
    pub usage: Vec<ScenarioUsage>,
    /// Every sample, in the order in which it was taken.
    pub samples: Vec<Sample>,
    /// Every run of a peer that succeeded, in the order in which it was taken.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peers: Vec<PeerSample>,
}
