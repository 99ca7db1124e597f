//! Takes up a task that another process has submitted: everything needed for that is in the cluster.

use std::sync::Arc;
use std::time::Instant;

use hybrid_cache_model::pod::PodRequest;
use hybrid_cache_model::{Failure, FailureKind, Task, TaskSpec};
use k8s_openapi::api::batch::v1::Job;
use kube::ResourceExt;

use super::flow::{Beginning, Flow, Found};
use super::names::{self, Attempt};
use super::request::{Form, TASK_KEY};
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

/// True where the cluster has Jobs of that task.
///
/// # Errors
/// The cluster does not answer.
pub async fn is_there(shared: &Shared, id: &str) -> Result<bool, Failure> {
    Ok(!shared.cluster.jobs_of(id).await?.is_empty())
}

async fn find(shared: &Shared, id: &str) -> Result<Option<Known>, Failure> {
    if names::check(id).is_err() {
        return Ok(None);
    }
    let jobs = shared.cluster.jobs_of(id).await?;
    let latest = jobs.into_iter().filter_map(|job| Some((attempt_of(id, &job)?, job)));
    let Some((attempt, job)) = latest.max_by_key(|(attempt, _)| *attempt) else {
        return Ok(None);
    };
    let name = job.name_any();
    let data = shared.cluster.secret(&name).await?;
    let request: PodRequest = data
        .get(TASK_KEY)
        .and_then(|text| serde_json::from_slice(text).ok())
        .ok_or_else(|| {
            let message = format!("the Secret {name} does not hold the request of its Job any more");
            Failure::new(FailureKind::Cluster, message).hint("run the task again")
        })?;
    let task = request
        .task
        .check()
        .map_err(|error| Failure::new(FailureKind::InvalidTask, error.to_string()))?;
    let epoch = job.annotations().get(names::EPOCH);
    let options = SubmitOptions {
        id: Some(id.to_owned()),
        epoch: epoch.map_or(Epoch::Standing, |epoch| Epoch::Fresh(epoch.clone())),
        limits: request.limits,
        prepare_ms: request.prepare_ms,
    };
    Ok(Some(Known {
        found: Box::new(Found {
            form: Form::of(&job),
            job,
            attempt,
        }),
        spec: request.task,
        task,
        options,
    }))
}

fn attempt_of(id: &str, job: &Job) -> Option<Attempt> {
    let name = job.name_any();
    Attempt::ALL.into_iter().find(|attempt| attempt.job(id) == name)
}
