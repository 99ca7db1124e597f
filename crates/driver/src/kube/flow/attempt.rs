//! One attempt at a task: creates or adopts its workload, follows it to its end, and places it on the timeline.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hybrid_cache_model::outcome::Output;
use hybrid_cache_model::protocol::RunReport;
use hybrid_cache_model::{CachePolicy, Failure, FailureKind, Phase, Timeline};
use tokio::sync::watch;

use crate::Epoch;
use crate::kube::api::cluster::CreateTimeouts;
use crate::kube::api::create_error::CreateError;
use crate::kube::api::retry::OUTAGE_TIMEOUT;
use crate::kube::flow::admission::QueueTicket;
use crate::kube::flow::context::TaskContext;
use crate::kube::flow::first_workload::FirstWorkload;
use crate::kube::flow::task_registry::Presence;
use crate::kube::flow::timeline::{self, Marks};
use crate::kube::flow::workload_run::{self, WorkloadRun};
use crate::kube::logs::follow::{self, KnownOutput, LogSource, LogTail};
use crate::kube::logs::trailer;
use crate::kube::maintenance::tenants;
use crate::kube::names::{Attempt, Component};
use crate::kube::observe::explain;
use crate::kube::observe::observed::{ContainerEnd, ObservedWorkload};
use crate::kube::observe::step::{self, Bounds, Preparation, Step};
use crate::kube::pod::request::{self, Freshness};
use crate::kube::pod::variant::PodVariant;
use crate::kube::sets::lost;
use crate::kube::sets::state::RETRY_PAUSE;
use crate::kube::sets::withdraw::{Withdrawal, withdraw};
use crate::kube::standby::exchange::ExchangeProgress;
use crate::kube::workload::render::{self, TaskPod};
use crate::needs::Needs;
use crate::outcome::TaskProgress;

/// The runner itself keeps the time limits of preparing and running. The driver's limits are longer by this much, for a
/// runner that cannot.
pub const RUNNER_GRACE: Duration = Duration::from_secs(45);

/// What one attempt came to.
pub struct AttemptResult {
    /// The attempt's workload.
    pub run: WorkloadRun,
    /// The variant of its pod.
    pub variant: PodVariant,
    /// What the task's container reported, or why there is no report.
    pub report: Result<RunReport, Failure>,
    /// The timeline of all attempts so far.
    pub timeline: Timeline,
    /// Where the runner's own origin lies on the driver's clock.
    pub origin_us: u64,
    /// What the user should know of this attempt.
    pub warnings: Vec<String>,
}

/// Why an attempt has no workload to wait for.
pub enum LaunchError {
    /// Someone cancelled the task before.
    Cancelled,
    /// The workload was not created, or may not have been.
    Create(CreateError),
    /// The workload cannot be created, or cannot be observed.
    Failed(Failure),
    /// The volumes of the task's set cannot be used. The workload was deleted before its pod had a node; why, in the scheduler's
    /// words.
    SetLost(String),
}

/// Runs one attempt. `first` says where the workload of a first attempt comes from; `None` for later attempts, which
/// create theirs.
///
/// # Errors
/// There is no workload to wait for.
pub async fn run(
    context: &mut TaskContext,
    attempt: Attempt,
    variant: PodVariant,
    first: Option<FirstWorkload>,
    progress: &TaskProgress,
) -> Result<AttemptResult, LaunchError> {
    let mut marks = Marks {
        began_us: progress.timeline.total_us,
        ..Marks::default()
    };
    let (mut run, variant, mut queued) = match first {
        Some(FirstWorkload::Adopt(adopted)) => (workload_run::adopt(&context.shared, &adopted.workload), variant, None),
        Some(FirstWorkload::Create) | None => {
            ensure_folders(context).await?;
            let queued = context.shared.admission.enter(context.set.place());
            // A quota may have no room for the next workload of a task that has begun.
            let has_begun = attempt != Attempt::First;
            let pulse = &context.shared.pulse;
            context.waits.send_modify(|wait| wait.note(None, has_begun, pulse));
            let (run, variant) = create(context, attempt, variant).await?;
            marks.created_us = Some(context.now_us());
            (run, variant, Some(queued))
        }
    };
    context.presence.send_replace(Presence::Present);
    let latest = Some((run.kind, run.name.clone()));
    if let Some((kind, name)) = context.latest_workload.send_replace(latest) {
        // The earlier workload has been followed to its end, and its successor exists.
        tokio::spawn(workload_run::delete(Arc::clone(&context.shared), kind, name, None));
    }
    if marks.created_us.is_none() {
        run.fetch_pod().await.map_err(LaunchError::Failed)?;
    }
    let may_move = matches!(attempt, Attempt::First | Attempt::Prepared);
    let followed = follow(context, &mut run, variant, may_move, queued.take()).await;
    context.waits.send_modify(|wait| wait.end(&context.shared.pulse));
    context.note_end(&run);
    let (ended, tail) = followed?;
    let received = ReceivedOutput::Log(tail);
    Ok(close(context, run, variant, ended, received, marks, progress).await)
}

/// How a task's container ended, and the log that was followed.
type Followed = (Result<ContainerEnd, Failure>, Option<LogTail>);

/// Follows a workload to its end, or until the volumes of its set cannot be used. Only a task that `may_move` is taken back then.
async fn follow(
    context: &mut TaskContext,
    run: &mut WorkloadRun,
    variant: PodVariant,
    may_move: bool,
    mut queued: Option<QueueTicket>,
) -> Result<Followed, LaunchError> {
    let source = log_source(context, run);
    let (preparing, waits) = (context.preparing.clone(), context.waits.clone());
    let (pulse, sets) = (Arc::clone(&context.shared.pulse), Arc::clone(&context.shared.sets));
    let (place, uses_volumes) = (context.set.place(), context.uses_volumes());
    let mut tail = None;
    let needs = context.needs();
    let bounds = bounds(context, variant);
    let mut on_change = |observed: &ObservedWorkload, step: &Step| {
        if let (Step::Follow, None, Some(pod)) = (step, &tail, &observed.pod) {
            tail = Some(LogTail::start(source(&pod.name)));
        }
        let has_output = tail
            .as_ref()
            .is_some_and(|tail: &LogTail| tail.progress.borrow().bytes > 0);
        show_preparing(&preparing, variant, needs, observed, has_output);
        let (why, room) = (explain::waits_for_node(observed), explain::waits_for_room(observed));
        waits.send_modify(|wait| wait.note(why, room.is_some(), &pulse));
        match (&queued, room) {
            (Some(queued), Some(why)) => queued.because(why),
            _ if observed.has_place() => queued.take().into_iter().for_each(QueueTicket::placed),
            _ => {}
        }
        if let Some(at) = observed.first_seen.scheduled.filter(|_| uses_volumes) {
            sets.note_scheduled(place, at);
        }
    };
    let mut may_move = may_move && uses_volumes && context.shared.sets.count() > 1;
    let mut pause = Duration::ZERO;
    loop {
        let unusable = lost::wait(run.followed.observed.clone(), pause);
        let why = tokio::select! {
            biased;
            ended = run.end(bounds, &mut context.cancel, &mut on_change) => return Ok((ended, tail)),
            why = unusable, if may_move => why,
        };
        pause = RETRY_PAUSE;
        let is_cancelled = *context.cancel.borrow();
        if is_cancelled || !context.shared.sets.mark_down(place, Instant::now()) {
            continue;
        }
        match withdraw(&context.shared, run).await.map_err(LaunchError::Failed)? {
            Withdrawal::NeverStarted => return Err(LaunchError::SetLost(why)),
            Withdrawal::Kept => {}
            Withdrawal::MayHaveStarted => may_move = false,
        }
    }
}

/// Has the folders created that the task's pod mounts, if its tenant is new.
async fn ensure_folders(context: &TaskContext) -> Result<(), LaunchError> {
    if context.needs().any() && context.task.cache == CachePolicy::Use {
        let (epoch, tenant) = (&context.options.epoch, &context.options.tenant);
        let ensured = tenants::ensure(&context.shared, epoch, tenant, context.set.place()).await;
        ensured.map_err(|failure| LaunchError::Create(folders_missing(failure)))?;
    }
    Ok(())
}

/// Why a task was not created whose tenant's folders could not be. A fault of the volumes is final; any other failure is
/// one of the pod that was to create them, so the task may be tried again.
fn folders_missing(failure: Failure) -> CreateError {
    match failure.kind {
        FailureKind::CacheFormat | FailureKind::CacheAccess => CreateError::Refused(failure),
        _ => CreateError::not_yet(failure),
    }
}

async fn create(
    context: &mut TaskContext,
    attempt: Attempt,
    variant: PodVariant,
) -> Result<(WorkloadRun, PodVariant), LaunchError> {
    if *context.cancel.borrow() {
        return Err(LaunchError::Cancelled);
    }
    let freshness = match attempt {
        Attempt::Stale => Freshness::StaleAccepted,
        Attempt::First | Attempt::Prepared | Attempt::Moved | Attempt::Building => Freshness::Required,
    };
    let (config, options) = (
        context.shared.config.for_task(&context.spec.resources),
        &context.options,
    );
    let config = &*config;
    let set = context.set.place();
    let mut requests = request::for_task(config, set, &context.spec, &context.task, options, variant, freshness);
    if let Some(prepare) = &mut requests.prepare {
        prepare.describe = context.shared.trace.get().is_some() && options.epoch == Epoch::Standing;
    }
    let data = request::secret_data(&requests);
    let data = data.map_err(|error| LaunchError::Failed(Failure::new(FailureKind::InvalidTask, error.to_string())))?;
    let name = attempt.workload_name(&context.id);
    let secret = render::secret(Component::Task, &context.id, &name, data);
    let token = trailer::token_for(config);
    let pod = TaskPod {
        id: &context.id,
        name: &name,
        variant,
        needs: context.needs(),
        cache: context.task.cache,
        set,
        epoch: options.epoch.name(),
        tenant: options.tenant.clone(),
        time_ms: options.limits.time_ms,
        prepare_ms: options.prepare_ms,
        token: token.as_deref(),
    };
    let workload = render::task(config, &pod);
    let timeouts = create_timeouts(context, attempt);
    let created = workload_run::create(&context.shared, &secret, &workload, timeouts, &mut context.cancel).await;
    let (run, workload) = created.map_err(|error| match error {
        CreateError::NotCreated(_) if *context.cancel.borrow() => LaunchError::Cancelled,
        error => LaunchError::Create(error),
    })?;
    // A workload that existed before may have the other variant.
    Ok((run, PodVariant::from(&workload)))
}

/// The caller can submit a first attempt again; only this process can repeat a later one.
fn create_timeouts(context: &TaskContext, attempt: Attempt) -> CreateTimeouts {
    let retention = context.shared.retention();
    match attempt {
        Attempt::First => CreateTimeouts {
            answer: OUTAGE_TIMEOUT,
            // Who has given the task an id submits it again.
            room: if context.options.id.is_some() {
                Duration::ZERO
            } else {
                retention
            },
        },
        Attempt::Prepared | Attempt::Moved | Attempt::Building | Attempt::Stale => CreateTimeouts {
            answer: retention,
            room: retention,
        },
    }
}

/// How long an attempt may take.
pub fn bounds(context: &TaskContext, variant: PodVariant) -> Bounds {
    let start = Duration::from_secs(context.shared.config.start_s);
    let prepare_ms = match variant {
        PodVariant::Warm => 0,
        PodVariant::Prepared | PodVariant::Building => context.options.prepare_ms,
    };
    let work = Duration::from_millis(context.options.limits.time_ms.saturating_add(prepare_ms));
    Bounds {
        start,
        whole: start.saturating_add(work).saturating_add(RUNNER_GRACE),
    }
}

/// Makes the source of a pod's log, for pods of this workload.
pub fn log_source(context: &TaskContext, run: &WorkloadRun) -> impl Fn(&str) -> LogSource + use<> {
    let (shared, log, early) = (Arc::clone(&context.shared), Arc::clone(&context.log), run.early.clone());
    let (kind, token) = (run.kind, run.token.clone());
    let known = KnownOutput {
        is_previous: run.observed().pod.is_some_and(|pod| pod.was_restarted),
        ..KnownOutput::default()
    };
    move |pod| LogSource {
        cluster: Arc::clone(&shared.cluster),
        splitting: Arc::clone(&shared.splitting),
        kind,
        pod: pod.to_owned(),
        log: Arc::clone(&log),
        token: token.clone(),
        early: early.clone(),
        known,
    }
}

/// Shows that a preparation is running. The watches do not show its phases, so this is the longest phase that a task of
/// this kind has, until the preparing container has ended or the task has written something.
fn show_preparing(
    preparing: &watch::Sender<Option<Phase>>,
    variant: PodVariant,
    needs: Needs,
    observed: &ObservedWorkload,
    has_output: bool,
) {
    let is_running =
        observed.has_place() && variant.prepares() && !has_output && step::preparation(observed) == Preparation::Going;
    let longest = match variant {
        PodVariant::Building => Phase::PythonBuild,
        _ if needs.system => Phase::SystemRealise,
        _ => Phase::PythonInstall,
    };
    let phase = is_running.then_some(longest);
    preparing.send_if_modified(|shown| std::mem::replace(shown, phase) != phase);
}

/// How a task's output has arrived so far.
pub enum ReceivedOutput {
    /// From its pod's log, if that was followed.
    Log(Option<LogTail>),
    /// Over a connection to its standby pod, and from its log if the connection broke.
    Attached {
        /// What came over the connection.
        progress: ExchangeProgress,
        /// The log after it broke.
        tail: Option<LogTail>,
    },
}

/// Reads what the container left, waits for the last of its output, and places the attempt on the timeline.
pub async fn close(
    context: &TaskContext,
    run: WorkloadRun,
    variant: PodVariant,
    ended: Result<ContainerEnd, Failure>,
    received: ReceivedOutput,
    mut marks: Marks,
    progress: &TaskProgress,
) -> AttemptResult {
    let observed = run.observed();
    let mut warnings = Vec::new();
    let report = match ended {
        Ok(ended) => {
            warnings.extend(explain::remark(&ended));
            step::report(&ended, &observed, run.intent())
        }
        Err(failure) => Err(failure),
    };
    let (passed, inner) = match &report {
        Ok(RunReport::Finished {
            stdout,
            stderr,
            timeline,
            ..
        }) => (Some([*stdout, *stderr]), Some(timeline)),
        Ok(RunReport::Missed { timeline, .. }) => (Some([Output::default(); 2]), Some(timeline)),
        Err(_) => (None, None),
    };
    let (seen_at, missing) = last_output(context, &run, passed, received).await;
    warnings.extend(missing);
    marks.log_us = seen_at.map(|at| context.us_at(at));
    marks.scheduled_us = observed.first_seen.scheduled.map(|at| context.us_at(at));
    marks.ended_us = observed.first_seen.task_ended.map(|at| context.us_at(at));
    marks.done_us = context.now_us();
    if !marks.is_own() {
        warnings
            .push("another process submitted the task: its times before this one adopted it are not known".to_owned());
    }
    let mut timeline = progress.timeline.clone();
    let origin_us = timeline::lay(&mut timeline, &marks, inner);
    AttemptResult {
        run,
        variant,
        report,
        timeline,
        origin_us,
        warnings,
    }
}

/// Waits for the last of the output. Returns when the report, or the end of the log, had arrived, and what is missing.
async fn last_output(
    context: &TaskContext,
    run: &WorkloadRun,
    passed: Option<[Output; 2]>,
    received: ReceivedOutput,
) -> (Option<Instant>, Vec<String>) {
    let tail = match received {
        ReceivedOutput::Attached { progress, tail: None } => {
            let expected = passed.map(|passed| passed.map(|output| output.passed_bytes));
            let missing = follow::missing(expected, progress.known.passed.iter().sum());
            return (
                progress.reported_at,
                missing.into_iter().chain(context.log.overflow()).collect(),
            );
        }
        ReceivedOutput::Attached { tail, .. } => tail,
        ReceivedOutput::Log(tail) => tail.or_else(|| {
            let observed = run.observed();
            let pod = observed.pod.as_ref().filter(|pod| pod.task.ended().is_some())?;
            let is_silent = passed.is_some_and(|passed| passed.iter().all(|output| output.passed_bytes == 0));
            (!is_silent).then(|| LogTail::start(log_source(context, run)(&pod.name)))
        }),
    };
    let Some(tail) = tail else { return (None, Vec::new()) };
    let (log, missing) = tail.finish(passed, &context.shared.pulse).await;
    (
        log.reported_at.or(log.ended),
        missing.into_iter().chain(context.log.overflow()).collect(),
    )
}
