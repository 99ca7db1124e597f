//! Options of `attack`.

use clap::Args;

use super::place::{Cluster, DriverName, Local};

/// `attack`
#[derive(Debug, Args)]
pub struct Attack {
    /// Attack only here [default: this machine, and the cluster if there is one]
    #[arg(long, value_enum)]
    pub driver: Option<DriverName>,
    /// Try only the attack ID; may be repeated [default: all]
    #[arg(long, value_name = "ID")]
    pub only: Vec<String>,
    /// List the attacks and try none
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
