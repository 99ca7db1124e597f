//! `bench --load`: tasks arrive at a fixed rate through the task service, whether or not it keeps up.
//!
//! Open loop, as wrk2 does it: arrivals come from a schedule, and each latency counts from the scheduled time and not from
//! the request, so that a service that stalls does not hide its stall by being asked less often (Gil Tene's *coordinated
//! omission*). Latencies go into HdrHistograms, and what is seen over time into a bounded number of rows.

mod board;
mod drive;
mod listed;
mod own;
mod schedule;
mod series;
#[cfg(test)]
mod tests;
mod watch;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use hybrid_cache_model::load::LoadRecord;
use hybrid_cache_model::sample::{Completion, Provenance, RunRecord, SCHEMA_VERSION, ServiceRecord};
use hybrid_cache_model::{CacheStatus, Outcome, Scenario};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::spawn_blocking;

use super::provenance::of_client;
use super::via::task::{self, Control};
use super::via::{self, Client, ClientError};
use crate::checkout::Checkout;
use crate::exit::{Exit, Expected};
use crate::flags;
use crate::results;
use board::Stop;
use drive::{Plan, drive};
use own::Own;

/// Requests under way at one time, at most.
const WORKERS: usize = 32;
/// Longest wait for an answer under load.
const ANSWER: Duration = Duration::from_secs(30);

/// Runs the command.
///
/// # Errors
/// The service does not answer or does not start, a scenario does not run, or the report cannot be written.
pub fn run(checkout: &Checkout, scenarios: Vec<Scenario>, per_s: f64, flags: &flags::Bench) -> Result<Exit> {
    let asked = Asked {
        out: flags
            .out
            .clone()
            .unwrap_or_else(|| super::default_out(checkout, "load")),
        client: of_client(checkout, "service", flags),
        scenarios,
        per_s,
        flags: flags.clone(),
    };
    let out = asked.out.clone();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let measured = runtime.block_on(measure(asked));
    // A request that nobody waits for any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let (record, stopped) = measured?;
    results::write(&out, &record)?;
    conclude(&out, &record, stopped)
}

/// What was asked for, and where it goes.
struct Asked {
    out: PathBuf,
    client: Provenance,
    scenarios: Vec<Scenario>,
    per_s: f64,
    flags: flags::Bench,
}

/// How an interruption reaches the work, wherever it is.
#[derive(Default)]
struct Interruption {
    is: AtomicBool,
    /// Of the runs that warm the caches.
    control: Control,
    /// The service's process, where it is of this run's own; 0 where there is none.
    process: AtomicU32,
}

type Driven = (RunRecord, Option<Stop>);

/// Does everything; Ctrl-C ends it early, and what was measured stays.
async fn measure(asked: Asked) -> Result<Driven> {
    let interruption = Arc::new(Interruption::default());
    let heard = Arc::clone(&interruption);
    let mut work = spawn_blocking(move || work(&asked, &heard));
    tokio::select! {
        done = &mut work => return done?,
        // Without a way to hear of it, the run goes on to its end.
        Ok(()) = tokio::signal::ctrl_c() => {}
    }
    eprintln!("interrupted: ending what is on its way; a second Ctrl-C ends at once");
    interruption.is.store(true, Ordering::Relaxed);
    interruption.control.stop();
    tokio::select! {
        done = &mut work => done?,
        Ok(()) = tokio::signal::ctrl_c() => {
            let process = interruption.process.load(Ordering::Relaxed);
            if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
                // Where it has ended already, there is nothing to kill.
                let _ = kill_process(process, Signal::KILL);
            }
            Err(Expected::interrupted("interrupted twice: nothing is kept"))
        }
    }
}

/// Blocks until all is done.
fn work(asked: &Asked, interruption: &Interruption) -> Result<Driven> {
    let flags = &asked.flags;
    let own = match &flags.via {
        Some(_) => None,
        None => {
            eprintln!("starting a task service for this run");
            Some(Own::start(flags, interruption)?)
        }
    };
    let (url, token_file) = match (&own, &flags.via) {
        (Some(own), _) => (own.url.clone(), Some(own.token_file.clone())),
        (None, url) => (url.clone().unwrap_or_default(), flags.token_file.clone()),
    };
    let client = Client::within(&url, token_file.as_deref(), ANSWER)?;
    let service = via::who(&client).map_err(ClientError::into_error)?;
    let mut record = header(asked, service);
    hybrid_cache_report::write_header(&asked.out, &record)?;
    warm(&client, &asked.scenarios, &interruption.control)?;
    eprintln!(
        "{} tasks a second for {} s through the task service at {url}; report in {}",
        asked.per_s,
        flags.load_seconds,
        asked.out.display()
    );
    let plan = Plan {
        url,
        token_file,
        specs: asked
            .scenarios
            .iter()
            .map(|scenario| scenario.request.clone())
            .collect(),
        per_s: asked.per_s,
        lasts: Duration::from_secs(flags.load_seconds),
        retries: flags.load_retries,
        process: own.as_ref().map(Own::process),
        limits: drive::Limits::default(),
    };
    let (load, stopped) = drive(&plan, &interruption.is)?;
    record.load = Some(Box::new(load));
    if !matches!(stopped, Some(Stop::Interrupted | Stop::Dead(_))) {
        record.completion = Completion::Complete;
    }
    if let (Some(own), Some(Stop::Dead(_))) = (&own, &stopped) {
        eprintln!("the service said last:\n{}", own.last_words());
    }
    Ok((record, stopped))
}

fn header(asked: &Asked, service: ServiceRecord) -> RunRecord {
    RunRecord {
        schema: SCHEMA_VERSION,
        completion: Completion::Interrupted,
        provenance: via::provenance(asked.client.clone(), service),
        scenarios: asked.scenarios.clone(),
        usage: Vec::new(),
        samples: Vec::new(),
        peers: Vec::new(),
        load: None,
    }
}

/// Runs each scenario until the caches answer with a hit: cached tasks are what is measured.
fn warm(client: &Client, scenarios: &[Scenario], control: &Control) -> Result<()> {
    for scenario in scenarios {
        eprintln!("warming {}", scenario.name);
        let mut outcome = warm_once(client, scenario, control)?;
        if has_built(&outcome) {
            outcome = warm_once(client, scenario, control)?;
        }
        if has_built(&outcome) {
            eprintln!(
                "warning: {} misses the caches even once they were filled",
                scenario.name
            );
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
        ClientError::Stopped => Expected::interrupted("interrupted before the first task arrived"),
        other => other.into_error(),
    });
    let run = done?.run;
    if !run.outcome.end.is_success() {
        return Err(Expected::task(format!(
            "scenario {} does not run: {:?}\nhint: try it alone with `cargo xtask bench --scenario {0} --cached-runs 1`",
            scenario.name, run.outcome.end
        )));
    }
    if let Err(reason) = scenario.expect.stdout.check(&run.stdout) {
        return Err(Expected::task(format!("scenario {}: {reason}", scenario.name)));
    }
    Ok(run.outcome)
}

/// Prints the summary and says how the run ends.
fn conclude(out: &std::path::Path, record: &RunRecord, stopped: Option<Stop>) -> Result<Exit> {
    results::print(record);
    println!("report: {}", out.join("report.html").display());
    let load = record.load.as_deref().cloned().unwrap_or_default();
    match stopped {
        Some(Stop::Interrupted) => return Ok(Exit::Interrupted),
        Some(Stop::Dead(error)) => {
            eprintln!("what was measured before is kept");
            return Err(error.into_error());
        }
        Some(Stop::Behind) => eprintln!(
            "warning: the service answered too slowly for this rate; the last arrivals were never sent\n\
             hint: offer fewer tasks a second"
        ),
        None => {}
    }
    Ok(exit(&load))
}

/// What the command says of a run that came to its end: a task that was lost, made twice or did not end breaks a promise.
fn exit(load: &LoadRecord) -> Exit {
    let counts = &load.counts;
    let twice = load.service.own && load.service.made.is_some_and(|made| made != counts.submitted);
    let broken = counts.lost + counts.unfinished + u64::from(twice);
    if broken > 0 {
        eprintln!("tasks were lost, made twice or did not end; the report says how many");
        return Exit::Gate;
    }
    let failed = counts.failed + counts.rejected + counts.unanswered;
    if failed > 0 {
        eprintln!("{failed} of {} tasks failed; the report says why", counts.due);
        return Exit::Task;
    }
    Exit::Good
}
