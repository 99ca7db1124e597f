//! Looking after the caches of this machine: what they hold, making room, checking, and filling them ahead of time.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use hybrid_cache_model::budget::{BudgetRequest, Budgets};
use hybrid_cache_model::contents::{Contents, name_of};
use hybrid_cache_model::maintain::{MaintainReport, MaintainRequest};
use hybrid_cache_model::protocol::{Keep, PrepareEvent};
use hybrid_cache_model::{
    CacheReport, Failure, FailureKind, PythonRequest, RequestKey, SystemKey, Task, TaskSpec, Tenant,
};

use super::LocalDriver;
use super::config::LocalConfig;
use super::folders::{Folders, VolumePair};
use super::layout;
use super::process::{self, Preparation};
use super::requests;
use super::sandbox::{self, HostLayout, NIX_MOUNT, Needs, PYTHON_MOUNT};
use crate::trace::Resident;
use crate::{Epoch, SubmitOptions};

/// Longest one of the runner's cache commands may take.
const LIMIT: Duration = Duration::from_secs(1800);
/// Longest that listing what environments are made of may take: a trace that is being written waits for it.
const CONTENTS_LIMIT: Duration = Duration::from_secs(60);
/// Least time between two such lists, for a process that lives on.
const CONTENTS_PAUSE: Duration = Duration::from_secs(30);
/// A time of use that is younger than this is not written again: a busy cache would write on every run otherwise.
const TOUCH_AFTER: Duration = Duration::from_secs(60);

/// What to do with the caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// Measure them.
    Usage,
    /// Evict what was used least recently until at most this is left, and delete what nothing refers to.
    Gc {
        /// Bytes that each volume may keep; `None`: what the configuration says. 0 evicts all that is not in use.
        budget_bytes: Option<u64>,
        /// Likewise for inodes.
        budget_inodes: Option<u64>,
    },
    /// Check everything in them against its record.
    Verify {
        /// Set aside what is damaged, so that the next run builds it again.
        repair: bool,
    },
}

impl LocalDriver {
    /// Has the runner look after one pair of volumes, in the sandbox that may write them.
    ///
    /// # Errors
    /// The runner could not be started or did not answer; what it could not do is part of the report.
    pub async fn maintain(&self, epoch: &Epoch, what: Maintenance) -> Result<MaintainReport, Failure> {
        let mut budget = BudgetRequest::from_settings(self.config.budget_bytes, self.config.budget_inodes);
        let subcommand = match what {
            Maintenance::Usage => "usage",
            Maintenance::Gc {
                budget_bytes,
                budget_inodes,
            } => {
                budget.bytes = budget_bytes.or(budget.bytes);
                budget.inodes = budget_inodes.or(budget.inodes);
                "gc"
            }
            Maintenance::Verify { .. } => "verify",
        };
        let request = MaintainRequest {
            budgets: Budgets::both(budget),
            repair: matches!(what, Maintenance::Verify { repair: true }),
            ..request(&self.config)
        };
        let volumes = self.folders.of(epoch);
        ask(&self.config, &self.host, &volumes, subcommand, &request).await
    }

    /// Prepares what a task needs without running it, on the standing volumes.
    ///
    /// # Errors
    /// Why it could not be prepared.
    pub async fn warm(&self, spec: &TaskSpec, options: &SubmitOptions) -> Result<CacheReport, Failure> {
        let task = spec
            .check()
            .map_err(|error| Failure::new(FailureKind::InvalidTask, error.to_string()))?;
        let needs = requests::needs(&task);
        let request = requests::prepare_request(&self.config, spec, options, needs, Keep::Publish);
        let volumes = self.folders.standing();
        layout::ensure(&volumes, &options.tenant, needs)?;
        let command = sandbox::prepare_command(&self.config, &self.host, &volumes, needs);
        let mut preparation = Preparation::start(&command, &request).await?;
        preparation.release();
        let mut made = None;
        loop {
            match preparation.next().await {
                Some(PrepareEvent::Ready { cache, .. }) => made = Some(cache),
                Some(PrepareEvent::Failed { failure, .. }) => return Err(failure),
                Some(PrepareEvent::Phase { .. }) => {}
                Some(PrepareEvent::Published { .. }) | None => break,
            }
        }
        match made {
            Some(cache) => Ok(cache),
            None => Err(preparation.explain().await),
        }
    }
}

/// A question about both volumes, with the tools of this machine.
fn request(config: &LocalConfig) -> MaintainRequest {
    MaintainRequest {
        python: Some(PYTHON_MOUNT.to_owned()),
        nix: Some(NIX_MOUNT.to_owned()),
        python_tools: Some(config.python_tools.clone()),
        system_tools: config.system.as_ref().map(|system| system.tools.clone()),
        budgets: Budgets::default(),
        repair: false,
        deadline_ms: u64::try_from(LIMIT.as_millis()).unwrap_or(u64::MAX),
    }
}

async fn ask(
    config: &LocalConfig,
    host: &HostLayout,
    volumes: &VolumePair,
    subcommand: &str,
    request: &MaintainRequest,
) -> Result<MaintainReport, Failure> {
    let both = Needs {
        python: true,
        system: true,
    };
    let command = sandbox::maintenance_command(config, host, volumes, both, subcommand);
    process::ask(&command, request, LIMIT).await
}

/// What a trace of this machine's caches is completed from.
pub(super) struct OnThisMachine {
    /// The driver's configuration.
    pub config: Arc<LocalConfig>,
    /// The machine's layout.
    pub host: Arc<HostLayout>,
    /// The cache folder.
    pub folders: Folders,
}

#[async_trait]
impl Resident for OnThisMachine {
    async fn contents(&self) -> Result<Contents, Failure> {
        let (volumes, request) = (self.folders.standing(), request(&self.config));
        let answer = ask(&self.config, &self.host, &volumes, "contents", &request);
        match tokio::time::timeout(CONTENTS_LIMIT, answer).await {
            Ok(Ok(MaintainReport::Contents(contents))) => Ok(contents),
            Ok(Ok(MaintainReport::Failed { failure }) | Err(failure)) => Err(failure),
            Ok(Ok(_)) => Err(Failure::new(FailureKind::Internal, "another question was answered")),
            Err(_) => {
                let message = format!("the caches could not be listed within {} s", CONTENTS_LIMIT.as_secs());
                Err(Failure::new(FailureKind::Deadline, message))
            }
        }
    }

    fn environment_of(&self, tenant: &Tenant, request: &str) -> Option<String> {
        let requests = self.folders.standing().python.join(tenant.folder()).join("requests");
        let environment = fs::read_link(requests.join(request)).ok()?;
        let key = environment.file_name()?.to_string_lossy();
        Some(name_of(&key, tenant))
    }

    fn pause(&self) -> Duration {
        CONTENTS_PAUSE
    }
}

/// Notes that a task has used its environments now, for eviction, which takes the least recently used ones.
///
/// The task itself sees them read-only. What cannot be noted (a read-only cache) only makes eviction less exact.
pub(super) fn touch(config: &LocalConfig, volumes: &VolumePair, tenant: &Tenant, task: &Task) {
    let place = config.place(tenant);
    if !task.requirements.is_empty() {
        let key = RequestKey::new(&PythonRequest::new(&task.requirements, &place));
        // The request is a symbolic link to its environment, so this names the environment's own lease.
        let requests = volumes.python.join(tenant.folder()).join("requests");
        touch_file(&requests.join(key.as_str()).join(".lease"));
    }
    if !task.system.is_empty() {
        let key = SystemKey::new(&task.system, &place);
        let leases = volumes.system_state().join(tenant.folder()).join("leases");
        touch_file(&leases.join(key.as_str()));
    }
}

fn touch_file(path: &Path) {
    let now = SystemTime::now();
    let Ok(used) = fs::metadata(path).and_then(|metadata| metadata.modified()) else {
        return;
    };
    // A time ahead of now is of a clock that was set back since: it would keep eviction away for as long.
    if now.duration_since(used).is_ok_and(|age| age <= TOUCH_AFTER) {
        return;
    }
    // See above: nothing depends on it.
    let _ = fs::File::options()
        .append(true)
        .open(path)
        .and_then(|file| file.set_modified(now));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_use_is_written_only_when_the_last_one_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lease");
        let file = fs::File::create(&path).unwrap();
        let modified = || fs::metadata(&path).unwrap().modified().unwrap();
        let recent = SystemTime::now() - Duration::from_secs(5);
        file.set_modified(recent).unwrap();
        touch_file(&path);
        assert!(modified().duration_since(recent).unwrap() < Duration::from_secs(1));
        for other in [recent - TOUCH_AFTER, SystemTime::now() + TOUCH_AFTER] {
            file.set_modified(other).unwrap();
            touch_file(&path);
            assert!(modified().elapsed().unwrap() < Duration::from_secs(1), "{other:?}");
        }
    }
}
