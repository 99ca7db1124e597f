//! A task's outcome: from the report of the attempt that decided, and from what its preparing container did after it.

use std::time::{Duration, Instant};

use hybrid_cache_model::outcome::{CacheReport, CacheStatus, Output, Resolved};
use hybrid_cache_model::pod::PrepareReport;
use hybrid_cache_model::protocol::RunReport;
use hybrid_cache_model::{CachePolicy, End, Failure, FailureKind, Outcome, Timeline};

use super::flow::{Flow, GRACE, Progress, Ran, Stop};
use super::request::Form;
use super::sight::Sight;
use super::task::{self, Preparation, Will};
use super::timeline;

/// How long the end of a container may take to be shown that has told of it already.
const SHOWN: Duration = Duration::from_secs(3);

impl Flow {
    /// The outcome of the attempt that decided.
    pub fn outcome(&self, ran: &Ran, progress: Progress) -> Outcome {
        let cancelled = ran.running.will() == Will::Cancel;
        match ran.report.clone() {
            Ok(RunReport::Finished {
                end,
                cache,
                timeline,
                stdout,
                stderr,
                resolved,
                warnings,
                ..
            }) => {
                if cache.all_hit() && self.task.cache == CachePolicy::Use && self.needs().any() {
                    let (known, now) = (&self.shared.known, Instant::now());
                    match ran.form {
                        Form::Warm => known.see(&self.request(), now),
                        Form::Prepared => known.note(&self.request(), now),
                    }
                }
                Outcome {
                    end,
                    cache,
                    timeline: progress.timeline,
                    runner_us: timeline.total_us,
                    stdout,
                    stderr,
                    resolved,
                    warnings: [warnings, progress.warnings].concat(),
                    not_kept: None,
                }
            }
            Err(_) if cancelled => self.end(End::Cancelled, progress),
            Err(failure) => self.failed(failure, progress),
            Ok(report @ RunReport::Missed { .. }) => {
                let message = format!("an environment that was just prepared is missing: {report:?}");
                self.failed(Failure::new(FailureKind::Internal, message), progress)
            }
        }
    }

    /// Waits for the preparing container and adds what it did after the handover.
    pub async fn settle(&mut self, ran: Ran, outcome: &mut Outcome) {
        if ran.form == Form::Warm || self.task.cache == CachePolicy::Bypass {
            // It was told before the cluster has shown it; whoever waits for everything waits for that, too.
            let mut sight = ran.running.following.sight.clone();
            let over =
                |sight: &Sight| sight.is_over() || sight.pod.as_ref().is_some_and(|pod| pod.task.ended().is_some());
            let _ = tokio::time::timeout(SHOWN, sight.wait_for(over)).await;
            return;
        }
        let Some(pod) = ran.running.sight().pod.map(|pod| pod.name) else {
            // It never had a pod, so nothing prepares.
            return;
        };
        let limit = Duration::from_millis(self.options.prepare_ms).saturating_add(GRACE);
        let mut sight = ran.running.following.sight.clone();
        let known = |sight: &Sight| task::preparation(sight) != Preparation::Going;
        // Nothing of the watch is held from here on: what follows waits.
        let shown = async { sight.wait_for(known).await.map(|sight| task::preparation(&sight)) };
        let found = match self.shared.pulse.timeout(limit, shown).await {
            Some(Ok(preparation)) => preparation,
            Some(Err(_)) | None => {
                let message = format!("publishing did not end within {} s", limit.as_secs());
                Preparation::Unpublished(Failure::new(FailureKind::Deadline, message))
            }
        };
        let inner = match &ran.report {
            Ok(RunReport::Finished { timeline, .. }) => timeline.clone(),
            _ => Timeline::default(),
        };
        let failed = matches!(outcome.end, End::Failed { .. } | End::Cancelled);
        match found {
            Preparation::Ended(report) => match *report {
                PrepareReport::Published {
                    timeline,
                    ready_us,
                    warnings,
                } => {
                    let spans = timeline::publishing(&inner, &timeline, ready_us, ran.origin_us);
                    outcome.timeline.spans.extend(spans);
                    outcome.warnings.extend(warnings);
                    self.shared.known.note(&self.request(), Instant::now());
                    self.see_prepared(&pod, outcome).await;
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

    /// The outcome of a task that came to no Job.
    pub fn stopped(&self, stop: Stop, mut progress: Progress) -> Outcome {
        progress.timeline.total_us = self.now_us();
        match stop {
            Stop::Cancelled => self.end(End::Cancelled, progress),
            Stop::NotMade(not_made) => self.failed(not_made.failure().clone(), progress),
            Stop::Failed(failure) => self.failed(failure, progress),
        }
    }

    /// The outcome of a task that the cluster refuses for good.
    pub fn refused(&self, failure: Failure, progress: Progress) -> Outcome {
        self.stopped(Stop::Failed(failure), progress)
    }

    /// The outcome of a task that failed because of us, its text or the cluster.
    pub fn failed(&self, failure: Failure, progress: Progress) -> Outcome {
        self.end(End::Failed { failure }, progress)
    }

    fn end(&self, end: End, progress: Progress) -> Outcome {
        let asked = |asked: bool| match (asked, self.task.cache) {
            (false, _) | (true, CachePolicy::Use) => CacheStatus::NotAsked,
            (true, CachePolicy::Bypass) => CacheStatus::Bypassed,
        };
        Outcome {
            end,
            cache: CacheReport {
                python: asked(self.needs().python),
                system: asked(self.needs().system),
            },
            timeline: progress.timeline,
            runner_us: 0,
            stdout: Output::default(),
            stderr: Output::default(),
            resolved: Resolved::default(),
            warnings: progress.warnings,
            not_kept: None,
        }
    }
}
