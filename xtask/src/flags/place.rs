//! Options that choose where tasks run: this machine with its tools, or a cluster.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hybrid_cache_cluster::names::NAMESPACE;

use super::bounds::Bounds;

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

/// Which Nix builds system packages.
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
    /// nixpkgs if it can be reached, otherwise the Debian set
    #[default]
    Auto,
    /// nixpkgs at the pinned revision
    Nixpkgs,
    /// Pinned Debian packages
    Debnix,
}

/// How system packages are made.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct Choice {
    /// Build system packages with this Nix
    #[arg(
        long,
        alias = "provider",
        value_enum,
        value_name = "NIX",
        default_value_t,
        global = true
    )]
    pub nix_provider: ProviderName,
    /// Take system packages from this source
    #[arg(
        long,
        alias = "source",
        value_enum,
        value_name = "SOURCE",
        default_value_t,
        global = true
    )]
    pub package_source: SourceName,
}

/// Options of every command that runs tasks on this machine.
#[derive(Clone, Debug, Default, Args)]
pub struct Local {
    /// Cache folder [default: hybrid-cache in the user's cache folder]
    #[arg(long, value_name = "DIR", global = true)]
    pub cache_dir: Option<PathBuf>,
    /// How system packages are made
    #[command(flatten)]
    pub choice: Choice,
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
    /// Keep packages from the index to the tenant; on by default if its address has credentials
    #[arg(long, global = true)]
    pub private_index: bool,
    /// Refuse packages without a wheel, instead of building them in a sandbox of their own
    #[arg(long, global = true)]
    pub no_builds: bool,
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
    /// The network of user code.
    pub fn network(&self) -> NetworkName {
        if self.no_network {
            NetworkName::None
        } else {
            self.network
        }
    }
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
    #[arg(long, value_name = "NAME", default_value = NAMESPACE, requires = "context", global = true)]
    pub namespace: String,
    /// Further indexes, hosts of wheels and repositories for tasks [default: the file that HYBRID_CACHE_SETTINGS names]
    #[arg(long, value_name = "FILE", global = true)]
    pub settings: Option<PathBuf>,
}
