//! The system side of a preparation: takes the build lock, looks the set up again, runs Nix, and registers the result.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use hybrid_cache_model::protocol::{Keep, PrepareRequest, SystemTools};
use hybrid_cache_model::{CacheStatus, Failure, FailureKind, Lane, Phase, SystemKey, Task};

use super::context::FREE_PARTS;
use crate::child::Deadline;
use crate::clock::Recorder;
use crate::maintenance;
use crate::store::build_failure;
use crate::store::failure::is_disk_full;
use crate::store::files;
use crate::store::lock::{self, Lock, Missing, Mode};
use crate::system::nix::{self, Nix, WorkDir};
use crate::system::provider::{self, Bootstrap};
use crate::system::{
    COLLECTION_LOCK, IndexEntry, STORE_LOCK, SystemFound, SystemPrepared, SystemVolume, damaged, path_hashes,
};

/// Finds or builds the system packages of a task.
///
/// # Errors
/// The package source, the volume or Nix fails. The index then has no incomplete entry.
pub fn prepare(request: &PrepareRequest, recorder: &Recorder) -> Result<SystemPrepared, Failure> {
    let deadline = Instant::now() + Duration::from_millis(request.deadline_ms);
    let task = request.task.check()?;
    let tools = request.system_tools.as_ref().ok_or_else(|| {
        Failure::new(
            FailureKind::Internal,
            "the task asks for system packages, but the request names no Nix program",
        )
    })?;
    let volume = SystemVolume::from_context(&request.context);
    let job = SystemJob {
        request,
        tools,
        volume: &volume,
        key: SystemKey::new(&task.system, &request.context),
        task: &task,
        recorder,
    };
    match request.keep {
        Keep::Discard => {
            volume.lay_out()?;
            job.realise(&Deadline::at(deadline)?).map(|made| made.prepared)
        }
        Keep::Publish => job.publish(deadline),
    }
}

/// Runs the steps that the task does not wait for: records hashes of the registered paths and, after a build, enforces
/// the budget. Returns warnings for the operator.
pub fn finish(request: &PrepareRequest, is_made: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    let asked = request.task.check().ok().filter(|task| !task.system.is_empty());
    if let Some(task) = asked.filter(|_| request.keep == Keep::Publish) {
        let key = SystemKey::new(&task.system, &request.context);
        let recorded = path_hashes::record(&SystemVolume::from_context(&request.context), &key);
        warnings.extend(
            recorded
                .err()
                .map(|failure| format!("the content of store paths was not recorded: {failure}")),
        );
    }
    if !is_made || request.keep == Keep::Discard {
        return warnings;
    }
    warnings.extend(keep_within_budget(request));
    // Ignore a failure: leftovers only take space, and the next sweep retries.
    drop(maintenance::system::sweep_if_idle(&SystemVolume::from_context(
        &request.context,
    )));
    warnings
}

/// Keeps the volume within the request's budget. Returns warnings for the operator.
///
/// What this preparation built is leased, so it is not evicted.
fn keep_within_budget(request: &PrepareRequest) -> Vec<String> {
    let Some(tools) = request.system_tools.as_ref() else {
        return Vec::new();
    };
    let volume = SystemVolume::from_context(&request.context);
    let deadline = Instant::now() + Duration::from_millis(request.deadline_ms);
    let collected = Deadline::at(deadline)
        .and_then(|deadline| maintenance::system::keep_within(&volume, &request.budgets.system, tools, &deadline));
    match collected {
        Ok(report) => report.warnings,
        Err(failure) => vec![format!(
            "the system volume was not brought within its budget: {failure}"
        )],
    }
}

struct SystemJob<'a> {
    request: &'a PrepareRequest,
    tools: &'a SystemTools,
    volume: &'a SystemVolume,
    key: SystemKey,
    task: &'a Task,
    recorder: &'a Recorder,
}

struct Realised {
    prepared: SystemPrepared,
    packages: Vec<String>,
    closure: Vec<String>,
}

impl SystemJob<'_> {
    fn publish(&self, deadline: Instant) -> Result<SystemPrepared, Failure> {
        self.volume.lay_out()?;
        if let Some(found) = self.find()? {
            return Ok(found);
        }
        let path = self.volume.lock_path(self.key.as_str());
        let began = SystemTime::now();
        let _alone = self.span(Phase::LockWait, || lock::wait(&path, Mode::Exclusive, deadline))?;
        // The previous holder of the lock has probably built it.
        if let Some(found) = self.find()? {
            return Ok(found);
        }
        if let Some(failure) = build_failure::noted_since(&path, began) {
            return Err(failure);
        }
        let made = self.make_with_room(deadline);
        if let Err(failure) = &made {
            build_failure::note(&path, failure);
        }
        made
    }

    /// Builds the packages. If the volume is full, evicts and retries, freeing twice as much each time.
    fn make_with_room(&self, deadline: Instant) -> Result<SystemPrepared, Failure> {
        let deadline = Deadline::at(deadline)?;
        maintenance::system::clear_damaged(self.volume, &self.key, self.tools, &deadline)?;
        let mut made = self.make(&deadline);
        for part in FREE_PARTS {
            match made {
                Err(full) if is_disk_full(&full) => {
                    let freed = maintenance::system::make_room(self.volume, self.tools, &deadline, part)?;
                    // From the second round on, only this build's own paths would be collected.
                    let has_collected = part == FREE_PARTS[0] && freed.freed_bytes > 0;
                    made = if freed.evicted_system_sets > 0 || has_collected {
                        self.make(&deadline)
                    } else {
                        Err(full)
                    };
                }
                other => return other,
            }
        }
        made
    }

    fn make(&self, deadline: &Deadline) -> Result<SystemPrepared, Failure> {
        // Builds share the lock and a garbage collection holds it exclusively, so no path disappears before it has its
        // root. New builds queue behind a waiting collection, because overlapping builds would block it for ever.
        let [wanted, store] = [COLLECTION_LOCK, STORE_LOCK].map(|name| self.volume.lock_path(name));
        let _in_use = self.span(Phase::LockWait, || {
            let _none_waits = lock::wait(&wanted, Mode::Shared, deadline.instant())?;
            lock::wait(&store, Mode::Shared, deadline.instant())
        })?;
        let mut made = self.realise(deadline)?;
        made.prepared.lease = self.span(Phase::SystemPublish, || self.register(&made))?;
        Ok(made.prepared)
    }

    fn find(&self) -> Result<Option<SystemPrepared>, Failure> {
        let Some(entry) = self.span(Phase::Lookup, || self.volume.look_up(&self.key))? else {
            return Ok(None);
        };
        match self.span(Phase::Lease, || self.volume.lease(&self.key, entry))? {
            SystemFound::Leased { paths, lease, .. } => Ok(Some(SystemPrepared {
                paths,
                status: CacheStatus::Hit,
                lease: Some(lease),
            })),
            SystemFound::Gone => Ok(None),
        }
    }

    fn realise(&self, deadline: &Deadline) -> Result<Realised, Failure> {
        let work_dir = WorkDir::create(self.volume)?;
        let program = self.span(Phase::SystemBootstrap, || {
            let variables = &self.tools.variables;
            let bootstrap = Bootstrap {
                volume: self.volume,
                work_dir: &work_dir,
                variables,
                deadline,
            };
            provider::program(&self.tools.provider, &bootstrap)
        })?;
        let nix = Nix {
            program,
            variables: &self.tools.variables,
            volume: self.volume,
            work_dir: &work_dir,
            deadline,
        };
        self.span(Phase::SystemRealise, || self.build(&nix))
    }

    fn build(&self, nix: &Nix<'_>) -> Result<Realised, Failure> {
        let source = &self.tools.source;
        let packages: Vec<String> = self
            .task
            .system
            .iter()
            .map(|package| package.as_str().to_owned())
            .collect();
        let before = nix::store_names(self.volume)?;
        let mut paths: Vec<String> = nix.build(source, &packages)?.into_iter().flatten().collect();
        // Two packages may have the same path; keep the first place on the search path.
        let mut seen = std::collections::HashSet::new();
        paths.retain(|path| seen.insert(path.clone()));
        let (mut downloaded_bytes, mut reused_bytes) = (0, 0);
        let store = paths.first().and_then(|path| Path::new(path).parent());
        let store = store.unwrap_or(Path::new("/nix/store"));
        let mut closure = Vec::new();
        for (name, size_bytes) in nix.closure(source, &paths)? {
            closure.push(store.join(&name).to_string_lossy().into_owned());
            *if before.contains(&name) {
                &mut reused_bytes
            } else {
                &mut downloaded_bytes
            } += size_bytes;
        }
        let status = match self.request.keep {
            Keep::Publish => CacheStatus::Built {
                downloaded_bytes,
                reused_bytes,
            },
            Keep::Discard => CacheStatus::Bypassed,
        };
        Ok(Realised {
            prepared: SystemPrepared {
                paths,
                status,
                lease: None,
            },
            packages,
            closure,
        })
    }

    /// Creates the roots, then the lease, then the entry, so that everything exists once the entry is found. The lease
    /// is held before the entry can be evicted; `None` only if an eviction of an earlier entry holds it now.
    ///
    /// Nix does not sync the files of a store path, so the volume is synced before the entry is written.
    fn register(&self, made: &Realised) -> Result<Option<Lock>, Failure> {
        let paths = &made.prepared.paths;
        // Check this before creating roots, which would keep the path alive.
        if let Some(path) = damaged::first(self.volume, &made.closure) {
            let message = format!("the store path {path} is damaged, and a task uses it");
            return Err(Failure::new(FailureKind::CacheDamaged, message)
                .hint("run the task again when the running tasks have ended"));
        }
        let roots = self.volume.roots_path(&self.key);
        files::ensure_folder(&roots)?;
        for (number, path) in paths.iter().enumerate() {
            files::link_atomic(Path::new(path), &roots.join(number.to_string()))?;
        }
        // A collector that ignores our lock may have run between building and rooting.
        if let Some(gone) = made.closure.iter().chain(paths).find(|path| !Path::new(path).exists()) {
            return Err(Failure::new(
                FailureKind::CacheDamaged,
                format!("{gone} disappeared before it was registered"),
            )
            .hint("a garbage collection ran at the same time; run the task again"));
        }
        let lease = lock::attempt(&self.volume.lease_path(&self.key), Mode::Shared, Missing::Create)?;
        let entry = IndexEntry::new(
            &self.key,
            &self.request.context.system_source,
            made.packages.clone(),
            paths.clone(),
        )
        .with_closure(made.closure.clone());
        files::sync_volume(self.volume.root())?;
        files::write_atomic(&self.volume.index_path(&self.key), &entry.to_json()?)?;
        Ok(lease)
    }

    fn span<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        self.recorder.span(phase, Lane::System, work)
    }
}
