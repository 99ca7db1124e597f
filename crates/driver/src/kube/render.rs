//! A task as a Job, or as the pod of a Workflow: pure rendering into Kubernetes' types, without IO. The snapshots beside it are the documentation.

use std::collections::BTreeMap;

use hybrid_cache_model::pod::{TERMINATION_FILE, TRAILER_VARIABLE};
use hybrid_cache_model::{CachePolicy, Tenant};
use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, PodSecurityContext, PodSpec, PodTemplateSpec, ResourceRequirements,
    SeccompProfile, Secret, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::config::{KubeConfig, Resources};
use super::names::{self, Component, PREPARE_CONTAINER, TASK_CONTAINER};
use super::request::{Form, Needs, PREPARE_KEY, TASK_KEY};
use super::volumes::{self, Access, Caches};
use super::workflow;
use super::workload::Workload;

/// Seconds between SIGTERM and SIGKILL: the runner passes the signal on and reports within one.
const GRACE_S: i64 = 5;
/// Seconds that a maintenance Job may take beyond the sum of all that is bounded by itself: the backstop behind every
/// deadline.
const MARGIN_S: u64 = 120;
/// Seconds that a maintenance Job stays after its end: who asked hears of it at once, or has gone away.
const ANSWERED_S: u32 = 600;
/// The log of a container and what it writes outside its emptyDirs, for the scheduler. Without a request of its own
/// Kubernetes would set the whole limit aside.
const DISK_REQUEST: &str = "16Mi";

/// What a task's workload is made of.
pub struct TaskPod<'a> {
    /// The ticket's id.
    pub id: &'a str,
    /// The workload's name, and the Secret's.
    pub name: &'a str,
    /// Which form of pod.
    pub form: Form,
    /// Which caches it mounts.
    pub needs: Needs,
    /// Whether it uses the cluster's volumes.
    pub cache: CachePolicy,
    /// Which epoch of them; `None`: the standing caches.
    pub epoch: Option<&'a str>,
    /// Whose environments it uses.
    pub tenant: Tenant,
    /// Milliseconds that the user's program may take.
    pub time_ms: u64,
    /// Milliseconds that preparing may take.
    pub prepare_ms: u64,
    /// What the runner's report in the log is known by; none where it is not looked for.
    pub token: Option<&'a str>,
}

/// The workload of a task, of the configured kind.
pub fn task(config: &KubeConfig, task: &TaskPod) -> Workload {
    let (frame, pod) = task_pod(config, task);
    match &config.argo {
        Some(argo) => workflow::workflow(argo, frame, pod).into(),
        None => job(frame, pod).into(),
    }
}

fn task_pod<'a>(config: &KubeConfig, task: &TaskPod<'a>) -> (Frame<'a>, PodSpec) {
    let caches = Caches {
        needs: task.needs,
        policy: task.cache,
        epoch: task.epoch,
        tenant: &task.tenant,
    };
    let mut pod = Parts::default();
    pod.add(volumes::request("request", task.name, TASK_KEY));
    for part in volumes::caches(config, &caches, Access::ReadOnly) {
        pod.add(part);
    }
    for part in volumes::own(&config.task_resources, TASK_CONTAINER) {
        pod.add(part);
    }
    pod.add_all(volumes::certificates(config));
    if task.form == Form::Prepared {
        pod.add(volumes::handover(Access::ReadOnly));
    }
    let mut containers = vec![container(
        config,
        TASK_CONTAINER,
        "pod-run",
        &config.task_resources,
        pod.take_mounts(),
    )];
    // The variable is the runner's own: it hands on none to user code.
    containers[0].env = task.token.map(|token| {
        vec![EnvVar {
            name: TRAILER_VARIABLE.to_owned(),
            value: Some(token.to_owned()),
            ..EnvVar::default()
        }]
    });
    if task.form == Form::Prepared {
        pod.add(volumes::request("prepare-request", task.name, PREPARE_KEY));
        for part in volumes::caches(config, &caches, Access::Writable) {
            pod.add(part);
        }
        for part in volumes::own(&config.prepare_resources, PREPARE_CONTAINER) {
            pod.add(part);
        }
        pod.add_all(volumes::certificates(config));
        pod.add(volumes::handover(Access::Writable));
        let mounts = pod.take_mounts();
        let resources = &config.prepare_resources;
        containers.push(container(config, PREPARE_CONTAINER, "pod-prepare", resources, mounts));
    }
    let bound_ms = match task.form {
        Form::Warm => task.time_ms,
        Form::Prepared => task.time_ms.saturating_add(task.prepare_ms),
    };
    let mut annotations = BTreeMap::from([(names::FORM.to_owned(), task.form.name().to_owned())]);
    annotations.extend(task.token.map(|token| (names::TRAILER.to_owned(), token.to_owned())));
    annotations.extend(task.epoch.map(|epoch| (names::EPOCH.to_owned(), epoch.to_owned())));
    let frame = Frame {
        name: task.name,
        labels: names::labels(Component::Task, task.id),
        annotations,
        // A backstop behind every deadline. It goes on in an outage of the API server, after which a task that has ended in
        // time must not be taken for one that has not.
        deadline_s: config
            .start_s
            .saturating_add(bound_ms / 1000)
            .saturating_add(config.ttl_s.into()),
        ttl_s: config.ttl_s,
    };
    (frame, pod_spec(config, containers, pod.volumes))
}

/// The Job of a question about the volumes. `whole` mounts them from their roots, to make and delete epochs.
pub fn maintenance_job(config: &KubeConfig, name: &str, epoch: Option<&str>, whole: bool, limit_s: u64) -> Job {
    let caches = Caches {
        needs: Needs {
            python: true,
            system: true,
        },
        policy: CachePolicy::Use,
        epoch,
        tenant: &Tenant::default(),
    };
    let mut pod = Parts::default();
    pod.add(volumes::request("request", name, TASK_KEY));
    let mounted = if whole {
        volumes::roots(config)
    } else {
        volumes::caches(config, &caches, Access::Writable)
    };
    for part in mounted {
        pod.add(part);
    }
    for part in volumes::own(&config.prepare_resources, TASK_CONTAINER) {
        pod.add(part);
    }
    pod.add_all(volumes::certificates(config));
    let mounts = pod.take_mounts();
    let resources = &config.prepare_resources;
    let containers = vec![container(config, TASK_CONTAINER, "pod-maintain", resources, mounts)];
    let frame = Frame {
        name,
        labels: names::labels(Component::Maintenance, name),
        annotations: epoch
            .map(|epoch| (names::EPOCH.to_owned(), epoch.to_owned()))
            .into_iter()
            .collect(),
        deadline_s: config.start_s.saturating_add(limit_s).saturating_add(MARGIN_S),
        ttl_s: config.ttl_s.min(ANSWERED_S),
    };
    job(frame, pod_spec(config, containers, pod.volumes))
}

/// The Secret that a Job of the same name mounts.
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

/// Volumes of a pod, and the mounts of the container at hand.
#[derive(Default)]
struct Parts {
    volumes: Vec<Volume>,
    mounts: Vec<VolumeMount>,
}

impl Parts {
    fn add(&mut self, (volume, mount): volumes::Part) {
        if self.volumes.iter().all(|known| known.name != volume.name) {
            self.volumes.push(volume);
        }
        self.mounts.push(mount);
    }

    fn add_all(&mut self, parts: Option<volumes::Part>) {
        if let Some(part) = parts {
            self.add(part);
        }
    }

    fn take_mounts(&mut self) -> Vec<VolumeMount> {
        std::mem::take(&mut self.mounts)
    }
}

/// What differs between workloads beside their pods.
pub struct Frame<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its labels, and its pod's.
    pub labels: BTreeMap<String, String>,
    /// Its annotations; not its pod's.
    pub annotations: BTreeMap<String, String>,
    /// Seconds after which Kubernetes ends it whatever it does.
    pub deadline_s: u64,
    /// Seconds after its end at which Kubernetes deletes it.
    pub ttl_s: u32,
}

fn job(frame: Frame, pod: PodSpec) -> Job {
    Job {
        metadata: ObjectMeta {
            name: Some(frame.name.to_owned()),
            labels: Some(frame.labels.clone()),
            annotations: Some(frame.annotations).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        },
        spec: Some(JobSpec {
            // A task runs once: whether it may run again is for whoever submitted it to say.
            backoff_limit: Some(0),
            active_deadline_seconds: Some(i64::try_from(frame.deadline_s).unwrap_or(i64::MAX)),
            ttl_seconds_after_finished: Some(i32::try_from(frame.ttl_s).unwrap_or(i32::MAX)),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(frame.labels),
                    ..ObjectMeta::default()
                }),
                spec: Some(pod),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

/// The pod around the containers, as Pod Security "restricted" demands it and somewhat stricter.
fn pod_spec(config: &KubeConfig, containers: Vec<Container>, volumes: Vec<Volume>) -> PodSpec {
    PodSpec {
        containers,
        volumes: Some(volumes),
        restart_policy: Some("Never".to_owned()),
        termination_grace_period_seconds: Some(GRACE_S),
        service_account_name: Some(config.service_account.clone()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            run_as_user: Some(i64::from(config.identity.uid)),
            run_as_group: Some(i64::from(config.identity.gid)),
            fs_group: Some(i64::from(config.identity.gid)),
            // The default would walk over every file of both caches before each task.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    }
}

fn container(
    config: &KubeConfig,
    name: &str,
    command: &str,
    resources: &Resources,
    mounts: Vec<VolumeMount>,
) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(config.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        args: Some(vec![command.to_owned()]),
        resources: Some(requirements(resources)),
        termination_message_path: Some(TERMINATION_FILE.to_owned()),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(mounts),
        security_context: Some(restricted()),
        ..Container::default()
    }
}

/// What a container may do: nothing beyond what its user may.
pub fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            ..Capabilities::default()
        }),
        ..SecurityContext::default()
    }
}

/// Requests and limits as Kubernetes' type.
pub fn requirements(resources: &Resources) -> ResourceRequirements {
    let map = |cpu: &str, memory: &str, disk: &str| {
        let pairs = [("cpu", cpu), ("memory", memory), ("ephemeral-storage", disk)];
        pairs
            .map(|(key, value)| (key.to_owned(), Quantity(value.to_owned())))
            .into()
    };
    ResourceRequirements {
        requests: Some(map(&resources.cpu_request, &resources.memory_request, DISK_REQUEST)),
        limits: Some(map(
            &resources.cpu_limit,
            &resources.memory_limit,
            &resources.disk_limit,
        )),
        claims: None,
    }
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
