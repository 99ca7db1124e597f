//! Runs a task whose environments are missing: prepares them, runs the task as soon as they are usable, and publishes them
//! meanwhile.
//!
//! A preparation keeps what it found or made leased until the run that uses it has ended, so nothing can evict it in
//! between. If a run cannot lease it nevertheless, that is a miss, and the preparation is repeated.

use std::path::Path;

use hybrid_cache_model::contents::Prepared;
use hybrid_cache_model::outcome::{CacheReport, Resolved};
use hybrid_cache_model::protocol::{Environments, Keep, Missed, PrepareEvent, RunReport};
use hybrid_cache_model::{End, Failure, FailureKind, Outcome, Timeline};
use tokio::sync::watch;

use crate::cancel::cancelled;
use crate::local::flow::build::build;
use crate::local::flow::task_run::{RunError, TaskRun};
use crate::local::mounts::{PYTHON_MOUNT, STAGED_MOUNT};
use crate::local::process::PrepareProcess;
use crate::local::volumes::VolumePair;
use crate::local::{requests, sandbox};
use crate::outcome::TaskProgress;

/// How often a task is prepared whose environments are evicted before it can lease them.
const MAX_PREPARATIONS: u32 = 3;

/// Prepares what is missing, and runs the task as soon as it is usable. What is evicted before the task has its lease is
/// prepared again, at most [`MAX_PREPARATIONS`] times in all.
pub async fn prepare_and_run(
    run: &mut TaskRun,
    volumes: &VolumePair,
    keep: Keep,
    mut missed: Missed,
    mut progress: TaskProgress,
    ended: &watch::Sender<Option<Outcome>>,
) -> Outcome {
    for _ in 1..MAX_PREPARATIONS {
        match prepare_with_builds(run, volumes, keep, missed, progress, ended).await {
            Round::Ended(outcome) => return *outcome,
            Round::Missed(again, so_far) => (missed, progress) = (again, so_far),
        }
    }
    match prepare_with_builds(run, volumes, keep, missed, progress, ended).await {
        Round::Ended(outcome) => *outcome,
        Round::Missed(_, progress) => {
            let message =
                format!("what was prepared was evicted before the task could use it, {MAX_PREPARATIONS} times");
            let failure = Failure::new(FailureKind::CacheAccess, message)
                .hint("run the task again; `cargo xtask cache usage` shows whether the volumes are too small");
            run.fail(failure, progress)
        }
    }
}

/// Prepares and runs once, with a folder for builds if the task may need some.
async fn prepare_with_builds(
    run: &mut TaskRun,
    volumes: &VolumePair,
    keep: Keep,
    missed: Missed,
    progress: TaskProgress,
    ended: &watch::Sender<Option<Outcome>>,
) -> Round {
    if run.config.no_builds || !run.needs().python {
        return prepare_once(run, volumes, None, keep, missed, progress, ended).await;
    }
    let builds = match run.folders.create_builds(&run.id) {
        Ok(folder) => folder,
        Err(error) => {
            let failure = Failure::new(FailureKind::CacheAccess, error.to_string());
            return Round::ended(run.fail(failure, progress));
        }
    };
    let round = prepare_once(run, volumes, Some(&builds), keep, missed, progress, ended).await;
    let (folders, id) = (run.folders.clone(), run.id.clone());
    // What cannot be deleted now is deleted by the next process.
    let _ = tokio::task::spawn_blocking(move || folders.delete_builds(&id)).await;
    round
}

async fn prepare_once(
    run: &mut TaskRun,
    volumes: &VolumePair,
    builds: Option<&Path>,
    keep: Keep,
    missed: Missed,
    mut progress: TaskProgress,
    ended: &watch::Sender<Option<Outcome>>,
) -> Round {
    let start_us = run.now_us();
    let command = sandbox::prepare_command(&run.config, &run.host, volumes, run.needs(), builds);
    let network = match builds {
        Some(_) => Some(run.networks.status().await.actual),
        None => None,
    };
    let request = requests::prepare_request(&run.config, &run.spec, &run.options, run.needs(), keep, network);
    let mut preparation = match PrepareProcess::start(&command, &request).await {
        Ok(preparation) => preparation,
        Err(failure) => return Round::ended(run.fail(failure, progress)),
    };
    let prepared = until_ready(run, volumes, builds, &mut preparation).await;
    run.preparing.send_replace(None);
    let ready = match prepared {
        PrepareOutcome::Ready(ready) => ready,
        PrepareOutcome::Cancelled => return Round::ended(run.without_report(End::Cancelled, progress)),
        PrepareOutcome::Failed(failure, timeline) => {
            progress.timeline.nest(&timeline, start_us, preparation.elapsed_us());
            if failure.kind == FailureKind::Offline && missed.python_stale && !missed.system {
                let report = run.execute(volumes, Environments::Lookup, true, &mut progress).await;
                return Round::ended(run.finish(report, progress));
            }
            return Round::ended(run.fail(failure, progress));
        }
        PrepareOutcome::Lost => {
            let failure = preparation.explain().await;
            return Round::ended(run.fail(failure, progress));
        }
    };
    let outer_us = preparation.elapsed_us();
    progress.timeline.nest(&ready.timeline, start_us, outer_us);
    let sandbox_us = outer_us.saturating_sub(ready.timeline.total_us);
    let report = execute_prepared(run, volumes, &ready, &mut progress).await;
    // The run has a lease of its own, or has ended.
    preparation.release();
    if let Ok(RunReport::Missed { missed, .. }) = report {
        let offset_us = start_us + sandbox_us;
        let mut aside = run.without_report(End::Cancelled, TaskProgress::default());
        run.notes.prepared = follow_publishing(preparation, &ready.timeline, offset_us, &mut aside).await;
        return Round::Missed(missed, progress);
    }
    let mut outcome = run.finish(report, progress);
    ended.send_replace(Some(outcome.clone()));
    run.log.close();
    if keep == Keep::Publish {
        let offset_us = start_us + sandbox_us;
        run.notes.prepared = follow_publishing(preparation, &ready.timeline, offset_us, &mut outcome).await;
    }
    Round::ended(outcome)
}

async fn until_ready(
    run: &mut TaskRun,
    volumes: &VolumePair,
    builds: Option<&Path>,
    preparation: &mut PrepareProcess,
) -> PrepareOutcome {
    loop {
        let event = tokio::select! {
            event = preparation.next() => event,
            () = cancelled(&mut run.cancel) => return PrepareOutcome::Cancelled,
        };
        match event {
            Some(PrepareEvent::Phase { phase, .. }) => {
                run.preparing.send_replace(Some(phase));
            }
            Some(PrepareEvent::Build { order }) => {
                let Some(builds) = builds else {
                    return PrepareOutcome::Lost;
                };
                let report = match build(run, volumes, builds, &order).await {
                    Ok(report) => report,
                    Err(_) => return PrepareOutcome::Cancelled,
                };
                if let Err(failure) = preparation.answer(&report).await {
                    return PrepareOutcome::Failed(failure, Timeline::default());
                }
            }
            Some(PrepareEvent::Ready {
                python,
                system,
                cache,
                resolved,
                timeline,
            }) => {
                return PrepareOutcome::Ready(Ready {
                    python,
                    system,
                    cache,
                    resolved,
                    timeline,
                });
            }
            Some(PrepareEvent::Failed { failure, timeline }) => return PrepareOutcome::Failed(failure, timeline),
            Some(PrepareEvent::Published { .. }) | None => return PrepareOutcome::Lost,
        }
    }
}

async fn execute_prepared(
    run: &mut TaskRun,
    volumes: &VolumePair,
    ready: &Ready,
    progress: &mut TaskProgress,
) -> Result<RunReport, RunError> {
    // A staged folder is about to be renamed, so the task gets a mount of its own, which follows the folder.
    let staging = format!("{}/staging/", run.options.tenant.folder());
    let staged = ready.python.as_ref().filter(|path| path.starts_with(&staging));
    let python = match (&ready.python, staged) {
        (_, Some(_)) => Some(STAGED_MOUNT.to_owned()),
        (Some(path), None) => Some(format!("{}/{path}", PYTHON_MOUNT)),
        (None, None) => None,
    };
    let environments = Environments::Prepared {
        python,
        system: ready.system.clone(),
        cache: ready.cache,
        resolved: ready.resolved.clone(),
    };
    let staged = staged.map(|path| volumes.python.join(path));
    run.execute_in(volumes, environments, staged.as_deref(), false, progress)
        .await
}

/// The result of one preparation and its run.
enum Round {
    Ended(Box<Outcome>),
    /// What was prepared was gone before the task could lease it.
    Missed(Missed, TaskProgress),
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

/// The result of waiting for a preparation.
enum PrepareOutcome {
    Ready(Ready),
    Failed(Failure, Timeline),
    Cancelled,
    Lost,
}

/// Waits for the end of publishing, and adds its spans to the outcome, or why nothing was kept. Returns what the task's
/// environments are made of, if the request asked for that.
async fn follow_publishing(
    mut preparation: PrepareProcess,
    known: &Timeline,
    offset_us: u64,
    outcome: &mut Outcome,
) -> Option<Box<Prepared>> {
    loop {
        match preparation.next().await {
            Some(PrepareEvent::Published {
                timeline,
                warnings,
                notes,
                prepared,
            }) => {
                let news = timeline.spans.into_iter().filter(|span| !known.spans.contains(span));
                let news = news.map(|span| hybrid_cache_model::Span {
                    start_us: span.start_us + offset_us,
                    ..span
                });
                outcome.timeline.spans.extend(news);
                outcome.warnings.extend(notes.into_iter().chain(warnings));
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
