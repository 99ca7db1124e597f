//! Records a task's request for a trace.

use hybrid_cache_model::contents::Prepared;
use hybrid_cache_model::pod::PREPARED_MARK;
use hybrid_cache_model::{CacheStatus, Outcome};

use crate::Epoch;
use crate::kube::flow::context::TaskContext;
use crate::kube::logs::marked_line;
use crate::kube::names::PREPARE_CONTAINER;
use crate::trace::{Noted, Notes};

/// Notes the request if requests are recorded. Returns at once.
pub fn note(context: &TaskContext, notes: &Notes, outcome: &Outcome) {
    let Some(trace) = context.shared.trace.get() else {
        return;
    };
    trace.note(Noted {
        task: &context.task,
        tenant: &context.options.tenant,
        epoch: &context.options.epoch,
        outcome,
        notes,
    });
}

/// Reads what was built for the task from the log of its preparing container, if something was and a trace records it.
pub async fn read_prepared(context: &TaskContext, notes: &mut Notes, pod: &str, outcome: &Outcome) {
    let is_built = |status: CacheStatus| matches!(status, CacheStatus::Built { .. });
    let has_built = is_built(outcome.cache.python) || is_built(outcome.cache.system);
    let is_recorded = context.shared.trace.get().is_some() && context.options.epoch == Epoch::Standing;
    if has_built && is_recorded {
        let cluster = &context.shared.cluster;
        let prepared: Option<Box<Prepared>> = marked_line::read(cluster, pod, PREPARE_CONTAINER, PREPARED_MARK).await;
        notes.expired |= prepared.as_ref().is_some_and(|prepared| prepared.expired);
        notes.prepared = prepared;
    }
}
