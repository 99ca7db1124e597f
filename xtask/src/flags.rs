//! Every command and option, once. `cargo xtask help` is this file and what lies below it.

mod attack;
mod bench;
mod bounds;
mod cache;
mod chaos;
mod serve;
mod size;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hybrid_cache_model::Tenant;
use hybrid_cache_model::quantity;

use crate::cluster::ranges::Range;

/// Least size of a claim, in bytes.
const LEAST_CLAIM_BYTES: u64 = 1 << 30;

pub use attack::Attack;
pub use bench::Bench;
pub use bounds::Bounds;
pub use cache::{Cache, CacheCommand, Trace, TraceCommand};
pub use chaos::Chaos;
pub use serve::Serve;
pub use size::Size;

/// Caches for Python environments and system packages, measured.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    version,
    disable_help_subcommand = false
)]
#[command(after_help = "\
Exit codes: 0 good, 1 the tool failed, 2 usage, 3 a gate, target or promise failed or damage was found,
4 a prerequisite is missing, 5 the task failed, 130 interrupted (what was measured is kept), 141 the reader of
standard output has gone. Results go to standard output, progress and messages to standard error.")]
pub struct Flags {
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Measure first against cached runs of the scenarios and write a report
    Bench(Bench),
    /// Render a run's report again from its samples, and print its summary
    Report(Report),
    /// Compare two runs
    Compare(Compare),
    /// Run one task
    Run(Run),
    /// Serve the task API and its pages
    Serve(Serve),
    /// Look after the caches
    Cache(Cache),
    /// Compute how large the volumes must be, from a trace of requests
    Size(Size),
    /// Attack this machine's sandbox and the cluster's pods, and show which promises hold
    Attack(Attack),
    /// Kill, fill and take away what tasks need, and show which promises hold all the same
    Chaos(Chaos),
    /// Bring the pinned tools into the checkout and list them
    Tools(Tools),
    /// Maintain the Debian package set
    Debnix(Debnix),
    /// Make a cluster, its image and its volumes, and run a first task on it
    Up(Up),
    /// Delete the cluster; its caches stay
    Down(Down),
    /// Show the cluster, its volumes and what they hold
    Status(Status),
    /// Check everything a cluster needs, and say how to mend what is wrong
    Doctor(Doctor),
    /// Build the image that tasks run in
    Image(Image),
    /// Build a kind node image where no container registry can be reached
    NodeImage(NodeImage),
    /// Run every test, as CI does; tests of a cluster make one of their own and delete it
    Test(Test),
    /// Run one test program with a time limit for each of its tests: what `test` gives cargo as its runner
    #[command(hide = true)]
    WatchTest(WatchTest),
}

/// Where tasks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DriverName {
    /// This machine, in a bubblewrap sandbox
    Local,
    /// A Kubernetes cluster, a Job for each task
    Kube,
    /// The same with a Workflow of Argo for each task
    Argo,
}

/// How system packages are made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ProviderName {
    /// What works here
    #[default]
    Auto,
    /// A nix program
    Nix,
    /// nix-portable
    NixPortable,
}

/// Where system packages come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum SourceName {
    /// nixpkgs where it can be reached, the Debian set otherwise
    #[default]
    Auto,
    /// nixpkgs at the pinned revision
    Nixpkgs,
    /// Pinned Debian packages
    Debnix,
}

/// Options of every command that runs tasks on this machine.
#[derive(Clone, Debug, Default, Args)]
pub struct Local {
    /// Cache folder [default: hybrid-cache in the user's cache folder]
    #[arg(long, value_name = "DIR", global = true)]
    pub cache_dir: Option<PathBuf>,
    /// How system packages are made
    #[arg(long, value_enum, default_value_t, global = true)]
    pub provider: ProviderName,
    /// Where system packages come from
    #[arg(long, value_enum, default_value_t, global = true)]
    pub source: SourceName,
    /// Set the network of user code
    #[arg(
        long,
        value_enum,
        value_name = "NETWORK",
        default_value_t,
        conflicts_with = "no_network",
        global = true
    )]
    pub network: NetworkName,
    /// Give user code no network; the same as `--network none`
    #[arg(long, global = true)]
    pub no_network: bool,
    /// Keep what comes from the package index to the tenant; on by itself where its address carries credentials
    #[arg(long, global = true)]
    pub private_index: bool,
    /// Do not record the requests of tasks for `size`; what is recorded holds neither code nor output
    #[arg(long, global = true)]
    pub no_trace: bool,
    /// Bounds on each task
    #[command(flatten)]
    pub bounds: Bounds,
}

/// The network of user code on this machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NetworkName {
    /// One of its own: the outside and names, but neither this machine nor link-local addresses
    #[default]
    Isolated,
    /// This machine's, loopback included
    Shared,
    /// None
    None,
}

impl Local {
    /// Most bytes of recorded requests; 0 where none are to be recorded.
    pub fn trace_bytes(&self) -> u64 {
        if self.no_trace {
            0
        } else {
            hybrid_cache_driver::trace::DEFAULT_MAX_BYTES
        }
    }

    /// The network of user code.
    pub fn network(&self) -> NetworkName {
        if self.no_network {
            NetworkName::None
        } else {
            self.network
        }
    }
}

/// `report`
#[derive(Debug, Args)]
pub struct Report {
    /// Folder of a run
    pub run: PathBuf,
    /// Print the whole record as JSON
    #[arg(long)]
    pub json: bool,
}

/// `compare`
#[derive(Debug, Args)]
pub struct Compare {
    /// Folder of the earlier run
    pub before: PathBuf,
    /// Folder of the later run
    pub after: PathBuf,
    /// Exit with 3 if a median is slower by more than SHARE, such as 0.1
    #[arg(long, value_name = "SHARE", value_parser = crate::results::parse_share)]
    pub gate: Option<f64>,
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// Where to run
    #[arg(long, value_enum, default_value = "local")]
    pub driver: DriverName,
    /// A task as the API takes it: a JSON file, `-` for standard input
    #[arg(value_name = "FILE", conflicts_with_all = ["python", "dep", "requirements", "system", "no_cache"])]
    pub file: Option<PathBuf>,
    /// The program's text
    #[arg(
        long,
        value_name = "CODE",
        required_unless_present = "file",
        allow_hyphen_values = true
    )]
    pub python: Option<String>,
    /// Python package; may be repeated
    #[arg(long, value_name = "REQUIREMENT", allow_hyphen_values = true)]
    pub dep: Vec<String>,
    /// Requirements file
    #[arg(long, value_name = "FILE")]
    pub requirements: Option<PathBuf>,
    /// System package; may be repeated
    #[arg(long, value_name = "NAME")]
    pub system: Vec<String>,
    /// Bypass both caches and leave nothing behind
    #[arg(long)]
    pub no_cache: bool,
    /// Seconds until the program is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub timeout: u64,
    /// Whose environments to use: each tenant has its own
    #[arg(long, value_name = "NAME", default_value_t)]
    pub tenant: Tenant,
    /// Print the outcome as JSON instead of a summary; the program's output goes to standard error then
    #[arg(long)]
    pub json: bool,
    /// This machine as a place to run
    #[command(flatten)]
    pub local: Local,
    /// Which cluster, with `--driver kube`
    #[command(flatten)]
    pub cluster: Cluster,
}

/// `tools`
#[derive(Debug, Args)]
pub struct Tools {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How system packages are made
    #[arg(long, value_enum, default_value_t)]
    pub provider: ProviderName,
    /// Where system packages come from
    #[arg(long, value_enum, default_value_t)]
    pub source: SourceName,
}

/// `debnix`
#[derive(Debug, Args)]
pub struct Debnix {
    /// What to do
    #[command(subcommand)]
    pub command: DebnixCommand,
}

/// `debnix …`
#[derive(Debug, Subcommand)]
pub enum DebnixCommand {
    /// Write images/debnix/pins.json anew from the machine's own Debian sources
    Pin,
}

/// Which cluster.
#[derive(Clone, Debug, Args)]
pub struct Cluster {
    /// Name of the kind cluster
    #[arg(
        long,
        value_name = "NAME",
        default_value = "hybrid-cache",
        conflicts_with = "context",
        global = true
    )]
    pub name: String,
    /// A cluster that exists already, by its context in the kubeconfig
    #[arg(long, value_name = "CONTEXT", global = true)]
    pub context: Option<String>,
    /// Namespace of that cluster for tasks and claims
    #[arg(long, value_name = "NAME", default_value = crate::cluster::NAMESPACE, requires = "context", global = true)]
    pub namespace: String,
}

/// `up`
#[derive(Debug, Args)]
pub struct Up {
    /// Which cluster
    #[command(flatten)]
    pub cluster: Cluster,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub plan: bool,
    /// Delete and make again what cannot be changed in place
    #[arg(long)]
    pub recreate: bool,
    /// Node image for kind: a reference, or an archive of `docker save`
    #[arg(long, value_name = "REF|ARCHIVE", conflicts_with = "context")]
    pub node_image: Option<String>,
    /// StorageClass that provides the volumes [default: folders of the kind node]
    #[arg(long, value_name = "NAME")]
    pub storage_class: Option<String>,
    /// Folder of this machine that keeps the volumes of a kind cluster [default: in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    pub volumes_dir: Option<PathBuf>,
    /// Close these addresses to tasks as well, where the network enforces policies; may be given several times, and is
    /// remembered. The cluster's pods, Services and nodes are closed where it tells their addresses
    #[arg(long, value_name = "RANGE")]
    pub closed_range: Vec<Range>,
    /// Size of the claim for Python environments, such as 20Gi [default: as it is, else as in the manifest]
    #[arg(long, value_name = "QUANTITY", value_parser = quantity)]
    pub python_size: Option<String>,
    /// Size of the claim for system packages [default: as it is, else as in the manifest]
    #[arg(long, value_name = "QUANTITY", value_parser = quantity)]
    pub system_size: Option<String>,
    /// Leave the first task out
    #[arg(long)]
    pub no_task: bool,
    /// Bring Argo Workflows into a kind cluster as well; into another one only what our Workflows need where it is installed
    #[arg(long)]
    pub with_argo: bool,
    /// Run the task service in the cluster as well, with a Job for each task or a Workflow of Argo [default: kube]
    #[arg(long, value_name = "DRIVER", num_args = 0..=1, require_equals = true, default_missing_value = "kube")]
    pub with_service: Option<ServiceDriver>,
}

impl Up {
    /// True where Argo Workflows is wanted, for itself or for the service.
    pub fn wants_argo(&self) -> bool {
        self.with_argo || self.with_service == Some(ServiceDriver::Argo)
    }
}

/// Reads a size in Kubernetes' notation.
fn quantity(text: &str) -> Result<String, String> {
    match quantity::bytes(text) {
        Some(bytes) if bytes >= LEAST_CLAIM_BYTES => Ok(text.to_owned()),
        Some(_) => Err("no environment fits into less than 1Gi".to_owned()),
        None => Err("write it as Kubernetes does: 20Gi, 512Mi or a number of bytes".to_owned()),
    }
}

/// What the task service in a cluster makes of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ServiceDriver {
    /// A Job
    Kube,
    /// A Workflow of Argo; brings what --with-argo does
    Argo,
}

/// `down`
#[derive(Debug, Args)]
pub struct Down {
    /// Which cluster
    #[command(flatten)]
    pub cluster: Cluster,
    /// Delete the caches as well
    #[arg(long)]
    pub volumes: bool,
    /// Delete the tasks that the task service keeps in the cluster as well; without it `down` deletes no cluster that holds some
    #[arg(long)]
    pub service_data: bool,
}

/// `status`
#[derive(Debug, Args)]
pub struct Status {
    /// Which cluster
    #[command(flatten)]
    pub cluster: Cluster,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Which cluster
    #[command(flatten)]
    pub cluster: Cluster,
    /// Look up whether there is a system package of this name; may be repeated
    #[arg(long, value_name = "NAME")]
    pub system: Vec<String>,
    /// Leave out the trial, which runs a task twice
    #[arg(long)]
    pub no_trial: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `image`
#[derive(Debug, Args)]
pub struct Image {
    /// Image to build on: a reference, or `debian` to make one from Debian packages [default: see the Dockerfile]
    #[arg(long, value_name = "REF|debian")]
    pub base: Option<String>,
    /// Build the image of the task service instead
    #[arg(long, conflicts_with_all = ["base", "warm", "warm_system", "force"])]
    pub service: bool,
    /// Tag the image with this reference and push it, with your Docker credentials
    #[arg(long, value_name = "REF")]
    pub push: Option<String>,
    /// Python packages of one task, separated by commas, that empty volumes shall be given with the image; may be repeated
    #[arg(long, value_name = "PACKAGES", allow_hyphen_values = true)]
    pub warm: Vec<String>,
    /// Likewise system packages
    #[arg(long, value_name = "PACKAGES", allow_hyphen_values = true)]
    pub warm_system: Vec<String>,
    /// Build even where an image of the same content is there
    #[arg(long)]
    pub force: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `node-image`
#[derive(Debug, Args)]
pub struct NodeImage {
    /// Write the image into this file as well, as `docker save` does
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// `test`
#[derive(Debug, Args)]
pub struct Test {
    /// Only tests whose name contains this
    pub filter: Option<String>,
    /// Skip the tests of a cluster, and make none
    #[arg(long)]
    pub no_cluster: bool,
    /// Keep the cluster that was made for the tests, and use it again with the next run
    #[arg(long, conflicts_with = "no_cluster")]
    pub keep_cluster: bool,
    /// Fail a test that runs longer than SECONDS
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=86_400))]
    pub limit: u64,
}

/// `watch-test`
#[derive(Debug, Args)]
pub struct WatchTest {
    /// Longest that one test may take
    #[arg(long, value_name = "SECONDS")]
    pub seconds: u64,
    /// The test program
    pub program: PathBuf,
    /// What it is given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<std::ffi::OsString>,
}

#[cfg(test)]
mod tests;
