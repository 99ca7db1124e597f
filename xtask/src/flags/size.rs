//! Options of `size`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use hybrid_cache_model::option_value::{parse_bytes, parse_days, parse_headroom, parse_percent, parse_us};
use hybrid_cache_sizing::claim::FileSystem;

use super::place::{Cluster, DriverName};

/// `size`
#[derive(Debug, Args)]
pub struct Size {
    /// Read the trace from FILE; `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["synthetic", "seed"])]
    pub trace: Option<PathBuf>,
    /// Use what was recorded of this machine's caches (local) or of a cluster's [default: of the cluster, or else of this machine];
    /// with --prove also where it is replayed: on this machine or in the node of a kind cluster
    #[arg(long, value_enum)]
    pub driver: Option<DriverName>,
    /// Use the requests recorded in the cache folder DIR of this machine [default: hybrid-cache in the user's cache folder]
    #[arg(long, value_name = "DIR")]
    pub cache_dir: Option<PathBuf>,
    /// The cluster whose recorded requests are used, and in whose node --prove replays
    #[command(flatten)]
    pub cluster: Cluster,
    /// Use a generated trace: team, ci or agents [default if nothing is recorded: team]
    #[arg(long, value_name = "NAME")]
    pub synthetic: Option<String>,
    /// Begin the synthetic trace's random numbers with N, to see how much the sizes depend on chance
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Reach this share of requests that hit, such as 95% or 0.95
    #[arg(long, value_name = "SHARE", default_value = "95%", value_parser = parse_percent)]
    pub hit: f64,
    /// Keep 95 % of requests waiting at most this long, such as 5s or 800ms [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = parse_us)]
    pub p95: Option<f64>,
    /// Add the growth of TIME in days, weeks, months or years, such as 12m; needs a trace of a week [default: none]
    #[arg(long, value_name = "TIME", value_parser = parse_days)]
    pub growth: Option<f64>,
    /// Keep free space of this share of the used space, such as 20%
    #[arg(long, value_name = "SHARE", default_value = "20%", value_parser = parse_headroom)]
    pub headroom: f64,
    /// Set the file system of the volumes
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    pub file_system: FileSystemName,
    /// Replay the busiest part of the trace on real file systems of five sizes, and compare the results with the predictions;
    /// needs root, for loop devices
    #[arg(long)]
    pub prove: bool,
    /// Replay around a claim of this size instead of the one that is recommended for the replayed part
    #[arg(long, value_name = "QUANTITY", value_parser = parse_bytes, requires = "prove")]
    pub prove_size: Option<u64>,
    /// Create file systems of at most QUANTITY; the replayed packages shrink until they fit
    #[arg(long, value_name = "QUANTITY", default_value = "2Gi", value_parser = parse_bytes, requires = "prove")]
    pub prove_bytes: u64,
    /// Replay requests for at most NUM different environments [default: 40; in a cluster 12]
    #[arg(long, value_name = "NUM", requires = "prove")]
    pub prove_environments: Option<usize>,
    /// Replay at most NUM requests [default: 600; in a cluster, where each is a pod, 60]
    #[arg(long, value_name = "NUM", requires = "prove")]
    pub prove_requests: Option<usize>,
    /// End after this time, such as 10min; what was replayed by then is reported [default: 30min; in a cluster 15min]
    #[arg(long, value_name = "TIME", value_parser = parse_us, requires = "prove")]
    pub prove_limit: Option<f64>,
    /// Simulate NUM nodes with a volume each, and show the gain from sending tasks where their environment is
    #[arg(long, value_name = "NUM", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub fleet: Option<u32>,
    /// Give each node of the fleet a claim of this size [default: the recommended one]
    #[arg(long, value_name = "QUANTITY", value_parser = parse_bytes, requires = "fleet")]
    pub fleet_size: Option<u64>,
    /// Give the fleet NUM tasks an hour [default: as many as the trace has requests]
    #[arg(long, value_name = "NUM", requires = "fleet")]
    pub fleet_rate: Option<u64>,
    /// Write the page, the Markdown, the JSON and the patch into DIR [default: reports/size of the checkout]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print JSON
    #[arg(long, conflicts_with = "markdown")]
    pub json: bool,
    /// Print Markdown
    #[arg(long)]
    pub markdown: bool,
}

/// The file system of the volumes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum FileSystemName {
    /// ext4, with as many inodes as mkfs.ext4 makes
    #[default]
    Ext4,
    /// XFS
    Xfs,
}

impl From<FileSystemName> for FileSystem {
    fn from(name: FileSystemName) -> FileSystem {
        match name {
            FileSystemName::Ext4 => FileSystem::Ext4,
            FileSystemName::Xfs => FileSystem::Xfs,
        }
    }
}
