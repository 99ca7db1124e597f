//! What happens after the task's container has ended: the preparing container may still publish what it made.

use std::time::{Duration, Instant};

use hybrid_cache_model::pod::PrepareReport;
use hybrid_cache_model::protocol::RunReport;
use hybrid_cache_model::{CachePolicy, End, Failure, FailureKind, Outcome, Timeline};

use crate::kube::flow::attempt::{AttemptResult, RUNNER_GRACE};
use crate::kube::flow::context::TaskContext;
use crate::kube::flow::{record, timeline};
use crate::kube::observe::observed::ObservedWorkload;
use crate::kube::observe::step::{self, Preparation};
use crate::kube::pod::variant::PodVariant;
use crate::kube::workload::kind::WorkloadKind;
use crate::trace::Notes;

/// How long the watch may take to show the end of a container whose log has already reported it.
const END_SHOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// Waits for the preparing container, and adds to the outcome what it did after the handover.
pub async fn settle(context: &TaskContext, notes: &mut Notes, result: AttemptResult, outcome: &mut Outcome) {
    if result.run.kind == WorkloadKind::Pod {
        // It prepares nothing, and it is deleted as soon as its outcome is kept.
        return;
    }
    let mut observed = result.run.followed.observed.clone();
    if result.variant == PodVariant::Warm || context.task.cache == CachePolicy::Bypass {
        // The log reported the end before the watch has shown it; who waits for everything waits for that, too.
        let is_over = |observed: &ObservedWorkload| {
            let has_ended = observed.pod.as_ref().is_some_and(|pod| pod.task.ended().is_some());
            observed.is_over() || has_ended
        };
        let _ = tokio::time::timeout(END_SHOWN_TIMEOUT, observed.wait_for(is_over)).await;
        return;
    }
    let Some(pod) = result.run.observed().pod.map(|pod| pod.name) else {
        // Without a pod, nothing prepares.
        return;
    };
    let limit = Duration::from_millis(context.options.prepare_ms).saturating_add(RUNNER_GRACE);
    let is_known = |observed: &ObservedWorkload| step::preparation(observed) != Preparation::Going;
    // Nothing of the watch is borrowed from here on, because what follows waits.
    let shown = async {
        let shown = observed.wait_for(is_known).await;
        shown.map(|observed| step::preparation(&observed))
    };
    let preparation = match context.shared.pulse.timeout(limit, shown).await {
        Some(Ok(preparation)) => preparation,
        Some(Err(_)) | None => {
            let message = format!("publishing did not end within {} s", limit.as_secs());
            Preparation::Unpublished(Failure::new(FailureKind::Deadline, message))
        }
    };
    let inner = match &result.report {
        Ok(RunReport::Finished { timeline, .. }) => timeline.clone(),
        _ => Timeline::default(),
    };
    let failed = matches!(outcome.end, End::Failed { .. } | End::Cancelled);
    match preparation {
        Preparation::Ended(report) => match *report {
            PrepareReport::Published {
                timeline,
                ready_us,
                warnings,
            } => {
                let spans = timeline::publishing(&inner, &timeline, ready_us, result.origin_us);
                outcome.timeline.spans.extend(spans);
                outcome.warnings.extend(warnings);
                context
                    .shared
                    .recent_hits
                    .note(&context.cache_request(), context.set.place(), Instant::now());
                record::read_prepared(context, notes, &pod, outcome).await;
            }
            PrepareReport::Failed { failure, .. } if !failed => outcome.not_kept = Some(failure),
            PrepareReport::Failed { .. } | PrepareReport::HandedOver => {}
        },
        Preparation::Unpublished(failure) | Preparation::Lost(failure) if !failed => {
            outcome.not_kept = Some(failure);
        }
        _ => {}
    }
}
