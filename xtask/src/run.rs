//! `cargo xtask run`: runs one task, prints its output live, and shows what the caches did.

use std::sync::Arc;

use hybrid_cache_api::task_options::TaskOptions;
use hybrid_cache_cluster::Backend;
use hybrid_cache_driver::log::Stream;
use hybrid_cache_driver::{LogReader, SubmitOptions};
use hybrid_cache_model::outcome::FailureKind;
use hybrid_cache_model::protocol::Limits;
use hybrid_cache_model::{End, Failure, Outcome, Phase, TaskSpec};
use hybrid_cache_report::caches;
use hybrid_cache_tools::{Error, ErrorContext, OperatorSettings, Result, requirements_file};

use crate::exit::Exit;
use crate::flags;
use crate::progress::Reporter;
use crate::terminal::{Live, To};
use crate::{backend, runtime, waiting};

/// Runs the command.
///
/// # Errors
/// The task is not acceptable or cannot be started. A task that fails is not an error; the exit code is then 5.
pub fn run(flags: &flags::Run) -> Result<Exit> {
    let settings = OperatorSettings::read(flags.cluster.settings.as_deref())?;
    let texts = requirements_file::read_all(flags.requirements.as_deref(), &flags.constraints, settings.policy())?;
    let options = TaskOptions {
        file: flags.file.as_deref(),
        python: flags.python.as_deref(),
        dep: &flags.dep,
        requirements: texts.requirements,
        constraints: texts.constraints,
        python_version: &flags.python_version,
        system: &flags.system,
        no_cache: flags.no_cache,
        env: &flags.env,
        secret_env: &flags.secret_env,
        stdin: flags.stdin.as_deref(),
        labels: &flags.label,
        args: &flags.args,
    };
    let spec = options.task(|name| std::env::var_os(name));
    let spec = spec.map_err(|error| Error::input(error.to_string()))?;
    if let Err(error) = spec.check_for(&settings.policy()) {
        if flags.json {
            let failure = Failure::new(FailureKind::InvalidTask, error.to_string());
            show(&Outcome::without_start(failure), true)?;
        }
        return Err(Error::input(error.to_string()));
    }
    let reporter = Arc::new(Reporter::new());
    runtime::current_thread()?.block_on(async {
        let backend = backend::open(flags.driver, &flags.local, &flags.cluster.with_standby(None), &reporter).await?;
        backend.can_run_task(&spec)?;
        run_task(&backend, &spec, flags, &reporter).await
    })
}

async fn run_task(backend: &Backend, spec: &TaskSpec, flags: &flags::Run, reporter: &Arc<Reporter>) -> Result<Exit> {
    let driver = backend.driver();
    let options = SubmitOptions {
        limits: Limits {
            time_ms: flags.timeout.or(spec.timeout_seconds).unwrap_or(600) * 1000,
            output_bytes: flags.local.bounds.limits().output_bytes,
            ..backend.limits()
        },
        tenant: flags.tenant.clone(),
        ..SubmitOptions::default()
    };
    // The reports so far concern this machine; the task's output comes next.
    reporter.finish();
    let ticket = driver.submit(spec, &options).await?;
    let (preparing, phase_reporter) = (driver.preparing(&ticket)?, Arc::clone(reporter));
    let phases = tokio::spawn(async move { waiting::show_phases(preparing, &phase_reporter).await });
    let printing = tokio::spawn(print_output(driver.logs(&ticket)?, flags.json));
    let outcome = tokio::select! {
        outcome = driver.wait(&ticket) => outcome?,
        never = waiting::show_waits(driver, &ticket, reporter) => match never {},
        _ = tokio::signal::ctrl_c() => {
            driver.cancel(&ticket).await?;
            driver.wait(&ticket).await?
        }
    };
    // The end of the task closes the log, so this ends too.
    printing.await.context("printing the task's output")?;
    phases.abort();
    reporter.finish();
    show(&outcome, flags.json)?;
    let outcome = tokio::select! {
        outcome = driver.settle(&ticket) => outcome?,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("interrupted: what was prepared for this task is not kept");
            return Ok(Exit::Interrupted);
        }
    };
    for warning in outcome.warnings.iter().chain(&driver.flush_trace().await) {
        eprintln!("warning: {warning}");
    }
    if let Some(failure) = &outcome.not_kept {
        eprintln!("warning: what was prepared for this task could not be kept: {failure}");
    }
    if let Some(file) = &flags.lock {
        requirements_file::write_lock(file, &outcome)?;
    }
    Ok(exit_of(&outcome))
}

async fn print_output(mut log: LogReader, all_to_stderr: bool) {
    // A piece may end within a character or a control sequence, which continues after pieces of the other stream.
    let mut streams = [if all_to_stderr { To::Stderr } else { To::Stdout }, To::Stderr].map(Live::new);
    while let Some(chunk) = log.next().await {
        // If our output was closed, its reader does not want the rest; the task still runs to its end.
        let _ = streams[usize::from(chunk.stream == Stream::Stderr)].write(&chunk.bytes);
    }
    streams.iter_mut().for_each(|stream| drop(stream.finish()));
}

fn show(outcome: &Outcome, json: bool) -> Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(outcome)?);
        return Ok(());
    }
    let milliseconds = |us: u64| format!("{}.{} ms", us / 1000, us % 1000 / 100);
    eprintln!("{}", caches::end(&outcome.end));
    let [python, system] = [outcome.cache.python, outcome.cache.system].map(caches::status);
    eprintln!("python: {python}; system: {system}");
    let (user_us, total_us) = (outcome.timeline.phase_us(Phase::UserCode), outcome.timeline.total_us);
    eprintln!(
        "{} in total: {} user code, {} overhead; {} in the runner",
        milliseconds(total_us),
        milliseconds(user_us),
        milliseconds(total_us.saturating_sub(user_us)),
        milliseconds(outcome.runner_us)
    );
    Ok(())
}

fn exit_of(outcome: &Outcome) -> Exit {
    match &outcome.end {
        End::Exited { code: 0 } => Exit::Good,
        End::Exited { .. } | End::Signaled { .. } | End::TimedOut { .. } => Exit::Task,
        End::Cancelled => Exit::Interrupted,
        End::Failed { failure } => exit_of_failure(failure.kind),
    }
}

/// The exit code of a failure outside the user's program.
pub fn exit_of_failure(kind: FailureKind) -> Exit {
    match kind {
        FailureKind::InvalidTask => Exit::Usage,
        FailureKind::UnknownPackage | FailureKind::Unsatisfiable | FailureKind::UnknownSystemPackage => Exit::Task,
        FailureKind::NoWheel | FailureKind::OutOfMemory => Exit::Task,
        FailureKind::Sandbox
        | FailureKind::Offline
        | FailureKind::Unschedulable
        | FailureKind::ImagePull
        | FailureKind::Refused => Exit::Prerequisite,
        FailureKind::DiskFull
        | FailureKind::CacheFormat
        | FailureKind::CacheAccess
        | FailureKind::CacheDamaged
        | FailureKind::Deadline
        | FailureKind::Evicted
        | FailureKind::Cluster
        | FailureKind::Tool
        | FailureKind::Internal => Exit::Failed,
    }
}
