//! Options of `cache` and its subcommands.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hybrid_cache_model::Tenant;

use super::place::{Cluster, DriverName, Local};

/// `cache`
#[derive(Debug, Args)]
pub struct Cache {
    /// What to do
    #[command(subcommand)]
    pub command: CacheCommand,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Whose caches: this machine's, or a cluster's
    #[arg(long, value_enum, default_value = "local", global = true)]
    pub driver: DriverName,
    /// Which caches of this machine
    #[command(flatten)]
    pub local: Local,
    /// Which cluster, with `--driver kube`
    #[command(flatten)]
    pub cluster: Cluster,
}

/// `cache …`
#[derive(Debug, Subcommand)]
pub enum CacheCommand {
    /// Bytes, inodes and directory entries of each layer
    Usage,
    /// Prepare environments without running anything
    Warm {
        /// Python package; may be repeated
        #[arg(long, value_name = "REQUIREMENT", allow_hyphen_values = true)]
        dep: Vec<String>,
        /// Requirements file
        #[arg(long, value_name = "FILE")]
        requirements: Option<PathBuf>,
        /// Constraints file; may be repeated
        #[arg(long, value_name = "FILE")]
        constraints: Vec<PathBuf>,
        /// System package; may be repeated
        #[arg(long, value_name = "NAME")]
        system: Vec<String>,
        /// Make the environments of tenant TENANT; each tenant has its own
        #[arg(long, value_name = "NAME", default_value_t)]
        tenant: Tenant,
    },
    /// Evict what was used least recently, and delete what nothing refers to
    Gc {
        /// Evict until each volume holds at most SIZE, such as 10GiB; 0 evicts all that is not in use [default: what
        /// tasks keep to, which is half of what the disk has for the cache, or 88 % of a claim]
        #[arg(long, value_name = "SIZE", value_parser = hybrid_cache_model::quantity::parse_size)]
        max_bytes: Option<u64>,
        /// Likewise for inodes
        #[arg(long, value_name = "N")]
        max_inodes: Option<u64>,
    },
    /// Hash every environment, all bytecode and every store path, and compare with what was published
    Verify {
        /// Remove what is damaged and not in use, and mark what is in use; the next run builds it again
        #[arg(long)]
        repair: bool,
    },
    /// Show or export recorded requests, for `size`
    Trace(Trace),
    /// Move caches of another layout version into a folder beside them; deletes nothing
    SetAside,
}

/// `cache trace`
#[derive(Debug, Args)]
pub struct Trace {
    /// What to do
    #[command(subcommand)]
    pub command: TraceCommand,
    /// Folder of the recorded requests [default: that of the caches]
    #[arg(long, value_name = "DIR", global = true)]
    pub folder: Option<PathBuf>,
}

/// `cache trace …`
#[derive(Debug, Subcommand)]
pub enum TraceCommand {
    /// Span, requests, hits, environments and faults
    Show,
    /// Write all that is recorded as one trace
    Export {
        /// File to write; `-` for standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Replace the names of tenants, packages and environments by numbers; sizes and times stay
        #[arg(long)]
        anonymise: bool,
    },
}
