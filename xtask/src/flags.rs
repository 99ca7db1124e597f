//! Defines every command and option once. `cargo xtask help` prints what this file and its submodules define.

mod attack;
mod bench;
mod bounds;
mod cache;
mod chaos;
mod cluster;
mod options;
pub mod place;
mod serve;
mod size;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use hybrid_cache_cluster::{Range, StandbyChoice, claim_size};
use hybrid_cache_model::Tenant;
use hybrid_cache_model::option_value::parse_gate;
use hybrid_cache_tools::uv_python;

pub use attack::Attack;
pub use bench::Bench;
pub use cache::{Cache, CacheCommand, Trace, TraceCommand};
pub use chaos::Chaos;
pub use place::{Choice, Cluster, DriverName, Local};
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
4 a prerequisite is missing, 5 the task failed, 6 a gate cannot tell, 130 interrupted (what was measured is kept), 141 the reader of
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
    /// Kill, fill and remove what tasks need, and show which promises still hold
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
    /// Check everything a cluster needs, and say how to fix what is wrong
    Doctor(Doctor),
    /// Build the image that tasks run in
    Image(Image),
    /// Build a kind node image on a machine that reaches no container registry
    NodeImage(NodeImage),
    /// Run every test, as CI does; tests of a cluster make one of their own and delete it
    Test(Test),
    /// Print a script that completes `cargo xtask` in a shell
    Completions {
        /// Shell that reads the script
        #[arg(value_name = "SHELL", value_parser = ["bash", "zsh", "fish"])]
        shell: String,
    },
    /// Run one test program with a time limit for each of its tests: what `test` gives cargo as its runner
    #[command(hide = true)]
    WatchTest(WatchTest),
}

/// `report`
#[derive(Debug, Args)]
pub struct Report {
    /// Folder of a run
    #[arg(required_unless_present = "history")]
    pub run: Option<PathBuf>,
    /// Draw all runs below DIR over time into DIR/history.html, at most 1000, and mark where a group changed
    #[arg(long, value_name = "DIR", conflicts_with = "run")]
    pub history: Option<PathBuf>,
    /// Print the whole record, or the history, as JSON
    #[arg(long)]
    pub json: bool,
    /// Also write the timelines of all samples to FILE, as a trace that ui.perfetto.dev and Chrome open
    #[arg(long, value_name = "FILE", conflicts_with = "history")]
    pub trace_out: Option<PathBuf>,
}

/// `compare`
#[derive(Debug, Args)]
pub struct Compare {
    /// Folder of the earlier run
    pub before: PathBuf,
    /// Folder of the later run
    pub after: PathBuf,
    /// Exit with 0 only if every group is proven to be slower by at most SHARE, such as 0.1; with 3 if one is proven to be slower by
    /// more; otherwise with 6
    #[arg(long, value_name = "SHARE", value_parser = parse_gate)]
    pub gate: Option<f64>,
    /// Exit with 0 instead of 6 if the gate cannot tell
    #[arg(long, requires = "gate")]
    pub allow_undecided: bool,
    /// Print a short Markdown summary, for a comment
    #[arg(long)]
    pub markdown: bool,
    /// Print the comparison and the gate's answer as JSON
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// Run tasks on this driver
    #[arg(long, value_enum, default_value = "local")]
    pub driver: DriverName,
    /// A Python program (its name ends in `.py`), or a task as the API takes it: a JSON file, `-` for standard input
    #[arg(value_name = "FILE", conflicts_with = "python")]
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
    /// Constraints file: versions that packages must have if they are installed; may be repeated
    #[arg(long, value_name = "FILE")]
    pub constraints: Vec<PathBuf>,
    /// Python to run on: `3.12`, or bounds such as `>=3.10`; without it the `python3` of PATH
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    pub python_version: String,
    /// Write the task's Python packages with their hashes to this requirements file
    #[arg(long, value_name = "FILE")]
    pub lock: Option<PathBuf>,
    /// System package; may be repeated
    #[arg(long, value_name = "NAME")]
    pub system: Vec<String>,
    /// Bypass both caches and leave nothing behind
    #[arg(long)]
    pub no_cache: bool,
    /// Seconds until the program is asked to end (SIGTERM); 5 s later it is killed [default: 600, or the task file's]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub timeout: Option<u64>,
    /// Variable of the program; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Variable that takes its value from this command's environment and is never shown; may be repeated
    #[arg(long, value_name = "NAME")]
    pub secret_env: Vec<String>,
    /// File that the program reads as standard input, `-` for this command's own
    #[arg(long, value_name = "FILE")]
    pub stdin: Option<PathBuf>,
    /// Label of the task, which is only checked here; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// Use the environments of tenant TENANT; each tenant has its own
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
    /// Arguments of the program
    #[arg(last = true, value_name = "ARG")]
    pub args: Vec<String>,
}

/// `tools`
#[derive(Debug, Args)]
pub struct Tools {
    /// Bring this Python too, such as `3.12`: if the machine has none of it, uv downloads one; may be repeated
    #[arg(long, value_name = "VERSION", value_parser = uv_python::version)]
    pub python_version: Vec<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How system packages are made
    #[command(flatten)]
    pub choice: Choice,
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
    /// Rewrite images/debnix/pins.json from the machine's own Debian sources
    Pin,
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
    /// Delete and create again what cannot be changed in place
    #[arg(long)]
    pub recreate: bool,
    /// Create a kind node from this image: a reference, or an archive of `docker save`
    #[arg(long, value_name = "REF|ARCHIVE", conflicts_with = "context")]
    pub node_image: Option<String>,
    /// Provide the volumes from the StorageClass NAME [default: folders of the kind node]
    #[arg(long, value_name = "NAME")]
    pub storage_class: Option<String>,
    /// Have NUM volume sets: pairs of claims, each on a node of its own, with environments spread over them [default: as many as
    /// there are, or 1]
    #[arg(long, value_name = "NUM")]
    pub volume_sets: Option<u32>,
    /// Give a new kind cluster NUM worker nodes, each with the folders of one volume set [default: as the last time, or 0, a single
    /// node]
    #[arg(long, value_name = "NUM")]
    pub workers: Option<u32>,
    /// Keep the volumes of a kind cluster in DIR of this machine [default: in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    pub volumes_dir: Option<PathBuf>,
    /// Close the addresses RANGE to tasks too, if the network enforces policies; may be repeated, and is remembered. Pods,
    /// Services and nodes are closed anyway if the cluster states their addresses
    #[arg(long, value_name = "RANGE")]
    pub closed_range: Vec<Range>,
    /// Claim QUANTITY for Python environments, such as 20Gi [default: as it is now, or as in the manifest for a new one]
    #[arg(long, value_name = "QUANTITY", value_parser = claim_size)]
    pub python_size: Option<String>,
    /// Claim QUANTITY for system packages [default: as it is now, or as in the manifest for a new one]
    #[arg(long, value_name = "QUANTITY", value_parser = claim_size)]
    pub system_size: Option<String>,
    /// Keep N pods started ahead for cached tasks, or as many between MIN and MAX as arrivals need; `none` ends them. A number is
    /// remembered: by `run`, `serve` and `bench` with `--driver kube`, and by the service of --with-service. Without a service, pods
    /// that no task has used for 30 minutes end with the next command on the cluster
    #[arg(long, value_name = "N|MIN..MAX")]
    pub standby: Option<StandbyChoice>,
    /// Leave out the smoke test at the end, which runs a task
    #[arg(long, alias = "no-task")]
    pub no_smoke_test: bool,
    /// Install Argo Workflows in a kind cluster; in another cluster with Argo, install only what our Workflows need
    #[arg(long)]
    pub with_argo: bool,
    /// Run the task service in the cluster too, with a Job or an Argo Workflow for each task [default: kube]
    #[arg(long, value_name = "DRIVER", num_args = 0..=1, require_equals = true, default_missing_value = "kube")]
    pub with_service: Option<ServiceDriver>,
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
    /// Leave out the smoke test, which runs a task twice
    #[arg(long, alias = "no-trial")]
    pub no_smoke_test: bool,
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
    /// Pack one task's Python packages (comma-separated) into the image, to fill empty volumes from; may be repeated
    #[arg(long, value_name = "PACKAGES", allow_hyphen_values = true)]
    pub warm: Vec<String>,
    /// The same for system packages
    #[arg(long, value_name = "PACKAGES", allow_hyphen_values = true)]
    pub warm_system: Vec<String>,
    /// Build even if an image with the same content exists
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
