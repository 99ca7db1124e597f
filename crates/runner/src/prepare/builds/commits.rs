//! Commits of repositories that requirements name: each is fetched and built in a sandbox of its own, like a package without a
//! wheel, and its wheel is installed as one version of its package.

use hybrid_cache_model::key::{BuiltWheelKey, BuiltWheelSource};
use hybrid_cache_model::protocol::{BuildSettings, PythonTools};
use hybrid_cache_model::requirement::Reference;
use hybrid_cache_model::{Failure, FailureKind, Requirement, SystemKey, Task};

use super::kept::{self, Built};
use super::logins::Logins;
use super::order::Orders;
use super::proposal;
use crate::prepare::context::PrepareJob;
use crate::python::uv::BuiltWheel;
use crate::python::{PythonVolume, may_apply};
use crate::store::stage::Stage;
use crate::store::{IoContext, sha256};

/// True if a requirement of the task names a commit.
pub fn has_commits(task: &Task) -> bool {
    let mut references = task.requirements.iter().filter_map(Requirement::reference);
    references.any(|reference| matches!(reference, Reference::Git { .. }))
}

/// Builds every commit that a requirement of the task names and whose marker holds; `None` if there is none.
///
/// # Errors
/// Nothing is built here, or a commit cannot be fetched or built.
pub fn build_commits(
    job: &PrepareJob<'_>,
    volume: &PythonVolume,
    tools: &PythonTools,
) -> Result<Option<Built>, Failure> {
    let mut wanted = Vec::new();
    for requirement in &job.task.requirements {
        if let Some(reference @ Reference::Git { .. }) = requirement.reference()
            && may_apply(requirement, &job.request.context.interpreter)
        {
            wanted.push((requirement, reference));
        }
    }
    if wanted.is_empty() {
        return Ok(None);
    }
    let options = &job.task.options;
    let refused = |one: &str| options.builds_nothing() || options.wheels_only.iter().any(|name| name == one);
    if let Some((requirement, _)) = wanted.iter().find(|(requirement, _)| refused(requirement.name())) {
        let message = format!("{} comes from a repository and has to be built", requirement.name());
        return Err(Failure::new(FailureKind::NoWheel, message).hint("the requirements say `--only-binary` of it"));
    }
    let logins = Logins::find(tools);
    if !logins.is_empty() {
        // What its build requires is known only once its code runs.
        let message = format!(
            "{} comes from a repository and has to be built, beside an index with a login ({})",
            wanted[0].0.name(),
            logins.names()
        );
        let hint = "code of packages gets no password, so no commit is built there: put a wheel of it into the index";
        return Err(Failure::new(FailureKind::NoWheel, message).hint(hint));
    }
    let (Some(settings), Some(builder)) = (&job.request.builds, job.builder) else {
        return Err(not_built(wanted[0].0, job.request.context.no_builds));
    };
    let system = job.system.wait(&job.deadline)?;
    let orders = Orders::new(job, tools, settings, builder, system);
    let mut built = Built::new(Stage::create(&volume.staging())?);
    for (requirement, reference) in wanted {
        let address = reference.address();
        if built.wheels.iter().any(|one| one.name == requirement.name()) {
            let message = format!("{} is named by two commits or addresses", requirement.name());
            return Err(Failure::new(FailureKind::Unsatisfiable, message).hint("keep one of them"));
        }
        let key = key(job, settings, requirement.name(), &address);
        let folder = match kept::find(volume, &key) {
            Some(folder) => folder,
            None => {
                let made = orders.build_commit(requirement.name(), &address).map_err(without_git)?;
                kept::copy(&made, &built.new_folder(&key))?
            }
        };
        let file = kept::only_wheel(&folder)
            .ok_or_else(|| Failure::new(FailureKind::CacheDamaged, "a built wheel is gone"))?;
        let file_name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let Some(version) = proposal::version_of(&file_name, requirement.name()) else {
            let message = format!(
                "building {address} made {file_name:?}, which is not a wheel of {}",
                requirement.name()
            );
            return Err(Failure::new(FailureKind::NoWheel, message).hint("name the package that the repository holds"));
        };
        let wheel = BuiltWheel {
            name: requirement.name().to_owned(),
            version,
            source: String::new(),
            hash: format!("sha256:{}", sha256::of_file(&file).io_context("read", &file)?),
            folder,
            address: Some(address),
        };
        built.add(wheel, key);
    }
    Ok(Some(built))
}

fn not_built(requirement: &Requirement, no_builds: bool) -> Failure {
    let message = format!("{} comes from a repository and has to be built", requirement.name());
    let hint = match no_builds {
        true => "packages are not built here (`--no-builds`); name a published package, or the address of a wheel",
        false => "nothing builds packages here; name a published package, or the address of a wheel",
    };
    Failure::new(FailureKind::NoWheel, message).hint(hint)
}

/// A failure for lack of git, with the next step.
fn without_git(failure: Failure) -> Failure {
    match failure.message.contains("Git executable not found") {
        true => failure.hint("add `git` to systemDependencies"),
        false => failure,
    }
}

fn key(job: &PrepareJob<'_>, settings: &BuildSettings, name: &str, address: &str) -> BuiltWheelKey {
    let context = &job.request.context;
    let system = (!job.task.system.is_empty()).then(|| SystemKey::new(&job.task.system, context).to_string());
    BuiltWheelKey::new(&BuiltWheelSource {
        name,
        version: "",
        source: address,
        constraints: "",
        system: system.as_deref().unwrap_or_default(),
        network: &settings.network,
        index: &context.index,
        named_indexes: &context.sources.indexes,
        interpreter: &context.interpreter,
    })
}
