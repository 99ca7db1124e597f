//! Carries out a run under load from beginning to end.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hybrid_cache_api::Client;
use hybrid_cache_model::sample::{Completion, Provenance, RunRecord, SCHEMA_VERSION, ServiceRecord};
use hybrid_cache_model::{CacheStatus, Outcome, Scenario};
use hybrid_cache_tools::{Checkout, Error, ErrorClass, ErrorContext, Progress, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::spawn_blocking;

use super::board::Stop;
use super::drive::{ANSWER_TIMEOUT, LoadLimits, LoadPlan, drive};
use super::interruption::Interruption;
use super::options::{LoadOptions, LoadedService};
use super::own_service::OwnService;
use crate::measure::default_out;
use crate::provenance;
use crate::via::task::{self, Control};
use crate::via::{self, TaskError, client_error, who};

/// The result of a run under load.
pub struct LoadMeasured {
    /// The folder of the report.
    pub out: PathBuf,
    /// All measurements.
    pub record: RunRecord,
    /// How the run ended.
    pub end: LoadEnd,
}

/// How a run under load ended.
#[derive(Debug)]
pub enum LoadEnd {
    /// Every arrival was sent.
    Complete,
    /// Ctrl-C ended it.
    Interrupted,
    /// The service stopped answering.
    Dead(Error),
    /// The service answered too slowly, and the last arrivals were never sent.
    Behind,
}

impl LoadEnd {
    fn from_stop(stopped: Option<Stop>) -> LoadEnd {
        match stopped {
            None => LoadEnd::Complete,
            Some(Stop::Interrupted) => LoadEnd::Interrupted,
            Some(Stop::Dead(error)) => LoadEnd::Dead(client_error(&error)),
            Some(Stop::Behind) => LoadEnd::Behind,
        }
    }
}

/// The inputs of the work, and the destination of its result.
struct Job {
    out: PathBuf,
    client: Provenance,
    scenarios: Vec<Scenario>,
    options: LoadOptions,
    progress: Arc<dyn Progress>,
}

/// Runs the load. Ctrl-C ends it early and keeps what was measured; a second Ctrl-C ends it at once.
///
/// # Errors
/// The service does not answer or does not start, a scenario does not run, or the report's folder cannot be written.
pub async fn run(
    checkout: &Checkout,
    scenarios: Vec<Scenario>,
    options: LoadOptions,
    progress: &Arc<dyn Progress>,
) -> Result<LoadMeasured> {
    let job = Job {
        out: options.out.clone().unwrap_or_else(|| default_out(checkout, "load")),
        client: provenance::of_client(checkout, "service", &options.command),
        scenarios,
        options,
        progress: Arc::clone(progress),
    };
    let interruption = Arc::new(Interruption::default());
    let heard = Arc::clone(&interruption);
    let mut work = spawn_blocking(move || work(job, &heard));
    tokio::select! {
        done = &mut work => return done.context("running the load")?,
        // If the signal cannot be received, the run goes on to its end.
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
    progress.line("interrupted: ending what is on its way; a second Ctrl-C ends at once");
    interruption.is.store(true, Ordering::Relaxed);
    interruption.control.stop();
    tokio::select! {
        done = &mut work => done.context("running the load")?,
        Ok(()) = tokio::signal::ctrl_c() => {
            let process = interruption.process.load(Ordering::Relaxed);
            if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
                // If it has ended already, there is nothing to kill.
                let _ = kill_process(process, Signal::KILL);
            }
            Err(Error::interrupted("interrupted twice: nothing is kept"))
        }
    }
}

/// Does all the work and blocks until it is done.
fn work(job: Job, interruption: &Interruption) -> Result<LoadMeasured> {
    let (options, progress) = (&job.options, job.progress.as_ref());
    let (own, url, token_file) = match &options.service {
        LoadedService::Running(service) => (None, service.url.clone(), service.token_file.clone()),
        LoadedService::Own(program) => {
            progress.line("starting a task service for this run");
            let own = OwnService::start(program, interruption)?;
            let (url, token_file) = (own.url.clone(), own.token_file.clone());
            (Some(own), url, Some(token_file))
        }
    };
    let client = via::client(&url, token_file.as_deref())?
        .response_timeout(ANSWER_TIMEOUT)
        .build();
    let service = who(&client).map_err(|error| client_error(&error))?;
    let mut record = header(&job, service);
    write_header(&job.out, &record)?;
    warm(&client, &job.scenarios, &interruption.control, progress)?;
    progress.line(&format!(
        "{} tasks a second for {} s through the task service at {url}; report in {}",
        options.per_s,
        options.lasts.as_secs(),
        job.out.display()
    ));
    let plan = LoadPlan {
        url,
        token_file,
        specs: job.scenarios.iter().map(|scenario| scenario.request.clone()).collect(),
        per_s: options.per_s,
        lasts: options.lasts,
        retries: options.retries,
        process: own.as_ref().map(OwnService::process),
        limits: LoadLimits::default(),
    };
    let (load, stopped) = drive(&plan, &interruption.is, progress)?;
    record.load = Some(Box::new(load));
    if !matches!(stopped, Some(Stop::Interrupted | Stop::Dead(_))) {
        record.completion = Completion::Complete;
    }
    if let (Some(own), Some(Stop::Dead(_))) = (&own, &stopped) {
        progress.line(&format!("the service said last:\n{}", own.last_lines()));
    }
    Ok(LoadMeasured {
        out: job.out,
        record,
        end: LoadEnd::from_stop(stopped),
    })
}

fn write_header(out: &Path, record: &RunRecord) -> Result<()> {
    let written = hybrid_cache_report::write_header(out, record);
    written.map_err(|error| Error::other(ErrorClass::Failed, error))
}

fn header(job: &Job, service: ServiceRecord) -> RunRecord {
    RunRecord {
        schema: SCHEMA_VERSION,
        completion: Completion::Interrupted,
        provenance: provenance::through_service(job.client.clone(), service),
        scenarios: job.scenarios.clone(),
        usage: Vec::new(),
        samples: Vec::new(),
        peers: Vec::new(),
        failed_peers: Vec::new(),
        absent_peers: Vec::new(),
        against: None,
        blocks: Vec::new(),
        until: None,
        load: None,
        levels: None,
    }
}

/// Runs each scenario until the caches report a hit, because cached tasks are what is measured.
fn warm(client: &Client, scenarios: &[Scenario], control: &Control, progress: &dyn Progress) -> Result<()> {
    for scenario in scenarios {
        let name = &scenario.name;
        progress.step(&format!("warming {name}"));
        let mut outcome = warm_once(client, scenario, control)?;
        if has_built(&outcome) {
            outcome = warm_once(client, scenario, control)?;
        }
        if has_built(&outcome) {
            progress.line(&format!("warning: {name} misses the caches even once they were filled"));
        }
    }
    Ok(())
}

fn has_built(outcome: &Outcome) -> bool {
    let caches = [outcome.cache.python, outcome.cache.system];
    caches.iter().any(|status| matches!(status, CacheStatus::Built { .. }))
}

fn warm_once(client: &Client, scenario: &Scenario, control: &Control) -> Result<Outcome> {
    let done = task::run(client, &scenario.request, control, false);
    let done = done.map_err(|error| match error {
        TaskError::Stopped => Error::interrupted("interrupted before the first task arrived"),
        other => other.into_error(),
    });
    let run = done?.run;
    if !run.outcome.end.is_success() {
        return Err(Error::task(format!(
            "scenario {} does not run: {:?}\nhint: try it alone with `cargo xtask bench --scenario {0} --cached-runs 1`",
            scenario.name, run.outcome.end
        )));
    }
    if let Err(reason) = scenario.expect.stdout.check(&run.stdout) {
        return Err(Error::task(format!("scenario {}: {reason}", scenario.name)));
    }
    Ok(run.outcome)
}
