//! The report of `status` on a cluster.

use hybrid_cache_model::CacheStatus;
use serde::Serialize;

use crate::facts::NodeFacts;
use crate::standby::StandbyReport;
use crate::status::deployed::{ArgoStatus, ServiceStatus};
use crate::trace::VolumeGrowth;

/// The document that `--json` prints. Fields may be added; no field is removed or changes its meaning.
///
/// ```json
/// {
///   "cluster": {"name": "hybrid-cache", "state": "ready", "address": "https://127.0.0.1:40001/", "version": "v1.36.2"},
///   "nodes": [{"name": "…", "ready": true, "condition": "…", "version": "…", "runtime": "…", "allocatable": {"cpu": "2"}}],
///   "image": {"reference": "nix-portable-base:…", "engineId": "sha256:…", "onNode": true},
///   "volumes": [{"set": "0", "volume": "python", "claim": "uv-cache-pvc", "phase": "Bound", "capacityBytes": 10737418240,
///                "usedBytes": 1, "usedInodes": 1, "freeBytes": 1, "freeInodes": 1, "nodes": ["hybrid-cache-control-plane"]}],
///   "caches": {"environments": 1, "requests": 1, "systemSets": 0},
///   "hits": {"python": {"asked": 2, "hit": 1}, "system": {"asked": 0, "hit": 0}},
///   "argo": {"state": "ready", "image": "…/workflow-controller:v3.7.14"},
///   "service": {"state": "ready", "image": "hybrid-cache-service:…", "address": "http://hybrid-cache-service.argo:8000"},
///   "standby": {"recorded": "4", "wanted": 4, "ready": 4, "starting": 0, "claimed": 0, "oldestS": 60, "trouble": null,
///               "idle": {"pods": 4, "memoryBytes": 12582912, "cpus": 0.002}},
///   "tasks": {"queued": 0, "running": 0, "succeeded": 2, "failed": 0},
///   "growth": [{"volume": "python", "days": 3.5, "new_environments": 12, "full": {"days": 85.0}}],
///   "notes": ["why something could not be found out"]
/// }
/// ```
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The cluster itself.
    pub cluster: ClusterStatus,
    /// Nodes of the cluster.
    pub nodes: Vec<NodeFacts>,
    /// The image that tasks run in.
    pub image: ImageStatus,
    /// Both volumes of each volume set.
    pub volumes: Vec<VolumeStatus>,
    /// What the volumes of all measured sets hold; `None` if they could not be measured.
    pub caches: Option<CachesStatus>,
    /// What the tasks that the cluster still lists found in the caches.
    pub hits: Hits,
    /// Argo Workflows; `None` if the cluster does not know it.
    pub argo: Option<ArgoStatus>,
    /// The task service in the cluster; `None` if it was not requested.
    pub service: Option<ServiceStatus>,
    /// The standby pods; `None` if none are recorded and there are none.
    pub standby: Option<StandbyReport>,
    /// How the volumes fill, as in `cache usage --json`; empty if nothing is recorded or measured.
    pub growth: Vec<VolumeGrowth>,
    /// The tasks that the cluster still lists.
    pub tasks: Tasks,
    /// Why something could not be read.
    pub notes: Vec<String>,
}

/// The cluster itself.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Name or context of the cluster.
    pub name: String,
    /// State of the cluster.
    pub state: ClusterState,
    /// Address of the API server.
    pub address: Option<String>,
    /// Version of Kubernetes.
    pub version: Option<String>,
}

/// State of a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterState {
    /// There is no such cluster.
    #[default]
    Absent,
    /// The API server does not answer.
    Unreachable,
    /// No node accepts pods.
    NotReady,
    /// A node accepts pods.
    Ready,
}

impl ClusterState {
    /// The state's name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            ClusterState::Absent => "absent",
            ClusterState::Unreachable => "unreachable",
            ClusterState::NotReady => "notReady",
            ClusterState::Ready => "ready",
        }
    }
}

/// The image that tasks run in.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageStatus {
    /// Reference of the image; `None` if it was never built.
    pub reference: Option<String>,
    /// Id of the image in the Docker engine.
    pub engine_id: Option<String>,
    /// True if the node has the same image; `None` if the node cannot be read.
    pub on_node: Option<bool>,
}

/// A volume.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeStatus {
    /// Name of the volume set; the first is `0`.
    pub set: String,
    /// `python` or `system`.
    pub volume: String,
    /// Claim of the volume.
    pub claim: String,
    /// `Bound`, `Pending`, `Lost`, or `absent`.
    pub phase: String,
    /// Capacity of the claim in bytes.
    pub capacity_bytes: Option<u64>,
    /// Bytes that the caches use.
    pub used_bytes: Option<u64>,
    /// Inodes that the caches use.
    pub used_inodes: Option<u64>,
    /// Bytes in the volume that no environment needs.
    pub garbage_bytes: Option<u64>,
    /// Free bytes of the file system.
    pub free_bytes: Option<u64>,
    /// Free inodes of the file system.
    pub free_inodes: Option<u64>,
    /// The nodes that can mount the volume; empty if that is not known.
    pub nodes: Vec<String>,
}

impl VolumeStatus {
    /// Name of the volume for a person, with its set unless that is the first.
    pub fn label(&self) -> String {
        match self.set.as_str() {
            "0" => self.volume.clone(),
            set => format!("{} of set {set}", self.volume),
        }
    }

    /// Where the volume is, for a person.
    pub fn place(&self) -> String {
        match self.nodes.as_slice() {
            [] => "-".to_owned(),
            [node] => node.clone(),
            nodes => format!("any of {} nodes", nodes.len()),
        }
    }
}

/// What the volumes hold.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CachesStatus {
    /// Warm Python environments.
    pub environments: u64,
    /// Requests that resolve to these environments.
    pub requests: u64,
    /// Warm sets of system packages.
    pub system_sets: u64,
}

/// What tasks found in both caches.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Hits {
    /// Python environments.
    pub python: HitRate,
    /// System packages.
    pub system: HitRate,
}

/// What tasks found in one cache.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HitRate {
    /// Tasks that used the cache.
    pub asked: u64,
    /// Tasks that found what they needed.
    pub hit: u64,
}

/// Tasks by state.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tasks {
    /// Tasks that wait for room on a node, or are being prepared.
    pub queued: u64,
    /// Tasks that are running.
    pub running: u64,
    /// Tasks that succeeded.
    pub succeeded: u64,
    /// Tasks that failed.
    pub failed: u64,
}

impl HitRate {
    pub(super) fn count(&mut self, status: CacheStatus) {
        match status {
            CacheStatus::Hit => (self.asked, self.hit) = (self.asked + 1, self.hit + 1),
            CacheStatus::Built { .. } => self.asked += 1,
            CacheStatus::Bypassed | CacheStatus::NotAsked => {}
        }
    }
}
