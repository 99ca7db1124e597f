//! Options of a bench run.

use std::path::PathBuf;

use hybrid_cache_cluster::{BackendKind, ClusterChoice};
use hybrid_cache_model::Tenant;
use hybrid_cache_model::mirror::MirrorMode;
use hybrid_cache_model::sample::RunRecord;
use hybrid_cache_report::{Baseline, Gate, gate_run};
use hybrid_cache_tools::MachineOptions;

use crate::builds::TwoBuilds;
use crate::plan::{Counts, LevelCounts};

/// What is measured, and how much of it.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// The backend of the tasks. If a service is measured, its own driver counts instead.
    pub backend: BackendKind,
    /// Options of this machine as a backend.
    pub machine: MachineOptions,
    /// Which cluster to use.
    pub cluster: ClusterChoice,
    /// The service to measure as its client; `None` measures a driver.
    pub service: Option<MeasuredService>,
    /// Two builds to be measured side by side; `None` measures this one.
    pub builds: Option<TwoBuilds>,
    /// Go on until the intervals are narrow; `None` measures the counts.
    pub until: Option<Until>,
    /// Number of runs of each scenario, or of the first rounds with `until`. A service gets one first run, whatever this says.
    pub counts: Counts,
    /// Runs at levels of cold, instead of any other; `None` measures none.
    pub levels: Option<LevelCounts>,
    /// The tenant whose environments are used.
    pub tenant: Tenant,
    /// What decides whether a second block of rounds is measured; `None` measures one block.
    pub gate: Option<BenchGate>,
    /// Seed of the order within rounds; `None` draws one.
    pub seed: Option<u32>,
    /// Which peers are measured too.
    pub peers: PeerChoice,
    /// The mirror that preparations fetch through; `None` lets them use the network.
    pub mirror: Option<MirrorChoice>,
    /// The folder of the report; `None` creates one in the checkout's `reports`.
    pub out: Option<PathBuf>,
    /// The command as a reader would type it again, for the report.
    pub command: String,
}

/// Which peers are measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerChoice {
    /// None.
    None,
    /// Those that figures and verdicts need.
    #[default]
    Default,
    /// On this machine, what people would use instead as well.
    All,
}

impl PeerChoice {
    /// The words of the command line.
    pub const NAMES: [&str; 3] = ["none", "default", "all"];

    /// The choice of that name; the default one for any other.
    pub fn named(name: &str) -> PeerChoice {
        match name {
            "none" => PeerChoice::None,
            "all" => PeerChoice::All,
            _ => PeerChoice::Default,
        }
    }
}

/// What a mirror does, and how.
#[derive(Clone, Debug)]
pub struct MirrorChoice {
    /// Record, or replay.
    pub mode: MirrorMode,
    /// The recording's folder; `None` is `mirror` in the cache folder.
    pub folder: Option<PathBuf>,
    /// Bits a second of a replay.
    pub bits_per_s: u64,
    /// Round-trip time of a replay in microseconds.
    pub round_trip_us: u64,
    /// Most bytes of the recording.
    pub max_bytes: u64,
}

impl MirrorChoice {
    /// The words of the command line.
    pub const NAMES: [&str; 2] = ["record", "replay"];

    /// The mode of that name; a replay for any other.
    pub fn mode_named(name: &str) -> MirrorMode {
        match name {
            "record" => MirrorMode::Record,
            _ => MirrorMode::Replay,
        }
    }
}

/// When a run ends whose number of rounds is open.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// Half the width that every interval of cached runs has at most, as a share of its value.
    pub width: f64,
    /// Minutes after which no further round begins.
    pub minutes: u32,
}

impl Until {
    /// Intervals of at most `width` to each side, within so many minutes.
    pub fn new(width: f64, minutes: u32) -> Until {
        Until { width, minutes }
    }
}

/// The gate of a bench run.
#[derive(Clone, Debug)]
pub struct BenchGate {
    /// The earlier run that it is held against, if any.
    pub baseline: Option<RunRecord>,
    /// Share by which a group may be slower than in the baseline.
    pub max_regression: f64,
}

impl BenchGate {
    /// Judges a run.
    pub fn judge(&self, record: &RunRecord) -> Gate {
        let baseline = self.baseline.as_ref().map(|record| Baseline {
            record,
            max_regression: self.max_regression,
        });
        gate_run(record, baseline)
    }
}

/// A running task service.
#[derive(Clone, Debug)]
pub struct MeasuredService {
    /// Address of the service, such as `http://localhost:8000`.
    pub url: String,
    /// The file with the service's token; `None` sends none.
    pub token_file: Option<PathBuf>,
}
