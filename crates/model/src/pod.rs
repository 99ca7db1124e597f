//! The files that a pod reads: the image's record of its tools, and the request that both containers of a task read.
//!
//! A sandbox on this machine gets its request on standard input. A pod's containers find everything in files.
//!
//! ```text
//! /etc/hybrid-cache/image.json   ImageRecord, part of the image
//! /task/request.json             PodRequest (or PodMaintainRequest), a Secret owned by the task's Job or Workflow
//! /handover/ready                one PrepareEvent, Ready or Failed: from the preparing container to the task's
//! /handover/leased               opened by the task's container once it has its leases: the preparing one lets its own go
//! /builds/socket                 from the preparing container to the one that builds: a BuildOrder, answered by BuildMessages
//! /cache/python, /nix            the volumes: read-only for the task, writable for the preparing container
//! /scratch, /tmp                 emptyDirs of the container
//! /standby                       emptyDir of a standby pod, which no task can reach; such a pod gets a StandbyOrder on standard input
//! /dev/termination-log           the RunReport, PrepareReport or MaintainReport
//! ```

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::budget::Budgets;
use crate::maintain::MaintainReport;
use crate::outcome::Failure;
use crate::protocol::{BuildReport, Identity, IndexScope, Interpreter, Keep, Limits, SystemTools, Volumes};
use crate::resources::TaskResources;
use crate::sources::AllowedSources;
use crate::task::TaskSpec;
use crate::tenant::Tenant;
use crate::timeline::Timeline;

/// Version of [`ImageRecord`] and [`PodRequest`]; raised when one side would misread the other.
pub const POD_PROTOCOL_VERSION: u32 = 2;
/// The runner in an image, its entry point.
pub const RUNNER_FILE: &str = "/usr/local/bin/runner";
/// Where the image describes itself.
pub const IMAGE_FILE: &str = "/etc/hybrid-cache/image.json";
/// Where the request is.
pub const REQUEST_FILE: &str = "/task/request.json";
/// Folder that the two containers of a task share.
pub const HANDOVER_FOLDER: &str = "/handover";
/// What the preparing container leaves in [`HANDOVER_FOLDER`]: one line of JSON.
pub const HANDOVER_FILE: &str = "/handover/ready";
/// Folder that the preparing container shares with the one that builds; only the former can write to it.
pub const BUILDS_FOLDER: &str = "/builds";
/// The socket on which the preparing container takes one connection, before any code of a package runs.
pub const BUILDS_SOCKET: &str = "/builds/socket";
/// Where the Python volume is mounted.
pub const PYTHON_MOUNT: &str = "/cache/python";
/// Where the Nix folder of the system volume is mounted.
pub const NIX_MOUNT: &str = "/nix";
/// Folder for the program's text and its home.
pub const SCRATCH_FOLDER: &str = "/scratch";
/// Where a container leaves its result for Kubernetes, 4 KiB at most.
pub const TERMINATION_FILE: &str = "/dev/termination-log";
/// Names the token with which the runner says at the end of a task's log how it ended; absent if it is not wanted.
pub const TRAILER_VARIABLE: &str = "HYBRID_CACHE_TRAILER";
/// In front of the token: a record separator, which programs hardly print.
pub const TRAILER_MARK: &str = "\u{1e}";
/// Begins the line of a preparing container's log that holds a [`crate::contents::Prepared`]. No user code runs there.
pub const PREPARED_MARK: &str = "\u{1e}prepared ";
/// Begins the line of a maintenance container's log that holds a [`crate::contents::Contents`].
pub const CONTENTS_MARK: &str = "\u{1e}contents ";
/// Folder of a standby pod in which its runner notes that it has been started.
pub const STANDBY_FOLDER: &str = "/standby";
/// What the runner of a standby pod writes to its log behind the mark and the token of its order, before it begins the task. Also its
/// termination message from then until the report replaces it.
pub const STANDBY_ACCEPTED: &str = "accepted";
/// Names what the runner of a standby pod prepares before a task comes: one [`PreparedSetup`] as JSON.
pub const PREPARED_VARIABLE: &str = "HYBRID_CACHE_PREPARED";
/// Begins a line of a standby pod's log that an operator may read, a text as JSON. Such lines come before any order, so they are no
/// output of a task.
pub const STANDBY_NOTE: &str = "\u{1e}standby ";
/// Where whole volumes are mounted while folders are made or deleted in them.
pub const VOLUMES_FOLDER: &str = "/volumes";
/// Where an image holds caches that were filled when it was built, as archives.
pub const SEED_FOLDER: &str = "/seed";

/// What an image brings: its tools and their identities. Written when the image is built.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// [`POD_PROTOCOL_VERSION`] when the image was built.
    pub protocol: u32,
    /// The interpreter that environments are made for.
    pub interpreter: Interpreter,
    /// Further interpreters, for tasks that ask for another version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_interpreters: Vec<Interpreter>,
    /// The uv program.
    pub uv: String,
    /// Nix; absent in an image without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<ImageSystem>,
    /// Search path behind the environments' own.
    pub base_path: String,
    /// User that the image is made for.
    pub identity: Identity,
}

/// How an image makes system packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSystem {
    /// Provider and source. Mirrors and variables are empty here: they belong to a cluster, not to an image.
    pub tools: SystemTools,
    /// Identity of the package source.
    pub source_id: String,
}

/// What a cluster's place in the network demands of the tools. `Debug` leaves out the values of variables, among which are
/// passwords.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSettings {
    /// Identity of the package index, without credentials.
    pub index: String,
    /// For uv alone (`UV_DEFAULT_INDEX`, `SSL_CERT_FILE`, proxies).
    #[serde(default)]
    pub python_variables: Vec<(String, String)>,
    /// For Nix alone.
    #[serde(default)]
    pub system_variables: Vec<(String, String)>,
    /// Base URLs of Debian mirrors, for debnix.
    #[serde(default)]
    pub mirrors: Vec<String>,
    /// Who may share what comes from the package index.
    #[serde(default)]
    pub index_scope: IndexScope,
    /// True if packages without a wheel must not be built.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_builds: bool,
    /// Where packages may come from beside the index.
    #[serde(default, skip_serializing_if = "AllowedSources::is_empty")]
    pub sources: AllowedSources,
}

impl fmt::Debug for NetworkSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |variables: &[(String, String)]| variables.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
        f.debug_struct("NetworkSettings")
            .field("index", &self.index)
            .field("python_variables", &names(&self.python_variables))
            .field("system_variables", &names(&self.system_variables))
            .field("mirrors", &self.mirrors)
            .field("index_scope", &self.index_scope)
            .field("no_builds", &self.no_builds)
            .field("sources", &self.sources)
            .finish()
    }
}

/// How the task's container finds its environments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodEnvironments {
    /// In the caches; a miss ends the container with [`crate::protocol::EXIT_MISSED`].
    Lookup,
    /// A preparing container in the same pod says where.
    HandedOver,
}

/// What the containers of a task's pod read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRequest {
    /// [`POD_PROTOCOL_VERSION`] of the driver.
    pub protocol: u32,
    /// The task.
    pub task: TaskSpec,
    /// How the task's container finds its environments.
    pub environments: PodEnvironments,
    /// Mount points.
    pub volumes: Volumes,
    /// Publish or discard what is prepared.
    pub keep: Keep,
    /// True lets a request that is older than `max_age_s` count as a hit.
    pub accept_stale: bool,
    /// Bounds on the user's program.
    pub limits: Limits,
    /// Milliseconds that preparing may take, waiting for others included.
    pub prepare_ms: u64,
    /// A request resolved longer ago than this, in seconds, is resolved again.
    pub max_age_s: u64,
    /// The cluster's place in the network.
    pub network: NetworkSettings,
    /// How much each volume may hold.
    pub budgets: Budgets,
    /// Variables for the user's program.
    #[serde(default)]
    pub variables: Vec<(String, String)>,
    /// Whose task it is.
    #[serde(default)]
    pub tenant: Tenant,
    /// True asks what the task's environments are made of: the answer is in the preparing container's log, after [`PREPARED_MARK`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub describe: bool,
    /// True if a container of the same pod builds packages that have no wheel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub builds: bool,
    /// What the task asked for of its container, for a driver that adopts the task; the runner does not read it.
    #[serde(default, skip_serializing_if = "TaskResources::is_empty")]
    pub resources: TaskResources,
}

/// The one task of a standby pod: one line of JSON on the standard input of its runner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyOrder {
    /// Marks what the runner says of this task in its log, as [`TRAILER_VARIABLE`] does in the pod of a Job.
    pub token: String,
    /// The task.
    pub request: PodRequest,
}

/// What the runner of a standby pod prepares: an interpreter for tasks with certain packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PreparedSetup {
    /// The packages and the limits of such a task. Its program is never run.
    pub request: PodRequest,
    /// Modules that are imported, in this order.
    pub imports: Vec<String>,
}

/// What the building container says of one order, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "message")]
pub enum BuildMessage {
    /// A file that the program left; its bytes follow the line.
    File {
        /// Its name.
        name: String,
        /// How many bytes follow.
        bytes: u64,
    },
    /// The program has ended; the last message of an order.
    Report(BuildReport),
}

/// How the preparing container ended: its last event, without what the task's container has passed on already.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub enum PrepareReport {
    /// The task has been notified, and publishing continues. It is left at that moment and replaced at the end: a driver that
    /// finds it in a container that has ended knows that only publishing was cut short.
    HandedOver,
    /// Everything is published, or deliberately not.
    Published {
        /// All spans of the preparation, on its own clock.
        timeline: Timeline,
        /// Microseconds on that clock at which the task was notified that it may start.
        ready_us: u64,
        /// What an operator should know.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
    },
    /// It failed.
    Failed {
        /// Why.
        failure: Failure,
        /// The timeline up to there.
        timeline: Timeline,
    },
}

/// The command of a maintenance pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "question")]
pub enum PodMaintenanceCommand {
    /// Report the disk usage of the volumes.
    Usage,
    /// List the environments and their parts, in the container's log behind [`CONTENTS_MARK`]: a termination message is too
    /// small.
    Contents,
    /// Evict until each volume is within its budget.
    Gc {
        /// How much each volume may keep.
        budgets: Budgets,
    },
    /// Verify everything on the volumes.
    Verify {
        /// Set aside what is damaged.
        #[serde(default)]
        repair: bool,
    },
    /// Make the folders of an epoch (`None`: the standing caches) below [`VOLUMES_FOLDER`], and in them those of a
    /// tenant that its pods mount.
    CreateEpoch {
        /// Its name.
        epoch: Option<String>,
        /// The tenant.
        #[serde(default)]
        tenant: Tenant,
    },
    /// Move caches of another layout out of the way, on the same volumes.
    SetAside,
    /// Delete the folders of an epoch.
    DeleteEpoch {
        /// Its name.
        epoch: String,
    },
}

/// What a maintenance pod reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodMaintainRequest {
    /// [`POD_PROTOCOL_VERSION`] of the driver.
    pub protocol: u32,
    /// What to do.
    #[serde(flatten)]
    pub question: PodMaintenanceCommand,
    /// The cluster's place in the network.
    pub network: NetworkSettings,
    /// Milliseconds until it gives up.
    pub deadline_ms: u64,
}

/// What the container reads that fills caches for an image, in [`REQUEST_FILE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedRequest {
    /// [`POD_PROTOCOL_VERSION`] of who asks.
    pub protocol: u32,
    /// Tasks whose packages the image should contain; their code is ignored.
    pub tasks: Vec<TaskSpec>,
    /// The place in the network, of the machine that builds and of the clusters that will use the image alike: the index
    /// is part of what an environment is found by.
    pub network: NetworkSettings,
    /// Milliseconds that each of them may take.
    pub prepare_ms: u64,
    /// A request resolved longer ago than this, in seconds, is resolved again.
    pub max_age_s: u64,
}

/// What a maintenance pod answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
pub enum PodMaintainReport {
    /// To a question about the caches.
    Maintained {
        /// The answer of the runner's own commands.
        #[serde(flatten)]
        report: MaintainReport,
    },
    /// The folders were made or deleted.
    Done,
    /// Caches of another layout were moved.
    SetAside {
        /// Where to, relative to [`VOLUMES_FOLDER`]; empty if there were none.
        folders: Vec<String>,
    },
    /// It could not be done.
    Failed {
        /// Why.
        failure: Failure,
    },
}

/// Start of the names of the folders that caches of another layout are moved into.
pub const SET_ASIDE: &str = "set-aside-";

/// Folder of an epoch's Python volume below the root of its PersistentVolume; empty for the standing caches.
pub fn python_sub_path(epoch: Option<&str>) -> String {
    epoch.map(|name| format!("epochs/{name}")).unwrap_or_default()
}

/// Folder that is mounted at `/nix`, below the root of the system PersistentVolume.
pub fn nix_sub_path(epoch: Option<&str>) -> String {
    const STANDING: &str = ".nix-portable/nix";
    match epoch {
        Some(name) => format!("epochs/{name}/{STANDING}"),
        None => STANDING.to_owned(),
    }
}
