//! Options of a run under load.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hybrid_cache_tools::ErrorClass;

use crate::options::MeasuredService;

/// How much load, and on which service.
pub struct LoadOptions {
    /// The service that gets the tasks.
    pub service: LoadedService,
    /// Tasks per second, more than 0.
    pub per_s: f64,
    /// How long tasks arrive.
    pub lasts: Duration,
    /// Maximum number of times that a refused request is sent again.
    pub retries: u32,
    /// The folder of the report; `None` creates one in the checkout's `reports`.
    pub out: Option<PathBuf>,
    /// The command as a reader would type it again, for the report.
    pub command: String,
}

/// A running service, or one that this run starts.
pub enum LoadedService {
    /// A service that other clients may use too.
    Running(MeasuredService),
    /// A service that is started for this run and ends with it.
    Own(ServiceProgram),
}

/// Builds the command for a data folder and a token file: a service on a free port that ends with this process.
pub type ServiceCommand = Box<dyn Fn(&Path, &Path) -> Command + Send + Sync>;

/// How to start a task service.
pub struct ServiceProgram {
    /// The folder in which the service gets its own folder, on the same file system as the caches.
    pub folder: PathBuf,
    /// Builds the command that starts the service.
    pub command: ServiceCommand,
    /// Maps an exit code of the program to its error class.
    pub class: fn(Option<i32>) -> ErrorClass,
}
