//! Runs tasks on a Kubernetes cluster: a Job for each, watched, never polled.

pub mod config;
mod names;
mod quantity;
mod request;

use async_trait::async_trait;
use hybrid_cache_model::pod::{PodMaintainReport, PodQuestion};
use hybrid_cache_model::{Failure, FailureKind, Outcome, Phase, TaskSpec};
use tokio::sync::watch;

pub use config::{KubeConfig, Resources};

use crate::log::LogReader;
use crate::{Driver, DriverError, Epoch, SubmitOptions, Ticket};

/// Runs tasks on a cluster.
pub struct KubeDriver {
    config: KubeConfig,
}

impl KubeDriver {
    /// Opens a namespace of a cluster: checks that it answers, and begins to watch it. Runs within a tokio runtime.
    ///
    /// # Errors
    /// The configuration makes no sense, or the cluster does not answer.
    pub async fn open(_client: kube::Client, config: KubeConfig) -> Result<KubeDriver, DriverError> {
        Ok(KubeDriver { config })
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &KubeConfig {
        &self.config
    }

    /// Makes the folders of the standing caches on both volumes, which pods mount; needed once for each pair of
    /// volumes. Folders that are there stay as they are.
    ///
    /// # Errors
    /// The volumes cannot be written.
    pub async fn initialise(&self) -> Result<(), Failure> {
        Err(unfinished())
    }

    /// Has a pod look after the volumes.
    ///
    /// # Errors
    /// The pod could not run or did not answer, or [`PodMaintainReport::Failed`] is what it answered.
    pub async fn maintain(&self, _epoch: &Epoch, _question: PodQuestion) -> Result<PodMaintainReport, Failure> {
        Err(unfinished())
    }

    /// Submits a task under an id that the caller chose. Submitting the same id again finds the task that is there.
    ///
    /// # Errors
    /// As [`Driver::submit`]; also an id that Kubernetes does not take.
    pub async fn submit_as(&self, _id: &str, _spec: &TaskSpec, _: &SubmitOptions) -> Result<Ticket, DriverError> {
        Err(unfinished().into())
    }
}

fn unfinished() -> Failure {
    Failure::new(FailureKind::Internal, "the kube driver is not finished")
}

#[async_trait]
impl Driver for KubeDriver {
    fn name(&self) -> &'static str {
        "kube"
    }

    async fn submit(&self, _spec: &TaskSpec, _options: &SubmitOptions) -> Result<Ticket, DriverError> {
        Err(unfinished().into())
    }

    async fn wait(&self, _ticket: &Ticket) -> Result<Outcome, DriverError> {
        Err(unfinished().into())
    }

    async fn settle(&self, _ticket: &Ticket) -> Result<Outcome, DriverError> {
        Err(unfinished().into())
    }

    async fn cancel(&self, _ticket: &Ticket) -> Result<(), DriverError> {
        Err(unfinished().into())
    }

    fn preparing(&self, _ticket: &Ticket) -> Result<watch::Receiver<Option<Phase>>, DriverError> {
        Err(unfinished().into())
    }

    fn logs(&self, _ticket: &Ticket) -> Result<LogReader, DriverError> {
        Err(unfinished().into())
    }

    fn forget(&self, _ticket: &Ticket) {}

    async fn fresh_epoch(&self) -> Result<Epoch, DriverError> {
        Err(unfinished().into())
    }

    async fn discard_epoch(&self, _epoch: &Epoch) -> Result<(), DriverError> {
        Err(unfinished().into())
    }
}
