//! Runs one task: looks its environments up, prepares them on a miss, runs the user's program, and publishes.

use hybrid_cache_model::protocol::{Environments, Keep, Missed, RunReport};
use hybrid_cache_model::{CachePolicy, Failure, FailureKind, Lane, Outcome, Phase};
use tokio::sync::watch;

use crate::local::flow::prepared::prepare_and_run;
use crate::local::flow::task_run::TaskRun;
use crate::local::volumes::VolumePair;
use crate::local::{last_use, layout, task_resources};
use crate::outcome::TaskProgress;
use crate::trace::Noted;

/// Runs the task. `ended` receives the outcome as soon as the user's program has ended; the returned outcome also has what
/// came after that.
pub async fn run(mut run: TaskRun, ended: &watch::Sender<Option<Outcome>>) -> Outcome {
    let mut progress = TaskProgress::default();
    progress.timeline.push(Phase::Submit, Lane::Driver, 0, run.now_us());
    progress
        .warnings
        .extend(task_resources::not_applied(&run.spec.resources));
    let outcome = match run.task.cache {
        CachePolicy::Use => {
            let volumes = run.folders.volumes(&run.options.epoch);
            run_cached(&mut run, &volumes, progress, ended).await
        }
        CachePolicy::Bypass => run_bypassed(&mut run, progress, ended).await,
    };
    run.log.close();
    ended.send_replace(Some(outcome.clone()));
    note(&run, &outcome);
    outcome
}

/// Notes the request, which takes some microseconds. No one waits for the task any longer.
fn note(run: &TaskRun, outcome: &Outcome) {
    if let Some(trace) = &run.trace {
        trace.note(Noted {
            task: &run.task,
            tenant: &run.options.tenant,
            epoch: &run.options.epoch,
            outcome,
            notes: &run.notes,
        });
    }
}

async fn run_cached(
    run: &mut TaskRun,
    volumes: &VolumePair,
    mut progress: TaskProgress,
    ended: &watch::Sender<Option<Outcome>>,
) -> Outcome {
    if let Err(failure) = layout::ensure(volumes, &run.options.tenant, run.needs()) {
        return run.fail(failure, progress);
    }
    let missed = match run.execute(volumes, Environments::Lookup, false, &mut progress).await {
        Ok(RunReport::Missed { missed, .. }) => {
            run.notes.expired = missed.python_stale;
            missed
        }
        other => {
            let outcome = run.finish(other, progress);
            ended.send_replace(Some(outcome.clone()));
            last_use::record(&run.config, volumes, &run.options.tenant, &run.task);
            return outcome;
        }
    };
    prepare_and_run(run, volumes, Keep::Publish, missed, progress, ended).await
}

async fn run_bypassed(
    run: &mut TaskRun,
    mut progress: TaskProgress,
    ended: &watch::Sender<Option<Outcome>>,
) -> Outcome {
    let created = run.folders.create_bypass(&run.id);
    let created = created.map_err(|error| Failure::new(FailureKind::CacheAccess, error.to_string()));
    let laid_out = created.and_then(|volumes| {
        layout::ensure(&volumes, &run.options.tenant, run.needs())?;
        Ok(volumes)
    });
    let volumes = match laid_out {
        Ok(volumes) => volumes,
        Err(failure) => return run.fail(failure, progress),
    };
    let needs = run.needs();
    let mut outcome = if needs.any() {
        let missed = Missed {
            python: needs.python,
            python_stale: false,
            system: needs.system,
        };
        prepare_and_run(run, &volumes, Keep::Discard, missed, progress, ended).await
    } else {
        let report = run.execute(&volumes, Environments::Lookup, false, &mut progress).await;
        run.finish(report, progress)
    };
    let (folders, id) = (run.folders.clone(), run.id.clone());
    // The volumes may hold gigabytes; other tasks continue meanwhile.
    let deleted = tokio::task::spawn_blocking(move || folders.delete_bypass(&id)).await;
    let problem = match deleted {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(panic) => Some(panic.to_string()),
    };
    outcome.warnings.extend(problem);
    outcome
}
