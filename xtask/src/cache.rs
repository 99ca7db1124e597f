//! `cargo xtask cache`: shows how much the caches hold, fills them in advance, evicts, and verifies them.

use hybrid_cache_cluster::{Backend, trace as recorded};
use hybrid_cache_driver::local::Maintenance;
use hybrid_cache_driver::{Epoch, SubmitOptions};
use hybrid_cache_model::maintain::MaintainReport;
use hybrid_cache_model::{CacheReport, Failure, TaskSpec, Tenant};
use hybrid_cache_report::caches::{self, CacheText};
use hybrid_cache_tools::{OperatorSettings, Result, failed, requirements_file};

use crate::exit::Exit;
use crate::flags::{self, CacheCommand};
use crate::progress::Reporter;
use crate::{backend, results, run, runtime, trace};

/// Time limit for filling the caches, in milliseconds.
const WARM_MS: u64 = 1_800_000;

/// Runs the command.
pub fn run(flags: &flags::Cache) -> Result<Exit> {
    if let CacheCommand::Trace(wanted) = &flags.command {
        return trace::run(flags, wanted);
    }
    runtime::current_thread()?.block_on(async {
        let reporter = Reporter::new();
        let backend = backend::open(flags.driver, &flags.local, &flags.cluster.choice(), &reporter).await?;
        match &flags.command {
            CacheCommand::Usage => usage(&backend, flags).await,
            // This was handled above, because it needs no driver.
            CacheCommand::Trace(_) => Ok(Exit::Good),
            CacheCommand::SetAside => set_aside(&backend, flags.json).await,
            CacheCommand::Verify { repair } => {
                look_after(&backend, Maintenance::Verify { repair: *repair }, flags.json).await
            }
            CacheCommand::Gc { max_bytes, max_inodes } => {
                let what = Maintenance::Gc {
                    budget_bytes: *max_bytes,
                    budget_inodes: *max_inodes,
                };
                look_after(&backend, what, flags.json).await
            }
            CacheCommand::Warm {
                dep,
                requirements,
                constraints,
                system,
                tenant,
            } => {
                let mut spec = TaskSpec::new("pass");
                spec.dependencies = dep.join(",");
                spec.system_dependencies = system.join(",");
                let settings = OperatorSettings::read(flags.cluster.settings.as_deref())?;
                let texts = requirements_file::read_all(requirements.as_deref(), constraints, settings.policy())?;
                (spec.requirements_file, spec.constraints) = (texts.requirements, texts.constraints);
                backend.can_run_task(&spec)?;
                warm(&backend, &spec, tenant, flags.json, &reporter).await
            }
        }
    })
}

async fn set_aside(backend: &Backend, json: bool) -> Result<Exit> {
    let folders = backend.set_aside().await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&folders)?);
    } else if folders.is_empty() {
        println!("nothing to set aside: the caches are empty or have the current layout");
    }
    for folder in folders.iter().filter(|_| !json) {
        println!("moved to {folder}; delete it when it is no longer needed");
    }
    Ok(Exit::Good)
}

async fn usage(backend: &Backend, flags: &flags::Cache) -> Result<Exit> {
    let MaintainReport::Usage(report) = backend.maintain(&Epoch::Standing, Maintenance::Usage).await? else {
        return Err(failed!("the caches answered with something other than their usage"));
    };
    let cache_dir = flags.local.cache_dir.as_deref();
    let folder = recorded::folder(flags.driver.into(), cache_dir, &flags.cluster.choice())?;
    let growth = recorded::growth(&report, &backend.budgets(), &folder)?;
    if flags.json {
        let mut shown = serde_json::to_value(MaintainReport::Usage(report))?;
        shown["growth"] = serde_json::to_value(growth.unwrap_or_default())?;
        println!("{}", serde_json::to_string_pretty(&shown)?);
        return Ok(Exit::Good);
    }
    println!("{}", caches::usage(&report, results::width()));
    match growth {
        Some(growth) => growth.iter().for_each(|volume| println!("{volume}")),
        None => println!("{}", recorded::nothing_recorded(&folder)),
    }
    Ok(Exit::Good)
}

async fn look_after(backend: &Backend, what: Maintenance, json: bool) -> Result<Exit> {
    let report = backend.maintain(&Epoch::Standing, what).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    let exit = match &report {
        MaintainReport::Verify(report) if !report.is_clean() => Exit::Gate,
        _ => Exit::Good,
    };
    let text = match &report {
        MaintainReport::Gc(report) if !json => caches::evicted(report),
        MaintainReport::Verify(report) if !json => caches::verified(report),
        _ => CacheText::default(),
    };
    text.results.iter().for_each(|line| println!("{line}"));
    text.messages.iter().for_each(|message| eprintln!("{message}"));
    Ok(exit)
}

async fn warm(backend: &Backend, spec: &TaskSpec, tenant: &Tenant, json: bool, reporter: &Reporter) -> Result<Exit> {
    let options = SubmitOptions {
        prepare_ms: WARM_MS,
        tenant: tenant.clone(),
        ..SubmitOptions::default()
    };
    match backend.warm(spec, &options, reporter).await? {
        Ok(cache) if json => println!("{}", serde_json::to_string_pretty(&cache)?),
        Ok(CacheReport { python, system }) => {
            println!("python: {}; system: {}", caches::status(python), caches::status(system))
        }
        Err(failure) => return preparing_failed(&failure),
    }
    Ok(Exit::Good)
}

fn preparing_failed(failure: &Failure) -> Result<Exit> {
    eprintln!("error: {failure}");
    Ok(run::exit_of_failure(failure.kind))
}
