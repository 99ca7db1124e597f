//! Tasks in pods of a cluster whose claim is a file system of the proof: what users of a cluster have, from submit to end.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hybrid_cache_driver::{DriverError, SubmitOptions};
use hybrid_cache_model::maintain::VerifyReport;
use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_model::{End as RunEnd, Failure, Outcome, Phase, TaskSpec, Tenant};
use hybrid_cache_sizing::Volume;

use crate::caches::within;
use crate::error::TrialError;
use crate::prove::claims::Claims;
use crate::prove::keeper::{self, Answer, End, Keeper};
use crate::prove::slice::Made;

/// Deadline of one task, including the wait for a node.
const PATIENCE: Duration = Duration::from_secs(300);
/// Longest that preparing may take, in milliseconds.
const PREPARE_MS: u64 = 240_000;
/// Longest that the program of a task may take, which does nothing, in milliseconds.
const TASK_MS: u64 = 20_000;
/// The driver has a use noted again after an hour, the runner after a minute. A slice is small, and turns over in minutes where the
/// volume that it stands for turns over in days: so here it is the minute, or the hour would decide what is evicted.
const NOTED_AGAIN: Duration = Duration::from_secs(60);

/// The Python volume of a cluster, seen from this machine.
pub struct PodStore {
    claims: Arc<dyn Claims>,
    volume: PathBuf,
    max_age_s: u64,
    /// The request of each environment, by number and tenant: what appeared when it was first asked for.
    links: Mutex<HashMap<(u32, u32), PathBuf>>,
}

impl PodStore {
    /// The volume behind claims, mounted in a folder of this machine as well.
    pub fn new(claims: Arc<dyn Claims>, volume: PathBuf, max_age_s: u64) -> PodStore {
        PodStore {
            claims,
            volume,
            max_age_s,
            links: Mutex::default(),
        }
    }

    fn link(&self, made: &Made) -> Option<PathBuf> {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(&(made.number, made.tenant)).cloned()
    }

    /// The requests of a tenant.
    fn requests(&self, tenant: &Tenant) -> BTreeSet<PathBuf> {
        let folder = self.volume.join(tenant.folder()).join("requests");
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }

    /// Runs a task until its environment is published: what its user saw, and the warnings of the end. A refusal is an answer.
    async fn run(&self, spec: &TaskSpec, tenant: &Tenant) -> Result<Result<(Outcome, Outcome), Failure>, TrialError> {
        let mut options = SubmitOptions {
            first: true,
            prepare_ms: PREPARE_MS,
            tenant: tenant.clone(),
            ..SubmitOptions::default()
        };
        options.limits.time_ms = TASK_MS;
        let driver = self.claims.driver();
        let ticket = match driver.submit(spec, &options).await {
            Ok(ticket) => ticket,
            Err(DriverError::NotStarted(failure) | DriverError::Failed(failure))
                if failure.kind != FailureKind::Cluster =>
            {
                return Ok(Err(failure));
            }
            Err(error) => return Err(error.into()),
        };
        let waited = driver.wait(&ticket).await;
        let settled = driver.settle(&ticket).await;
        driver.forget(&ticket);
        match (waited?, settled?) {
            (
                Outcome {
                    end: RunEnd::Failed { failure },
                    ..
                },
                _,
            ) => Ok(Err(failure)),
            both => Ok(Ok(both)),
        }
    }
}

#[async_trait]
impl Keeper for PodStore {
    fn kind(&self) -> Volume {
        Volume::Python
    }

    fn volume(&self) -> &Path {
        &self.volume
    }

    fn noted_again(&self) -> Duration {
        NOTED_AGAIN
    }

    fn on_full(&self) -> usize {
        // A new tenant takes a maintenance pod as well.
        3
    }

    async fn prepare(&self, made: &Made, is_due: bool, uses_again: bool) -> Result<Answer, TrialError> {
        let (spec, tenant) = (keeper::task(self.kind(), made), keeper::tenant(made)?);
        if let Some(link) = self.link(made) {
            if is_due {
                keeper::make_old(&link, self.max_age_s)?;
            }
            if uses_again {
                self.claims.forget_use(&spec, &tenant)?;
                keeper::make_unnoted(&link);
            }
        }
        let before = self.requests(&tenant);
        let began = Instant::now();
        let ran = within("a task", PATIENCE, self.run(&spec, &tenant)).await??;
        let elapsed_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let (outcome, settled) = match ran {
            Ok(both) => both,
            Err(failure) => {
                return Ok(Answer {
                    end: End::Refused(failure),
                    wait_us: elapsed_us,
                });
            }
        };
        if !outcome.end.is_success() {
            return Err(TrialError::Ended {
                task: "does nothing".to_owned(),
                end: Box::new(outcome.end),
                said: String::new(),
            });
        }
        if let Some(new) = self.requests(&tenant).difference(&before).next() {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            links.insert((made.number, made.tenant), new.clone());
        }
        let timeline = &outcome.timeline;
        let mut end = keeper::ready(self.kind(), &outcome.cache, timeline);
        if let End::Made { met_full, .. } = &mut end {
            let not_kept = settled.not_kept.is_some_and(|why| why.kind == FailureKind::DiskFull);
            *met_full = not_kept || keeper::were_full(&settled.warnings);
        }
        Ok(Answer {
            end,
            wait_us: timeline.total_us.saturating_sub(timeline.phase_us(Phase::UserCode)),
        })
    }

    async fn verify(&self) -> Result<VerifyReport, TrialError> {
        self.claims.verify().await
    }

    fn published(&self, made: &Made) -> Result<String, TrialError> {
        let unknown = || TrialError::Other(format!("environment {} was not asked for", made.number));
        keeper::target(&self.volume, &self.link(made).ok_or_else(unknown)?)
    }
}
