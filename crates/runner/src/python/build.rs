//! Builds an environment in staging: creates an empty venv, installs the packages, and verifies that all of them are
//! there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hybrid_cache_model::outcome::PackageHashes;
use hybrid_cache_model::protocol::{Interpreter, PythonTools};
use hybrid_cache_model::{CacheStatus, Failure, FailureKind, Lane, Phase, RequestKey, Requirement, Task};

use super::environment::{Packages, VENV, write_lock};
use super::hashes::Unhashed;
use super::record::{Checked, Installed};
use super::uv::{BuiltWheel, Uv};
use super::venv::{Home, OwnFiles};
use super::{PythonVolume, asked, scripts, setuptools, uv_cache, uv_errors};
use crate::child::Deadline;
use crate::store::stage::{LEASE, Stage};
use crate::store::{IoContext, files};

/// Files that uv adds for interactive use. Tasks do not need them, and each takes a disk block.
const SHELL_FILES: [&str; 12] = [
    "bin/activate",
    "bin/activate.bat",
    "bin/activate.csh",
    "bin/activate.fish",
    "bin/activate.nu",
    "bin/activate.ps1",
    "bin/activate.xsh",
    "bin/activate_this.py",
    "bin/deactivate.bat",
    "bin/pydoc.bat",
    ".gitignore",
    "CACHEDIR.TAG",
];

/// The inputs of a build.
#[derive(Clone, Copy)]
pub struct BuildRequest<'a> {
    /// The volume.
    pub volume: &'a PythonVolume,
    /// The request's key.
    pub key: &'a RequestKey,
    /// The task, with its requirements and their options.
    pub task: &'a Task,
    /// The interpreter.
    pub interpreter: &'a Interpreter,
    /// How to run uv.
    pub tools: &'a PythonTools,
    /// When to give up.
    pub deadline: &'a Deadline,
    /// Runs one phase as a span of the timeline.
    pub phases: &'a Phases<'a>,
    /// Wheels that were built for the task.
    pub built: &'a [BuiltWheel],
    /// True if setuptools may be added for a package that imports a module of it.
    pub setuptools: bool,
}

/// Announces phases and records their durations.
pub struct Phases<'a> {
    /// Phases are recorded.
    pub recorder: &'a crate::clock::Recorder,
    /// Called when a phase begins.
    pub announce: &'a (dyn Fn(Phase, Lane) + Sync),
}

impl Phases<'_> {
    /// Runs `work` as one phase.
    pub fn run<T>(&self, phase: Phase, lane: Lane, work: impl FnOnce() -> T) -> T {
        (self.announce)(phase, lane);
        self.recorder.span(phase, lane, work)
    }
}

/// A verified environment in staging that a task may run from.
pub struct Build {
    /// Its staging folder.
    pub stage: Stage,
    /// Its installed distributions.
    pub installed: Installed,
    /// The result of its verification.
    pub checked: Checked,
    /// The hashes of the files that it was installed from, as far as they are known.
    pub hashes: PackageHashes,
    /// Why setuptools is among the packages, if it was added.
    pub note: Option<String>,
    /// `name @ address` of packages that a requirement names the place of, by `name==version`.
    addresses: BTreeMap<String, String>,
}

impl Build {
    /// The environment's folder, in staging.
    pub fn environment(&self) -> PathBuf {
        self.stage.product()
    }

    /// The virtual environment in it.
    pub fn venv(&self) -> PathBuf {
        self.environment().join(VENV)
    }

    /// The working folder of helper programs.
    pub fn work(&self) -> PathBuf {
        work(&self.stage)
    }

    /// Its packages.
    pub fn packages(&self) -> Packages {
        let named = |pin: String| self.addresses.get(&pin).cloned().unwrap_or(pin);
        let mut pins: Vec<String> = self.installed.pins().into_iter().map(named).collect();
        pins.sort();
        Packages {
            pins,
            hashes: self
                .hashes
                .iter()
                .map(|(pin, hashes)| (named(pin.clone()), hashes.clone()))
                .collect(),
        }
    }

    /// What the cache did.
    pub fn status(&self) -> CacheStatus {
        let Checked {
            downloaded_bytes,
            reused_bytes,
            ..
        } = self.checked;
        CacheStatus::Built {
            downloaded_bytes,
            reused_bytes,
        }
    }
}

fn work(stage: &Stage) -> PathBuf {
    stage.path().join("work")
}

/// Builds the environment in a new staging folder and verifies it. The folder is removed if that fails.
///
/// # Errors
/// uv failed, a package is missing, the volume cannot be written, or the deadline passed.
pub fn make(request: &BuildRequest<'_>) -> Result<Build, Failure> {
    let stage = Stage::create(&request.volume.staging())?;
    let work = work(&stage);
    files::ensure_folder(&work)?;
    let environment = stage.product();
    files::ensure_folder(&environment)?;
    let venv = environment.join(VENV);
    let cache = request.volume.uv_cache();
    let uv = Uv {
        tools: request.tools,
        cache: &cache,
        work: &work,
        deadline: request.deadline,
    };
    let since = born(stage.path())?;
    let own = request.phases.run(Phase::PythonVenv, Lane::Python, || {
        match Home::find(request.interpreter) {
            Some(home) => home.make(&venv)?,
            None => {
                uv.make_environment(&venv, request.interpreter)?;
                SHELL_FILES
                    .into_iter()
                    .try_for_each(|file| files::delete(&venv.join(file)))?;
            }
        }
        OwnFiles::note(&venv, request.interpreter)
    })?;
    let (mut installed, note) = request.phases.run(Phase::PythonInstall, Lane::Python, || {
        let list = stage.path().join("requirements.txt");
        let install = |task: &Task| {
            let install = || uv.install(&venv, task, &list, request.interpreter, request.built);
            install().or_else(|failure| {
                if !uv_errors::is_unreadable_note(&failure) {
                    return Err(failure);
                }
                uv_cache::forget_local(&cache)?;
                install()
            })
        };
        install(request.task)?;
        with_setuptools(request, Installed::read(&venv, request.interpreter)?, &install)
    })?;
    let (installed, checked, hashes) = request.phases.run(Phase::PythonVerify, Lane::Python, || {
        let (wanted, mut hashes) = Unhashed::all(&installed, request.built);
        let (checked, found) = std::thread::scope(|scope| {
            let found = scope.spawn(|| wanted.find(&uv, request.task, stage.path(), request.interpreter));
            let checked = verify(&mut installed, &own, since, request);
            // Without hashes the environment is as good, and the lock of its packages says that they are not known.
            (checked, found.join().ok().and_then(Result::ok).unwrap_or_default())
        });
        hashes.extend(found);
        Ok::<_, Failure>((installed, checked?, hashes))
    })?;
    let addresses = request.built.iter().filter_map(BuiltWheel::reference).collect();
    let build = Build {
        stage,
        installed,
        checked,
        hashes,
        note,
        addresses,
    };
    finish(&environment, &build.packages())?;
    Ok(build)
}

/// Adds setuptools to the environment if a package imports `pkg_resources`, which nothing brings. Returns what is installed then,
/// and why.
///
/// # Errors
/// It cannot be added, and not because the packages do not let it be.
fn with_setuptools(
    request: &BuildRequest<'_>,
    installed: Installed,
    install: &dyn Fn(&Task) -> Result<(), Failure>,
) -> Result<(Installed, Option<String>), Failure> {
    if !request.setuptools || !setuptools::may_be_added(request.task) {
        return Ok((installed, None));
    }
    let Some((package, module)) = setuptools::lacking(&installed) else {
        return Ok((installed, None));
    };
    let note = format!(
        "`{}` was added, because {} imports `pkg_resources` ({}) and nothing else brings it",
        setuptools::PIN,
        package.pin(),
        module.listed
    );
    let mut task = request.task.clone();
    task.requirements.push(setuptools::requirement()?);
    // uv would otherwise choose older versions of what needs a newer setuptools.
    let others = installed.distributions.iter().filter(|one| one.name != "setuptools");
    let Ok(pins) = others
        .map(|one| one.pin().parse::<Requirement>())
        .collect::<Result<Vec<_>, _>>()
    else {
        return Ok((installed, None));
    };
    task.constraints.extend(pins);
    match install(&task) {
        Ok(()) => Ok((Installed::read(&installed.venv, request.interpreter)?, Some(note))),
        // Another package wants a newer one, or the index has none or denies it: uv finds out before it changes anything.
        Err(failure)
            if uv_errors::is_denied(&failure)
                || matches!(
                    failure.kind,
                    FailureKind::Unsatisfiable | FailureKind::NoWheel | FailureKind::UnknownPackage
                ) =>
        {
            Ok((installed, None))
        }
        Err(failure) => Err(failure),
    }
}

/// Checks that everything is there, and brings it into its normal form.
fn verify(
    installed: &mut Installed,
    own: &OwnFiles,
    since: SystemTime,
    request: &BuildRequest<'_>,
) -> Result<Checked, Failure> {
    own.check(installed)?;
    let checked = installed.check(since)?;
    asked::all_there(&request.task.requirements, installed, request.interpreter)?;
    asked::built_as_named(
        request.built,
        &request.task.requirements,
        installed,
        request.interpreter,
    )?;
    scripts::rewrite(installed)?;
    installed.normalise()?;
    Ok(checked)
}

/// The staging folder's creation time, by the clock of the volume's file system.
fn born(stage: &Path) -> Result<SystemTime, Failure> {
    stage
        .metadata()
        .and_then(|found| found.modified())
        .io_context("look at", stage)
}

/// Drops what no task needs and adds the lease, so that a task can run from staging.
fn finish(environment: &Path, packages: &Packages) -> Result<(), Failure> {
    // uv's lock, which it needs only while it runs.
    files::delete(&environment.join(VENV).join(".lock"))?;
    // A task that runs from staging reports the list too.
    write_lock(environment, packages)?;
    let lease = environment.join(LEASE);
    std::fs::File::create(&lease).io_context("create", &lease)?;
    Ok(())
}
