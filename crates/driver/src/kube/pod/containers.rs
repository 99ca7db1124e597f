//! The pod and its containers, restricted as Pod Security "restricted" demands and somewhat further.

use hybrid_cache_model::pod::TERMINATION_FILE;
use k8s_openapi::api::core::v1::{
    Capabilities, Container, PodSecurityContext, PodSpec, ResourceRequirements, SeccompProfile, SecurityContext,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::kube::config::{KubeConfig, Resources};
use crate::kube::pod::placement;
use crate::kube::pod::volumes::MountedVolume;

/// Seconds between SIGTERM and SIGKILL: the program's own grace (`MAX_POD_GRACE_MS`), and time for the runner to report.
const GRACE_S: i64 = 10;
/// Disk that the scheduler sets aside for a container's log and what it writes outside its emptyDirs. Without a request
/// Kubernetes would set the whole limit aside.
const DISK_REQUEST: &str = "16Mi";

/// The volumes of a pod, and the mounts of the container that is being built.
#[derive(Default)]
pub struct PodParts {
    /// The volumes so far, each once.
    pub volumes: Vec<Volume>,
    mounts: Vec<VolumeMount>,
}

impl PodParts {
    /// Adds a volume, and its mount to the current container.
    pub fn add(&mut self, (volume, mount): MountedVolume) {
        if self.volumes.iter().all(|known| known.name != volume.name) {
            self.volumes.push(volume);
        }
        self.mounts.push(mount);
    }

    /// Adds a volume if there is one.
    pub fn add_optional(&mut self, part: Option<MountedVolume>) {
        if let Some(part) = part {
            self.add(part);
        }
    }

    /// Ends the current container and returns its mounts.
    pub fn take_mounts(&mut self) -> Vec<VolumeMount> {
        std::mem::take(&mut self.mounts)
    }
}

/// The pod around its containers.
pub fn pod_spec(config: &KubeConfig, containers: Vec<Container>, volumes: Vec<Volume>) -> PodSpec {
    let spec = PodSpec {
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
            // The default would visit every file of both caches before each task.
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    };
    placement::place(spec, &config.placement)
}

/// A container that runs one of the runner's commands.
pub fn container(
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

/// The security context of every container: no rights beyond those of its user.
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

/// Requests and limits in Kubernetes' type.
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
