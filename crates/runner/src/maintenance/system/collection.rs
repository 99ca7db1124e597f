//! What every garbage collection needs: to be alone on the volume, and a Nix program.

use std::time::{Duration, Instant};

use hybrid_cache_model::protocol::SystemTools;
use hybrid_cache_model::{Failure, FailureKind};

use crate::child::Patience;
use crate::store::files;
use crate::store::lock::{self, Lock, Mode};
use crate::system::nix::{Nix, Workplace};
use crate::system::provider::{self, Bootstrap};
use crate::system::{COLLECTION_LOCK, STORE_LOCK, SystemVolume};

/// How long a collection waits for builds at work; they may take minutes, and a collection can come again.
const BUILDS_WAIT: Duration = Duration::from_secs(5);

/// When a collection gives up that can come again.
pub fn soon(patience: &Patience) -> Instant {
    patience.deadline().min(Instant::now() + BUILDS_WAIT)
}

/// The store's lock, held alone: no build is at work, and none begins. `None` where one was until `deadline`.
pub fn alone(volume: &SystemVolume, deadline: Instant) -> Result<Option<Lock>, Failure> {
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
    workplace: &'a Workplace,
    patience: &'a Patience,
) -> Result<Nix<'a>, Failure> {
    let variables = &tools.variables;
    let program = provider::provider(&tools.provider).program(&Bootstrap {
        volume,
        workplace,
        variables,
        patience,
    })?;
    Ok(Nix {
        program,
        variables,
        volume,
        workplace,
        patience,
    })
}
