//! Publishes a verified environment: bytecode, manifest, sync, one exchange of names, one link.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hybrid_cache_model::{EnvironmentKey, Failure, FailureKind, Lane, Phase, Protection, RequestKey};

use super::PythonVolume;
use super::build::{Build, BuildRequest};
use super::bytecode::{self, Sources};
use super::content::{CONTENT_FILE, Content};
use super::environment::{MANIFEST_FILE, MANIFEST_SCHEMA, Manifest, damage, touch, write_lock};
use super::evict::{Evicted, evict};
use super::pool::{self, Pool};
use super::record::replace;
use crate::store::failure;
use crate::store::files::{self, Placed};
use crate::store::lock::{self, Lock, Missing, Mode};
use crate::store::measure::Counter;
use crate::store::stage::LEASE;

/// Hashes the environment, publishes it and points its request at it. Returns warnings for the operator.
///
/// This is correct without a lock: a second publisher finds the folder in its place and uses it.
///
/// The sync covers the whole volume, because uv never syncs. Otherwise the rename could survive a crash of the machine
/// while the files are empty.
///
/// # Errors
/// The volume cannot be written, or is full. The environment then stays in staging.
pub fn publish(build: &Build, request: &BuildRequest<'_>) -> Result<Vec<String>, Failure> {
    let content = request
        .phases
        .run(Phase::PythonPublish, Lane::Publish, || Content::take(&build.installed))?;
    let key = content.key(request.interpreter);
    let mut warnings = content.warnings.clone();
    // Held until the environment is in its place, because a sweep does not see its links before that.
    let mut pool = None;
    let provided = request.phases.run(Phase::PythonBytecode, Lane::Publish, || {
        provide_bytecode(build, request, &content, &mut pool)
    });
    match provided {
        Err(failure) if failure::is_disk_full(&failure) => return Err(failure),
        // Publish anyway: without bytecode the environment only starts slower.
        Err(failure) => warnings.push(format!("published with incomplete bytecode: {failure}")),
        Ok(()) => {}
    }
    request.phases.run(Phase::PythonPublish, Lane::Publish, || {
        describe(build, request, &content, &key)?;
        files::sync_volume(request.volume.root())?;
        place(build, request.volume, &key)?;
        point(request.volume, request.key, key.as_str())
    })?;
    drop(pool);
    Ok(warnings)
}

/// Stores the pool's lock in `held`, even on failure.
fn provide_bytecode(
    build: &Build,
    request: &BuildRequest<'_>,
    content: &Content,
    held: &mut Option<Lock>,
) -> Result<(), Failure> {
    *held = Some(pool::lock(request.volume, Mode::Shared, request.deadline.instant())?);
    let sources = Sources {
        installed: &build.installed,
        tree: &content.tree,
        listing: &content.listing,
        interpreter: request.interpreter,
    };
    bytecode::provide(
        &Pool::from_volume(request.volume),
        &sources,
        &build.work(),
        request.deadline,
    )
    .map(drop)
}

/// Points a request at an environment and syncs the link.
///
/// # Errors
/// The volume cannot be written.
pub fn point(volume: &PythonVolume, request: &RequestKey, environment: &str) -> Result<(), Failure> {
    files::ensure_folder(&volume.requests())?;
    let target = Path::new("../envs").join(environment);
    files::link_atomic(&target, &volume.requests().join(request.as_str()))
}

/// Writes hybrid-cache's files beside the virtual environment, where no package can install files.
fn describe(build: &Build, request: &BuildRequest<'_>, content: &Content, key: &EnvironmentKey) -> Result<(), Failure> {
    let environment = build.environment();
    let packages = build.packages();
    write_lock(&environment, &packages)?;
    replace(&environment.join(CONTENT_FILE), content.listing.to_text().as_bytes())?;
    let own = Counter::own(&environment)?;
    let created_s = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let mut manifest = Manifest {
        schema: MANIFEST_SCHEMA,
        key: key.clone(),
        pins: packages.pins.clone(),
        interpreter: request.interpreter.clone(),
        created_s,
        own_bytes: own.bytes,
        own_inodes: own.inodes,
        entries: own.entries,
        bytecode: linked(build, request)?,
        seal: String::new(),
    };
    manifest.seal = manifest.sealed(&packages.to_text());
    let text = serde_json::to_vec_pretty(&manifest).map_err(|error| {
        Failure::new(
            FailureKind::Internal,
            format!("the manifest cannot be written: {error}"),
        )
    })?;
    replace(&environment.join(MANIFEST_FILE), &text)
}

/// The pool folders that the environment links to, relative to the volume. The links are valid for the published place,
/// so they are read as if the environment were already there.
fn linked(build: &Build, request: &BuildRequest<'_>) -> Result<Vec<String>, Failure> {
    let pool = Pool::from_volume(request.volume);
    let mut folders: Vec<String> = pool
        .links_from_staging(&build.venv())?
        .iter()
        .map(|folder| request.volume.relative(&pool.path.join(folder)))
        .collect();
    folders.sort();
    folders.dedup();
    Ok(folders)
}

fn place(build: &Build, volume: &PythonVolume, key: &EnvironmentKey) -> Result<(), Failure> {
    files::ensure_folder(&volume.environments())?;
    let to = volume.environments().join(key.as_str());
    let forward: PathBuf = Path::new("../../envs").join(key.as_str());
    // Retry, because the other process's environment may be evicted before the request points at it, or be damaged.
    for _ in 0..3 {
        if files::place(&build.environment(), &to, &forward)? == Placed::Ours {
            return Ok(());
        }
        // A shared lock shows that it exists. Only an eviction holds the lease exclusively.
        let used = lock::attempt(&to.join(LEASE), Mode::Shared, Missing::Absent)?.is_some();
        let no_lease = || (!to.join(LEASE).exists()).then(|| format!("{LEASE} is missing"));
        let found = damage(&to).or_else(no_lease);
        let found = found.filter(|_| Protection::DamageIsMiss.is_on());
        match (used, found) {
            (true, None) => {
                // Ignore a failure: another user's file cannot be updated, and the environment works without it.
                drop(touch(&to));
                return Ok(());
            }
            (_, Some(what)) => {
                if evict(volume, &to)? == Evicted::InUse {
                    let message = format!("{} is damaged ({what}) and a task uses it", to.display());
                    return Err(Failure::new(FailureKind::CacheDamaged, message)
                        .hint("the first run after that task has ended publishes it"));
                }
            }
            (false, None) => {}
        }
    }
    let message = format!("the same environment is being evicted now: {}", to.display());
    Err(Failure::new(FailureKind::CacheAccess, message).hint("the next run publishes it"))
}
