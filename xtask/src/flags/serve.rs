//! Options of `serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use hybrid_cache_cluster::StandbyChoice;

use super::place::{Cluster, DriverName, Local};

/// `serve`
#[derive(Debug, Args)]
pub struct Serve {
    /// Listen on ADDRESS; any address but loopback needs --token-file
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    pub listen: SocketAddr,
    /// Read the token that clients must send from FILE, or a line `TENANT TOKEN` for each tenant; only its owner may read FILE
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Accept requests to the host NAME in addition to localhost; may be repeated [default: any, with a token]
    #[arg(long, value_name = "NAME")]
    pub host: Vec<String>,
    /// Where tasks run
    #[arg(long, value_enum, default_value = "local")]
    pub driver: DriverName,
    /// Start N pods of each tenant ahead for cached tasks, or as many between MIN and MAX as arrivals need; `none` for none. Pods that
    /// `up` did not record end with this command [default: as `up` recorded]
    #[arg(long, value_name = "N|MIN..MAX")]
    pub standby: Option<StandbyChoice>,
    /// Keep the tasks and their output in DIR [default: hybrid-cache/service in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Run at most N tasks at a time [default: the processors of this machine, or 16 on a cluster]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub max_running: Option<u32>,
    /// Let at most N tasks of one tenant wait in the queue
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    pub max_queued: u64,
    /// Keep ended tasks for DAYS days
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=36_500))]
    pub retain_days: u64,
    /// Keep at most N ended tasks of each tenant
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub retain_tasks: u64,
    /// Keep at most SIZE of output and database, such as 20GiB; the oldest are deleted first [default: a tenth of the volume]
    #[arg(long, value_name = "SIZE", value_parser = hybrid_cache_model::quantity::parse_size)]
    pub retain_size: Option<u64>,
    /// Delete saved tasks that were never run after HOURS hours
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=876_000))]
    pub retain_saved: u64,
    /// Tell a task's program to end (SIGTERM) after SECONDS seconds; 5 s later it is killed
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    pub timeout: u64,
    /// On Ctrl-C, give tasks that need this process SECONDS to finish
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub grace: u64,
    /// End when the process that started this one ends, for `bench --load`
    #[arg(long, hide = true)]
    pub with_parent: bool,
    /// This machine as a place to run
    #[command(flatten)]
    pub local: Local,
    /// Which cluster, with `--driver kube`
    #[command(flatten)]
    pub cluster: Cluster,
}
