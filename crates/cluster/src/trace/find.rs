//! Finds where requests are recorded.

use std::path::{Path, PathBuf};

use hybrid_cache_driver::trace::{FOLDER, files_in};
use hybrid_cache_tools::{ErrorContext, Result, default_root};

use crate::connection::trace_folder;
use crate::options::{BackendKind, ClusterChoice};
use crate::state::StateFolder;
use crate::trace::recorded::Recorded;

/// Recorded requests and their folder.
pub struct Found {
    /// Folder of the requests.
    pub folder: PathBuf,
    /// The requests.
    pub recorded: Recorded,
}

/// The folder in which requests to this machine's caches, or to a cluster's, are recorded.
///
/// # Errors
/// The name cannot be a cluster's, or the user has no cache folder.
pub fn folder(kind: BackendKind, cache_dir: Option<&Path>, cluster: &ClusterChoice) -> Result<PathBuf> {
    if kind == BackendKind::Local {
        let root = match cache_dir {
            Some(folder) => std::path::absolute(folder).with_context(|| format!("finding {}", folder.display()))?,
            None => default_root()?,
        };
        return Ok(root.join(FOLDER));
    }
    let folder = trace_folder(cluster)?;
    if is_empty(&folder) && cluster.context.is_none() {
        // The service beside a kind cluster records its own requests.
        let of_service = StateFolder::for_cluster(&cluster.name)?
            .service()
            .join("data")
            .join(FOLDER);
        if !is_empty(&of_service) {
            return Ok(of_service);
        }
    }
    Ok(folder)
}

/// Finds the recorded requests of one backend; without a `kind`, those of a cluster, otherwise those of this machine's caches.
/// Returns `None` if nothing was recorded.
///
/// # Errors
/// The recorded requests cannot be read.
pub fn find(kind: Option<BackendKind>, cache_dir: Option<&Path>, cluster: &ClusterChoice) -> Result<Option<Found>> {
    let kinds: &[BackendKind] = match &kind {
        Some(kind) => std::slice::from_ref(kind),
        None => &[BackendKind::Kube, BackendKind::Local],
    };
    for kind in kinds {
        let folder = match folder(*kind, cache_dir, cluster) {
            Ok(folder) => folder,
            // A user without a cache folder has recorded nothing.
            Err(_) if kinds.len() > 1 => continue,
            Err(error) => return Err(error),
        };
        if let Some(recorded) = Recorded::open(&folder)? {
            return Ok(Some(Found { folder, recorded }));
        }
    }
    Ok(None)
}

/// True if nothing is recorded in a folder.
pub fn is_empty(folder: &Path) -> bool {
    files_in(folder).map_or(true, |files| files.is_empty())
}
