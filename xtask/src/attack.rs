//! `cargo xtask attack`: tries the list of attacks and prints which promises hold.

use std::sync::Arc;

use hybrid_cache_cluster::{Backend, BackendKind};
use hybrid_cache_tools::{Error, ErrorContext, Machine, MachineOptions, Progress, Result};
use hybrid_cache_trials::run::run as try_list;
use hybrid_cache_trials::{Attack, AttackContext, LocalSite, PromiseRow, Site, Standing, Trial, list, promise};

use crate::exit::Exit;
use crate::flags;
use crate::progress::Reporter;
use crate::{results, runtime, trials};

/// The folder of trials inside the cache folder.
const FOLDER: &str = "trials";

/// Runs the command. The exit code is 3 if a promise does not hold, and 1 if an attack could not be tried.
pub fn run(flags: &flags::Attack) -> Result<Exit> {
    let attacks = trials::chosen(list::all(), &flags.only)?;
    if flags.list {
        trials::show_list(&attacks, flags.json)?;
        return Ok(Exit::Good);
    }
    let runtime = runtime::threads(Some(2))?;
    let mut tried = Vec::new();
    let exit = runtime.block_on(async {
        for ground in grounds(flags).await? {
            let Some(more) = try_all(&attacks, ground).await? else {
                return Ok(Exit::Interrupted);
            };
            tried.extend(more);
        }
        Ok::<_, Error>(Exit::Good)
    })?;
    let rows = promise::table(&tried);
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        show(&rows);
    }
    let worst = rows.iter().map(|row| row.standing).max();
    Ok(match exit {
        Exit::Interrupted => exit,
        _ => trials::exit(worst),
    })
}

/// The places that the command line names, or all that are available.
async fn grounds(flags: &flags::Attack) -> Result<Vec<AttackContext>> {
    let checkout = crate::checkout()?;
    let reporter = Reporter::new();
    let options = MachineOptions {
        trace_bytes: 0,
        ..flags.local.options(flags.cluster.settings.as_deref())
    };
    let local = || -> Result<AttackContext> {
        let mut config = Machine::provision(&checkout, &options, &reporter)?.config;
        // Use a folder below the shared caches, on the same file system, and never the caches themselves.
        config.root = config.root.join(FOLDER);
        Ok(AttackContext::local(LocalSite::open(config).map_err(trials::failed)?))
    };
    let cluster = async |kind| -> Result<AttackContext> {
        match Backend::open(&checkout, kind, &options, &flags.cluster.choice(), &reporter).await? {
            Backend::Cluster(cluster) => Ok(AttackContext::pod(Arc::new(cluster.driver))),
            Backend::Local(_) => local(),
        }
    };
    let mut grounds = Vec::new();
    match flags.driver.map(BackendKind::from) {
        Some(BackendKind::Local) => grounds.push(local()?),
        Some(kind) => grounds.push(cluster(kind).await?),
        None => {
            grounds.push(local()?);
            match cluster(BackendKind::Kube).await {
                Ok(ground) => grounds.push(ground),
                Err(error) => reporter.line(&format!("pod: not tried: {error:#}")),
            }
        }
    }
    reporter.finish();
    Ok(grounds)
}

/// Tries the attacks that run in one place, then cleans up; `None` after Ctrl-C.
async fn try_all(attacks: &[&Attack], mut ground: AttackContext) -> Result<Option<Vec<Trial>>> {
    eprintln!("attacking: {}", ground.site());
    let trials = {
        let tried = try_list(attacks, &ground, |trial| {
            eprintln!(
                "  {:>13}  {} ({} ms)",
                trial.standing().to_string(),
                trial.id,
                trial.took_ms
            );
        });
        tokio::select! {
            trials = tried => Some(trials),
            _ = tokio::signal::ctrl_c() => None,
        }
    };
    let closed = ground.close().await.map_err(trials::failed);
    closed.context("deleting the caches of the trials")?;
    Ok(trials)
}

/// The result of a promise at one site: the worst verdict, and the number of attacks.
fn cell(row: &PromiseRow, site: Site) -> String {
    let here = row.trials.iter().filter(|trial| trial.site == site);
    let standings: Vec<Standing> = here.map(Trial::standing).collect();
    match standings.iter().max() {
        None => "-".to_owned(),
        Some(worst) => format!("{worst} ({})", standings.len()),
    }
}

fn show(rows: &[PromiseRow]) {
    let has_pod = rows
        .iter()
        .flat_map(|row| &row.trials)
        .any(|trial| trial.site == Site::Pod);
    let sites: &[Site] = if has_pod {
        &[Site::Local, Site::Pod]
    } else {
        &[Site::Local]
    };
    let mut table = results::plain_table();
    let mut header = vec!["promise".to_owned(), "protection".to_owned()];
    header.extend(sites.iter().map(Site::to_string));
    table.set_header(header);
    for row in rows {
        let mut cells = vec![row.promise.to_owned(), row.protection.to_string()];
        cells.extend(sites.iter().map(|site| cell(row, *site)));
        table.add_row(cells);
    }
    println!("{table}");
    for trial in rows.iter().flat_map(|row| &row.trials) {
        if let Some(detail) = trial.detail() {
            println!("\n{}: {} ({}): {detail}", trial.standing(), trial.id, trial.site);
        }
    }
}
