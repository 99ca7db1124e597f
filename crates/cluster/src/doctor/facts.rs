//! What the checks judge: plain data, so that a test can hand them any fault.

use hybrid_cache_driver::local::Landlock;
use hybrid_cache_image::docker::EngineError;

use crate::kind_cli::KindFound;

/// What is known of one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known<T> {
    /// It was looked at.
    Yes(T),
    /// It could not be looked at, and why.
    No(String),
}

/// Everything that was found out.
#[derive(Clone, Debug)]
pub struct Facts {
    /// This machine.
    pub host: Host,
    /// The Docker engine.
    pub docker: Docker,
    /// The `kind` program.
    pub kind: Kind,
    /// The image that tasks run in.
    pub image: Known<Image>,
    /// The cluster.
    pub cluster: Known<Cluster>,
    /// What two runs of the same task did, the second one right after the first.
    pub smoke_test: Known<SmokeTest>,
    /// System packages that a person asked about.
    pub names: Vec<Name>,
}

/// This machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// 1 or 2.
    pub cgroup_version: u8,
    /// False where the capability bounding set lacks CAP_SYS_RESOURCE.
    pub sys_resource: bool,
    /// Why an ordinary user gets no user namespace; `None` where he does.
    pub user_namespaces_refused: Option<String>,
    /// What the kernel has of Landlock.
    pub landlock: Landlock,
    /// Why the local driver can bound no task's memory; `None` where it can.
    pub memory_limit_lacking: Option<String>,
    /// Why tasks on this machine get no network of their own; `None` if they do.
    pub task_network_refused: Option<String>,
    /// A variable that names a proxy on this machine's loopback, which such tasks cannot reach.
    pub loopback_proxy: Option<String>,
    /// File systems that fill up: what for, and what is left.
    pub disks: Vec<Disk>,
    /// Watches of files one user may have at a time; kind's nodes want more than the kernel's default.
    pub inotify_instances: u64,
    /// Ports of this machine that the cluster's definition asks for and something else listens on.
    pub taken_ports: Vec<u16>,
}

/// A file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its folder.
    pub folder: String,
    /// Bytes an ordinary user may still take.
    pub free_bytes: u64,
    /// Inodes likewise; `None` where the file system does not count them.
    pub free_inodes: Option<u64>,
}

/// The Docker engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Docker {
    /// It cannot be used.
    Unusable(EngineError),
    /// It answers.
    Running {
        /// Its version.
        version: String,
        /// The API version that is spoken with it.
        api: String,
        /// Runtime of containers that name none.
        default_runtime: String,
    },
}

/// The `kind` program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It was looked for.
    Looked(KindFound),
    /// It is not needed: the cluster is somebody else's.
    NotNeeded,
}

/// The image that tasks run in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its reference.
    pub reference: String,
    /// Its id in the engine; `None` where it is not there.
    pub id: Option<String>,
    /// Which Nix it says it has.
    pub nix: Option<String>,
}

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Its context.
    pub context: String,
    /// Name and readiness of each node; `Err` is what the node says is wrong.
    pub nodes: Vec<(String, Result<(), String>)>,
    /// True where a node has the image.
    pub image_on_node: Known<bool>,
    /// True where the folder of the volumes is mounted into the node; not for clusters with dynamic volumes.
    pub volumes_mounted: Known<bool>,
    /// Owner of each volume's folder on the node.
    pub owners: Known<Vec<(String, u32)>>,
    /// The claims that should be there.
    pub claims: Vec<Claim>,
    /// Seconds by which the cluster's clock is ahead of ours.
    pub clock_ahead_s: Known<i64>,
    /// What the network policy closes.
    pub addresses: Known<Addresses>,
    /// What interrupted runs have left: `secret/task-abc`, `epoch first-1`.
    pub leftovers: Vec<String>,
    /// True where the kubelet was told to accept cgroup v1.
    pub kubelet_accepts_cgroup_v1: Known<bool>,
}

/// Which addresses of the cluster tasks are kept from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Ranges of the cluster that the policy leaves open: `10.96.0.0/16`.
    pub left_open: Vec<String>,
    /// What the cluster does not tell, for a person.
    pub unknown: Option<String>,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its name.
    pub name: String,
    /// `Bound`, `Pending`, `Lost`; `None` where there is none.
    pub phase: Option<String>,
    /// Bytes it has.
    pub capacity_bytes: u64,
    /// Bytes the volume holds by now, where that is known.
    pub used_bytes: Option<u64>,
    /// Latest event about it.
    pub event: Option<String>,
}

/// Two runs of the same task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmokeTest {
    /// What the second run's caches said: (cache, status).
    pub second: Vec<(String, String)>,
    /// True where every cache that was asked answered with a hit.
    pub all_hit: bool,
    /// Why a run failed.
    pub failure: Option<String>,
    /// Milliseconds the second run took.
    pub second_ms: u64,
}

/// A system package that somebody asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As it was written.
    pub asked: String,
    /// What it stands for; `None` where the package source has nothing of that name.
    pub attributes: Option<Vec<String>>,
    /// The nearest known name.
    pub suggestion: Option<String>,
    /// Which package source.
    pub source: String,
}
