//! `cargo xtask bench`: measures, writes the report, and decides whether its claims and targets hold.

mod command;

use std::sync::Arc;
use std::time::Duration;

use hybrid_cache_bench::load::{self, LoadEnd, LoadOptions, LoadVerdict, LoadedService, ServiceProgram};
use hybrid_cache_bench::{
    BenchGate, BenchOptions, Counts, LevelCounts, MeasuredService, MirrorChoice, OtherBuild, PeerChoice, TwoBuilds,
    Until, load_scenarios, measure,
};
use hybrid_cache_model::Scenario;
use hybrid_cache_model::sample::RunRecord;
use hybrid_cache_tools::{Checkout, ErrorContext, MachineOptions, Progress, Result, cache_root};

use crate::exit::{self, Exit};
use crate::progress::Reporter;
use crate::{flags, results, runtime};

/// Runs the command.
pub fn run(flags: &flags::Bench) -> Result<Exit> {
    let checkout = crate::checkout()?;
    let scenarios = load_scenarios(&checkout, &flags.scenario)?;
    results::check_files(flags)?;
    if let Some(per_s) = flags.load {
        return offer_load(&checkout, scenarios, per_s, flags);
    }
    let baseline = flags.baseline.as_deref().map(results::load).transpose()?;
    let shown = Arc::new(Reporter::new());
    let progress: Arc<dyn Progress> = shown.clone();
    let options = options(flags, baseline.clone())?;
    let runtime = runtime::current_thread()?;
    let measured = runtime.block_on(measure(&checkout, scenarios, &options, &progress));
    shown.finish();
    // A request of the client may still be running, but its result is no longer needed.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let measured = measured?;
    let gate = options.gate.map(|gate| gate.judge(&measured.record));
    results::write(&measured.out, &measured.record, gate.as_ref(), flags.summary.as_deref())?;
    results::write_trace(&measured.record, flags.trace_out.as_deref())?;
    if let Err(error) = measured.ended {
        let count = hybrid_cache_report::taken_samples(&measured.record);
        let page = measured.out.join("report.html");
        eprintln!("{count} samples were taken before; report: {}", page.display());
        return Err(error);
    }
    Ok(results::conclude(
        &measured.out,
        &measured.record,
        baseline.as_ref(),
        gate.as_ref(),
        flags,
    ))
}

fn options(flags: &flags::Bench, baseline: Option<RunRecord>) -> Result<BenchOptions> {
    let builds = two_builds(flags)?;
    let gate = (flags.gate || builds.is_some()).then_some(BenchGate {
        baseline,
        max_regression: results::MAX_REGRESSION,
    });
    Ok(BenchOptions {
        backend: flags.driver.into(),
        // Requests of a measurement say nothing about the size that volumes need, so do not record them.
        machine: MachineOptions {
            trace_bytes: 0,
            ..flags.local.options(flags.cluster.settings.as_deref())
        },
        cluster: flags.cluster.with_standby(flags.standby),
        service: service(flags),
        builds,
        until: flags.until.map(|width| Until::new(width, flags.until_minutes)),
        counts: Counts {
            first: flags.first_runs,
            cached: flags.cached_runs,
            uncached: flags.uncached_runs,
        },
        levels: flags.levels.map(|each| LevelCounts {
            each,
            nothing: flags.runs_from_nothing,
        }),
        tenant: flags.tenant.clone(),
        gate,
        seed: flags.seed,
        peers: PeerChoice::named(if flags.no_peers { "none" } else { &flags.peers }),
        mirror: flags.mirror.as_deref().map(|mode| MirrorChoice {
            mode: MirrorChoice::mode_named(mode),
            folder: flags.mirror_dir.clone(),
            bits_per_s: flags.mirror_bandwidth,
            round_trip_us: flags.mirror_rtt,
            max_bytes: flags.mirror_max_size,
        }),
        out: flags.out.clone(),
        command: command::for_report(flags),
    })
}

/// This program and what it is measured against; `None` if it is measured alone.
fn two_builds(flags: &flags::Bench) -> Result<Option<TwoBuilds>> {
    let other = match &flags.against {
        Some(named) => OtherBuild::Named(named.clone()),
        None if flags.self_check => OtherBuild::Same,
        None => return Ok(None),
    };
    Ok(Some(TwoBuilds {
        ours: std::env::current_exe().context("finding this program")?,
        other,
        caches: cache_root(flags.local.cache_dir.as_deref())?,
        arguments: command::for_run(flags),
    }))
}

fn service(flags: &flags::Bench) -> Option<MeasuredService> {
    let (url, token_file) = (flags.service_url.clone()?, flags.token_file.clone());
    Some(MeasuredService { url, token_file })
}

fn offer_load(checkout: &Checkout, scenarios: Vec<Scenario>, per_s: f64, flags: &flags::Bench) -> Result<Exit> {
    let service = match service(flags) {
        Some(service) => LoadedService::Running(service),
        None => LoadedService::Own(own_service(flags)?),
    };
    let options = LoadOptions {
        service,
        per_s,
        lasts: Duration::from_secs(flags.load_seconds),
        retries: flags.load_retries,
        out: flags.out.clone(),
        command: command::for_report(flags),
    };
    let shown = Arc::new(Reporter::new());
    let progress: Arc<dyn Progress> = shown.clone();
    let runtime = runtime::current_thread()?;
    let measured = runtime.block_on(load::run(checkout, scenarios, options, &progress));
    shown.finish();
    runtime.shutdown_timeout(Duration::from_secs(1));
    let measured = measured?;
    results::write(&measured.out, &measured.record, None, flags.summary.as_deref())?;
    results::print(&measured.out, &measured.record, None, None, flags.json);
    conclude_load(&measured.record, measured.end)
}

/// The command with which this program starts itself as a task service.
fn own_service(flags: &flags::Bench) -> Result<ServiceProgram> {
    let program = std::env::current_exe().context("finding this program")?;
    let asked = flags.clone();
    Ok(ServiceProgram {
        folder: cache_root(flags.local.cache_dir.as_deref())?.join("load"),
        command: Box::new(move |data, token_file| {
            let mut command = std::process::Command::new(&program);
            command.args(command::for_service(&asked, data, token_file));
            command
        }),
        class: exit::class_of_code,
    })
}

/// Says what went wrong and chooses the exit code.
fn conclude_load(record: &RunRecord, end: LoadEnd) -> Result<Exit> {
    match end {
        LoadEnd::Complete => {}
        LoadEnd::Interrupted => return Ok(Exit::Interrupted),
        LoadEnd::Dead(error) => {
            eprintln!("what was measured before is kept");
            return Err(error);
        }
        LoadEnd::Behind => eprintln!("{}", load::BEHIND),
    }
    let verdict = load::judge(&record.load.as_deref().cloned().unwrap_or_default());
    verdict.message().iter().for_each(|message| eprintln!("{message}"));
    Ok(match verdict {
        LoadVerdict::Kept => Exit::Good,
        LoadVerdict::Broken => Exit::Gate,
        LoadVerdict::Failed { .. } => Exit::Task,
    })
}
