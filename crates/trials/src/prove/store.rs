//! The runner as a pod calls it: prepares on a claim of a given size, and maintains it.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_model::budget::{BudgetRequest, Budgets};
use hybrid_cache_model::maintain::{MaintainReport, MaintainRequest, VerifyReport};
use hybrid_cache_model::protocol::{
    EnvironmentContext, IndexScope, Keep, PrepareEvent, PrepareRequest, PythonTools, SystemTools,
};
use hybrid_cache_model::{PythonRequest, RequestKey, SystemKey, TaskSpec};
use hybrid_cache_sizing::Volume;
use serde::Serialize;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, Command};

use crate::caches::within;
use crate::error::TrialError;
use crate::prove::keeper::{self, Answer, End, Keeper, STATE};
use crate::prove::slice::Made;
use crate::prove::{standin, system};

/// Deadline of one preparation, or of one inspection of a volume.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longest one line of an answer.
const DEADLINE_MS: u64 = 240_000;
/// The runner notes a use again after a minute.
const NOTED_AGAIN: Duration = Duration::from_secs(60);

/// What stands for packages, and what makes them.
enum PackageTools {
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
    packages: PackageTools,
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
                Volume::Python => PackageTools::Python(with_wheels(config, packages)),
                Volume::System => PackageTools::System(system::tools(&config.interpreter.path, packages, &volume)?),
            },
            config: config.clone(),
            volume,
        })
    }

    fn context(&self, made: &Made) -> Result<EnvironmentContext, TrialError> {
        let mut context = self.config.context(&keeper::tenant(made)?);
        context.volumes.python = self.volume.display().to_string();
        context.volumes.nix.clone_from(&context.volumes.python);
        context.index.clone_from(&self.source);
        context.system_source.clone_from(&self.source);
        context.max_age_s = self.max_age_s;
        context.index_scope = IndexScope::Public;
        Ok(context)
    }

    /// The link that leads from a request to its environment, or the entry of the system index.
    fn link(&self, task: &TaskSpec, context: &EnvironmentContext) -> Result<PathBuf, TrialError> {
        let task = task
            .check()
            .map_err(|error| TrialError::Other(format!("a stand-in's task: {error}")))?;
        Ok(match self.packages {
            PackageTools::Python(_) => {
                let key = RequestKey::new(&PythonRequest::of(&task, context));
                let own = self.volume.join(context.tenant.folder());
                own.join("requests").join(key.as_str())
            }
            PackageTools::System(_) => {
                let key = SystemKey::new(&task.system, context);
                let own = self.volume.join(STATE).join(context.tenant.folder());
                own.join("index").join(format!("{key}.json"))
            }
        })
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
                    let end = keeper::ready(self.kind(), &cache, &timeline);
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
                        *met_full |= keeper::were_full(&warnings);
                    }
                }
                Ok(PrepareEvent::Phase { .. } | PrepareEvent::Build { .. }) => {}
                Err(error) => return Err(TrialError::Other(format!("the runner said {line:?}: {error}"))),
            }
        }
        match answer {
            Some(answer) => Ok(answer),
            None => Err(TrialError::Other("the runner ended unanswered".to_owned())),
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
            // Ctrl-C ends the replay, not this request: finish it.
            .process_group(0)
            .spawn()
            .map_err(failed())?;
        let mut line = serde_json::to_vec(request).map_err(|error| TrialError::Other(error.to_string()))?;
        line.push(b'\n');
        // Close it now: nothing waits for the leases of a task that does not run.
        if let Some(mut input) = child.stdin.take() {
            input.write_all(&line).await.map_err(failed())?;
        }
        Ok(child)
    }
}

#[async_trait]
impl Keeper for Store {
    fn kind(&self) -> Volume {
        match self.packages {
            PackageTools::Python(_) => Volume::Python,
            PackageTools::System(_) => Volume::System,
        }
    }

    fn volume(&self) -> &Path {
        &self.volume
    }

    fn noted_again(&self) -> Duration {
        NOTED_AGAIN
    }

    async fn prepare(&self, made: &Made, is_due: bool, uses_again: bool) -> Result<Answer, TrialError> {
        let task = keeper::task(self.kind(), made);
        let context = self.context(made)?;
        let link = self.link(&task, &context)?;
        if is_due {
            keeper::make_old(&link, self.max_age_s)?;
        }
        if uses_again {
            keeper::make_unnoted(&link);
        }
        let request = PrepareRequest {
            task,
            context,
            keep: Keep::Publish,
            python_tools: match &self.packages {
                PackageTools::Python(tools) => Some(tools.clone()),
                PackageTools::System(_) => None,
            },
            system_tools: match &self.packages {
                PackageTools::Python(_) => None,
                PackageTools::System(tools) => Some(tools.clone()),
            },
            deadline_ms: DEADLINE_MS,
            other_pythons: Vec::new(),
            budgets: self.budgets,
            describe: false,
            builds: None,
        };
        within("a preparation", PATIENCE, self.ask_for(&request)).await?
    }

    async fn verify(&self) -> Result<VerifyReport, TrialError> {
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

    fn published(&self, made: &Made) -> Result<String, TrialError> {
        let link = self.link(&keeper::task(self.kind(), made), &self.context(made)?)?;
        keeper::target(&self.volume, &link)
    }
}

/// uv, with a folder of wheels and no other package.
fn with_wheels(config: &LocalConfig, wheels: &Path) -> PythonTools {
    let mut tools = config.python_tools.clone();
    tools.variables.retain(|(name, _)| !name.starts_with("UV_"));
    tools.variables.extend(standin::variables(wheels));
    tools
}
