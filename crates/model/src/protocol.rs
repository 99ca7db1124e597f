//! The protocol between a driver and the runner: a request on standard input, events and a result on standard output.
//!
//! A driver first asks for [`RunRequest`] in the *task* sandbox, where both volumes are read-only. A miss comes back
//! as [`RunReport::Missed`]; the driver then asks for [`PrepareRequest`] in the *preparing* sandbox, which may write
//! but never runs user code, and runs the task again as soon as [`PrepareEvent::Ready`] arrives.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::budget::Budgets;
use crate::contents::{Prepared, UsedKeys};
use crate::outcome::{CacheReport, CacheStatus, End, Failure, Output, Resolved};
use crate::sources::AllowedSources;
use crate::task::TaskSpec;
use crate::tenant::Tenant;
use crate::timeline::Timeline;

/// Exit code of the runner when it has reported, also a failure.
pub const EXIT_REPORTED: i32 = 0;
/// Exit code of `runner run` when a cache missed and the task was not started.
pub const EXIT_MISSED: i32 = 75;
/// Exit code of the runner when it could not even report.
pub const EXIT_BROKEN: i32 = 70;

/// The Python interpreter that environments are made for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interpreter {
    /// Absolute path of the real base interpreter, the same inside every sandbox.
    pub path: String,
    /// `cpython`.
    pub implementation: String,
    /// Full version, `3.11.7`.
    pub version: String,
    /// Bytecode and extension tag, `cpython-311`.
    pub abi: String,
    /// Platform triplet, `x86_64-linux-gnu`.
    pub platform: String,
    /// The C library it is linked to, `glibc 2.36`: decides which wheels fit. Empty if it does not say.
    #[serde(default)]
    pub libc: String,
    /// blake3 of the interpreter's binary, hexadecimal.
    pub binary_hash: String,
    /// Its bytecode of [`SITECUSTOMIZE`](crate::python_start::SITECUSTOMIZE), in Base64. Empty if nobody asked it: tasks
    /// start a millisecond later then.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub start: String,
}

/// Where the two caches are, as the runner sees them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volumes {
    /// Mount point of the Python volume: `/cache/python` (or an epoch below it).
    pub python: String,
    /// Mount point of the Nix folder of the system volume: `/nix`.
    pub nix: String,
}

/// Everything beside a task's own fields that decides which environments it gets, and where they are: the volumes, the
/// interpreter, the package index, the source of system packages and the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentContext {
    /// The caches.
    pub volumes: Volumes,
    /// The interpreter.
    pub interpreter: Interpreter,
    /// Identity of the package index, without credentials.
    pub index: String,
    /// Identity of the package source: `nixpkgs:<revision>` or `debnix:<hash of its pins>`.
    pub system_source: String,
    /// A request resolved longer ago than this, in seconds, is resolved again.
    pub max_age_s: u64,
    /// Whose environments: each tenant has a folder of its own on the same volumes.
    #[serde(default)]
    pub tenant: Tenant,
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

/// Who may share downloads and bytecode of a package index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexScope {
    /// All tenants: anybody could download the same.
    #[default]
    Public,
    /// The tenant alone.
    Private,
}

/// Bounds on the user's program. A field that a request lacks has its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Milliseconds until it gets SIGTERM.
    pub time_ms: u64,
    /// Milliseconds from SIGTERM to SIGKILL. In a pod at most [`MAX_POD_GRACE_MS`].
    pub grace_ms: u64,
    /// Bytes of standard output, and as many of standard error, that are passed on.
    pub output_bytes: u64,
    /// Processes and threads it may have at one time.
    pub processes: u64,
    /// Files that one of its processes may have open. The soft limit is [`SOFT_OPEN_FILES`]; a program may raise it up
    /// to this.
    pub open_files: u64,
    /// Bytes that `/tmp` may hold, the working folder included. In a pod the volume's own size counts.
    pub tmp_bytes: u64,
    /// Bytes that `/dev/shm` may hold. In a pod the container's memory limit counts.
    pub shm_bytes: u64,
    /// Bytes of memory that all processes of the task may use together, what they keep in `/tmp` and `/dev/shm`
    /// included; 0: no bound. In a pod the container's memory limit counts.
    pub memory_bytes: u64,
    /// Threads that numeric libraries are configured to use.
    pub threads: u32,
}

/// Longest time in milliseconds that a program in a pod has to end; the pod's own grace period is longer, for the report.
pub const MAX_POD_GRACE_MS: u64 = 5000;

/// Open files that a process may have unless it raises its own soft limit: `select` cannot watch more.
pub const SOFT_OPEN_FILES: u64 = 1024;

impl Limits {
    /// The limits of one task: these, or less if the task asks for less.
    #[must_use]
    pub fn for_task(&self, task: &TaskSpec) -> Limits {
        let asked_ms = task.timeout_seconds.map(|seconds| seconds.saturating_mul(1000));
        Limits {
            time_ms: asked_ms.map_or(self.time_ms, |asked_ms| asked_ms.min(self.time_ms)),
            ..self.clone()
        }
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            time_ms: 600_000,
            grace_ms: 5000,
            output_bytes: 16 << 20,
            processes: 512,
            open_files: 65_536,
            tmp_bytes: 1 << 30,
            shm_bytes: 256 << 20,
            memory_bytes: 0,
            threads: 1,
        }
    }
}

/// User and group that the user's program runs as, if the runner was started with more rights than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Which environments a run uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "source")]
pub enum Environments {
    /// Look them up; report a miss rather than run without them.
    Lookup,
    /// Use what a preparation has just made, which may not be published yet.
    Prepared {
        /// The environment's folder as this sandbox sees it, if the task asks for Python packages.
        python: Option<String>,
        /// Store paths in the order of the search path.
        system: Vec<String>,
        /// What the preparation reported, passed through into the result.
        cache: CacheReport,
        /// Likewise.
        resolved: Resolved,
    },
}

/// `runner run`: run the user's program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The task.
    pub task: TaskSpec,
    /// What decides which environments the task gets, and where they are.
    #[serde(rename = "place")]
    pub context: EnvironmentContext,
    /// Which environments to use.
    pub environments: Environments,
    /// True lets a request that is older than `max_age_s` count as a hit (the index could not be reached).
    pub accept_stale: bool,
    /// Bounds on the user's program.
    pub limits: Limits,
    /// The user to switch to before the user's program starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<Identity>,
    /// Folder for the program's text and its home; private to this run and writable.
    pub scratch: String,
    /// Search path behind the environments' own, such as `/usr/bin:/bin`.
    pub base_path: String,
    /// True refuses to run if the kernel has no Landlock, without which the program could read the environments of
    /// other tenants.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_landlock: bool,
    /// Variables that the user's program gets in addition to those that the runner sets.
    #[serde(default)]
    pub variables: Vec<(String, String)>,
    /// Files and folders that the program may read beside its environments and the basics.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub readable: Vec<String>,
}

/// What `runner run` says when it is done.
#[expect(
    clippy::large_enum_variant,
    reason = "a process makes one of them, and moves it twice"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "report")]
pub enum RunReport {
    /// The task was run, or failed for good.
    Finished {
        /// How it ended.
        #[serde(flatten)]
        end: End,
        /// What the caches did.
        cache: CacheReport,
        /// The runner's own timeline.
        timeline: Timeline,
        /// Standard output.
        stdout: Output,
        /// Standard error.
        stderr: Output,
        /// What was resolved.
        resolved: Resolved,
        /// What the user should know.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
        /// Which entries of the caches it used; empty if it never came to them.
        #[serde(default, skip_serializing_if = "UsedKeys::is_empty")]
        keys: UsedKeys,
    },
    /// A cache did not have what the task asks for; nothing was started.
    Missed {
        /// Which caches missed.
        missed: Missed,
        /// The runner's own timeline up to there.
        timeline: Timeline,
    },
}

/// Which caches missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missed {
    /// The Python environment is not there.
    pub python: bool,
    /// It is there, but was resolved longer ago than `max_age_s`: usable if the index cannot be reached.
    pub python_stale: bool,
    /// The system packages are not there.
    pub system: bool,
}

/// How the runner reaches uv. `Debug` leaves out the values of variables, among which are passwords.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonTools {
    /// The uv program.
    pub uv: String,
    /// Index settings and certificates, as environment variables for uv alone (`UV_DEFAULT_INDEX`…).
    #[serde(default)]
    pub variables: Vec<(String, String)>,
}

impl fmt::Debug for PythonTools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.iter().map(|(name, _)| name).collect();
        f.debug_struct("PythonTools")
            .field("uv", &self.uv)
            .field("variables", &names)
            .finish()
    }
}

/// Which Nix makes store paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "provider")]
pub enum Provider {
    /// nix-portable: unpacks a static Nix into the volume once, whose own `nix` is used from then on.
    NixPortable {
        /// The nix-portable program.
        program: String,
    },
    /// A `nix` program that works on the store at `/nix`.
    Nix {
        /// The program (or a launcher of it).
        program: String,
    },
}

/// Where system packages come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "source")]
pub enum PackageSource {
    /// nixpkgs at one revision.
    Nixpkgs {
        /// The flake reference, `github:NixOS/nixpkgs/<revision>`.
        flake: String,
    },
    /// The pinned Debian packages of images/debnix.
    Debnix {
        /// Folder with `default.nix`.
        folder: String,
        /// Base URLs of the machine's own Debian mirrors.
        mirrors: Vec<String>,
        /// A static busybox.
        busybox: String,
    },
}

/// How the runner reaches Nix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SystemTools {
    /// Which Nix.
    pub provider: Provider,
    /// Which packages.
    pub source: PackageSource,
    /// Certificates and proxies, as environment variables for Nix alone.
    #[serde(default)]
    pub variables: Vec<(String, String)>,
}

/// What a preparation keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Publish it into the caches.
    Publish,
    /// Leave it staged for one run on a volume that is thrown away (`useCache: false`).
    Discard,
}

/// `runner prepare`: make what a task needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareRequest {
    /// The task; its code is ignored.
    pub task: TaskSpec,
    /// What decides which environments the task gets, and where they are.
    #[serde(rename = "place")]
    pub context: EnvironmentContext,
    /// Publish or discard.
    pub keep: Keep,
    /// uv; absent if the task asks for no Python packages.
    pub python_tools: Option<PythonTools>,
    /// Nix; absent if the task asks for no system packages.
    pub system_tools: Option<SystemTools>,
    /// Milliseconds until the preparation gives up, waiting for others included.
    pub deadline_ms: u64,
    /// Versions of the other interpreters on offer, for the explanation of a package without a wheel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_pythons: Vec<String>,
    /// How much each volume may hold before least recently used environments are evicted.
    #[serde(default)]
    pub budgets: Budgets,
    /// True asks what the task's environments are made of: [`PrepareEvent::Published`] has the answer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub describe: bool,
    /// How packages without a wheel are built; absent if they must not be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub builds: Option<BuildSettings>,
}

/// What a preparation must know of the sandbox that builds packages for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildSettings {
    /// Folder in which that sandbox leaves files, one folder for each order, as the preparation sees it.
    pub folder: String,
    /// Its network, such as `isolated`: part of the key of every wheel that is built in it.
    pub network: String,
}

/// Work for the sandbox that runs code of packages: one Python program. It sees uv and the task's system packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildOrder {
    /// Number of the order within its preparation, from 1; names the folder of its files.
    pub number: u32,
    /// The program. It leaves files in [`BUILD_OUT`] below the scratch folder.
    pub code: String,
    /// Store paths of the task's system packages.
    pub system: Vec<String>,
    /// Milliseconds until it is killed.
    pub time_ms: u64,
}

impl BuildOrder {
    /// The program as a task without Python packages, for the task whose packages are built.
    pub fn program(&self, task: &TaskSpec) -> TaskSpec {
        TaskSpec {
            system_dependencies: task.system_dependencies.clone(),
            use_cache: task.use_cache,
            ..TaskSpec::new(self.code.clone())
        }
    }

    /// What the program runs in: the system packages alone.
    pub fn environments(&self) -> Environments {
        Environments::Prepared {
            python: None,
            system: self.system.clone(),
            cache: CacheReport {
                python: CacheStatus::NotAsked,
                system: CacheStatus::NotAsked,
            },
            resolved: Resolved::default(),
        }
    }
}

/// Folder below the scratch folder in which a build's program leaves what it has made.
pub const BUILD_OUT: &str = "work/out";

/// Bytes of output of a build's program that are read; it should print nothing.
pub const BUILD_OUTPUT_BYTES: u64 = 64 << 10;

/// How a build ended. Its files are in the folder of its order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildReport {
    /// How its program ended.
    #[serde(flatten)]
    pub end: End,
    /// Names of the files that it left.
    #[serde(default)]
    pub files: Vec<String>,
}

/// `runner build`: run one program in the sandbox that may run code of packages, and collect its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRequest {
    /// The program with its bounds, as a task without Python packages.
    pub run: RunRequest,
    /// Folder for its files, which the program itself cannot reach.
    pub out: String,
}

/// What `runner prepare` says, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum PrepareEvent {
    /// A phase began, for progress displays.
    Phase {
        /// Which one.
        phase: crate::timeline::Phase,
        /// In which lane.
        lane: crate::timeline::Lane,
    },
    /// A package without a wheel must be built: the answer is a [`BuildReport`], one line on standard input.
    Build {
        /// What to run.
        order: BuildOrder,
    },
    /// Everything the task needs is there and verified; publishing goes on.
    Ready {
        /// Folder of the environment relative to the Python volume: `tenants/<tenant>/staging/…` or `…/envs/<key>`.
        python: Option<String>,
        /// Store paths in the order of the search path.
        system: Vec<String>,
        /// What the caches did.
        cache: CacheReport,
        /// What was resolved.
        resolved: Resolved,
        /// The timeline up to here.
        timeline: Timeline,
    },
    /// Publishing has ended too; the last event of a good preparation.
    Published {
        /// The whole timeline.
        timeline: Timeline,
        /// What an operator should know: published late, could not publish, evicted something.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        warnings: Vec<String>,
        /// What the user should know of how the environment was made, although nothing went wrong.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        notes: Vec<String>,
        /// What the task's environments are made of, if that was asked and something was made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prepared: Option<Box<Prepared>>,
    },
    /// It failed; the last event of a bad one. Nothing half-made is visible.
    Failed {
        /// Why.
        failure: Failure,
        /// The timeline up to there.
        timeline: Timeline,
    },
}
