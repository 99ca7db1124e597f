//! Renders tasks and maintenance into workloads and Secrets. Pure code; the snapshots beside it show every variant.

use std::collections::BTreeMap;

use hybrid_cache_model::pod::TRAILER_VARIABLE;
use hybrid_cache_model::{CachePolicy, Tenant};
use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::kube::config::{KubeConfig, Resources};
use crate::kube::names::{self, BUILD_CONTAINER, Component, PREPARE_CONTAINER, TASK_CONTAINER};
use crate::kube::pod::affinity;
use crate::kube::pod::containers::{PodParts, container, pod_spec};
use crate::kube::pod::request::{BUILD_KEY, PREPARE_KEY, TASK_KEY};
use crate::kube::pod::variant::PodVariant;
use crate::kube::pod::volumes::{self, CacheMounts, MountAccess};
use crate::kube::workload::frame::WorkloadFrame;
use crate::kube::workload::job;
use crate::kube::workload::object::Workload;
use crate::kube::workload::workflow;
use crate::needs::Needs;

/// Seconds that a maintenance Job may take beyond its limits: the backstop behind every deadline.
const DEADLINE_MARGIN_S: u64 = 120;
/// Seconds that a maintenance Job stays after its end. Its caller reads the answer at once, or has ended.
const MAINTENANCE_TTL_S: u32 = 600;

/// CPU that the scheduler sets aside for a building container.
const BUILD_CPU_REQUEST: &str = "10m";

/// What a task's workload is made of.
pub struct TaskPod<'a> {
    /// The ticket's id.
    pub id: &'a str,
    /// The workload's name, and the Secret's.
    pub name: &'a str,
    /// How it gets its environments.
    pub variant: PodVariant,
    /// Which caches the pod mounts.
    pub needs: Needs,
    /// Whether it uses the cluster's volumes.
    pub cache: CachePolicy,
    /// The place of the volume set.
    pub set: usize,
    /// The epoch of the volumes; `None` for the standing caches.
    pub epoch: Option<&'a str>,
    /// Whose environments it uses.
    pub tenant: Tenant,
    /// Milliseconds that the user's program may take.
    pub time_ms: u64,
    /// Milliseconds that preparing may take.
    pub prepare_ms: u64,
    /// The token that marks the runner's report in the log; `None` if the driver does not look for it.
    pub token: Option<&'a str>,
}

/// The workload of a task, of the configured kind.
pub fn task(config: &KubeConfig, task: &TaskPod) -> Workload {
    let (frame, pod) = task_pod(config, task);
    match &config.argo {
        Some(argo) => workflow::workflow(argo, frame, pod).into(),
        None => job::job(frame, pod).into(),
    }
}

fn task_pod<'a>(config: &KubeConfig, task: &TaskPod<'a>) -> (WorkloadFrame<'a>, PodSpec) {
    let set = config.set(task.set);
    let caches = CacheMounts {
        set: &set,
        needs: task.needs,
        policy: task.cache,
        epoch: task.epoch,
        tenant: &task.tenant,
    };
    let mut pod = PodParts::default();
    pod.add(volumes::request("request", task.name, TASK_KEY));
    for part in volumes::caches(config, &caches, MountAccess::ReadOnly) {
        pod.add(part);
    }
    for part in volumes::own(&config.task_resources, TASK_CONTAINER) {
        pod.add(part);
    }
    pod.add_optional(volumes::certificates(config));
    if task.variant.prepares() {
        pod.add(volumes::handover(MountAccess::ReadOnly));
    }
    let mut containers = vec![container(
        config,
        TASK_CONTAINER,
        "pod-run",
        &config.task_resources,
        pod.take_mounts(),
    )];
    // The runner keeps the variable to itself: it passes none on to user code.
    containers[0].env = task.token.map(|token| {
        vec![EnvVar {
            name: TRAILER_VARIABLE.to_owned(),
            value: Some(token.to_owned()),
            ..EnvVar::default()
        }]
    });
    if task.variant.prepares() {
        pod.add(volumes::request("prepare-request", task.name, PREPARE_KEY));
        for part in volumes::caches(config, &caches, MountAccess::Writable) {
            pod.add(part);
        }
        for part in volumes::own(&config.prepare_resources, PREPARE_CONTAINER) {
            pod.add(part);
        }
        pod.add_optional(volumes::certificates(config));
        pod.add(volumes::handover(MountAccess::Writable));
        if task.variant == PodVariant::Building {
            pod.add(volumes::builds(MountAccess::Writable));
        }
        let mounts = pod.take_mounts();
        let resources = &config.prepare_resources;
        containers.push(container(config, PREPARE_CONTAINER, "pod-prepare", resources, mounts));
    }
    if task.variant == PodVariant::Building {
        containers.push(build_container(config, task, &caches, &mut pod));
    }
    let mut labels = names::labels(Component::Task, task.id);
    let mut spec = pod_spec(config, containers, pod.volumes);
    if task.needs.any() && task.cache == CachePolicy::Use {
        on_set(config, task.set, &mut labels, &mut spec);
    }
    (frame(config, task, labels), spec)
}

/// What a task's workload holds beside its pod.
fn frame<'a>(config: &KubeConfig, task: &TaskPod<'a>, labels: BTreeMap<String, String>) -> WorkloadFrame<'a> {
    let bound_ms = if task.variant.prepares() {
        task.time_ms.saturating_add(task.prepare_ms)
    } else {
        task.time_ms
    };
    let mut annotations = BTreeMap::from([(names::POD_VARIANT.to_owned(), task.variant.name().to_owned())]);
    annotations.extend(task.token.map(|token| (names::TRAILER.to_owned(), token.to_owned())));
    annotations.extend(task.epoch.map(|epoch| (names::EPOCH.to_owned(), epoch.to_owned())));
    annotations.extend(config.mark(task.set).map(|mark| (names::SET.to_owned(), mark)));
    WorkloadFrame {
        name: task.name,
        labels,
        annotations,
        // A backstop behind every deadline. It also runs during an outage of the API server, and must not end a task that
        // ends in time.
        deadline_s: config
            .start_s
            .saturating_add(bound_ms / 1000)
            .saturating_add(config.ttl_s.into()),
        ttl_s: config.ttl_s,
    }
}

/// Marks a pod that mounts volumes of a set.
fn on_set(config: &KubeConfig, set: usize, labels: &mut BTreeMap<String, String>, spec: &mut PodSpec) {
    labels.extend(config.mark(set).map(|mark| (names::SET.to_owned(), mark)));
    spec.affinity = affinity::of_set(config, set);
}

/// The container that runs code of packages. Of the caches it has the store alone, and it cannot write to what it shares
/// with the preparing container.
fn build_container(config: &KubeConfig, task: &TaskPod, caches: &CacheMounts, pod: &mut PodParts) -> Container {
    pod.add(volumes::request("build-request", task.name, BUILD_KEY));
    let store = CacheMounts {
        needs: Needs {
            python: false,
            ..caches.needs
        },
        ..*caches
    };
    for part in volumes::caches(config, &store, MountAccess::ReadOnly) {
        pod.add(part);
    }
    for part in volumes::own(&config.prepare_resources, BUILD_CONTAINER) {
        pod.add(part);
    }
    pod.add_optional(volumes::certificates(config));
    pod.add(volumes::builds(MountAccess::ReadOnly));
    let mounts = pod.take_mounts();
    // The preparing container waits meanwhile. A pod's containers share its time, so this one gets what that one asked for,
    // and the pod fits beside the one before it.
    let resources = Resources {
        cpu_request: BUILD_CPU_REQUEST.to_owned(),
        ..config.prepare_resources.clone()
    };
    container(config, BUILD_CONTAINER, "pod-build", &resources, mounts)
}

/// The Job of a maintenance command for a volume set. `whole` mounts the volumes from their roots, to create and delete epochs.
pub fn maintenance_job(
    config: &KubeConfig,
    set: usize,
    name: &str,
    epoch: Option<&str>,
    whole: bool,
    limit_s: u64,
) -> Job {
    let claims = config.set(set);
    let caches = CacheMounts {
        set: &claims,
        needs: Needs::BOTH,
        policy: CachePolicy::Use,
        epoch,
        tenant: &Tenant::default(),
    };
    let mut pod = PodParts::default();
    pod.add(volumes::request("request", name, TASK_KEY));
    let mounted = if whole {
        volumes::roots(&claims)
    } else {
        volumes::caches(config, &caches, MountAccess::Writable)
    };
    for part in mounted {
        pod.add(part);
    }
    for part in volumes::own(&config.prepare_resources, TASK_CONTAINER) {
        pod.add(part);
    }
    pod.add_optional(volumes::certificates(config));
    let mounts = pod.take_mounts();
    let resources = &config.prepare_resources;
    let containers = vec![container(config, TASK_CONTAINER, "pod-maintain", resources, mounts)];
    let mut labels = names::labels(Component::Maintenance, name);
    let mut spec = pod_spec(config, containers, pod.volumes);
    on_set(config, set, &mut labels, &mut spec);
    let frame = WorkloadFrame {
        name,
        labels,
        annotations: epoch
            .map(|epoch| (names::EPOCH.to_owned(), epoch.to_owned()))
            .into_iter()
            .collect(),
        deadline_s: config.start_s.saturating_add(limit_s).saturating_add(DEADLINE_MARGIN_S),
        ttl_s: config.ttl_s.min(MAINTENANCE_TTL_S),
    };
    job::job(frame, spec)
}

/// The Secret that the workload of the same name mounts.
pub fn secret(component: Component, id: &str, name: &str, data: BTreeMap<String, ByteString>) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(names::labels(component, id)),
            ..ObjectMeta::default()
        },
        immutable: Some(true),
        type_: Some("Opaque".to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

#[cfg(test)]
mod tests;
