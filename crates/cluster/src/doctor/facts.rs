//! The facts that the checks judge: plain data, so that a test can pass any fault.

use hybrid_cache_driver::local::Landlock;
use hybrid_cache_image::docker::EngineError;

use crate::kind_cli::KindFound;
use crate::standby::StandbyReport;

/// A fact, or why it is not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// The fact was read.
    Known(T),
    /// The fact could not be read, and why.
    Unknown(String),
}

/// All facts.
#[derive(Clone, Debug)]
pub struct Facts {
    /// This machine.
    pub host: Host,
    /// The Docker engine.
    pub docker: Docker,
    /// The `kind` program.
    pub kind: KindProgram,
    /// The image that tasks run in.
    pub image: Fact<Image>,
    /// The cluster.
    pub cluster: Fact<Cluster>,
    /// Two runs of the same task, one right after the other.
    pub smoke_test: Fact<SmokeTest>,
    /// System packages that the user asked about.
    pub names: Vec<Name>,
}

/// This machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Version of control groups, 1 or 2.
    pub cgroup_version: u8,
    /// False if the capability bounding set lacks CAP_SYS_RESOURCE.
    pub sys_resource: bool,
    /// Why an ordinary user gets no user namespace; `None` if the user gets one.
    pub user_namespaces_refused: Option<String>,
    /// What the kernel supports of Landlock.
    pub landlock: Landlock,
    /// Why the local driver cannot limit a task's memory; `None` if it can.
    pub memory_limit_lacking: Option<String>,
    /// Why tasks on this machine get no network of their own; `None` if they do.
    pub task_network_refused: Option<String>,
    /// A variable that names a proxy on this machine's loopback, which such tasks cannot reach.
    pub loopback_proxy: Option<String>,
    /// File systems that fill up: purpose, and free space.
    pub disks: Vec<Disk>,
    /// How many inotify instances one user may have; kind's nodes need more than the kernel's default.
    pub inotify_instances: u64,
    /// Ports of this machine that the cluster's definition asks for and another program uses.
    pub taken_ports: Vec<u16>,
}

/// A file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// A folder on the file system.
    pub folder: String,
    /// Bytes that an ordinary user may still use.
    pub free_bytes: u64,
    /// Inodes that an ordinary user may still use; `None` if the file system does not count inodes.
    pub free_inodes: Option<u64>,
}

/// The Docker engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Docker {
    /// The engine cannot be used.
    Unusable(EngineError),
    /// The engine answers.
    Running {
        /// Version of the engine.
        version: String,
        /// Version of the API that is used.
        api: String,
        /// Runtime for containers that do not name one.
        default_runtime: String,
    },
}

/// The `kind` program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KindProgram {
    /// The result of the search for the program.
    Searched(KindFound),
    /// The program is not needed: the cluster is not a kind cluster of ours.
    NotNeeded,
}

/// The image that tasks run in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Reference of the image.
    pub reference: String,
    /// Id of the image in the engine; `None` if the engine does not have the image.
    pub id: Option<String>,
    /// The Nix that the image's record names.
    pub nix: Option<String>,
    /// The versions of Python that it names, the default first.
    pub pythons: Vec<String>,
}

/// The cluster.
#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    /// Context of the cluster.
    pub context: String,
    /// Name and readiness of each node; `Err` has the problem that the node reports.
    pub nodes: Vec<(String, Result<(), String>)>,
    /// True if a node has the image.
    pub image_on_node: Fact<bool>,
    /// True if the folder of the volumes is mounted into the node; not for clusters with dynamic volumes.
    pub volumes_mounted: Fact<bool>,
    /// Owner of each volume's folder on the node.
    pub owners: Fact<Vec<(String, u32)>>,
    /// The claims that should exist.
    pub claims: Vec<Claim>,
    /// Seconds by which the cluster's clock is ahead of ours.
    pub clock_ahead_s: Fact<i64>,
    /// The addresses that the network policy closes.
    pub addresses: Fact<Addresses>,
    /// Leftovers of interrupted runs: `secret/task-abc`, `epoch first-1`.
    pub leftovers: Vec<String>,
    /// The standby pods that `up` recorded; `None` if it recorded none.
    pub standby: Option<Fact<Standby>>,
    /// True if the kubelet is configured to accept cgroup v1.
    pub kubelet_accepts_cgroup_v1: Fact<bool>,
}

/// The standby pods.
#[derive(Clone, Debug, PartialEq)]
pub struct Standby {
    /// What the cluster shows of them.
    pub report: StandbyReport,
    /// How many should be ready whatever arrives.
    pub least: u64,
    /// Rights that this account lacks for them: `create pods/attach`.
    pub missing_rights: Vec<String>,
}

/// Which addresses of the cluster are closed to tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// Ranges of the cluster that the policy leaves open: `10.96.0.0/16`.
    pub left_open: Vec<String>,
    /// Which addresses the cluster does not state, as text for a person.
    pub unknown: Option<String>,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Name of the claim.
    pub name: String,
    /// `Bound`, `Pending`, `Lost`; `None` if there is no such claim.
    pub phase: Option<String>,
    /// Capacity in bytes.
    pub capacity_bytes: u64,
    /// Bytes that the volume holds now, if known.
    pub used_bytes: Option<u64>,
    /// Latest event about the claim.
    pub event: Option<String>,
    /// The nodes that can mount the volume, or why none can; `None` if that is not known.
    pub nodes: Option<Result<Vec<String>, String>>,
}

/// Two runs of the same task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmokeTest {
    /// What each cache reported in the second run: (cache, status).
    pub second: Vec<(String, String)>,
    /// True if every cache that was used reported a hit.
    pub all_hit: bool,
    /// Why a run failed.
    pub failure: Option<String>,
    /// Duration of the second run in milliseconds.
    pub second_ms: u64,
}

/// A system package that the user asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// The name as the user wrote it.
    pub asked: String,
    /// The attributes that the name stands for; `None` if the package source has nothing of that name.
    pub attributes: Option<Vec<String>>,
    /// The nearest known name.
    pub suggestion: Option<String>,
    /// The package source that was searched.
    pub source: String,
}
