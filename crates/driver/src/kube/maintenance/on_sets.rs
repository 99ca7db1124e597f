//! Runs a maintenance command on every volume set.

use std::sync::Arc;

use futures_util::future::join_all;
use hybrid_cache_model::Failure;
use hybrid_cache_model::pod::PodMaintenanceCommand;

use crate::Epoch;
use crate::kube::config::VolumeSet;
use crate::kube::maintenance::job;
use crate::kube::maintenance::merge::{self, SetReport};
use crate::kube::shared::Shared;

/// Asks every set at one time, each its own question, and returns their answers in the order of the configuration.
pub async fn ask(
    shared: &Arc<Shared>,
    epoch: &Epoch,
    question: impl Fn(&VolumeSet) -> PodMaintenanceCommand,
) -> Vec<SetReport> {
    let sets = shared.config.sets();
    let asked = sets.iter().enumerate().map(async |(place, set)| SetReport {
        set: set.name.clone(),
        report: job::run(shared, place, epoch, question(set)).await,
    });
    join_all(asked).await
}

/// Has every set do the same, and waits until all have.
///
/// # Errors
/// A set could not; the failure names it.
pub async fn done(shared: &Arc<Shared>, question: &PodMaintenanceCommand) -> Result<(), Failure> {
    let reports = ask(shared, &Epoch::Standing, |_| question.clone()).await;
    merge::joined(reports).map(|_| ())
}
