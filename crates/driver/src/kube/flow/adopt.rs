//! Submits a task, or adopts one that another process has submitted: the cluster holds everything needed for that.

use std::sync::Arc;
use std::time::Instant;

use hybrid_cache_model::pod::PodRequest;
use hybrid_cache_model::{Failure, FailureKind, Task, TaskSpec};

use crate::kube::api::create_error::CreateError;
use crate::kube::flow::context::TaskContext;
use crate::kube::flow::first_workload::{Adopted, FirstWorkload};
use crate::kube::flow::recent_hits::CacheRequest;
use crate::kube::flow::task_flow::TaskFlow;
use crate::kube::flow::task_registry::{Presence, TaskAnswer, TaskChannels, TaskRegistry};
use crate::kube::names::{self, Attempt};
use crate::kube::pod::request::TASK_KEY;
use crate::kube::pod::variant::PodVariant;
use crate::kube::shared::Shared;
use crate::kube::standby;
use crate::kube::workload::kind::WorkloadKind;
use crate::kube::workload::object::Workload;
use crate::trace::Notes;
use crate::{Epoch, SubmitOptions};

/// A task that someone submits.
#[derive(Clone)]
pub struct SubmittedTask {
    /// As submitted.
    pub spec: TaskSpec,
    /// As checked.
    pub task: Task,
    /// How to run it.
    pub options: SubmitOptions,
    /// When it was submitted.
    pub clock: Instant,
}

/// Whether the cluster may already have a task that is being submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlierSubmit {
    /// Someone may have submitted the same id before.
    Possible,
    /// The id is new.
    Impossible,
}

/// Submits a task, unless the cluster already has it, and runs it to its end. Its channels receive what comes of it.
pub async fn submit(
    shared: Arc<Shared>,
    tasks: TaskRegistry,
    id: String,
    submitted: SubmittedTask,
    channels: TaskChannels,
    earlier: EarlierSubmit,
) {
    let found = match earlier {
        EarlierSubmit::Possible => find(&shared, &id).await,
        EarlierSubmit::Impossible => Ok(None),
    };
    let first = match found {
        Ok(found) => found.map_or(FirstWorkload::Create, FirstWorkload::Adopt),
        Err(failure) => {
            return tasks.close(&id, channels, Presence::Unanswered(CreateError::not_yet(failure)));
        }
    };
    run(shared, tasks, id, submitted, channels, first).await;
}

/// Looks for a task in the cluster, and follows it to its end.
pub async fn adopt(shared: Arc<Shared>, tasks: TaskRegistry, id: String, channels: TaskChannels) {
    let clock = Instant::now();
    let looked_up = async {
        let Some(found) = find(&shared, &id).await? else {
            return Ok(None);
        };
        let submitted = submitted(&shared, &id, &found, clock).await?;
        Ok::<_, Failure>(Some((found, submitted)))
    };
    match looked_up.await {
        Ok(Some((found, submitted))) => run(shared, tasks, id, submitted, channels, FirstWorkload::Adopt(found)).await,
        Ok(None) => tasks.close(&id, channels, Presence::Absent),
        Err(failure) => tasks.close(&id, channels, Presence::Unanswered(CreateError::MaybeCreated(failure))),
    }
}

async fn run(
    shared: Arc<Shared>,
    tasks: TaskRegistry,
    id: String,
    submitted: SubmittedTask,
    channels: TaskChannels,
    first: FirstWorkload,
) {
    let request = CacheRequest::new(&submitted.options.epoch, &submitted.options.tenant, &submitted.task);
    let set = match &first {
        FirstWorkload::Create => shared.place(&request, &submitted.task),
        FirstWorkload::Adopt(adopted) => set_of(&shared, &adopted.workload).map_or_else(
            || shared.place(&request, &submitted.task),
            |place| shared.sets.enter(place),
        ),
    };
    let context = TaskContext {
        set,
        shared,
        id: id.clone(),
        spec: submitted.spec,
        task: submitted.task,
        options: submitted.options,
        log: Arc::clone(&channels.log),
        cancel: channels.cancel.clone(),
        preparing: channels.preparing.clone(),
        waits: channels.waits.clone(),
        presence: channels.presence.clone(),
        latest_workload: channels.latest_workload.clone(),
        clock: submitted.clock,
    };
    let notes = Notes {
        is_whole: matches!(first, FirstWorkload::Create),
        ..Notes::default()
    };
    let flow = TaskFlow { context, notes };
    match flow.run(first, &channels.ended).await {
        Ok(outcome) => {
            channels.settled.send_replace(TaskAnswer::from(&outcome));
            channels.presence.send_replace(Presence::Present);
        }
        Err(error) => tasks.close(&id, channels, Presence::Unanswered(error)),
    }
}

/// The volume set of a workload; `None` if it is no longer in the configuration.
fn set_of(shared: &Shared, workload: &Workload) -> Option<usize> {
    match workload.annotation(names::SET).or(workload.label(names::SET)) {
        Some(name) => shared.sets.find(name),
        // It is of the time before there were several.
        None => Some(0),
    }
}

/// The task's latest workload, if the cluster has one.
async fn find(shared: &Arc<Shared>, id: &str) -> Result<Option<Box<Adopted>>, Failure> {
    if names::check_id(id).is_err() {
        return Ok(None);
    }
    let latest = match shared.cluster.latest(id).await? {
        Some(latest) => Some(latest),
        // A task that a standby pod did not begin runs as a Job, so a Job counts more.
        None => standby::adopt::begun_pod(shared, id)
            .await?
            .map(|pod| (Attempt::First, pod)),
    };
    Ok(latest.map(|(attempt, workload)| {
        Box::new(Adopted {
            variant: PodVariant::from(&workload),
            workload,
            attempt,
        })
    }))
}

/// What was submitted, as the task's Secret holds it.
async fn submitted(shared: &Shared, id: &str, adopted: &Adopted, clock: Instant) -> Result<SubmittedTask, Failure> {
    if adopted.workload.kind() == WorkloadKind::Pod {
        return of_standby_pod(id, clock);
    }
    let name = adopted.workload.name();
    let data = shared.cluster.secret(name).await?;
    let request: PodRequest = data
        .get(TASK_KEY)
        .and_then(|text| serde_json::from_slice(text).ok())
        .ok_or_else(|| {
            let message = format!("the Secret {name} no longer holds the request of its task");
            Failure::new(FailureKind::Cluster, message).hint("run the task again")
        })?;
    let task = request.task.check()?;
    let epoch = adopted.workload.annotation(names::EPOCH);
    let options = SubmitOptions {
        id: Some(id.to_owned()),
        first: false,
        epoch: epoch.map_or(Epoch::Standing, |epoch| Epoch::Fresh(epoch.clone())),
        limits: request.limits,
        prepare_ms: request.prepare_ms,
        tenant: request.tenant,
    };
    Ok(SubmittedTask {
        spec: TaskSpec {
            resources: request.resources,
            ..request.task
        },
        task,
        options,
        clock,
    })
}

/// What is known of a task whose standby pod another process has claimed: not its text, which only its runner has.
fn of_standby_pod(id: &str, clock: Instant) -> Result<SubmittedTask, Failure> {
    let spec = TaskSpec::new("# known to its runner alone");
    Ok(SubmittedTask {
        task: spec.check()?,
        spec,
        options: SubmitOptions {
            id: Some(id.to_owned()),
            ..SubmitOptions::default()
        },
        clock,
    })
}
