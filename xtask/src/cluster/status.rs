//! `cargo xtask status`: the cluster, its volumes and what they hold, and what its tasks found in the caches.

use std::time::Duration;

use anyhow::Result;
use hybrid_cache_driver::Epoch;
use hybrid_cache_driver::kube::KubeDriver;
use hybrid_cache_model::budget::Budgets;
use hybrid_cache_model::maintain::{MaintainReport, UsageReport};
use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use hybrid_cache_model::protocol::RunReport;
use hybrid_cache_model::{CacheStatus, quantity};
use serde::Serialize;
use tokio::time::timeout;

use super::api::ClusterApi;
use super::facts::{ClaimFacts, NodeFacts, TaskPod};
use super::place::{self, ClusterPlace};
use super::{NIX_CLAIM, PYTHON_CLAIM, TASK_LABEL, argo, kinds, node, runtime, service};
use crate::checkout::Checkout;
use crate::docker::Engine;
use crate::exit::Exit;
use crate::flags::DriverName;
use crate::trace::growth::VolumeGrowth;
use crate::{flags, image, trace};

mod deployed;
mod show;

pub use deployed::{ArgoStatus, ServiceStatus};

/// Longest that measuring the volumes may take; without it the rest is shown.
const USAGE: Duration = Duration::from_secs(60);

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
    /// `absent`, `unreachable`, `notReady` or `ready`.
    pub state: &'static str,
    /// Its API server.
    pub address: Option<String>,
    /// Kubernetes' version.
    pub version: Option<String>,
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

/// Runs the command.
///
/// # Errors
/// The cluster's settings cannot be read. A cluster that is not there is no error: exit code 4 says so.
pub fn run(flags: &flags::Status) -> Result<Exit> {
    let checkout = Checkout::find()?;
    runtime::block_on(
        async {
            let status = look(&checkout, &flags.cluster).await?;
            match flags.json {
                true => println!("{}", serde_json::to_string_pretty(&status)?),
                false => show::table(&status),
            }
            Ok(if status.cluster.state == "ready" {
                Exit::Good
            } else {
                Exit::Prerequisite
            })
        },
        "nothing was changed",
    )
}

/// Finds out everything that can be found out.
///
/// # Errors
/// The machine's own settings cannot be read.
pub async fn look(checkout: &Checkout, which: &flags::Cluster) -> Result<Status> {
    let mut status = Status {
        cluster: ClusterStatus {
            name: which.context.clone().unwrap_or_else(|| which.name.clone()),
            state: "absent",
            ..ClusterStatus::default()
        },
        ..Status::default()
    };
    status.image.reference = image::reference(checkout);
    match look_at_node(&mut status, which).await {
        Ok(Node::Absent) => {
            let hint = "`cargo xtask up` makes it";
            status
                .notes
                .push(format!("there is no such cluster on this machine\nhint: {hint}"));
            return Ok(status);
        }
        Ok(Node::There) => {}
        Err(error) => status.notes.push(format!("image: {error:#}")),
    }
    let api = match place::api(which).await {
        Ok(api) => api,
        Err(error) => {
            status.notes.push(format!("{error:#}"));
            return Ok(status);
        }
    };
    status.cluster.address = Some(api.address.clone());
    let asked = tokio::try_join!(
        api.version(),
        api.nodes(),
        api.claims(&api.namespace),
        api.pods(&api.namespace, TASK_LABEL),
        service::DEPLOYMENT.rollout(&api),
        argo::CONTROLLER.rollout(&api),
        api.knows(kinds::WORKFLOW)
    );
    let (version, nodes, claims, pods, service, controller, knows_argo) = match asked {
        Ok(answers) => answers,
        Err(error) => {
            status.cluster.state = "unreachable";
            let hint = "`cargo xtask up` starts or makes the cluster again";
            status.notes.push(format!("{error:#}\nhint: {hint}"));
            return Ok(status);
        }
    };
    let ready = nodes.iter().any(|node| node.ready);
    status.cluster.state = if ready { "ready" } else { "notReady" };
    status.cluster.version = Some(version);
    status.nodes = nodes;
    status.tasks = count(&pods);
    status.argo = ArgoStatus::of(controller, knows_argo);
    status.service = ServiceStatus::of(service, &api.namespace);
    status.hits = hits(&pods);
    look_at_volumes(&mut status, &claims, checkout, which, api).await;
    Ok(status)
}

/// What the volumes hold, and how they fill.
async fn look_at_volumes(
    status: &mut Status,
    claims: &[ClaimFacts],
    checkout: &Checkout,
    which: &flags::Cluster,
    api: ClusterApi,
) {
    let usage = match claims.iter().filter(|claim| claim.bound()).count() {
        0 | 1 => Err(anyhow::anyhow!("not both claims are Bound")),
        _ => usage(checkout, api).await,
    };
    let usage = usage
        .map_err(|error| status.notes.push(format!("usage: {error:#}")))
        .ok();
    status.volumes = volumes(claims, usage.as_ref());
    if let Some(usage) = &usage {
        match growth(usage, claims, which) {
            Ok(growth) => status.growth = growth,
            Err(why) => status.notes.push(why),
        }
    }
    status.caches = usage.map(|usage| CachesStatus {
        environments: usage.environments,
        requests: usage.requests,
        system_sets: usage.system_sets,
    });
}

/// Whether there is a node to look into.
enum Node {
    /// There may be one.
    There,
    /// The kind cluster has none, so it is gone.
    Absent,
}

async fn look_at_node(status: &mut Status, which: &flags::Cluster) -> Result<Node> {
    if which.context.is_some() {
        return Ok(Node::There);
    }
    let engine = Engine::connect().await?;
    let containers = node::containers(&engine, &which.name).await?;
    if containers.is_empty() {
        return Ok(Node::Absent);
    }
    let Some(reference) = &status.image.reference else {
        return Ok(Node::There);
    };
    status.image.engine_id = engine.image(reference).await?.map(|image| image.id);
    let running = containers.iter().find(|container| container.state == "running");
    if let (Some(container), Some(id)) = (running, &status.image.engine_id) {
        let images = node::images(&engine, &container.id).await?;
        status.image.on_node = Some(node::has_image(&images, reference, id));
    }
    Ok(Node::There)
}

/// Has a pod measure the volumes.
///
/// # Errors
/// No pod can run, or it takes too long.
async fn usage(checkout: &Checkout, api: ClusterApi) -> Result<UsageReport> {
    let mut config = place::config(checkout).await?;
    config.namespace.clone_from(&api.namespace);
    measured(&ClusterPlace { api, config }.driver().await?).await
}

/// The same through a driver that is open.
///
/// # Errors
/// No pod can run, or it takes too long.
pub async fn measured(driver: &KubeDriver) -> Result<UsageReport> {
    let asked = timeout(USAGE, driver.maintain(&Epoch::Standing, PodMaintenanceCommand::Usage)).await;
    let answer = asked.map_err(|_| anyhow::anyhow!("no answer within {} s", USAGE.as_secs()))?;
    match answer? {
        PodMaintainReport::Maintained {
            report: MaintainReport::Usage(usage),
        } => Ok(usage),
        PodMaintainReport::Failed { failure } => Err(failure.into()),
        other => anyhow::bail!("an answer to another question: {other:?}"),
    }
}

/// How the volumes fill, from what was recorded of the cluster; or why that is not known.
fn growth(usage: &UsageReport, claims: &[ClaimFacts], which: &flags::Cluster) -> Result<Vec<VolumeGrowth>, String> {
    let size = |name: &str| {
        let claim = claims.iter().find(|claim| claim.name == name);
        claim.map_or(0, ClaimFacts::bytes)
    };
    let budgets = Budgets::default().on_claims(size(PYTHON_CLAIM), size(NIX_CLAIM));
    let known =
        trace::folder_of(DriverName::Kube, None, which).and_then(|folder| trace::growth::of(usage, &budgets, &folder));
    known.unwrap_or_else(|error| Err(format!("growth: {error:#}")))
}

fn volumes(claims: &[ClaimFacts], usage: Option<&UsageReport>) -> Vec<VolumeStatus> {
    let of = |(volume, name): (&str, &str)| {
        let claim = claims.iter().find(|claim| claim.name == name);
        let systems = usage.into_iter().flat_map(|usage| &usage.file_systems);
        let system = systems.into_iter().find(|system| system.volume == volume);
        VolumeStatus {
            volume: volume.to_owned(),
            claim: name.to_owned(),
            phase: claim.map_or("absent".to_owned(), |claim| claim.phase.clone()),
            capacity_bytes: claim.and_then(|claim| quantity::bytes(claim.capacity.as_deref()?)),
            used_bytes: usage.map(|usage| usage.volume_bytes(volume)),
            used_inodes: usage.map(|usage| usage.volume_inodes(volume)),
            garbage_bytes: usage.and_then(|usage| Some(usage.garbage_of(volume)?.bytes)),
            free_bytes: system.map(|system| system.free_bytes),
            free_inodes: system.map(|system| system.free_inodes),
        }
    };
    [("python", PYTHON_CLAIM), ("system", NIX_CLAIM)].map(of).to_vec()
}

fn count(pods: &[TaskPod]) -> Tasks {
    let of = |phase: &str| pods.iter().filter(|pod| pod.phase == phase).count() as u64;
    Tasks {
        queued: of("Pending"),
        running: of("Running"),
        succeeded: of("Succeeded"),
        failed: of("Failed"),
    }
}

/// Only what a runner reported counts, and only once a task: a pod that missed is followed by one that was prepared.
fn hits(pods: &[TaskPod]) -> Hits {
    let mut hits = Hits::default();
    for report in pods.iter().filter_map(TaskPod::report) {
        if let RunReport::Finished { cache, .. } = report {
            hits.python.count(cache.python);
            hits.system.count(cache.system);
        }
    }
    hits
}

impl HitRate {
    fn count(&mut self, status: CacheStatus) {
        match status {
            CacheStatus::Hit => (self.asked, self.hit) = (self.asked + 1, self.hit + 1),
            CacheStatus::Built { .. } => self.asked += 1,
            CacheStatus::Bypassed | CacheStatus::NotAsked => {}
        }
    }
}

#[cfg(test)]
mod tests;
