//! The trait of a volume under test, which answers requests for environments: by a runner on this machine, or by tasks of a
//! cluster.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use hybrid_cache_model::maintain::VerifyReport;
use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_model::{CacheReport, CacheStatus, Failure, Phase, TaskSpec, Tenant, Timeline};
use hybrid_cache_sizing::Volume;

use crate::error::TrialError;
use crate::prove::slice::Made;
use crate::prove::{standin, system};

/// How far back an aged note of a use is dated; the runner notes a use again after a minute.
const LONG_AGO: Duration = Duration::from_secs(120);
/// Folder of the system volume that holds our files.
pub const STATE: &str = "var/hybrid-cache";
/// What a task waits for, beside the lookup.
const PYTHON_PHASES: &[Phase] = &[Phase::PythonVenv, Phase::PythonInstall, Phase::PythonVerify];
const SYSTEM_PHASES: &[Phase] = &[Phase::SystemBootstrap, Phase::SystemRealise];
/// How the runner says that a volume was full and it made room.
const WAS_FULL: &str = "volume was full";

/// What a request came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The environment was there.
    Hit,
    /// It was made, or resolved again.
    Made {
        /// Bytes of new files, as the runner reports them.
        downloaded_bytes: u64,
        /// Microseconds of preparing before the task could start.
        prepare_us: u64,
        /// True if the file system was full meanwhile.
        met_full: bool,
    },
    /// It was refused.
    Refused(Failure),
}

/// What a request came to, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What it came to.
    pub end: End,
    /// Microseconds until the task could start, or until the refusal; in a cluster until the task's end, without its program.
    pub wait_us: u64,
}

impl Answer {
    /// True for a clear word about a full volume.
    pub fn is_clearly_full(failure: &Failure) -> bool {
        failure.kind == FailureKind::DiskFull && failure.hint.is_some()
    }
}

/// A volume, and how it is asked.
#[async_trait]
pub trait Keeper: Send + Sync {
    /// Which volume it is.
    fn kind(&self) -> Volume;

    /// The volume's folder.
    fn volume(&self) -> &Path;

    /// How old the note of a use must be before a use is noted again.
    fn noted_again(&self) -> Duration;

    /// How many environments are asked for on a full volume, each time.
    fn on_full(&self) -> usize {
        6
    }

    /// Asks for an environment, and waits until it is published. `is_due` makes the request old before, `uses_again`
    /// the note of its last use.
    ///
    /// # Errors
    /// The product does not answer as it should. A refusal is an answer.
    async fn prepare(&self, made: &Made, is_due: bool, uses_again: bool) -> Result<Answer, TrialError>;

    /// `cache verify` of this volume.
    ///
    /// # Errors
    /// It does not answer.
    async fn verify(&self) -> Result<VerifyReport, TrialError>;

    /// Where an environment is published, below the volume.
    ///
    /// # Errors
    /// It is not.
    fn published(&self, made: &Made) -> Result<String, TrialError>;

    /// How many environments are published.
    fn environments(&self) -> u64 {
        let (state, folder) = match self.kind() {
            Volume::Python => (self.volume().to_owned(), "envs"),
            Volume::System => (self.volume().join(STATE), "index"),
        };
        let tenants = fs::read_dir(state.join("tenants")).into_iter().flatten().flatten();
        let counts = tenants.map(|tenant| fs::read_dir(tenant.path().join(folder)).map_or(0, Iterator::count));
        counts.sum::<usize>() as u64
    }
}

/// The task that asks for an environment.
pub fn task(kind: Volume, made: &Made) -> TaskSpec {
    let mut task = TaskSpec::new("pass");
    match kind {
        Volume::Python => task.requirements_file = standin::requirements(&made.parts),
        Volume::System => task.system_dependencies = system::package(made),
    }
    task
}

/// Whose task that is.
///
/// # Errors
/// None, as names go.
pub fn tenant(made: &Made) -> Result<Tenant, TrialError> {
    match made.tenant {
        0 => Ok(Tenant::default()),
        number => format!("tenant{number}")
            .parse()
            .map_err(|error| TrialError::Other(format!("{error}"))),
    }
}

/// What preparing came to.
pub fn ready(kind: Volume, cache: &CacheReport, timeline: &Timeline) -> End {
    let (status, phases) = match kind {
        Volume::Python => (cache.python, PYTHON_PHASES),
        Volume::System => (cache.system, SYSTEM_PHASES),
    };
    match status {
        CacheStatus::Built { downloaded_bytes, .. } => End::Made {
            downloaded_bytes,
            prepare_us: phases.iter().map(|phase| timeline.phase_us(*phase)).sum(),
            met_full: false,
        },
        _ => End::Hit,
    }
}

/// True if one of the runner's warnings says that the file system was full.
pub fn were_full(warnings: &[String]) -> bool {
    warnings.iter().any(|warning| warning.contains(WAS_FULL))
}

/// Makes the request of a link older than its maximum age.
///
/// # Errors
/// Its time cannot be changed.
pub fn make_old(link: &Path, max_age_s: u64) -> Result<(), TrialError> {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let then = SystemTime::now() - Duration::from_secs(max_age_s + 60);
    let since = then.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let time = Timespec {
        tv_sec: i64::try_from(since.as_secs()).unwrap_or(0),
        tv_nsec: 0,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    match utimensat(CWD, link, &times, AtFlags::SYMLINK_NOFOLLOW) {
        // It was evicted, so it is resolved again in any case.
        Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
        Err(error) => Err(TrialError::io(format!("changing the time of {}", link.display()))(
            error.into(),
        )),
    }
}

/// Makes the note of the last use of a request's environment look old, so that the next use is noted. What is not there
/// needs none.
pub fn make_unnoted(link: &Path) {
    if let Ok(file) = fs::File::open(link.join(".lease")) {
        // Should it fail, the use is not noted again, and the comparison shows that.
        let _ = file.set_modified(SystemTime::now() - LONG_AGO);
    }
}

/// Where a request's link leads, below the volume.
///
/// # Errors
/// Nowhere.
pub fn target(volume: &Path, link: &Path) -> Result<String, TrialError> {
    let failed = || TrialError::io(format!("reading {}", link.display()));
    let found = link.canonicalize().map_err(failed())?;
    let volume = volume.canonicalize().map_err(failed())?;
    let inside = found.strip_prefix(&volume).unwrap_or(&found);
    Ok(inside.display().to_string())
}
