//! Builds packages that have no wheel: everything that runs their code happens in a sandbox of its own, which the
//! driver makes for each order and which writes nothing shared. In a pod that is a container for all orders, which the
//! runner empties before each. What leaves it is text and wheels of a stranger.
//!
//! ```text
//! resolve   one sandbox: uv resolves with builds allowed. Only a proposal: names, versions, hashes, build requirements
//! for each proposed package:
//!   pin     here, without code: uv pins the build requirements with hashes
//!   look    here: a wheel of the tenant with the same key needs no second build
//!   build   one sandbox, fresh: uv compares the hash of the source distribution, then builds it
//! install   here: as ever, only wheels, with the built ones in folders of their own
//! keep      here: once the environment is verified
//! ```
//!
//! A proposal can name nothing but files of the index: the sandbox that builds gets a name, a version and a hash, and
//! downloads by name. So a package that lies while it is resolved cannot put its own wheel in another one's place.

mod kept;
mod order;
mod proposal;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use hybrid_cache_model::key::{BuiltWheelKey, BuiltWheelSource};
use hybrid_cache_model::protocol::{BuildSettings, PythonTools};
use hybrid_cache_model::{Failure, FailureKind, SystemKey};

use super::context::{Builder, PrepareJob};
use crate::python::PythonVolume;
use crate::python::uv::{BuiltWheel, Uv};
use crate::store::stage::Stage;
use crate::store::{IoContext, files};
use order::Orders;
use proposal::Proposed;
use sha2::Digest as _;

pub use kept::{Built, forget, keep, volume_of_tenant};

/// Builds what has no wheel. Returns `None` if uv finds that nothing must be built.
///
/// # Errors
/// Something cannot be built, or the sandbox cannot be made.
pub fn build(
    job: &PrepareJob<'_>,
    volume: &PythonVolume,
    tools: &PythonTools,
    settings: &BuildSettings,
    builder: Builder<'_>,
) -> Result<Option<Built>, Failure> {
    let system = job.system.wait(&job.deadline)?;
    let stage = Stage::create(&volume.staging())?;
    let work = stage.path().join("work");
    files::ensure_folder(&work)?;
    let orders = Orders::new(job, tools, settings, builder, system);
    let proposed = orders.resolve()?;
    let mut built = Built::new(stage);
    for package in &proposed {
        package.check_hash(&job.task)?;
        let constraints = pin(job, volume, tools, package, &work);
        let key = key(job, settings, package, &constraints);
        let folder = match kept::find(volume, &key) {
            Some(folder) => folder,
            None => new_wheel(&orders, package, &constraints, &built.new_folder(&key))?,
        };
        built.add(wheel(package, folder)?, key);
    }
    Ok((!built.wheels.is_empty()).then_some(built))
}

/// The build requirements of a package with their hashes; empty if uv cannot pin them, because one has no wheel itself.
fn pin(job: &PrepareJob<'_>, volume: &PythonVolume, tools: &PythonTools, package: &Proposed, work: &Path) -> String {
    let requirements = package.build_requirements();
    if requirements.is_empty() {
        return String::new();
    }
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
        Ok(()) => std::fs::read_to_string(&lock).unwrap_or_default(),
        // The sandbox resolves them by itself.
        Err(_) => String::new(),
    }
}

fn key(job: &PrepareJob<'_>, settings: &BuildSettings, package: &Proposed, constraints: &str) -> BuiltWheelKey {
    let context = &job.request.context;
    let system = (!job.task.system.is_empty()).then(|| SystemKey::new(&job.task.system, context).to_string());
    BuiltWheelKey::new(&BuiltWheelSource {
        name: &package.name,
        version: &package.version,
        source: &package.sha256,
        constraints,
        system: system.as_deref().unwrap_or_default(),
        network: &settings.network,
        index: &context.index,
        interpreter: &context.interpreter,
    })
}

/// Builds a wheel in a fresh sandbox and copies it into `folder`.
fn new_wheel(orders: &Orders<'_>, package: &Proposed, constraints: &str, folder: &Path) -> Result<PathBuf, Failure> {
    let made = orders.build(package, constraints)?;
    let name = made.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !package.is_named(&name) {
        let message = format!(
            "building {}=={} made a wheel with the name {name:?}, which is another package or version",
            package.name, package.version
        );
        return Err(Failure::new(FailureKind::NoWheel, message).hint("try another version of the package"));
    }
    files::ensure_folder(folder)?;
    let copy = folder.join(&name);
    std::fs::copy(&made, &copy).io_context("copy to", &copy)?;
    // The copy is the one that counts; the other takes space until the task has ended.
    drop(std::fs::remove_file(&made));
    Ok(folder.to_owned())
}

fn wheel(package: &Proposed, folder: PathBuf) -> Result<BuiltWheel, Failure> {
    let file = kept::only_wheel(&folder).ok_or_else(|| {
        let message = format!("{} holds no wheel", folder.display());
        Failure::new(FailureKind::CacheDamaged, message).hint("run the task again")
    })?;
    Ok(BuiltWheel {
        name: package.name.clone(),
        version: package.version.clone(),
        source: format!("sha256:{}", package.sha256),
        hash: format!("sha256:{}", sha256(&file).io_context("read", &file)?),
        folder,
    })
}

fn sha256(path: &Path) -> io::Result<String> {
    struct Hasher(sha2::Sha256);
    impl Write for Hasher {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hasher = Hasher(sha2::Sha256::new());
    io::copy(&mut std::fs::File::open(path)?, &mut hasher)?;
    Ok(hasher.0.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
