//! Builds packages that have no wheel: everything that runs their code happens in a sandbox of its own, which the
//! driver makes for each order and which writes nothing shared. In a pod that is a container for all orders, which the
//! runner empties before each. What leaves it is text and wheels of a stranger.
//!
//! ```text
//! commits   one sandbox each: a commit that a requirement names, fetched and built; its address is the task's own text
//! resolve   one sandbox: uv resolves with builds allowed. Only a proposal: names, versions, hashes, build requirements
//! for each proposed package:
//!   pin     here, without code: uv pins the build requirements with hashes
//!   look    here: a wheel of the tenant with the same key needs no second build
//!   build   one sandbox, fresh: uv compares the hash of the source distribution, then builds it
//! install   here: as ever, only wheels, with the built ones in folders of their own
//! keep      here: once the environment is verified; a later task takes it only with the same content
//! ```
//!
//! A proposal can name nothing but files of the index: the sandbox that builds gets a name, a version and a hash, and
//! downloads by name. So a package that lies while it is resolved cannot put its own wheel in another one's place.

mod commits;
mod kept;
mod logins;
mod order;
mod proposal;

use std::path::{Path, PathBuf};

use hybrid_cache_model::key::{BuiltWheelKey, BuiltWheelSource};
use hybrid_cache_model::protocol::{BuildSettings, PythonTools};
use hybrid_cache_model::{Failure, FailureKind, Protection, SystemKey};

use super::context::{Builder, PrepareJob};
use crate::python::uv::{BuiltWheel, Uv};
use crate::python::{PythonVolume, setuptools};
use crate::store::failure::is_disk_full;
use crate::store::stage::Stage;
use crate::store::{IoContext, files};
use kept::Wheel;
use logins::{Logins, Work};
use order::Orders;
use proposal::Proposed;

pub use commits::{build_commits, has_commits};
pub use kept::{Built, volume_of_tenant};

/// Builds what has no wheel, and puts it into `built`, which is empty afterwards if uv finds that nothing must be built.
///
/// # Errors
/// Something cannot be built, or the sandbox cannot be made.
pub fn build(
    job: &PrepareJob<'_>,
    volume: &PythonVolume,
    tools: &PythonTools,
    settings: &BuildSettings,
    builder: Builder<'_>,
    built: &mut Built,
) -> Result<(), Failure> {
    let system = job.system.wait(&job.deadline)?;
    let stage = Stage::create(&volume.staging())?;
    let work = stage.path().join("work");
    files::ensure_folder(&work)?;
    let logins = Logins::find(tools);
    let lookup = Work {
        cache: &volume.uv_cache(),
        folder: &work,
        interpreter: &job.request.context.interpreter,
        deadline: &job.deadline,
    };
    // Code of packages gets neither a password nor an index that wants one.
    let open = logins.left_out();
    let orders = Orders::new(job, &open, settings, builder, system);
    let known = logins.known(job.task.requirements.iter().map(|one| one.name()), &lookup)?;
    let proposed = orders.resolve(&known).map_err(|failure| without(failure, &logins))?;
    logins.check(&proposed, &lookup)?;
    built.begin();
    for package in &proposed {
        package.check_hash(&job.task)?;
        let mut one = |older: bool, kept_only: bool| {
            let constraints = pin(job, volume, &open, package, &work, older)?;
            logins.check_requirements(package, &constraints, &lookup)?;
            let source = BuiltWheelSource {
                name: &package.name,
                version: &package.version,
                source: &package.sha256,
                constraints: &constraints,
                ..source_of(job, settings)
            };
            let key = key(job, source);
            let found = built.wheel(volume, &key, || match kept_only {
                true => Err(not_kept()),
                false => new_wheel(&orders, package, &constraints),
            })?;
            Ok((wheel(package, found), key))
        };
        let ((wheel, key), note) = with_older(job, package.older, &mut one)?;
        built
            .notes
            .extend(note.map(|note| format!("{}=={} {note}", package.name, package.version)));
        built.add(wheel, key);
    }
    Ok(())
}

/// Builds one package; with an older setuptools if a build without it misses a module that was part of it. The wheel has another key
/// then. `is_resolved_so` says that resolving needed the older one for some package: such a wheel may be there from another task.
/// `build` gets whether it is the older one, and whether to take nothing but a kept wheel. Also returns a note.
///
/// # Errors
/// It cannot be built.
fn with_older<T>(
    job: &PrepareJob<'_>,
    is_resolved_so: bool,
    build: &mut dyn FnMut(bool, bool) -> Result<T, Failure>,
) -> Result<(T, Option<String>), Failure> {
    let note = || {
        let pin = setuptools::PIN;
        Some(format!(
            "was built with `{pin}`, because its build imports `pkg_resources`"
        ))
    };
    // Code of packages ran where that was said.
    if job.adds_setuptools()
        && is_resolved_so
        && let Ok(kept) = build(true, true)
    {
        return Ok((kept, note()));
    }
    match build(false, false) {
        Err(failure) if job.adds_setuptools() && setuptools::is_missing(&failure.message) => {
            build(true, false).map(|made| (made, note()))
        }
        made => made.map(|made| (made, None)),
    }
}

fn not_kept() -> Failure {
    Failure::new(FailureKind::NoWheel, "no such wheel was kept")
}

/// `failure` of the sandbox, with the indexes that it does not ask.
fn without(failure: Failure, logins: &Logins<'_>) -> Failure {
    if logins.is_empty() {
        return failure;
    }
    let own = failure.hint.clone().unwrap_or_default();
    let hint = format!(
        "packages without a wheel are resolved and built without the indexes that want a login ({}), because code of packages \
         gets no password; {own}",
        logins.names()
    );
    failure.hint(hint)
}

/// The build requirements of a package with their hashes, with an older setuptools if `older`. If uv cannot pin them, because one
/// has no wheel itself, the limit of setuptools alone, or nothing.
///
/// # Errors
/// The volume is full.
fn pin(
    job: &PrepareJob<'_>,
    volume: &PythonVolume,
    tools: &PythonTools,
    package: &Proposed,
    work: &Path,
    older: bool,
) -> Result<String, Failure> {
    let mut requirements = package.build_requirements();
    let limit = if older { setuptools::PIN } else { "" };
    if requirements.is_empty() {
        return Ok(limit.to_owned());
    }
    requirements.push(limit.to_owned());
    let (list, lock) = (work.join("build-requirements.txt"), work.join("build-constraints.txt"));
    let cache = volume.uv_cache();
    let uv = Uv {
        tools,
        cache: &cache,
        work,
        deadline: &job.deadline,
    };
    drop(files::delete(&lock));
    let pinned = std::fs::write(&list, requirements.join("\n")).io_context("write", &list);
    let pinned = pinned.and_then(|()| uv.pin(&list, &lock, &job.request.context.interpreter));
    match pinned {
        Ok(()) => std::fs::read_to_string(&lock).io_context("read", &lock),
        // The caller makes room and tries again: a wheel that was built without pins would have another key.
        Err(failure) if is_disk_full(&failure) => Err(failure),
        // The sandbox resolves them by itself.
        Err(_) => Ok(limit.to_owned()),
    }
}

/// What all wheels that a task has built are made for, without a package.
fn source_of<'a>(job: &'a PrepareJob<'_>, settings: &'a BuildSettings) -> BuiltWheelSource<'a> {
    let context = &job.request.context;
    BuiltWheelSource {
        name: "",
        version: "",
        source: "",
        constraints: "",
        wheels_only: &job.task.options.wheels_only,
        system: "",
        network: &settings.network,
        index: &context.index,
        named_indexes: &context.sources.indexes,
        interpreter: &context.interpreter,
    }
}

/// The key of a wheel, with the task's system packages.
fn key(job: &PrepareJob<'_>, source: BuiltWheelSource<'_>) -> BuiltWheelKey {
    let packages = &job.task.system;
    let system = (!packages.is_empty()).then(|| SystemKey::new(packages, &job.request.context).to_string());
    let system = system.as_deref().unwrap_or_default();
    BuiltWheelKey::new(&BuiltWheelSource { system, ..source })
}

/// Builds a wheel in a fresh sandbox. Returns the file that it left.
fn new_wheel(orders: &Orders<'_>, package: &Proposed, constraints: &str) -> Result<PathBuf, Failure> {
    let made = orders.build(package, constraints)?;
    let name = kept::name_of(&made);
    if Protection::BuiltAsNamed.is_on() && !package.is_named(&name) {
        let message = format!(
            "building {}=={} made a wheel with the name {name:?}, which is another package or version",
            package.name, package.version
        );
        return Err(Failure::new(FailureKind::NoWheel, message).hint("try another version of the package"));
    }
    Ok(made)
}

fn wheel(package: &Proposed, found: Wheel) -> BuiltWheel {
    BuiltWheel {
        name: package.name.clone(),
        version: package.version.clone(),
        source: format!("sha256:{}", package.sha256),
        hash: found.hash(),
        folder: found.folder,
        address: None,
    }
}
