//! Publishes a verified environment: byte-code, manifest, sync, one exchange of names, one link.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{EnvironmentKey, Failure, FailureKind, Lane, Phase, RequestKey};
use serde::{Deserialize, Serialize};

use super::PythonVolume;
use super::build::{Build, Order};
use super::lookup::LOCK_FILE;
use super::pool::Pool;
use super::{bytecode, pool};
use crate::store::lock::{self, Lock, Missing, Mode};
use crate::store::measure::Counter;
use crate::store::publish::{self, Placed};
use crate::store::stage::LEASE;
use crate::store::{At, failure};

/// Name of the file that describes an environment.
pub const MANIFEST_FILE: &str = "manifest.json";
/// Version of its content.
const MANIFEST_SCHEMA: u32 = 1;
/// A lease whose time of use is younger than this is not stamped again.
const TOUCH_EVERY: Duration = Duration::from_secs(60);

/// What an environment is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this file's content.
    pub schema: u32,
    /// The environment's key.
    pub key: EnvironmentKey,
    /// `(name==version, digest of its RECORD)`, sorted.
    pub pins: Vec<(String, String)>,
    /// The interpreter it was made for.
    pub interpreter: Interpreter,
    /// When, in seconds since 1970.
    pub created_s: u64,
    /// Allocated bytes of inodes that nothing else on the volume shares.
    pub own_bytes: u64,
    /// Inodes that nothing else on the volume shares.
    pub own_inodes: u64,
    /// Directory entries.
    pub entries: u64,
}

/// Publishes the environment and points its request at it; the environment's key, and what went wrong without harm.
///
/// Correct without any lock: whoever comes second finds a folder in the place and uses that.
///
/// The sync covers the whole volume, because uv never syncs: its files would otherwise be empty after a crash of the
/// machine, while the rename had survived.
///
/// # Errors
/// The volume cannot be written, or is full. The environment stays in staging then.
pub fn publish(build: &Build, order: &Order<'_>) -> Result<Vec<String>, Failure> {
    let mut warnings = Vec::new();
    let provided = order
        .phases
        .run(Phase::PythonBytecode, Lane::Publish, || provide_bytecode(build, order));
    // Held until the environment is in its place: until then a sweep does not see what it links to.
    let _pool = match provided {
        Err(failure) if failure::is_disk_full(&failure) => return Err(failure),
        // Without byte-code it starts slower, and that is all.
        Err(failure) => {
            warnings.push(format!("published with incomplete byte-code: {failure}"));
            None
        }
        Ok(pool) => Some(pool),
    };
    order.phases.run(Phase::PythonPublish, Lane::Publish, || {
        describe(build, order.interpreter)?;
        publish::sync_volume(order.volume.root())?;
        place(build, order.volume)?;
        point(order.volume, order.key, build.key.as_str())
    })?;
    Ok(warnings)
}

fn provide_bytecode(build: &Build, order: &Order<'_>) -> Result<Lock, Failure> {
    let lock = pool::lock(order.volume, Mode::Shared, order.patience.deadline())?;
    let pool = Pool::of(order.volume);
    let (installed, work) = (&build.installed, build.work());
    bytecode::provide(&pool, installed, order.interpreter, &work, order.patience)?;
    Ok(lock)
}

/// Points a request at an environment and makes that last.
///
/// # Errors
/// The volume cannot be written.
pub fn point(volume: &PythonVolume, request: &RequestKey, environment: &str) -> Result<(), Failure> {
    publish::ensure_folder(&volume.requests())?;
    let target = Path::new("../envs").join(environment);
    publish::link_atomic(&target, &volume.requests().join(request.as_str()))
}

/// Notes that the environment at `path` is in use now: eviction takes the least recently used.
///
/// # Errors
/// The volume cannot be written.
pub fn touch(path: &Path) -> Result<(), Failure> {
    let path = path.join(LEASE);
    let lease = std::fs::File::open(&path).at("open the lease", &path)?;
    let used_at = lease
        .metadata()
        .and_then(|found| found.modified())
        .at("look at", &path)?;
    if used_at.elapsed().is_ok_and(|age| age < TOUCH_EVERY) {
        return Ok(());
    }
    lease.set_modified(SystemTime::now()).at("stamp the lease", &path)
}

fn describe(build: &Build, interpreter: &Interpreter) -> Result<(), Failure> {
    let environment = build.environment();
    let pins = build.installed.pins();
    let lock: String = pins.iter().map(|(pin, digest)| format!("{pin} {digest}\n")).collect();
    let path = environment.join(LOCK_FILE);
    std::fs::write(&path, lock).at("write", &path)?;
    let own = Counter::own(&environment)?;
    let created_s = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let manifest = Manifest {
        schema: MANIFEST_SCHEMA,
        key: build.key.clone(),
        pins,
        interpreter: interpreter.clone(),
        created_s,
        own_bytes: own.bytes,
        own_inodes: own.inodes,
        entries: own.entries,
    };
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| {
        Failure::new(
            FailureKind::Internal,
            format!("the manifest cannot be written: {error}"),
        )
    })?;
    let path = environment.join(MANIFEST_FILE);
    std::fs::write(&path, text).at("write", &path)
}

fn place(build: &Build, volume: &PythonVolume) -> Result<(), Failure> {
    publish::ensure_folder(&volume.environments())?;
    let to = volume.environments().join(build.key.as_str());
    let forward: PathBuf = Path::new("../../envs").join(build.key.as_str());
    // Twice: theirs may be evicted between our finding it there and pointing a request at it.
    for _ in 0..2 {
        if publish::place(&build.environment(), &to, &forward)? == Placed::Ours {
            return Ok(());
        }
        // Somebody uses it or nobody does: both show that it is there. Only an evictor holds it exclusively.
        if lock::attempt(&to.join(LEASE), Mode::Shared, Missing::Absent)?.is_some() {
            // Another user's file cannot be stamped; the environment is as good without.
            drop(touch(&to));
            return Ok(());
        }
    }
    let message = format!("the same environment is being evicted at this moment: {}", to.display());
    Err(Failure::new(FailureKind::CacheAccess, message).hint("the next run publishes it"))
}
