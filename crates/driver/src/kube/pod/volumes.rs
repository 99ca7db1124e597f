//! What a pod's containers mount, and where: the request, the caches, and folders of their own.
//!
//! ```text
//! container   /task     /cache/python, /nix            /handover   /scratch, /tmp
//! task        request   PVC, read-only, as needed      read-only   emptyDirs of its own
//! prepare     request   PVC, writable, as needed       writable    emptyDirs of its own; writable /builds if something is built
//! build       request   the store, read-only           none        emptyDirs of its own; read-only /builds
//! standby     none      PVC, read-only, both          none         emptyDirs of its own; /standby, which no task can reach
//! maintain    request   PVC, writable, or whole volumes below /volumes
//! ```
//!
//! Of each volume a task's container mounts only its tenant's folder, the shared bytecode and the store. The locks of
//! preparations and uv's cache are in none of them. The folders are created before (`maintenance::tenants`), because the
//! kubelet would create them as root. A volume that is deleted with the pod belongs to the task and is mounted whole.

use hybrid_cache_model::pod::{
    BUILDS_FOLDER, HANDOVER_FOLDER, NIX_MOUNT, PYTHON_MOUNT, REQUEST_FILE, SCRATCH_FOLDER, VOLUMES_FOLDER,
    nix_sub_path, python_sub_path,
};
use hybrid_cache_model::{CachePolicy, Protection, Tenant};
use k8s_openapi::api::core::v1::{
    ConfigMapVolumeSource, EmptyDirVolumeSource, KeyToPath, PersistentVolumeClaimVolumeSource, SecretVolumeSource,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::kube::config::{KubeConfig, Resources, VolumeSet};
use crate::needs::Needs;

/// Where programs look for certificates, and the key of the ConfigMap that holds them.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const CERTIFICATES_KEY: &str = "ca-certificates.crt";
/// What the preparing container hands over is one line of JSON.
const HANDOVER_SIZE: &str = "1Mi";
/// Mode of a request: its owner and its group may read it.
const REQUEST_MODE: i32 = 0o440;

/// A volume of the pod, and how one container mounts it.
pub type MountedVolume = (Volume, VolumeMount);

/// Whether a container may write what it mounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountAccess {
    /// The container runs user code.
    ReadOnly,
    /// The container never runs user code.
    Writable,
}

impl MountAccess {
    fn read_only(self) -> Option<bool> {
        (self == MountAccess::ReadOnly).then_some(true)
    }
}

/// Which caches a pod mounts.
pub struct CacheMounts<'a> {
    /// Whose claims they are.
    pub set: &'a VolumeSet,
    /// Which of the two caches.
    pub needs: Needs,
    /// The cluster's volumes, or empty folders that are deleted with the pod.
    pub policy: CachePolicy,
    /// The epoch of the volumes; `None` for the standing caches.
    pub epoch: Option<&'a str>,
    /// Whose part of the caches user code sees.
    pub tenant: &'a Tenant,
}

/// The request as `/task/request.json`: one key of the Secret, so that each container has its own.
pub fn request(name: &str, secret: &str, key: &str) -> MountedVolume {
    let (folder, file) = REQUEST_FILE.rsplit_once('/').unwrap_or(("/task", "request.json"));
    let volume = Volume {
        name: name.to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(REQUEST_MODE),
            items: Some(vec![KeyToPath {
                key: key.to_owned(),
                path: file.to_owned(),
                mode: None,
            }]),
            optional: None,
        }),
        ..Volume::default()
    };
    let mount = mount(&volume.name, folder, MountAccess::ReadOnly);
    (volume, mount)
}

/// The caches that a task needs, at `/cache/python` and `/nix`.
pub fn caches(config: &KubeConfig, caches: &CacheMounts, access: MountAccess) -> Vec<MountedVolume> {
    let own = caches.tenant.folder();
    let wanted = [
        (
            caches.needs.python,
            "python",
            &caches.set.python_claim,
            PYTHON_MOUNT,
            python_sub_path(caches.epoch),
            [own.clone(), "bytecode".to_owned()],
        ),
        (
            caches.needs.system,
            "system",
            &caches.set.nix_claim,
            NIX_MOUNT,
            nix_sub_path(caches.epoch),
            ["store".to_owned(), format!("var/hybrid-cache/{own}")],
        ),
    ];
    let is_narrow = access == MountAccess::ReadOnly && Protection::NarrowMounts.is_on();
    let mut parts = Vec::new();
    for (_, name, claim, path, sub_path, visible) in wanted.into_iter().filter(|(needed, ..)| *needed) {
        match caches.policy {
            CachePolicy::Use if is_narrow => parts.extend(visible.map(|folder| {
                let mut mount = mount(name, &format!("{path}/{folder}"), access);
                let below = [sub_path.as_str(), folder.as_str()].join("/");
                mount.sub_path = Some(below.trim_start_matches('/').to_owned());
                (persistent(name, claim), mount)
            })),
            CachePolicy::Use => {
                let mut mount = mount(name, path, access);
                mount.sub_path = Some(sub_path).filter(|path| !path.is_empty());
                parts.push((persistent(name, claim), mount));
            }
            CachePolicy::Bypass => {
                let volume = empty(name, None, &config.prepare_resources.disk_limit);
                parts.push((volume, mount(name, path, access)));
            }
        }
    }
    parts
}

/// Both volumes of a set from their roots, below `/volumes`.
pub fn roots(set: &VolumeSet) -> Vec<MountedVolume> {
    let both = [("python", &set.python_claim), ("system", &set.nix_claim)];
    let part = |(name, claim): (&str, &String)| {
        let path = format!("{VOLUMES_FOLDER}/{name}");
        (persistent(name, claim), mount(name, &path, MountAccess::Writable))
    };
    both.map(part).into()
}

/// `/scratch` and `/tmp` of one container.
pub fn own(resources: &Resources, container: &str) -> Vec<MountedVolume> {
    let folders = [("scratch", SCRATCH_FOLDER), ("tmp", "/tmp")];
    let part = |(name, path): (&str, &str)| {
        let name = format!("{container}-{name}");
        (
            empty(&name, None, &resources.disk_limit),
            mount(&name, path, MountAccess::Writable),
        )
    };
    folders.map(part).into()
}

/// Where the preparing container reports that everything is ready. In memory, because it is watched and one line long.
pub fn handover(access: MountAccess) -> MountedVolume {
    let volume = empty("handover", Some("Memory"), HANDOVER_SIZE);
    (volume, mount("handover", HANDOVER_FOLDER, access))
}

/// The socket through which the preparing container has the building one run code of packages.
pub fn builds(access: MountAccess) -> MountedVolume {
    let volume = empty("builds", Some("Memory"), HANDOVER_SIZE);
    (volume, mount("builds", BUILDS_FOLDER, access))
}

/// Where the runner of a standby pod notes its first start. It outlives a container that is started again.
pub fn started(path: &str) -> MountedVolume {
    let volume = empty("started", Some("Memory"), HANDOVER_SIZE);
    (volume, mount("started", path, MountAccess::Writable))
}

/// Certificates that replace the image's own; `None` if the cluster needs none.
pub fn certificates(config: &KubeConfig) -> Option<MountedVolume> {
    let name = config.certificates.as_ref()?;
    let volume = Volume {
        name: "certificates".to_owned(),
        config_map: Some(ConfigMapVolumeSource {
            name: name.clone(),
            ..ConfigMapVolumeSource::default()
        }),
        ..Volume::default()
    };
    let mut mount = mount(&volume.name, CERTIFICATES, MountAccess::ReadOnly);
    mount.sub_path = Some(CERTIFICATES_KEY.to_owned());
    Some((volume, mount))
}

fn persistent(name: &str, claim: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
            claim_name: claim.to_owned(),
            read_only: None,
        }),
        ..Volume::default()
    }
}

fn empty(name: &str, medium: Option<&str>, size: &str) -> Volume {
    Volume {
        name: name.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            medium: medium.map(str::to_owned),
            size_limit: Some(Quantity(size.to_owned())),
        }),
        ..Volume::default()
    }
}

fn mount(name: &str, path: &str, access: MountAccess) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: access.read_only(),
        ..VolumeMount::default()
    }
}
