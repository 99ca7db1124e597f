//! The runner as a pod calls it: preparing on a claim of a given size, and looking after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_model::maintain::{MaintainReport, MaintainRequest, VerifyReport};
use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_model::protocol::{
    BudgetRequest, Budgets, IndexScope, Keep, Place, PrepareEvent, PrepareRequest, PythonTools, SystemTools,
};
use hybrid_cache_model::{
    CacheStatus, Failure, Phase, PythonRequest, RequestKey, SystemKey, TaskSpec, Tenant, Timeline,
};
use hybrid_cache_sizing::Volume;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::caches::within;
use crate::error::TrialError;
use crate::prove::slice::Made;
use crate::prove::{standin, system};

/// How long one preparation, or one look at a volume, may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longest one line of an answer.
const DEADLINE_MS: u64 = 240_000;
/// The runner notes a use again after a minute; so much older is a note that is made to look old.
const LONG_AGO: Duration = Duration::from_secs(120);
/// Where the system volume has what is ours.
const STATE: &str = "var/hybrid-cache";
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
        /// Bytes of new files, as the runner tells them.
        downloaded_bytes: u64,
        /// Microseconds of preparing before the task could start.
        prepare_us: u64,
        /// True where the file system was full meanwhile.
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
    /// Microseconds until the task could start, or until the refusal.
    pub wait_us: u64,
}

impl Answer {
    /// True for a clear word about a full volume.
    pub fn is_clearly_full(failure: &Failure) -> bool {
        failure.kind == FailureKind::DiskFull && failure.hint.is_some()
    }
}

/// What stands for packages, and what makes them.
enum Packages {
    /// Wheels in a folder, for uv.
    Python(PythonTools),
    /// Store paths, for a program in Nix's place.
    System(SystemTools),
}

/// A volume, and how it is asked.
pub struct Store {
    config: LocalConfig,
    volume: PathBuf,
    budgets: Budgets,
    packages: Packages,
    source: String,
    max_age_s: u64,
}

impl Store {
    /// The volume in a folder. `packages` is the folder of stand-ins; `claim_bytes` is the size of the claim, from which
    /// the budget follows as it does in a cluster; `None`: nothing is ever evicted.
    ///
    /// # Errors
    /// What stands for Nix cannot be written.
    pub fn new(
        config: &LocalConfig,
        kind: Volume,
        volume: PathBuf,
        packages: &Path,
        claim_bytes: Option<u64>,
    ) -> Result<Store, TrialError> {
        let unlimited = BudgetRequest {
            bytes: Some(u64::MAX),
            inodes: Some(u64::MAX),
            ..BudgetRequest::default()
        };
        let on_claim = |bytes| BudgetRequest::default().on_claim(bytes);
        Ok(Store {
            max_age_s: config.max_age_s.max(3600),
            budgets: Budgets::both(claim_bytes.map_or(unlimited, on_claim)),
            source: format!("proof {}", packages.display()),
            packages: match kind {
                Volume::Python => Packages::Python(with_wheels(config, packages)),
                Volume::System => Packages::System(system::tools(&config.interpreter.path, packages, &volume)?),
            },
            config: config.clone(),
            volume,
        })
    }

    /// Which volume it is.
    pub fn kind(&self) -> Volume {
        match self.packages {
            Packages::Python(_) => Volume::Python,
            Packages::System(_) => Volume::System,
        }
    }

    /// The volume's folder.
    pub fn volume(&self) -> &Path {
        &self.volume
    }

    fn place(&self, made: &Made) -> Result<Place, TrialError> {
        let tenant: Tenant = match made.tenant {
            0 => Tenant::default(),
            number => format!("tenant{number}")
                .parse()
                .map_err(|error| TrialError::Other(format!("{error}")))?,
        };
        let mut place = self.config.place(&tenant);
        place.volumes.python = self.volume.display().to_string();
        place.volumes.nix.clone_from(&place.volumes.python);
        place.index.clone_from(&self.source);
        place.system_source.clone_from(&self.source);
        place.max_age_s = self.max_age_s;
        place.index_scope = IndexScope::Public;
        Ok(place)
    }

    /// Asks for an environment, and waits until it is published. `is_due` makes the request old before, `uses_again`
    /// the note of its last use.
    ///
    /// # Errors
    /// The runner does not answer as it should. A refusal is an answer.
    pub async fn prepare(&self, made: &Made, is_due: bool, uses_again: bool) -> Result<Answer, TrialError> {
        let task = self.task(made);
        let place = self.place(made)?;
        let link = self.link(&task, &place)?;
        if is_due {
            self.make_old(&link)?;
        }
        if uses_again {
            stamp(&link.join(".lease"), LONG_AGO);
        }
        let request = PrepareRequest {
            task,
            place,
            keep: Keep::Publish,
            python_tools: match &self.packages {
                Packages::Python(tools) => Some(tools.clone()),
                Packages::System(_) => None,
            },
            system_tools: match &self.packages {
                Packages::Python(_) => None,
                Packages::System(tools) => Some(tools.clone()),
            },
            deadline_ms: DEADLINE_MS,
            budgets: self.budgets,
            describe: false,
        };
        within("a preparation", PATIENCE, self.ask_for(&request)).await?
    }

    /// The task that asks for an environment.
    fn task(&self, made: &Made) -> TaskSpec {
        let mut task = TaskSpec::new("pass");
        match self.packages {
            Packages::Python(_) => task.requirements_file = standin::requirements(&made.parts),
            Packages::System(_) => task.system_dependencies = system::package(made),
        }
        task
    }

    /// The link that leads from a request to its environment, or the entry of the system index.
    fn link(&self, task: &TaskSpec, place: &Place) -> Result<PathBuf, TrialError> {
        let task = task
            .check()
            .map_err(|error| TrialError::Other(format!("a stand-in's task: {error}")))?;
        Ok(match self.packages {
            Packages::Python(_) => {
                let key = RequestKey::new(&PythonRequest::new(&task.requirements, place));
                let own = self.volume.join(place.tenant.folder());
                own.join("requests").join(key.as_str())
            }
            Packages::System(_) => {
                let key = SystemKey::new(&task.system, place);
                let own = self.volume.join(STATE).join(place.tenant.folder());
                own.join("index").join(format!("{key}.json"))
            }
        })
    }

    /// Makes a request older than its maximum age.
    fn make_old(&self, link: &Path) -> Result<(), TrialError> {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
        let then = SystemTime::now() - Duration::from_secs(self.max_age_s + 60);
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
            // It was evicted, so it is resolved anew in any case.
            Ok(()) | Err(rustix::io::Errno::NOENT) => Ok(()),
            Err(error) => Err(TrialError::io(format!("changing the time of {}", link.display()))(
                error.into(),
            )),
        }
    }

    async fn ask_for(&self, request: &PrepareRequest) -> Result<Answer, TrialError> {
        let began = Instant::now();
        let mut child = self.start("prepare", request).await?;
        let output = child.stdout.take();
        let output = output.ok_or_else(|| TrialError::Other("the runner has no output".to_owned()))?;
        let mut lines = BufReader::new(output).lines();
        let mut answer = None;
        while let Some(line) = lines.next_line().await.map_err(TrialError::io("reading the runner"))? {
            let wait_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            match serde_json::from_str::<PrepareEvent>(&line) {
                Ok(PrepareEvent::Ready { cache, timeline, .. }) => {
                    let end = match self.packages {
                        Packages::Python(_) => ready(&cache.python, &timeline, PYTHON_PHASES),
                        Packages::System(_) => ready(&cache.system, &timeline, SYSTEM_PHASES),
                    };
                    answer = Some(Answer { end, wait_us });
                }
                Ok(PrepareEvent::Failed { failure, .. }) => {
                    let end = End::Refused(failure);
                    answer = Some(Answer { end, wait_us });
                }
                Ok(PrepareEvent::Published { warnings, .. }) => {
                    if let Some(Answer {
                        end: End::Made { met_full, .. },
                        ..
                    }) = &mut answer
                    {
                        *met_full |= warnings.iter().any(|warning| warning.contains(WAS_FULL));
                    }
                }
                Ok(PrepareEvent::Phase { .. }) => {}
                Err(error) => return Err(TrialError::Other(format!("the runner said {line:?}: {error}"))),
            }
        }
        match answer {
            Some(answer) => Ok(answer),
            None => Err(TrialError::Other("the runner ended without an answer".to_owned())),
        }
    }

    async fn start(&self, command: &str, request: &impl Serialize) -> Result<Child, TrialError> {
        let failed = || TrialError::io(format!("starting {}", self.config.runner.display()));
        let mut child = Command::new(&self.config.runner)
            .arg(command)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C is for whoever replays: this request is finished.
            .process_group(0)
            .spawn()
            .map_err(failed())?;
        let mut line = serde_json::to_vec(request).map_err(|error| TrialError::Other(error.to_string()))?;
        line.push(b'\n');
        // Closed behind it: nobody waits for the leases of a task that does not run.
        if let Some(mut input) = child.stdin.take() {
            input.write_all(&line).await.map_err(failed())?;
        }
        Ok(child)
    }

    /// `cache verify` of this volume.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn verify(&self) -> Result<VerifyReport, TrialError> {
        let request = MaintainRequest {
            python: (self.kind() == Volume::Python).then(|| self.volume.display().to_string()),
            nix: (self.kind() == Volume::System).then(|| self.volume.display().to_string()),
            python_tools: None,
            system_tools: None,
            budgets: self.budgets,
            repair: false,
            deadline_ms: DEADLINE_MS,
        };
        let child = self.start("verify", &request).await?;
        let output = within("`verify`", PATIENCE, child.wait_with_output())
            .await?
            .map_err(TrialError::io("reading the runner"))?;
        match serde_json::from_slice(&output.stdout) {
            Ok(MaintainReport::Verify(report)) => Ok(report),
            Ok(MaintainReport::Failed { failure }) => Err(failure.into()),
            other => Err(TrialError::Other(format!("`verify` answered {other:?}"))),
        }
    }

    /// Where an environment is published, below the volume.
    ///
    /// # Errors
    /// It is not.
    pub fn published(&self, made: &Made) -> Result<String, TrialError> {
        let place = self.place(made)?;
        let link = self.link(&self.task(made), &place)?;
        let failed = || TrialError::io(format!("reading {}", link.display()));
        let found = link.canonicalize().map_err(failed())?;
        let volume = self.volume.canonicalize().map_err(failed())?;
        let inside = found.strip_prefix(&volume).unwrap_or(&found);
        Ok(inside.display().to_string())
    }

    /// How many environments are published.
    pub fn environments(&self) -> u64 {
        let (state, folder) = match self.packages {
            Packages::Python(_) => (self.volume.clone(), "envs"),
            Packages::System(_) => (self.volume.join(STATE), "index"),
        };
        let tenants = fs::read_dir(state.join("tenants")).into_iter().flatten().flatten();
        let counts = tenants.map(|tenant| fs::read_dir(tenant.path().join(folder)).map_or(0, Iterator::count));
        counts.sum::<usize>() as u64
    }
}

/// uv, with a folder of wheels and no other package.
fn with_wheels(config: &LocalConfig, wheels: &Path) -> PythonTools {
    let mut tools = config.python_tools.clone();
    tools.variables.retain(|(name, _)| !name.starts_with("UV_"));
    let nothing = wheels.join("nothing");
    // An index that has nothing: what is not in the folder is not there.
    let index = ("UV_DEFAULT_INDEX", format!("file://{}", nothing.display()));
    let links = ("UV_FIND_LINKS", wheels.display().to_string());
    let variables = [index, links].map(|(name, value)| (name.to_owned(), value));
    tools.variables.extend(variables);
    tools
}

fn ready(status: &CacheStatus, timeline: &Timeline, phases: &[Phase]) -> End {
    match status {
        CacheStatus::Built { downloaded_bytes, .. } => End::Made {
            downloaded_bytes: *downloaded_bytes,
            prepare_us: phases.iter().map(|phase| timeline.phase_us(*phase)).sum(),
            met_full: false,
        },
        _ => End::Hit,
    }
}

/// Makes the last change of a file look so old; one that is not there needs none.
fn stamp(path: &Path, age: Duration) {
    if let Ok(file) = fs::File::open(path) {
        // Should it fail, the use is not noted again, and the comparison shows that.
        let _ = file.set_modified(SystemTime::now() - age);
    }
}
