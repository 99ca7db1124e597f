//! What a trace of a cluster's requests is written from: keys from a task's report, and what environments are made of from the
//! logs of containers that run no user code. A termination message is too small for that.

use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use hybrid_cache_model::contents::{Contents, Prepared};
use hybrid_cache_model::pod::{CONTENTS_MARK, PREPARED_MARK, PodMaintenanceCommand};
use hybrid_cache_model::{CacheStatus, Failure, FailureKind, Outcome};
use k8s_openapi::api::core::v1::Pod;
use kube::Resource;
use kube::api::{LogParams, Request};
use serde::de::DeserializeOwned;

use super::cluster::Cluster;
use super::flow::Flow;
use super::names::{PREPARE_CONTAINER, TASK_CONTAINER};
use super::retry::ANSWER;
use super::{Shared, maintain};
use crate::Epoch;
use crate::trace::{Noted, Resident};

/// Least time between two lists of what the volumes hold: each takes a pod.
const CONTENTS_PAUSE: Duration = Duration::from_secs(300);
/// Longest that such a list may take: a trace that is being written waits for it.
const CONTENTS_LIMIT: Duration = Duration::from_secs(120);
/// How often a log is asked for that does not answer or is not whole yet.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(200);
/// A list of what the volumes hold is a few megabytes; a kubelet keeps ten by default.
const MAX_LOG_BYTES: i64 = 64 << 20;

impl Flow {
    /// Notes the request, where requests are recorded. Nobody waits for the task any more.
    pub fn note(&self, outcome: &Outcome) {
        let Some(trace) = self.shared.trace.get() else { return };
        trace.note(Noted {
            task: &self.task,
            tenant: &self.options.tenant,
            epoch: &self.options.epoch,
            outcome,
            notes: &self.notes,
        });
    }

    /// Reads what was made for the task, where something was and a trace wants to know.
    pub async fn see_prepared(&mut self, pod: &str, outcome: &Outcome) {
        let is_built = |status: CacheStatus| matches!(status, CacheStatus::Built { .. });
        let has_made = is_built(outcome.cache.python) || is_built(outcome.cache.system);
        let is_recorded = self.shared.trace.get().is_some() && self.options.epoch == Epoch::Standing;
        if has_made && is_recorded {
            let prepared: Option<Box<Prepared>> =
                told(&self.shared.cluster, pod, PREPARE_CONTAINER, PREPARED_MARK).await;
            self.notes.expired |= prepared.as_ref().is_some_and(|prepared| prepared.expired);
            self.notes.prepared = prepared;
        }
    }
}

/// Asks a cluster what its volumes hold.
pub struct OnCluster(pub Weak<Shared>);

#[async_trait]
impl Resident for OnCluster {
    async fn contents(&self) -> Result<Contents, Failure> {
        let gone = || Failure::new(FailureKind::Internal, "the driver has ended");
        let shared: Arc<Shared> = self.0.upgrade().ok_or_else(gone)?;
        let read = async |pod: String| {
            told(&shared.cluster, &pod, TASK_CONTAINER, CONTENTS_MARK)
                .await
                .ok_or_else(|| {
                    let message = format!("the log of the maintenance pod {pod} does not hold the list that it should");
                    Failure::new(FailureKind::Cluster, message)
                        .hint("the image may be older than this program: `cargo xtask up` brings it up to date")
                })
        };
        let asked = maintain::ask_and_read(&shared, &Epoch::Standing, PodMaintenanceCommand::Contents, read);
        tokio::time::timeout(CONTENTS_LIMIT, asked).await.unwrap_or_else(|_| {
            let message = format!("the volumes were not listed within {} s", CONTENTS_LIMIT.as_secs());
            Err(Failure::new(FailureKind::Deadline, message).hint("`cargo xtask status` shows whether a pod has room"))
        })
    }

    fn pause(&self) -> Duration {
        CONTENTS_PAUSE
    }
}

/// What a container has told in its log behind a mark.
async fn told<T: DeserializeOwned>(cluster: &Cluster, pod: &str, container: &str, mark: &str) -> Option<T> {
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        let params = LogParams {
            container: Some(container.to_owned()),
            limit_bytes: Some(MAX_LOG_BYTES),
            ..LogParams::default()
        };
        let request = Request::new(Pod::url_path(&(), Some(&cluster.namespace)))
            .logs(pod, &params)
            .ok()?;
        let answer = tokio::time::timeout(ANSWER, cluster.client.request_text(request)).await;
        if let Ok(Ok(log)) = answer
            && let Some(found) = behind(&log, mark)
        {
            return Some(found);
        }
    }
    None
}

/// The last line of a log that begins with a mark, without it.
fn behind<T: DeserializeOwned>(log: &str, mark: &str) -> Option<T> {
    let mut lines = log.lines().rev();
    let text = lines.find_map(|line| line.strip_prefix(mark))?;
    serde_json::from_str(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_marked_line_is_found_among_others_and_a_torn_one_is_none() {
        let log = format!("words\n{CONTENTS_MARK}{{}}\nmore\n");
        assert_eq!(behind::<Contents>(&log, CONTENTS_MARK), Some(Contents::default()));
        assert_eq!(
            behind::<Contents>(&format!("{CONTENTS_MARK}{{\"pyth"), CONTENTS_MARK),
            None
        );
        assert_eq!(behind::<Contents>("words", CONTENTS_MARK), None);
    }
}
