//! `cargo xtask cache`: how much the caches hold, filling them ahead of time, eviction, and checking what is there.

use comfy_table::{CellAlignment, Table};
use hybrid_cache_cluster::{Backend, trace as recorded};
use hybrid_cache_driver::local::Maintenance;
use hybrid_cache_driver::{Epoch, SubmitOptions};
use hybrid_cache_model::maintain::{EnvironmentUsage, GcReport, LayerUsage, MaintainReport, UsageReport, VerifyReport};
use hybrid_cache_model::{CacheReport, CacheStatus, Failure, TaskSpec, Tenant};
use hybrid_cache_tools::{Result, failed};

use crate::exit::Exit;
use crate::flags::{self, CacheCommand};
use crate::progress::Reporter;
use crate::{results, run, runtime, trace};

/// Milliseconds that filling the caches may take.
const WARM_MS: u64 = 1_800_000;

/// Runs the command.
///
/// # Errors
/// The caches cannot be read or written.
pub fn run(flags: &flags::Cache) -> Result<Exit> {
    if let CacheCommand::Trace(wanted) = &flags.command {
        return trace::run(flags, wanted);
    }
    runtime::current_thread()?.block_on(async {
        let reporter = Reporter::new();
        let backend = Backend::open(
            &crate::checkout()?,
            flags.driver.into(),
            &flags.local.options(),
            &flags.cluster.choice(),
            &reporter,
        )
        .await?;
        reporter.finish();
        match &flags.command {
            CacheCommand::Usage => usage(&backend, flags).await,
            // Done above: it needs no driver.
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
                system,
                tenant,
            } => {
                let mut spec = TaskSpec::new("pass");
                spec.dependencies = dep.join(",");
                spec.system_dependencies = system.join(",");
                if let Some(file) = requirements {
                    spec.requirements_file = run::read_requirements(file)?;
                }
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
        println!("moved to {folder}; delete it when nobody needs it any more");
    }
    Ok(Exit::Good)
}

async fn usage(backend: &Backend, flags: &flags::Cache) -> Result<Exit> {
    let MaintainReport::Usage(report) = backend.maintain(&Epoch::Standing, Maintenance::Usage).await? else {
        return Err(failed!("another question was answered than how much the caches hold"));
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
    show_usage(&report);
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
    match report {
        _ if json => {}
        MaintainReport::Gc(report) => show_gc(&report),
        MaintainReport::Verify(report) => show_verify(&report),
        MaintainReport::Usage(_) | MaintainReport::Contents(_) | MaintainReport::Failed { .. } => {}
    }
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
        Ok(CacheReport { python, system }) => println!("python: {}; system: {}", status(python), status(system)),
        Err(failure) => return preparing_failed(&failure),
    }
    Ok(Exit::Good)
}

fn preparing_failed(failure: &Failure) -> Result<Exit> {
    eprintln!("error: {failure}");
    Ok(run::exit_of_failure(failure.kind))
}

/// What a cache did, for a person.
pub fn status(status: CacheStatus) -> String {
    match status {
        CacheStatus::Hit => "hit".to_owned(),
        CacheStatus::Built {
            downloaded_bytes,
            reused_bytes,
        } => {
            format!("built ({} new, {} shared)", size(downloaded_bytes), size(reused_bytes))
        }
        CacheStatus::Bypassed => "bypassed".to_owned(),
        CacheStatus::NotAsked => "not asked".to_owned(),
    }
}

fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_width(results::width())
        .set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn show_usage(report: &UsageReport) {
    let mut layers = table(&["layer", "size", "inodes", "entries"]);
    for LayerUsage {
        layer,
        bytes,
        inodes,
        entries,
    } in &report.layers
    {
        layers.add_row([layer.clone(), size(*bytes), inodes.to_string(), entries.to_string()]);
    }
    println!("{layers}\n");
    let mut volumes = table(&["volume", "held", "inodes held", "of it garbage", "free", "inodes free"]);
    for system in &report.file_systems {
        volumes.add_row([
            system.volume.clone(),
            size(report.volume_bytes(&system.volume)),
            report.volume_inodes(&system.volume).to_string(),
            report
                .garbage_of(&system.volume)
                .map_or("-".to_owned(), |garbage| size(garbage.bytes)),
            size(system.free_bytes),
            system.free_inodes.to_string(),
        ]);
    }
    println!("{volumes}\n");
    show_largest(&report.largest);
    let UsageReport {
        environments,
        requests,
        system_sets,
        healed,
        ..
    } = report;
    println!("{environments} Python environments for {requests} requests; {system_sets} sets of system packages");
    if *healed > 0 {
        println!("{healed} damaged environments were built again by the task that found them");
    }
}

fn show_largest(largest: &[EnvironmentUsage]) {
    if largest.is_empty() {
        return;
    }
    let mut rows = table(&[
        "largest",
        "volume",
        "holds",
        "evicting it frees",
        "inodes freed",
        "last used",
    ]);
    for one in largest {
        let more = match one.more_packages {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let last_used = jiff::Timestamp::from_second(i64::try_from(one.used_s).unwrap_or_default());
        rows.add_row([
            format!("{}{more}", one.packages.join(", ")),
            one.volume.clone(),
            size(one.bytes),
            size(one.frees_bytes),
            one.frees_inodes.to_string(),
            last_used.map_or("-".to_owned(), |time| time.to_string()),
        ]);
    }
    println!("{rows}\n");
}

fn show_gc(report: &GcReport) {
    println!(
        "evicted {} Python environments and {} sets of system packages; {} were in use and stay",
        report.evicted_environments, report.evicted_system_sets, report.kept_in_use
    );
    println!(
        "removed {} left-overs, {} dangling requests and {} orphans",
        report.swept, report.dangling_requests, report.orphans
    );
    println!("freed {} and {} inodes", size(report.freed_bytes), report.freed_inodes);
    for warning in &report.warnings {
        eprintln!("warning: {warning}");
    }
    if report.over_budget {
        eprintln!("warning: still over the budget: what is left is in use or newer than the request");
    }
}

fn show_verify(report: &VerifyReport) {
    let VerifyReport {
        environments,
        files,
        inodes,
        bytes,
        system_sets,
        unhashed,
        problems,
        left_overs,
        repaired,
    } = report;
    println!("checked {environments} Python environments and {system_sets} sets of system packages");
    println!("{files} files, read once each: {inodes} inodes, {}", size(*bytes));
    if *unhashed > 0 {
        println!(
            "{unhashed} store paths have no recorded hash yet and were not compared; `cargo xtask cache warm` with \
             their packages records it"
        );
    }
    for problem in problems {
        println!("{}: {}", problem.path, problem.what);
    }
    if !left_overs.is_empty() {
        let count = left_overs.len();
        println!(
            "{count} left-overs of processes that were killed; they harm nothing, and the next preparation removes them"
        );
    }
    for line in repaired {
        println!("repaired: {line}");
    }
    match (problems.len(), repaired.is_empty()) {
        (0, _) => println!("all of it is whole"),
        (count, true) => {
            eprintln!(
                "{count} problems\nhint: `cargo xtask cache verify --repair` removes what is damaged; the next run builds it again"
            );
        }
        (count, false) => eprintln!("{count} problems, now removed\nhint: the next run builds again what it needs"),
    }
}
