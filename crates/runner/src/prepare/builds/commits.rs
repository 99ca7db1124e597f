//! Commits of repositories that requirements name: each is fetched and built in a sandbox of its own, like a package without a
//! wheel, and its wheel is installed as one version of its package.

use hybrid_cache_model::key::BuiltWheelSource;
use hybrid_cache_model::protocol::{BuildSettings, PythonTools};
use hybrid_cache_model::requirement::Reference;
use hybrid_cache_model::{Failure, FailureKind, Requirement, Task};

use super::kept::Built;
use super::logins::Logins;
use super::order::Orders;
use super::{key, proposal, source_of, with_older};
use crate::prepare::context::PrepareJob;
use crate::python::uv::BuiltWheel;
use crate::python::{PythonVolume, may_apply, setuptools};

/// True if a requirement of the task names a commit.
pub fn has_commits(task: &Task) -> bool {
    let mut references = task.requirements.iter().filter_map(Requirement::reference);
    references.any(|reference| matches!(reference, Reference::Git { .. }))
}

/// Builds every commit that a requirement of the task names and whose marker holds, and puts it into `built`.
///
/// # Errors
/// Nothing is built here, or a commit cannot be fetched or built.
pub fn build_commits(
    job: &PrepareJob<'_>,
    volume: &PythonVolume,
    tools: &PythonTools,
    built: &mut Built,
) -> Result<(), Failure> {
    let mut wanted = Vec::new();
    for requirement in &job.task.requirements {
        if let Some(reference @ Reference::Git { .. }) = requirement.reference()
            && may_apply(requirement, &job.request.context.interpreter)
        {
            wanted.push((requirement, reference));
        }
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let options = &job.task.options;
    if let Some((requirement, _)) = wanted.iter().find(|(one, _)| !options.may_build(one.name())) {
        return Err(
            has_to_be_built(requirement).hint("the requirements say `--only-binary` of it: leave one of the two out")
        );
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
    built.begin();
    for (requirement, reference) in wanted {
        let address = reference.address();
        if built.wheels.iter().any(|one| one.name == requirement.name()) {
            let message = format!("{} is named by two commits or addresses", requirement.name());
            return Err(Failure::new(FailureKind::Unsatisfiable, message).hint("keep one of them"));
        }
        one_commit(job, volume, settings, &orders, requirement.name(), &address, built)?;
    }
    Ok(())
}

/// Builds the commit `address` of the package `name`, unless its wheel is there, and puts it into `built`.
fn one_commit(
    job: &PrepareJob<'_>,
    volume: &PythonVolume,
    settings: &BuildSettings,
    orders: &Orders<'_>,
    name: &str,
    address: &str,
    built: &mut Built,
) -> Result<(), Failure> {
    let mut one = |older: bool, _: bool| {
        let constraints = if older { setuptools::PIN } else { "" };
        let source = BuiltWheelSource {
            name,
            source: address,
            constraints,
            ..source_of(job, settings)
        };
        let key = key(job, source);
        let build = || orders.build_commit(name, address, constraints);
        let found = built.wheel(volume, &key, || build().map_err(without_git))?;
        Ok((found, key))
    };
    let ((found, key), note) = with_older(job, false, &mut one)?;
    built.notes.extend(note.map(|note| format!("{address} {note}")));
    let file_name = found.name();
    let Some(version) = proposal::version_of(&file_name, name) else {
        let message = format!("building {address} made {file_name:?}, which is not a wheel of {name}");
        return Err(Failure::new(FailureKind::NoWheel, message).hint("name the package that the repository holds"));
    };
    let wheel = BuiltWheel {
        name: name.to_owned(),
        version,
        source: String::new(),
        hash: found.hash(),
        folder: found.folder,
        address: Some(address.to_owned()),
    };
    built.add(wheel, key);
    Ok(())
}

fn has_to_be_built(requirement: &Requirement) -> Failure {
    let message = format!("{} comes from a repository and has to be built", requirement.name());
    Failure::new(FailureKind::NoWheel, message)
}

fn not_built(requirement: &Requirement, no_builds: bool) -> Failure {
    let hint = match no_builds {
        true => "packages are not built here (`--no-builds`); name a published package, or the address of a wheel",
        false => "nothing builds packages here; name a published package, or the address of a wheel",
    };
    has_to_be_built(requirement).hint(hint)
}

/// A failure for lack of git, with the next step.
fn without_git(failure: Failure) -> Failure {
    match failure.message.contains("Git executable not found") {
        true => failure.hint("add `git` to systemDependencies"),
        false => failure,
    }
}
