//! `cargo xtask cache trace`: what was recorded of requests, in numbers, as one file, and without names.

mod export;
pub mod growth;
mod show;
mod source;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hybrid_cache_driver::trace::{self, files_in};

use crate::cluster::place;
use crate::cluster::state::StateFolder;
use crate::exit::{Exit, Expected};
use crate::flags::{self, DriverName, TraceCommand};
use crate::local;

pub use source::Recorded;

/// Runs the command. What is recorded is read from files of this machine, so nothing is started.
///
/// # Errors
/// Nothing is recorded, or it cannot be read.
pub fn run(flags: &flags::Cache, wanted: &flags::Trace) -> Result<Exit> {
    let folder = match &wanted.folder {
        Some(folder) => folder.clone(),
        None => folder_of(flags.driver, flags.local.cache_dir.as_deref(), &flags.cluster)?,
    };
    match &wanted.command {
        TraceCommand::Show => {
            let recorded = Recorded::open(&folder)?.ok_or_else(|| nothing(&folder))?;
            show::run(&folder, &recorded, flags.json)
        }
        TraceCommand::Export { out, anonymise } => {
            if files_in(&folder).map_or(true, |files| files.is_empty()) {
                return Err(nothing(&folder));
            }
            export::run(&folder, out, *anonymise)
        }
    }
}

/// The folder in which requests to this machine's caches, or to a cluster's, are recorded.
///
/// # Errors
/// The name is none for a cluster, or the user has no cache folder.
pub fn folder_of(driver: DriverName, cache_dir: Option<&Path>, cluster: &flags::Cluster) -> Result<PathBuf> {
    if driver == DriverName::Local {
        let root = match cache_dir {
            Some(folder) => std::path::absolute(folder).with_context(|| format!("finding {}", folder.display()))?,
            None => local::default_root()?,
        };
        return Ok(root.join(trace::FOLDER));
    }
    let folder = place::trace_folder(cluster)?;
    if is_empty(&folder) && cluster.context.is_none() {
        // The service beside a kind cluster keeps its own.
        let of_service = StateFolder::of(&cluster.name)?
            .service()
            .join("data")
            .join(trace::FOLDER);
        if !is_empty(&of_service) {
            return Ok(of_service);
        }
    }
    Ok(folder)
}

/// What was recorded of a cluster, or else of this machine's caches; `None` if nothing was.
///
/// # Errors
/// It cannot be read.
pub fn recorded(
    driver: Option<DriverName>,
    cache_dir: Option<&Path>,
    cluster: &flags::Cluster,
) -> Result<Option<(PathBuf, Recorded)>> {
    let drivers: &[DriverName] = match &driver {
        Some(driver) => std::slice::from_ref(driver),
        None => &[DriverName::Kube, DriverName::Local],
    };
    for driver in drivers {
        let folder = match folder_of(*driver, cache_dir, cluster) {
            Ok(folder) => folder,
            // A user without a cache folder has recorded nothing.
            Err(_) if drivers.len() > 1 => continue,
            Err(error) => return Err(error),
        };
        if let Some(recorded) = Recorded::open(&folder)? {
            return Ok(Some((folder, recorded)));
        }
    }
    Ok(None)
}

fn is_empty(folder: &Path) -> bool {
    files_in(folder).map_or(true, |files| files.is_empty())
}

fn nothing(folder: &Path) -> anyhow::Error {
    Expected::prerequisite(format!(
        "no requests are recorded in {}\nhint: run tasks without --no-trace; `--driver kube` reads what was recorded of a \
         cluster, `--folder DIR` another folder, such as a copy of `trace` from the service's data",
        folder.display()
    ))
}
