//! What every garbage collection needs: the store's lock and a Nix program.

use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::SystemTools;
use hybrid_cache_model::{Failure, FailureKind};

use crate::child::Deadline;
use crate::store::files;
use crate::store::lock::{self, Lock, Mode};
use crate::system::nix::{Nix, WorkDir};
use crate::system::provider::{self, Bootstrap};
use crate::system::{COLLECTION_LOCK, STORE_LOCK, SystemVolume};

/// How long a collection waits for running builds. They may take minutes, and a collection can be repeated.
const BUILDS_TIMEOUT: Duration = Duration::from_secs(5);

/// When a collection that can be repeated gives up.
pub fn collection_deadline(deadline: &Deadline) -> Instant {
    deadline.instant().min(Instant::now() + BUILDS_TIMEOUT)
}

/// Takes the store's lock exclusively, so that no build runs or begins. `None` if a build still ran at `deadline`.
pub fn lock_store(volume: &SystemVolume, deadline: Instant) -> Result<Option<Lock>, Failure> {
    files::ensure_folder(&volume.state().join("locks"))?;
    let waited = lock::wait(&volume.lock_path(COLLECTION_LOCK), Mode::Exclusive, deadline)
        .and_then(|_builds_wait| lock::wait(&volume.lock_path(STORE_LOCK), Mode::Exclusive, deadline));
    match waited {
        Ok(lock) => Ok(Some(lock)),
        Err(failure) if failure.kind == FailureKind::Deadline => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// The Nix program that the request names, with everything that it needs.
///
/// # Errors
/// It cannot be made available.
pub fn open_nix<'a>(
    volume: &'a SystemVolume,
    tools: &'a SystemTools,
    work_dir: &'a WorkDir,
    deadline: &'a Deadline,
) -> Result<Nix<'a>, Failure> {
    let variables = &tools.variables;
    let program = provider::program(
        &tools.provider,
        &Bootstrap {
            volume,
            work_dir,
            variables,
            deadline,
        },
    )?;
    Ok(Nix {
        program,
        variables,
        volume,
        work_dir,
        deadline,
    })
}
