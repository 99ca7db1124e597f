//! Gathers the status of a cluster.

use hybrid_cache_image::docker::Engine;
use hybrid_cache_image::task_image as image;
use hybrid_cache_model::budget::Budgets;
use hybrid_cache_model::maintain::UsageReport;
use hybrid_cache_model::protocol::RunReport;
use hybrid_cache_model::quantity;
use hybrid_cache_tools::{Checkout, Error, Result, failed};

use crate::api::ClusterApi;
use crate::facts::{ClaimFacts, NodeFacts, TaskPod, VolumeFacts};
use crate::names::{NIX_CLAIM, PYTHON_CLAIM, TASK_LABEL};
use crate::nodes::Nodes;
use crate::options::{BackendKind, ClusterChoice};
use crate::setup_record::SetupRecord;
use crate::status::deployed::{ArgoStatus, ServiceStatus};
use crate::status::report::{CachesStatus, ClusterState, ClusterStatus, Hits, Status, Tasks, VolumeStatus};
use crate::status::usage::usage;
use crate::trace::{self, VolumeGrowth};
use crate::{argo, connection, node, resource_kinds, service, standby, volume_sets};

/// Gathers everything that can be read.
///
/// # Errors
/// The machine's own settings cannot be read.
pub async fn observe(checkout: &Checkout, choice: &ClusterChoice) -> Result<Status> {
    let mut status = Status {
        cluster: ClusterStatus {
            name: choice.context.clone().unwrap_or_else(|| choice.name.clone()),
            ..ClusterStatus::default()
        },
        ..Status::default()
    };
    status.image.reference = image::reference(checkout);
    match look_at_node(&mut status, choice).await {
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
    let api = match connection::api(choice).await {
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
        api.knows(resource_kinds::WORKFLOW)
    );
    let (version, nodes, claims, pods, service, controller, knows_argo) = match asked {
        Ok(answers) => answers,
        Err(error) => {
            status.cluster.state = ClusterState::Unreachable;
            let hint = "`cargo xtask up` starts or makes the cluster again";
            status.notes.push(format!("{error:#}\nhint: {hint}"));
            return Ok(status);
        }
    };
    let ready = nodes.iter().any(|node| node.ready);
    status.cluster.state = if ready {
        ClusterState::Ready
    } else {
        ClusterState::NotReady
    };
    status.cluster.version = Some(version);
    status.nodes = nodes;
    status.tasks = count(&pods);
    status.argo = ArgoStatus::from_rollout(controller, knows_argo);
    status.service = ServiceStatus::from_rollout(service, &api.namespace);
    status.hits = hits(&pods);
    let record = SetupRecord::read(&api).await.unwrap_or_default();
    look_at_standby(&mut status, &api, &record).await;
    look_at_volumes(&mut status, (&claims, record.sets()), checkout, choice, api).await;
    Ok(status)
}

async fn look_at_standby(status: &mut Status, api: &ClusterApi, record: &SetupRecord) {
    let read = async {
        let mut found = standby::read(api, record.standby).await?;
        if let Some(report) = &mut found
            && let Err(error) = standby::measure(api, report).await
        {
            status.notes.push(format!("standby pods: {error:#}"));
        }
        Ok::<_, Error>(found)
    };
    match read.await {
        Ok(found) => status.standby = found,
        Err(error) => status.notes.push(format!("standby pods: {error:#}")),
    }
    let trouble = status.standby.iter().find_map(|report| report.trouble.clone());
    status.notes.extend(trouble.map(|why| format!("standby pods: {why}")));
}

/// Measures what the volumes hold and how they fill.
async fn look_at_volumes(
    status: &mut Status,
    (claims, sets): (&[ClaimFacts], u32),
    checkout: &Checkout,
    choice: &ClusterChoice,
    api: ClusterApi,
) {
    // An account that may not read volumes does not see where they are.
    let volumes = api.volumes().await.unwrap_or_default();
    let first = volume_sets::pairs(claims, 1).pop().flatten();
    let usage = match first.is_some_and(|pair| pair.iter().all(ClaimFacts::bound)) {
        false => Err(failed!("not both claims are Bound")),
        true => usage(checkout, api).await,
    };
    let measured = usage.unwrap_or_else(|error| {
        status.notes.push(format!("usage: {error:#}"));
        Vec::new()
    });
    for (set, why) in measured
        .iter()
        .filter_map(|(set, usage)| Some((set, usage.as_ref().err()?)))
    {
        let of = if set.name == "0" {
            String::new()
        } else {
            format!(" of volume set {}", set.name)
        };
        status.notes.push(format!("usage{of}: {why:#}"));
    }
    let usages: Vec<(&str, &UsageReport)> = measured
        .iter()
        .filter_map(|(set, usage)| Some((set.name.as_str(), usage.as_ref().ok()?)))
        .collect();
    status.volumes = (0..sets)
        .flat_map(|set| {
            let usage = usages.iter().find(|(name, _)| *name == set.to_string());
            volume_status(set, (claims, &volumes, &status.nodes), usage.map(|(_, usage)| *usage))
        })
        .collect();
    match usages.as_slice() {
        [(_, usage)] if sets == 1 => match growth(usage, claims, choice) {
            Ok(growth) => status.growth = growth,
            Err(why) => status.notes.push(why),
        },
        [] => {}
        _ => status.notes.push(format!(
            "growth: it is computed for one volume set, and there are {sets}\nhint: `cargo xtask size --fleet {sets}` computes how \
             large the claims of each must be"
        )),
    }
    let sum = |count: fn(&UsageReport) -> u64| usages.iter().map(|(_, usage)| count(usage)).sum();
    status.caches = (!usages.is_empty()).then(|| CachesStatus {
        environments: sum(|usage| usage.environments),
        requests: sum(|usage| usage.requests),
        system_sets: sum(|usage| usage.system_sets),
    });
}

/// Whether there is a node that can be read.
enum Node {
    /// There may be a node.
    There,
    /// The kind cluster has no node, so the cluster does not exist.
    Absent,
}

async fn look_at_node(status: &mut Status, choice: &ClusterChoice) -> Result<Node> {
    if choice.context.is_some() {
        return Ok(Node::There);
    }
    let engine = Engine::connect().await?;
    let containers = node::containers(&engine, &choice.name).await?;
    if containers.is_empty() {
        return Ok(Node::Absent);
    }
    let Some(reference) = &status.image.reference else {
        return Ok(Node::There);
    };
    status.image.engine_id = engine.image(reference).await?.map(|image| image.id);
    // With workers the control plane runs no tasks.
    let run_tasks = containers.iter().skip(usize::from(containers.len() > 1));
    let running = run_tasks.filter(|container| container.state == "running");
    let ids: Vec<String> = running.map(|container| container.id.clone()).collect();
    if let (false, Some(id)) = (ids.is_empty(), &status.image.engine_id) {
        let nodes = Nodes {
            engine: &engine,
            containers: &ids,
        };
        let images = nodes.images().await?;
        status.image.on_node = Some(node::has_image(&images, reference, id));
    }
    Ok(Node::There)
}

/// How the volumes fill, computed from the recorded requests of the cluster; or why that is not known.
fn growth(usage: &UsageReport, claims: &[ClaimFacts], choice: &ClusterChoice) -> Result<Vec<VolumeGrowth>, String> {
    let size = |name: &str| {
        let claim = claims.iter().find(|claim| claim.name == name);
        claim.map_or(0, ClaimFacts::bytes)
    };
    let budgets = Budgets::default().on_claims(size(PYTHON_CLAIM), size(NIX_CLAIM));
    let known = trace::folder(BackendKind::Kube, None, choice).and_then(|folder| {
        let growth = trace::growth(usage, &budgets, &folder)?;
        Ok(growth.ok_or_else(|| trace::nothing_recorded(&folder)))
    });
    known.unwrap_or_else(|error| Err(format!("growth: {error:#}")))
}

/// Both volumes of a set. `found` are the claims, volumes and nodes of the cluster.
fn volume_status(
    set: u32,
    (claims, volumes, nodes): (&[ClaimFacts], &[VolumeFacts], &[NodeFacts]),
    usage: Option<&UsageReport>,
) -> Vec<VolumeStatus> {
    let of = |(volume, name): (&str, String)| {
        let claim = claims.iter().find(|claim| claim.name == name);
        let systems = usage.into_iter().flat_map(|usage| &usage.file_systems);
        let system = systems.into_iter().find(|system| system.volume == volume);
        let nodes = claim.and_then(|claim| volume_sets::nodes_of(claim, volumes, nodes));
        VolumeStatus {
            set: set.to_string(),
            volume: volume.to_owned(),
            claim: name,
            phase: claim.map_or("absent".to_owned(), |claim| claim.phase.clone()),
            capacity_bytes: claim.and_then(|claim| quantity::bytes(claim.capacity.as_deref()?)),
            used_bytes: usage.map(|usage| usage.volume_bytes(volume)),
            used_inodes: usage.map(|usage| usage.volume_inodes(volume)),
            garbage_bytes: usage.and_then(|usage| Some(usage.garbage_of(volume)?.bytes)),
            free_bytes: system.map(|system| system.free_bytes),
            free_inodes: system.map(|system| system.free_inodes),
            nodes: nodes.into_iter().flatten().map(|node| node.name.clone()).collect(),
        }
    };
    ["python", "system"]
        .into_iter()
        .zip(volume_sets::claim_names(set))
        .map(of)
        .collect()
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

/// Counts only what a runner reported, and each task once: a pod that missed is followed by one with a preparing container.
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

#[cfg(test)]
mod tests;
