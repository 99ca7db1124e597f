//! The first attempt at a cached task in a standby pod, if one is free.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hybrid_cache_model::pod::StandbyOrder;
use hybrid_cache_model::{CachePolicy, Failure, Lane, Phase};
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;

use crate::kube::flow::attempt::{self, AttemptResult, ReceivedOutput};
use crate::kube::flow::context::TaskContext;
use crate::kube::flow::task_registry::Presence;
use crate::kube::flow::timeline::Marks;
use crate::kube::flow::workload_run::{self, WorkloadRun};
use crate::kube::logs::follow::{KnownOutput, LogSource, LogTail};
use crate::kube::observe::observed::ContainerEnd;
use crate::kube::pod::request::{self, Freshness};
use crate::kube::pod::variant::PodVariant;
use crate::kube::shared::Shared;
use crate::kube::standby;
use crate::kube::standby::adopt;
use crate::kube::standby::claim::{self, ClaimedPod};
use crate::kube::standby::exchange::{Exchange, ExchangeEnd, ExchangeProgress};
use crate::kube::workload::object::Workload;
use crate::outcome::TaskProgress;

/// How long the caller may take to keep an outcome.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// How long output may still arrive once the pod is known to have ended.
const LAST_OUTPUT_TIMEOUT: Duration = Duration::from_secs(5);

/// True if a task may use a standby pod: everything that it asks for is in the caches, as far as is known, it asks for no
/// resources of its own, and there is a pool.
pub fn is_possible(context: &TaskContext, variant: PodVariant) -> bool {
    let is_cached = variant == PodVariant::Warm && context.task.cache == CachePolicy::Use;
    // The limits of a pod that runs cannot change.
    let fits = !context.spec.asks_for_resources();
    let (shared, options) = (&context.shared, &context.options);
    is_cached && fits && standby::ask_for(shared, &options.epoch, &options.tenant, context.set.place())
}

/// Runs a task in a standby pod. `None` if none is free, or if it did not begin the task: then it runs as a Job. Either way
/// `progress` says how long looking took.
pub async fn run(context: &mut TaskContext, progress: &mut TaskProgress) -> Option<AttemptResult> {
    let began_us = context.now_us();
    let claimed = claim::claim(context).await;
    let found = match claimed {
        Some(claimed) => in_pod(context, claimed, progress, began_us).await,
        None => None,
    };
    if found.is_none() {
        let now_us = context.now_us();
        progress
            .timeline
            .push(Phase::Claim, Lane::Driver, began_us, now_us - began_us);
        progress.timeline.total_us = now_us;
    }
    found
}

async fn in_pod(
    context: &mut TaskContext,
    claimed: ClaimedPod,
    progress: &TaskProgress,
    began_us: u64,
) -> Option<AttemptResult> {
    let marks = Marks {
        began_us,
        claimed_us: Some(context.now_us()),
        ..Marks::default()
    };
    let shared = Arc::clone(&context.shared);
    let is_prepared = claimed.is_prepared;
    let pod = claimed.pod.metadata.name.clone().unwrap_or_default();
    let mut run = workload_run::adopt(&shared, &Workload::from(claimed.pod.clone()));
    run.followed
        .update(|observed| observed.apply_pod(&claimed.pod, Instant::now()));
    context.presence.send_replace(Presence::Present);
    context.latest_workload.send_replace(Some((run.kind, pod.clone())));
    let exchange_progress = watch::Sender::new(ExchangeProgress::default());
    let exchange = Exchange {
        cluster: Arc::clone(&shared.cluster),
        pod: pod.clone(),
        order: order(context, claimed.token),
        log: Arc::clone(&context.log),
        early: run.early.clone(),
        progress: exchange_progress.clone(),
    };
    match converse(context, &mut run, exchange, &claimed.pod).await {
        Conversation::NotBegun(why) => {
            context.latest_workload.send_replace(None);
            shared
                .standby
                .note_not_begun(format!("standby pod {pod} did not begin its task: {why}"));
            claim::discard(&shared, pod);
            None
        }
        Conversation::Ended(ended, tail) => {
            shared.standby.note_used(is_prepared);
            context.note_end(&run);
            delete_later(&shared, pod);
            let received = ReceivedOutput::Attached {
                progress: *exchange_progress.borrow(),
                tail,
            };
            Some(attempt::close(context, run, PodVariant::Warm, ended, received, marks, progress).await)
        }
    }
}

/// Deletes a pod whose caller does not forget its task: unlike the pod of a Job, it takes room for as long as it exists.
fn delete_later(shared: &Arc<Shared>, pod: String) {
    let shared = Arc::downgrade(shared);
    tokio::spawn(async move {
        tokio::time::sleep(KEPT_FOR).await;
        if let Some(shared) = shared.upgrade() {
            claim::discard(&shared, pod);
        }
    });
}

/// What the runner is sent.
fn order(context: &TaskContext, token: String) -> StandbyOrder {
    let requests = request::for_task(
        &context.shared.config,
        context.set.place(),
        &context.spec,
        &context.task,
        &context.options,
        PodVariant::Warm,
        Freshness::Required,
    );
    StandbyOrder {
        token,
        request: requests.task,
    }
}

/// What came of talking to a claimed pod.
enum Conversation {
    /// The pod has not begun the task, and never will.
    NotBegun(String),
    /// The task's container has ended, or has reported. The log's tail, if the connection broke before.
    Ended(Result<ContainerEnd, Failure>, Option<LogTail>),
}

/// Sends the order, and follows the task to its end. If the connection breaks, its log shows the rest.
async fn converse(context: &mut TaskContext, run: &mut WorkloadRun, exchange: Exchange, claimed: &Pod) -> Conversation {
    let shared = Arc::clone(&context.shared);
    let source = attempt::log_source(context, run);
    let tail_after = |known: KnownOutput| {
        LogTail::start(LogSource {
            known,
            ..source(&exchange.pod)
        })
    };
    let bounds = attempt::bounds(context, PodVariant::Warm);
    let mut exchanging = std::pin::pin!(exchange.run());
    let mut ending = std::pin::pin!(run.end(bounds, &mut context.cancel, |_, _| {}));
    let (mut is_open, mut tail) = (true, None);
    let ended = loop {
        tokio::select! {
            ended = &mut ending => break ended,
            end = &mut exchanging, if is_open => {
                is_open = false;
                match end {
                    ExchangeEnd::Complete => {}
                    ExchangeEnd::NotSent(why) => return Conversation::NotBegun(why),
                    ExchangeEnd::Refused(why) => {
                        shared.standby.note_refused(why.clone());
                        return Conversation::NotBegun(why);
                    }
                    ExchangeEnd::Unaccepted(why) => match adopt::has_begun(&shared, claimed).await {
                        Ok(false) => return Conversation::NotBegun(why),
                        // Its log has everything from the beginning, once the cluster answers.
                        Ok(true) | Err(_) => tail = Some(tail_after(KnownOutput::default())),
                    },
                    ExchangeEnd::Broken(known) => tail = Some(tail_after(known)),
                }
            }
        }
    };
    if is_open && let Ok(ExchangeEnd::Broken(known)) = tokio::time::timeout(LAST_OUTPUT_TIMEOUT, exchanging).await {
        tail = Some(tail_after(known));
    }
    Conversation::Ended(ended, tail)
}
