//! What `status` reports of a cluster.

use hybrid_cache_model::CacheStatus;
use serde::Serialize;

use crate::facts::NodeFacts;
use crate::status::deployed::{ArgoStatus, ServiceStatus};
use crate::trace::VolumeGrowth;

/// What `--json` prints. Fields may be added; none changes its meaning or goes.
///
/// ```json
/// {
///   "cluster": {"name": "hybrid-cache", "state": "ready", "address": "https://127.0.0.1:40001/", "version": "v1.36.2"},
///   "nodes": [{"name": "…", "ready": true, "condition": "…", "version": "…", "runtime": "…", "allocatable": {"cpu": "2"}}],
///   "image": {"reference": "nix-portable-base:…", "engineId": "sha256:…", "onNode": true},
///   "volumes": [{"volume": "python", "claim": "uv-cache-pvc", "phase": "Bound", "capacityBytes": 10737418240,
///                "usedBytes": 1, "usedInodes": 1, "freeBytes": 1, "freeInodes": 1}],
///   "caches": {"environments": 1, "requests": 1, "systemSets": 0},
///   "hits": {"python": {"asked": 2, "hit": 1}, "system": {"asked": 0, "hit": 0}},
///   "argo": {"state": "ready", "image": "…/workflow-controller:v3.7.14"},
///   "service": {"state": "ready", "image": "hybrid-cache-service:…", "address": "http://hybrid-cache-service.argo:8000"},
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
    /// Its nodes.
    pub nodes: Vec<NodeFacts>,
    /// The image that tasks run in.
    pub image: ImageStatus,
    /// Both volumes.
    pub volumes: Vec<VolumeStatus>,
    /// What they hold; none where they could not be measured.
    pub caches: Option<CachesStatus>,
    /// What the tasks that the cluster still knows found in the caches.
    pub hits: Hits,
    /// Argo Workflows; none where the cluster does not know it.
    pub argo: Option<ArgoStatus>,
    /// The task service in the cluster; none where it was not asked for.
    pub service: Option<ServiceStatus>,
    /// How the volumes fill, as `cache usage --json` has it; empty where nothing is recorded or measured.
    pub growth: Vec<VolumeGrowth>,
    /// The tasks that the cluster still knows.
    pub tasks: Tasks,
    /// Why something could not be found out.
    pub notes: Vec<String>,
}

/// The cluster itself.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Its name or context.
    pub name: String,
    /// How far it is.
    pub state: ClusterState,
    /// Its API server.
    pub address: Option<String>,
    /// Kubernetes' version.
    pub version: Option<String>,
}

/// How far a cluster is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ClusterState {
    /// There is none.
    #[default]
    Absent,
    /// Its API server does not answer.
    Unreachable,
    /// No node takes pods.
    NotReady,
    /// A node takes pods.
    Ready,
}

impl ClusterState {
    /// As JSON has it.
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
    /// Its reference; none where it was never built.
    pub reference: Option<String>,
    /// Its id in the Docker engine.
    pub engine_id: Option<String>,
    /// Whether the node has that same image; none where the node cannot be looked into.
    pub on_node: Option<bool>,
}

/// A volume.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeStatus {
    /// `python` or `system`.
    pub volume: String,
    /// Its claim.
    pub claim: String,
    /// `Bound`, `Pending`, `Lost`, or `absent`.
    pub phase: String,
    /// What the claim has.
    pub capacity_bytes: Option<u64>,
    /// What the caches take of it.
    pub used_bytes: Option<u64>,
    /// Their inodes.
    pub used_inodes: Option<u64>,
    /// Bytes of it that no environment needs.
    pub garbage_bytes: Option<u64>,
    /// What its file system has left.
    pub free_bytes: Option<u64>,
    /// Likewise in inodes.
    pub free_inodes: Option<u64>,
}

/// What the volumes hold.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CachesStatus {
    /// Warm Python environments.
    pub environments: u64,
    /// Requests that lead to them.
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
    /// Tasks that asked it.
    pub asked: u64,
    /// Tasks that found what they asked for.
    pub hit: u64,
}

/// Tasks by how far they are.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tasks {
    /// They wait for room on a node, or are prepared.
    pub queued: u64,
    /// They run.
    pub running: u64,
    /// They ended well.
    pub succeeded: u64,
    /// They did not.
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
