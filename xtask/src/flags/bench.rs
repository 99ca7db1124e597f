//! `bench`.

use std::path::PathBuf;

use clap::Args;
use hybrid_cache_model::Tenant;

use super::{Cluster, DriverName, Local};

/// `bench`
#[derive(Debug, Args)]
pub struct Bench {
    /// Where tasks run
    #[arg(long, value_enum, default_value = "local", conflicts_with = "via")]
    pub driver: DriverName,
    /// Measure as a client of the task service at this address, such as http://localhost:8000; its driver stands beside it
    /// where that can be reached from here
    #[arg(long, value_name = "URL")]
    pub via: Option<String>,
    /// File that holds the service's token
    #[arg(long, value_name = "FILE", requires = "via")]
    pub token_file: Option<PathBuf>,
    /// Scenario by name or file; may be repeated [default: all of bench-scenarios]
    #[arg(long, value_name = "NAME")]
    pub scenario: Vec<String>,
    /// First runs of each scenario, each in empty caches; a client of a service has one, where its caches are empty
    #[arg(long, value_name = "N", default_value_t = 3, conflicts_with = "via", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub first_runs: u32,
    /// Cached runs of each scenario
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub cached_runs: u32,
    /// Runs of each scenario with `useCache: false`
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub uncached_runs: u32,
    /// Whose environments to use: each tenant has its own
    #[arg(long, value_name = "NAME", default_value_t)]
    pub tenant: Tenant,
    /// Leave the peers out (direct exec, plain uv; on a cluster: bare pod, local driver, and for Argo a Job; with
    /// --via: direct driver, round trip)
    #[arg(long)]
    pub no_peers: bool,
    /// Folder of the report [default: reports/<time>-<driver>, or -service]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Compare with this earlier run
    #[arg(long, value_name = "DIR")]
    pub baseline: Option<PathBuf>,
    /// Exit with 3 where a claim is refuted, or where a run is slower than the baseline
    #[arg(long)]
    pub gate: bool,
    /// See the options of `run`; with --via, of the direct driver
    #[command(flatten)]
    pub local: Local,
    /// Which cluster, with `--driver kube` or a service on one
    #[command(flatten)]
    pub cluster: Cluster,
}
