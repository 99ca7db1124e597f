//! Takes up a task that another process has submitted: everything needed for that is in the cluster.

use std::sync::Arc;
use std::time::Instant;

use hybrid_cache_model::pod::PodRequest;
use hybrid_cache_model::{Failure, FailureKind, Task, TaskSpec};

use super::Shared;
use super::book::{Answer, Book, Entry, Made};
use super::cluster::NotMade;
use super::flow::{Beginning, Flow, Found};
use super::names;
use super::request::{Form, TASK_KEY};
use crate::trace::Notes;
use crate::{Epoch, SubmitOptions};

/// A task to be submitted.
pub struct Order {
    /// As submitted.
    pub spec: TaskSpec,
    /// As checked.
    pub task: Task,
    /// How to run it.
    pub options: SubmitOptions,
    /// When it was submitted.
    pub clock: Instant,
}

/// Whether the cluster may have a task already that is being submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// Somebody may have submitted it before.
    Perhaps,
    /// Its id has just been made up.
    Never,
}

/// Submits a task, unless the cluster has it already, and carries it to its end; the entry's channels tell what comes of it.
pub async fn submit(shared: Arc<Shared>, book: Book, id: String, order: Order, entry: Entry, before: Before) {
    let found = match before {
        Before::Perhaps => find(&shared, &id).await,
        Before::Never => Ok(None),
    };
    let beginning = match found {
        Ok(found) => found.map_or(Beginning::Make, Beginning::Found),
        Err(failure) => {
            return book.close(&id, entry, Made::Unanswered(NotMade::not_yet(failure)));
        }
    };
    carry(shared, book, id, order, entry, beginning).await;
}

/// Finds the task and follows it to its end.
pub async fn run(shared: Arc<Shared>, book: Book, id: String, entry: Entry) {
    let clock = Instant::now();
    let known = async {
        let Some(found) = find(&shared, &id).await? else {
            return Ok(None);
        };
        let order = order(&shared, &id, &found, clock).await?;
        Ok::<_, Failure>(Some((found, order)))
    };
    match known.await {
        Ok(Some((found, order))) => carry(shared, book, id, order, entry, Beginning::Found(found)).await,
        Ok(None) => book.close(&id, entry, Made::Absent),
        Err(failure) => book.close(&id, entry, Made::Unanswered(NotMade::Perhaps(failure))),
    }
}

async fn carry(shared: Arc<Shared>, book: Book, id: String, order: Order, entry: Entry, beginning: Beginning) {
    let flow = Flow {
        shared,
        id: id.clone(),
        spec: order.spec,
        task: order.task,
        options: order.options,
        log: Arc::clone(&entry.log),
        cancel: entry.cancel.clone(),
        preparing: entry.preparing.clone(),
        waits: entry.waits.clone(),
        made: entry.made.clone(),
        carried_by: entry.carried_by.clone(),
        clock: order.clock,
        notes: Notes {
            is_whole: matches!(beginning, Beginning::Make),
            ..Notes::default()
        },
    };
    match flow.run(beginning, &entry.ended).await {
        Ok(outcome) => {
            entry.settled.send_replace(Answer::of(&outcome));
            entry.made.send_replace(Made::Known);
        }
        Err(not_made) => book.close(&id, entry, Made::Unanswered(not_made)),
    }
}

/// The task's latest workload, if the cluster has one.
async fn find(shared: &Shared, id: &str) -> Result<Option<Box<Found>>, Failure> {
    if names::check(id).is_err() {
        return Ok(None);
    }
    let latest = shared.cluster.latest(id).await?;
    Ok(latest.map(|(attempt, workload)| {
        Box::new(Found {
            form: Form::of(&workload),
            workload,
            attempt,
        })
    }))
}

/// What was ordered, as its Secret holds it.
async fn order(shared: &Shared, id: &str, found: &Found, clock: Instant) -> Result<Order, Failure> {
    let name = found.workload.name();
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
    let epoch = found.workload.annotation(names::EPOCH);
    let options = SubmitOptions {
        id: Some(id.to_owned()),
        first: false,
        epoch: epoch.map_or(Epoch::Standing, |epoch| Epoch::Fresh(epoch.clone())),
        limits: request.limits,
        prepare_ms: request.prepare_ms,
        tenant: request.tenant,
    };
    Ok(Order {
        spec: request.task,
        task,
        options,
        clock,
    })
}
