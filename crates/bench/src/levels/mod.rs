//! Runs at levels of cold: each level is produced, then the run is taken, and what was seen of it is checked.
//!
//! ```text
//! nothing       tools are brought into an empty folder, with empty caches beside them
//! tools         the caches are an empty epoch
//! downloads     the environment is evicted from a filled epoch, what was downloaded for it stays
//! environment   a filled epoch, whose files are dropped from the page cache, with those of the interpreter and of our programs
//! warm          a filled epoch, with a run just before
//! ```
//!
//! Each scenario has at most one filled epoch. The latest run that filled an epoch leaves it for the levels that need one.

mod contents;
mod evict;
mod fresh_tools;
mod page_cache;
mod produce;
mod target;
mod task_files;
mod task_reading;
#[cfg(test)]
mod tests;

use hybrid_cache_cluster::BackendKind;
use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_model::Scenario;
use hybrid_cache_tools::{Error, Result};

pub use fresh_tools::ToolSource;
pub use target::LevelsTarget;

use crate::options::BenchOptions;

/// Refuses what levels cannot be produced for.
///
/// # Errors
/// All reasons in one answer, each with what works instead.
pub fn check(options: &BenchOptions, scenarios: &[Scenario]) -> Result<()> {
    let mut problems = Vec::new();
    if let Some(service) = &options.service {
        problems.push(format!(
            "a client of the task service at {} cannot empty its caches",
            service.url
        ));
    } else if options.backend != BackendKind::Local {
        problems.push("on a cluster, nodes share their page cache and their images with others".to_owned());
    }
    if options.mirror.is_some() {
        problems.push("--mirror serves first runs of an ordinary run only".to_owned());
    }
    let asks_nothing = scenarios.iter().filter(|one| !one.asks_python() && !one.asks_system());
    let names: Vec<&str> = asks_nothing.map(|scenario| scenario.name.as_str()).collect();
    if !names.is_empty() {
        let names = names.join(", ");
        problems.push(format!(
            "these scenarios ask for no packages, so nothing is cached for them: {names}"
        ));
    }
    if problems.is_empty() {
        return Ok(());
    }
    let problems = problems.join("\n");
    Err(Error::input(format!(
        "levels of cold cannot be measured here\n{problems}\nhint: `cargo xtask bench --levels 12 --scenario python-only` \
         measures them with this machine's own driver"
    )))
}

/// The configuration for the interpreter that a task asks for.
///
/// # Errors
/// The task is not acceptable, or no interpreter fits.
fn config_of(config: &LocalConfig, scenario: &Scenario) -> Result<LocalConfig> {
    let task = crate::peer::checked(scenario)?;
    let other = config
        .for_task(&task)
        .map_err(|error| Error::input(error.to_string()))?;
    Ok(other.unwrap_or_else(|| config.clone()))
}
