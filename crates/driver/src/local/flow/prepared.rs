//! A task whose environments are not there yet: prepared, run as soon as they are usable, published behind it.
//!
//! A preparation keeps what it found or made leased until the run that uses it has ended, so nobody can evict it in
//! between. A run that could not lease it nevertheless is a miss, and the preparation is repeated.

use hybrid_cache_model::contents::Prepared;
use hybrid_cache_model::outcome::{CacheReport, Resolved};
use hybrid_cache_model::protocol::{Environments, Keep, Missed, PrepareEvent, RunReport};
use hybrid_cache_model::{End, Failure, FailureKind, Outcome, Timeline};
use tokio::sync::watch;

use super::{Cut, Flow, Progress};
use crate::local::folders::VolumePair;
use crate::local::process::{self, Preparation};
use crate::local::{requests, sandbox};

/// How often a task is prepared whose environments are evicted before it could lease them.
const ROUNDS: u32 = 3;

impl Flow {
    /// Prepares what is missing and runs the task as soon as it is usable; publishing ends behind it. What was evicted
    /// before the task had its lease is prepared once more, a few times at most.
    pub(super) async fn prepare_and_run(
        &mut self,
        volumes: &VolumePair,
        keep: Keep,
        mut missed: Missed,
        mut progress: Progress,
        ended: &watch::Sender<Option<Outcome>>,
    ) -> Outcome {
        for _ in 1..ROUNDS {
            match self.prepare_once(volumes, keep, missed, progress, ended).await {
                Round::Ended(outcome) => return *outcome,
                Round::Missed(again, so_far) => (missed, progress) = (again, so_far),
            }
        }
        match self.prepare_once(volumes, keep, missed, progress, ended).await {
            Round::Ended(outcome) => *outcome,
            Round::Missed(_, progress) => {
                let message = format!("what was prepared was evicted before the task could use it, {ROUNDS} times");
                let failure = Failure::new(FailureKind::CacheAccess, message)
                    .hint("run the task again; `cargo xtask cache usage` shows whether the volumes are too small");
                self.fail(failure, progress)
            }
        }
    }

    async fn prepare_once(
        &mut self,
        volumes: &VolumePair,
        keep: Keep,
        missed: Missed,
        mut progress: Progress,
        ended: &watch::Sender<Option<Outcome>>,
    ) -> Round {
        let start_us = self.now_us();
        let command = sandbox::prepare_command(&self.config, &self.host, volumes, self.needs());
        let request = requests::prepare_request(&self.config, &self.spec, &self.options, self.needs(), keep);
        let mut preparation = match Preparation::start(&command, &request).await {
            Ok(preparation) => preparation,
            Err(failure) => return Round::ended(self.fail(failure, progress)),
        };
        let step = self.until_ready(&mut preparation).await;
        self.preparing.send_replace(None);
        let ready = match step {
            Step::Ready(ready) => ready,
            Step::Cancelled => return Round::ended(self.end(End::Cancelled, progress)),
            Step::Failed(failure, timeline) => {
                progress.timeline.nest(&timeline, start_us, preparation.elapsed_us());
                if failure.kind == FailureKind::Offline && missed.python_stale && !missed.system {
                    let report = self.execute(volumes, Environments::Lookup, true, &mut progress).await;
                    return Round::ended(self.finish(report, progress));
                }
                return Round::ended(self.fail(failure, progress));
            }
            Step::Lost => {
                let failure = preparation.explain().await;
                return Round::ended(self.fail(failure, progress));
            }
        };
        let outer_us = preparation.elapsed_us();
        progress.timeline.nest(&ready.timeline, start_us, outer_us);
        let sandbox_us = outer_us.saturating_sub(ready.timeline.total_us);
        let run = self.execute_prepared(volumes, &ready, &mut progress);
        let report = run.await;
        // It has its own, or has ended.
        preparation.release();
        if let Ok(RunReport::Missed { missed, .. }) = report {
            let offset_us = start_us + sandbox_us;
            let mut aside = self.end(End::Cancelled, Progress::default());
            self.notes.prepared = follow_publishing(preparation, &ready.timeline, offset_us, &mut aside).await;
            return Round::Missed(missed, progress);
        }
        let mut outcome = self.finish(report, progress);
        ended.send_replace(Some(outcome.clone()));
        self.log.close();
        if keep == Keep::Publish {
            let offset_us = start_us + sandbox_us;
            self.notes.prepared = follow_publishing(preparation, &ready.timeline, offset_us, &mut outcome).await;
        }
        Round::ended(outcome)
    }

    async fn until_ready(&mut self, preparation: &mut Preparation) -> Step {
        loop {
            let event = tokio::select! {
                event = preparation.next() => event,
                () = process::cancelled(&mut self.cancel) => return Step::Cancelled,
            };
            match event {
                Some(PrepareEvent::Phase { phase, .. }) => {
                    self.preparing.send_replace(Some(phase));
                }
                Some(PrepareEvent::Ready {
                    python,
                    system,
                    cache,
                    resolved,
                    timeline,
                }) => {
                    return Step::Ready(Ready {
                        python,
                        system,
                        cache,
                        resolved,
                        timeline,
                    });
                }
                Some(PrepareEvent::Failed { failure, timeline }) => return Step::Failed(failure, timeline),
                Some(PrepareEvent::Published { .. }) | None => return Step::Lost,
            }
        }
    }

    async fn execute_prepared(
        &mut self,
        volumes: &VolumePair,
        ready: &Ready,
        progress: &mut Progress,
    ) -> Result<RunReport, Cut> {
        // A staged folder is about to be renamed, so the task gets a mount of its own of it, which follows the folder.
        let staging = format!("{}/staging/", self.options.tenant.folder());
        let staged = ready.python.as_ref().filter(|path| path.starts_with(&staging));
        let python = match (&ready.python, staged) {
            (_, Some(_)) => Some(sandbox::STAGED_MOUNT.to_owned()),
            (Some(path), None) => Some(format!("{}/{path}", sandbox::PYTHON_MOUNT)),
            (None, None) => None,
        };
        let environments = Environments::Prepared {
            python,
            system: ready.system.clone(),
            cache: ready.cache,
            resolved: ready.resolved.clone(),
        };
        let staged = staged.map(|path| volumes.python.join(path));
        self.execute_in(volumes, environments, staged.as_deref(), false, progress)
            .await
    }
}

/// What one preparation and the run behind it came to.
enum Round {
    Ended(Box<Outcome>),
    /// What was prepared was gone before the task had leased it.
    Missed(Missed, Progress),
}

impl Round {
    fn ended(outcome: Outcome) -> Round {
        Round::Ended(Box::new(outcome))
    }
}

/// What a preparation has made.
struct Ready {
    python: Option<String>,
    system: Vec<String>,
    cache: CacheReport,
    resolved: Resolved,
    timeline: Timeline,
}

/// How waiting for a preparation ended.
enum Step {
    Ready(Ready),
    Failed(Failure, Timeline),
    Cancelled,
    Lost,
}

/// Waits for the rest of publishing and adds its spans, or why there is nothing to keep, to the outcome. Returns what the
/// task's environments are made of, where that was asked.
async fn follow_publishing(
    mut preparation: Preparation,
    known: &Timeline,
    offset_us: u64,
    outcome: &mut Outcome,
) -> Option<Box<Prepared>> {
    loop {
        match preparation.next().await {
            Some(PrepareEvent::Published {
                timeline,
                warnings,
                prepared,
            }) => {
                let news = timeline.spans.into_iter().filter(|span| !known.spans.contains(span));
                let news = news.map(|span| hybrid_cache_model::Span {
                    start_us: span.start_us + offset_us,
                    ..span
                });
                outcome.timeline.spans.extend(news);
                outcome.warnings.extend(warnings);
                return prepared;
            }
            Some(PrepareEvent::Failed { failure, .. }) => {
                outcome.not_kept = Some(failure);
                return None;
            }
            Some(_) => {}
            None => {
                outcome.not_kept = Some(preparation.explain().await);
                return None;
            }
        }
    }
}
