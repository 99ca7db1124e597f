//! One measured run (a line of `samples.jsonl`), and the record of a whole bench run.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::acceptance::{Acceptance, judge};
use crate::host_noise::HostNoise;
pub use crate::level_sample::{LevelSample, LevelsRecord, judge_level};
use crate::load::LoadRecord;
pub use crate::maintain::LayerUsage;
use crate::mirror::MirrorRecord;
use crate::outcome::{CacheReport, End};
pub use crate::peer::Peer;
pub use crate::plan_place::{BlockRecord, PlanPlace};
use crate::scenario::Scenario;
use crate::timeline::{Temperature, Timeline};
use crate::until::UntilRecord;

/// Version of `samples.jsonl` and `report.json`; raised when a reader of the old form would misread the new one.
pub const SCHEMA_VERSION: u32 = 1;

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
    /// Where the plan put it; absent in a record from before plans had rounds that are drawn at random.
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub place: Option<PlanPlace>,
    /// Wall-clock time at the start, RFC 3339, for the reader only; nothing is computed from it.
    pub started_at: String,
    /// Microseconds from submit to the end, as the client saw it: *end-to-end*.
    pub wall_us: u64,
    /// Microseconds from the runner's start to its exit, by its own clock, in the sandbox or the pod: *runner*.
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
    /// Share of CPU time stolen by the hypervisor while it ran, 0 to 1; absent if the kernel does not report it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steal: Option<f64>,
    /// What else the client's machine did while it ran; absent in a record from before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub noise: Option<HostNoise>,
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
    /// As [`Sample::place`].
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub place: Option<PlanPlace>,
    /// Microseconds from start to exit, as the client saw it.
    pub wall_us: u64,
    /// For a peer that has a runner: as [`Sample::runner_us`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_us: Option<u64>,
    /// For a bare pod whose end was seen as that of a task, at the end of its log: microseconds from start until its container's
    /// state showed the end too. Absent for a Workflow, and in records from before: `wall_us` ends with the container's state then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_us: Option<u64>,
}

/// One run of a peer that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedPeer {
    /// The scenario's name.
    pub scenario: String,
    /// Which peer.
    pub peer: Peer,
    /// Position in the whole interleaved order, shared with [`Sample::sequence`].
    pub sequence: u32,
    /// As [`Sample::place`].
    #[serde(flatten, default, skip_serializing_if = "Option::is_none")]
    pub place: Option<PlanPlace>,
    /// What failed.
    pub reason: String,
}

/// A peer that was asked for and could not be measured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AbsentPeer {
    /// The scenario's name.
    pub scenario: String,
    /// Which peer.
    pub peer: Peer,
    /// Why it was not measured.
    pub reason: String,
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
    /// sha256 of the program or of the package it came in, hexadecimal; absent if it was not computed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// `found` on the machine or `brought` into the checkout.
    pub origin: String,
}

/// The cluster that a report was measured on, as its API server reports it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRecord {
    /// Context in the kubeconfig.
    pub context: String,
    /// Version of the API server, such as `v1.36.2`.
    pub kubernetes: String,
    /// Nodes that may take a task.
    pub nodes: u32,
    /// Versions of the nodes' kubelets, each once.
    pub kubelets: Vec<String>,
    /// The nodes' container runtime, each once, such as `containerd://2.1.9`.
    pub container_runtimes: Vec<String>,
    /// The image that a kind cluster's nodes were made of; absent if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_image: Option<String>,
    /// StorageClass of each volume, `none` for one that was bound by hand.
    pub storage_classes: BTreeMap<String, String>,
    /// Reference of the image that tasks ran in.
    pub image: String,
    /// Digest of that image as a node reports it; absent if none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    /// How many standby pods cached runs had, `4` or `2..8`; absent if each run was a Job or a Workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standby: Option<String>,
}

/// The task service that a report was measured through, as a client knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceRecord {
    /// Its address.
    pub url: String,
    /// Its version, as it says itself.
    pub version: String,
    /// Its driver, as it says itself; absent if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// True if both ends of the connection are on the client's machine. A tunnel looks the same.
    pub same_machine: bool,
}

/// Where, when and with what a report was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provenance {
    /// Driver: `local`, `kube` or `argo`; `service` if tasks went through a task service.
    pub driver: String,
    /// Start of the bench run, RFC 3339.
    pub started_at: String,
    /// git revision of the checkout, and whether it had changes; empty if there is no git.
    pub revision: String,
    /// True if the checkout had uncommitted changes.
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
    /// Package index in use, without credentials; `default` if uv's own default is used.
    pub index: String,
    /// System package provider (`nix`, `nix-portable`) and source (`nixpkgs:<rev>`, `debnix:<hash>`).
    pub system_provider: String,
    /// See `system_provider`.
    pub system_source: String,
    /// Programs used.
    pub tools: Vec<ToolRecord>,
    /// The cluster; absent if tasks ran on the client's own machine, which the fields above describe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ClusterRecord>,
    /// The task service; absent if a driver was measured directly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceRecord>,
    /// The mirror that first runs fetched through; absent if they used the operator's index and Debian mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorRecord>,
    /// Anything a reader should know (a forced choice, an interruption).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Why a bench run's record stops if it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Completion {
    /// Every planned sample was taken.
    Complete,
    /// It was interrupted; the samples taken so far are kept.
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
    /// Every run of a peer that failed, in the order in which they were tried.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_peers: Vec<FailedPeer>,
    /// Peers that were asked for and could not be measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub absent_peers: Vec<AbsentPeer>,
    /// The other build that was measured side by side, in words; absent if one build was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<String>,
    /// The blocks of rounds in the order in which they were measured: the first, and one that confirms a gate's failure.
    /// Empty in a record from before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocks: Vec<BlockRecord>,
    /// What decided how long it went on; absent if counts did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<UntilRecord>,
    /// What was measured under load; absent if runs were measured one by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<Box<LoadRecord>>,
    /// Runs at levels of cold; absent if none were measured. There are no other samples then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub levels: Option<Box<LevelsRecord>>,
}
