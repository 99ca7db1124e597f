//! Runs one task: the attempts that it takes, and its outcome.
//!
//! The first attempt is a warm pod if the packages are known to be cached (a standby pod, if one is free), and a prepared pod otherwise. A miss leads to
//! a prepared pod; a package without a wheel leads to a pod that builds it; volumes that cannot be used lead to a prepared pod on another volume set; an index that is offline leads to a pod that accepts environments which were resolved too long ago.

use std::time::Instant;

use hybrid_cache_model::protocol::RunReport;
use hybrid_cache_model::{CachePolicy, End, Failure, FailureKind, Lane, Outcome, Phase};
use tokio::sync::watch;

use crate::kube::api::create_error::CreateError;
use crate::kube::flow::attempt::{self, AttemptResult, LaunchError};
use crate::kube::flow::context::TaskContext;
use crate::kube::flow::first_workload::FirstWorkload;
use crate::kube::flow::task_registry::TaskAnswer;
use crate::kube::flow::{publishing, record, standby_attempt};
use crate::kube::names::Attempt;
use crate::kube::observe::step::Intent;
use crate::kube::pod::variant::PodVariant;
use crate::outcome::{self, TaskProgress};
use crate::trace::Notes;

/// One task on its way.
pub struct TaskFlow {
    /// The task, and where its steps report.
    pub context: TaskContext,
    /// What a trace records of it beside the outcome.
    pub notes: Notes,
}

impl TaskFlow {
    /// Runs the task. `ended` receives the outcome as soon as the task's container has ended; the returned outcome also
    /// has what came after that.
    ///
    /// # Errors
    /// The first workload was not created, or may not have been: the task has no outcome.
    pub async fn run(
        mut self,
        first: FirstWorkload,
        ended: &watch::Sender<TaskAnswer>,
    ) -> Result<Outcome, CreateError> {
        self.context.log.hold_to(&self.context.options.limits);
        let outcome = self.attempts(first, ended).await?;
        self.context.preparing.send_replace(None);
        self.context.log.close();
        ended.send_replace(TaskAnswer::from(&outcome));
        record::note(&self.context, &self.notes, &outcome);
        Ok(outcome)
    }

    async fn attempts(
        &mut self,
        first: FirstWorkload,
        ended: &watch::Sender<TaskAnswer>,
    ) -> Result<Outcome, CreateError> {
        let mut progress = TaskProgress::default();
        let (mut attempt, mut variant, mut first) = match first {
            FirstWorkload::Adopt(adopted) => (adopted.attempt, adopted.variant, Some(FirstWorkload::Adopt(adopted))),
            create @ FirstWorkload::Create => (Attempt::First, self.first_variant(), Some(create)),
        };
        let mut offline = None;
        loop {
            let result = match self.attempt(attempt, variant, first.take(), &mut progress).await {
                Ok(result) => result,
                Err(LaunchError::Create(error)) if attempt == Attempt::First => match error {
                    CreateError::Refused(failure) => {
                        return Ok(self.not_launched(LaunchError::Failed(failure), progress));
                    }
                    error => return Err(error),
                },
                Err(LaunchError::SetLost(why)) => {
                    self.change_set(&why, &mut progress);
                    (attempt, variant) = (Attempt::Moved, PodVariant::Prepared);
                    continue;
                }
                Err(error) => return Ok(self.not_launched(error, progress)),
            };
            progress.timeline = result.timeline.clone();
            progress.warnings.extend(result.warnings.iter().cloned());
            match &result.report {
                // What was prepared may also be evicted before the task has its lease.
                Ok(RunReport::Missed { missed, .. }) if matches!(attempt, Attempt::First | Attempt::Moved) => {
                    self.notes.expired = missed.python_stale;
                    let (request, set) = (self.context.cache_request(), self.context.set.place());
                    self.context.shared.recent_hits.remove(&request, set);
                    (attempt, variant) = (Attempt::Prepared, PodVariant::Prepared);
                }
                Ok(RunReport::Missed { .. }) if attempt == Attempt::Stale => {
                    let failure = offline.unwrap_or_else(|| Failure::new(FailureKind::Offline, "the index is offline"));
                    return Ok(self.context.failed(failure, progress));
                }
                Ok(RunReport::Finished {
                    end: End::Failed { failure },
                    ..
                }) if self.may_be_stale(failure, result.variant) => {
                    offline = Some(failure.clone());
                    (attempt, variant) = (Attempt::Stale, PodVariant::Warm);
                }
                Ok(RunReport::Finished {
                    end: End::Failed { failure },
                    ..
                }) if self.may_be_built(failure, result.variant) => {
                    (attempt, variant) = (Attempt::Building, PodVariant::Building);
                }
                _ => {
                    let mut outcome = self.outcome(&result, progress);
                    if let Ok(RunReport::Finished { keys, .. }) = &result.report {
                        self.notes.keys = keys.clone();
                    }
                    ended.send_replace(TaskAnswer::from(&outcome));
                    self.context.preparing.send_replace(None);
                    self.context.log.close();
                    publishing::settle(&self.context, &mut self.notes, result, &mut outcome).await;
                    return Ok(outcome);
                }
            }
        }
    }

    /// One attempt, in a standby pod if that is possible.
    async fn attempt(
        &mut self,
        attempt: Attempt,
        variant: PodVariant,
        first: Option<FirstWorkload>,
        progress: &mut TaskProgress,
    ) -> Result<AttemptResult, LaunchError> {
        if matches!(first, Some(FirstWorkload::Create))
            && standby_attempt::is_possible(&self.context, variant)
            && let Some(result) = standby_attempt::run(&mut self.context, progress).await
        {
            return Ok(result);
        }
        attempt::run(&mut self.context, attempt, variant, first, progress).await
    }

    /// Chooses another volume set, because the task's own cannot be used.
    fn change_set(&mut self, why: &str, progress: &mut TaskProgress) {
        let context = &mut self.context;
        let (began_us, now_us) = (progress.timeline.total_us, context.now_us());
        let waited_us = now_us.saturating_sub(began_us);
        progress
            .timeline
            .push(Phase::Schedule, Lane::Driver, began_us, waited_us);
        progress.timeline.total_us = now_us;
        let name = |place: usize| context.shared.config.set(place).name;
        let left = name(context.set.place());
        let chosen = context.shared.place(&context.cache_request(), &context.task);
        let message = format!(
            "the volumes of set {left} cannot be used ({why}), so the task was submitted again on set {}, where its packages may \
             have to be prepared",
            name(chosen.place())
        );
        progress.warnings.push(message);
        context.set = chosen;
    }

    /// Prepared, unless everything is known to be cached.
    fn first_variant(&self) -> PodVariant {
        let warm = match self.context.task.cache {
            CachePolicy::Use => {
                let recent_hits = &self.context.shared.recent_hits;
                recent_hits.contains(&self.context.cache_request(), self.context.set.place(), Instant::now())
            }
            CachePolicy::Bypass => false,
        };
        if warm || !self.context.needs().any() {
            PodVariant::Warm
        } else {
            PodVariant::Prepared
        }
    }

    /// True if a package that has no wheel may be built.
    fn may_be_built(&self, failure: &Failure, variant: PodVariant) -> bool {
        failure.kind == FailureKind::NoWheel
            && variant == PodVariant::Prepared
            && !self.context.shared.config.network.no_builds
            && !self.context.task.options.builds_nothing()
    }

    /// True if an environment that was resolved too long ago may be used.
    fn may_be_stale(&self, failure: &Failure, variant: PodVariant) -> bool {
        failure.kind == FailureKind::Offline
            && variant.prepares()
            && self.context.task.cache == CachePolicy::Use
            && self.context.needs().python
    }

    /// The outcome of the attempt that decided.
    fn outcome(&self, result: &AttemptResult, progress: TaskProgress) -> Outcome {
        let context = &self.context;
        let report = match result.report.clone() {
            Ok(report) => report,
            Err(_) if result.run.intent() == Intent::Cancel => return context.without_report(End::Cancelled, progress),
            Err(failure) => return context.failed(failure, progress),
        };
        if let RunReport::Finished { cache, .. } = &report
            && cache.all_hit()
            && context.task.cache == CachePolicy::Use
            && context.needs().any()
        {
            let (recent_hits, now) = (&context.shared.recent_hits, Instant::now());
            let (request, set) = (context.cache_request(), context.set.place());
            match result.variant {
                PodVariant::Warm => recent_hits.see(&request, set, now),
                PodVariant::Prepared | PodVariant::Building => recent_hits.note(&request, set, now),
            }
        }
        match outcome::from_report(report, progress.timeline.clone()) {
            Ok(mut outcome) => {
                outcome.warnings.extend(progress.warnings);
                outcome
            }
            Err(failure) => context.failed(*failure, progress),
        }
    }

    /// The outcome of a task whose workload was not created.
    fn not_launched(&self, error: LaunchError, mut progress: TaskProgress) -> Outcome {
        progress.timeline.total_us = self.context.now_us();
        match error {
            LaunchError::Cancelled => self.context.without_report(End::Cancelled, progress),
            LaunchError::Create(error) => self.context.failed(error.failure().clone(), progress),
            LaunchError::Failed(failure) => self.context.failed(failure, progress),
            // The caller submits it elsewhere.
            LaunchError::SetLost(why) => self
                .context
                .failed(Failure::new(FailureKind::Unschedulable, why), progress),
        }
    }
}
