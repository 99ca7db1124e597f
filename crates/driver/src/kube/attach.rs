//! Takes up a task that another process has submitted: everything needed for that is in the cluster.

use std::sync::Arc;
use std::time::Instant;

use hybrid_cache_model::pod::PodRequest;
use hybrid_cache_model::{Failure, FailureKind, Task, TaskSpec};

use super::flow::{Beginning, Flow, Found};
use super::names::{self, Attempt};
use super::request::{Form, TASK_KEY};
use super::workload::Workload;
use super::{Answer, Entry, Shared};
use crate::{Epoch, SubmitOptions};

/// A task as the cluster knows it.
struct Known {
    found: Box<Found>,
    spec: TaskSpec,
    task: Task,
    options: SubmitOptions,
}

/// Finds the task and follows it to its end; the entry's channels tell what comes of it.
pub async fn run(shared: Arc<Shared>, id: String, entry: Entry) {
    let clock = Instant::now();
    let known = match find(&shared, &id).await {
        Ok(Some(known)) => known,
        Ok(None) => return entry.answer(&Answer::Absent),
        Err(failure) => return entry.answer(&Answer::Unreachable(failure)),
    };
    let flow = Flow {
        shared,
        id,
        spec: known.spec,
        task: known.task,
        options: known.options,
        log: entry.log,
        cancel: entry.cancel,
        preparing: entry.preparing,
        clock,
    };
    let outcome = flow.run(Beginning::Found(known.found), &entry.ended).await;
    entry.settled.send_replace(Answer::of(&outcome));
}

/// True where the cluster has workloads of that task.
///
/// # Errors
/// The cluster does not answer.
pub async fn is_there(shared: &Shared, id: &str) -> Result<bool, Failure> {
    Ok(!shared.cluster.workloads_of(id).await?.is_empty())
}

async fn find(shared: &Shared, id: &str) -> Result<Option<Known>, Failure> {
    if names::check(id).is_err() {
        return Ok(None);
    }
    let workloads = shared.cluster.workloads_of(id).await?;
    let attempt = |workload: &Workload| {
        Attempt::ALL
            .into_iter()
            .find(|attempt| attempt.job(id) == workload.name())
    };
    let latest = workloads
        .into_iter()
        .filter_map(|found| Some((attempt(&found)?, found)));
    let Some((attempt, workload)) = latest.max_by_key(|(attempt, _)| *attempt) else {
        return Ok(None);
    };
    let name = workload.name();
    let data = shared.cluster.secret(name).await?;
    let request: PodRequest = data
        .get(TASK_KEY)
        .and_then(|text| serde_json::from_slice(text).ok())
        .ok_or_else(|| {
            let message = format!("the Secret {name} does not hold the request of its task any more");
            Failure::new(FailureKind::Cluster, message).hint("run the task again")
        })?;
    let task = request
        .task
        .check()
        .map_err(|error| Failure::new(FailureKind::InvalidTask, error.to_string()))?;
    let epoch = workload.annotation(names::EPOCH);
    let options = SubmitOptions {
        id: Some(id.to_owned()),
        epoch: epoch.map_or(Epoch::Standing, |epoch| Epoch::Fresh(epoch.clone())),
        limits: request.limits,
        prepare_ms: request.prepare_ms,
        tenant: request.tenant,
    };
    Ok(Some(Known {
        found: Box::new(Found {
            form: Form::of(&workload),
            workload,
            attempt,
        }),
        spec: request.task,
        task,
        options,
    }))
}
