//! What a person chooses for load.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hybrid_cache_tools::ErrorClass;

use crate::options::MeasuredService;

/// How much load, and on what.
pub struct LoadOptions {
    /// The service that gets the tasks.
    pub service: LoadedService,
    /// Tasks a second, more than 0.
    pub per_s: f64,
    /// For how long tasks arrive.
    pub lasts: Duration,
    /// How often a refused request is sent again at most.
    pub retries: u32,
    /// The folder of the report; `None` makes one in the checkout's `reports`.
    pub out: Option<PathBuf>,
    /// The command as a reader would type it again, for the report.
    pub command: String,
}

/// A service that is there, or one of this run's own.
pub enum LoadedService {
    /// One that other clients may use too.
    Running(MeasuredService),
    /// One that is started for this run and ends with it.
    Own(ServiceProgram),
}

/// The command for a data folder and a token file: a service on a free port that ends with this process.
pub type ServiceCommand = Box<dyn Fn(&Path, &Path) -> Command + Send + Sync>;

/// How a task service is started.
pub struct ServiceProgram {
    /// The folder in which the service gets a folder of its own, on the same file system as the caches.
    pub folder: PathBuf,
    /// The command that starts it.
    pub command: ServiceCommand,
    /// What an exit code of the program means.
    pub class: fn(Option<i32>) -> ErrorClass,
}
