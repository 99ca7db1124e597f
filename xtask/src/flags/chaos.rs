//! Options of `chaos`.

use clap::Args;

use super::place::{Cluster, DriverName, Local};

/// `chaos`
#[derive(Debug, Args)]
pub struct Chaos {
    /// Try faults only here [default: this machine]
    #[arg(long, value_enum, default_value = "local")]
    pub driver: DriverName,
    /// Try only the fault ID; may be repeated [default: all]
    #[arg(long, value_name = "ID")]
    pub only: Vec<String>,
    /// Make each fault happen N times; slow ones happen a fifth as often
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// Take all random moments and choices from SEED [default: a new one, which is printed]
    #[arg(long, value_name = "SEED")]
    pub seed: Option<u64>,
    /// Allow faults to pause and restart the container NAME, which is the cluster's only node
    #[arg(long, value_name = "NAME")]
    pub node_container: Option<String>,
    /// List the faults and try none
    #[arg(long)]
    pub list: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// This machine as a place to run
    #[command(flatten)]
    pub local: Local,
    /// Which cluster
    #[command(flatten)]
    pub cluster: Cluster,
}
