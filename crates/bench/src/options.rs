//! What a person chooses for a bench run.

use std::path::PathBuf;

use hybrid_cache_cluster::{BackendKind, ClusterChoice};
use hybrid_cache_model::Tenant;
use hybrid_cache_tools::MachineOptions;

use crate::plan::Counts;

/// What is measured, and how much of it.
#[derive(Clone, Debug)]
pub struct BenchOptions {
    /// Where tasks run. If a service is measured, its own driver counts instead.
    pub backend: BackendKind,
    /// This machine as a place to run tasks.
    pub machine: MachineOptions,
    /// Which cluster.
    pub cluster: ClusterChoice,
    /// The service to measure as its client; `None` measures a driver.
    pub service: Option<MeasuredService>,
    /// How many runs of each scenario. A service has one first run, whatever this says.
    pub counts: Counts,
    /// Whose environments are used.
    pub tenant: Tenant,
    /// Measure peers too, where there are any.
    pub peers: bool,
    /// The folder of the report; `None` makes one in the checkout's `reports`.
    pub out: Option<PathBuf>,
    /// The command as a reader would type it again, for the report.
    pub command: String,
}

/// A task service that is there.
#[derive(Clone, Debug)]
pub struct MeasuredService {
    /// Its address, such as `http://localhost:8000`.
    pub url: String,
    /// The file with its token; `None` sends none.
    pub token_file: Option<PathBuf>,
}
