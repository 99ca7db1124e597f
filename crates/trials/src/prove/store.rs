//! The runner as a pod calls it: preparing on a claim of a given size, and looking after it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_model::maintain::{MaintainReport, MaintainRequest, VerifyReport};
use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_model::protocol::{BudgetRequest, Budgets, IndexScope, Keep, Place, PrepareEvent, PrepareRequest, PythonTools};
use hybrid_cache_model::{CacheStatus, Failure, Phase, PythonRequest, RequestKey, TaskSpec, Tenant, Timeline};
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::caches::within;
use crate::error::TrialError;
use crate::prove::slice::Made;
use crate::prove::standin;

/// How long one preparation, or one look at a volume, may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longest one line of an answer.
const DEADLINE_MS: u64 = 240_000;
/// The runner notes a use again after a minute; so much older is a note that is made to look old.
const LONG_AGO: Duration = Duration::from_secs(120);
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

/// A Python volume, and how it is asked.
pub struct Store {
    config: LocalConfig,
    volume: PathBuf,
    budgets: Budgets,
    tools: PythonTools,
    wheels: PathBuf,
    max_age_s: u64,
}

impl Store {
    /// The volume in a folder, which installs from a folder of stand-ins. `claim_bytes` is the size of the claim, from which
    /// the budget follows as it does in a cluster; `None`: nothing is ever evicted.
    pub fn new(config: &LocalConfig, volume: PathBuf, wheels: &Path, claim_bytes: Option<u64>) -> Store {
        let mut tools = config.python_tools.clone();
        tools.variables.retain(|(name, _)| !name.starts_with("UV_"));
        let nothing = wheels.join("nothing");
        // An index that has nothing: what is not in the folder is not there.
        let index = ("UV_DEFAULT_INDEX", format!("file://{}", nothing.display()));
        let links = ("UV_FIND_LINKS", wheels.display().to_string());
        tools
            .variables
            .extend([index, links].map(|(name, value)| (name.to_owned(), value)));
        let unlimited = BudgetRequest {
            bytes: Some(u64::MAX),
            inodes: Some(u64::MAX),
            ..BudgetRequest::default()
        };
        let on_claim = |bytes| BudgetRequest::default().on_claim(bytes);
        Store {
            max_age_s: config.max_age_s.max(3600),
            config: config.clone(),
            volume,
            budgets: Budgets::both(claim_bytes.map_or(unlimited, on_claim)),
            tools,
            wheels: wheels.to_owned(),
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
        place.index = format!("proof {}", self.wheels.display());
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
        let task = task(made);
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
            python_tools: Some(self.tools.clone()),
            system_tools: None,
            deadline_ms: DEADLINE_MS,
            budgets: self.budgets,
        };
        within("a preparation", PATIENCE, self.ask_for(&request)).await?
    }

    /// The link that leads from a request to its environment.
    fn link(&self, task: &TaskSpec, place: &Place) -> Result<PathBuf, TrialError> {
        let task = task
            .check()
            .map_err(|error| TrialError::Other(format!("a stand-in's task: {error}")))?;
        let key = RequestKey::new(&PythonRequest::new(&task.requirements, place));
        let requests = self.volume.join(place.tenant.folder()).join("requests");
        Ok(requests.join(key.as_str()))
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
                    let end = ready(&cache.python, &timeline);
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
            python: Some(self.volume.display().to_string()),
            nix: None,
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
        let task = task(made);
        let place = self.place(made)?;
        let link = self.link(&task, &place)?;
        let failed = || TrialError::io(format!("reading {}", link.display()));
        let found = link.canonicalize().map_err(failed())?;
        let volume = self.volume.canonicalize().map_err(failed())?;
        let inside = found.strip_prefix(&volume).unwrap_or(&found);
        Ok(inside.display().to_string())
    }

    /// How many environments are published.
    pub fn environments(&self) -> u64 {
        let tenants = fs::read_dir(self.volume.join("tenants")).into_iter().flatten().flatten();
        let counts = tenants.map(|tenant| fs::read_dir(tenant.path().join("envs")).map_or(0, Iterator::count));
        counts.sum::<usize>() as u64
    }
}

/// The task that asks for an environment.
fn task(made: &Made) -> TaskSpec {
    TaskSpec {
        requirements_file: standin::requirements(&made.parts),
        ..TaskSpec::new("pass")
    }
}

fn ready(status: &CacheStatus, timeline: &Timeline) -> End {
    match status {
        CacheStatus::Built { downloaded_bytes, .. } => End::Made {
            downloaded_bytes: *downloaded_bytes,
            prepare_us: [Phase::PythonVenv, Phase::PythonInstall, Phase::PythonVerify]
                .into_iter()
                .map(|phase| timeline.phase_us(phase))
                .sum(),
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
