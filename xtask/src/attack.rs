//! `cargo xtask attack`: tries the list of attacks and prints which promises hold.

use std::sync::Arc;

use anyhow::{Context, Result};
use hybrid_cache_trials::run::run as try_list;
use hybrid_cache_trials::{Attack, AttackContext, LocalSite, PromiseRow, Site, Standing, Trial, list, promise};

use crate::checkout::Checkout;
use crate::exit::Exit;
use crate::flags::{self, DriverName};
use crate::local::Machine;
use crate::results;
use crate::subject::Subject;
use crate::trials;

/// The folder of trials inside the cache folder.
const FOLDER: &str = "trials";

/// Runs the command: exit code 3 if a promise does not hold, 1 if something could not be tried.
///
/// # Errors
/// No attack has a given name, or neither this machine nor a cluster can be used.
pub fn run(flags: &flags::Attack) -> Result<Exit> {
    let attacks = trials::chosen(list::all(), &flags.only)?;
    if flags.list {
        trials::show_list(&attacks, flags.json)?;
        return Ok(Exit::Good);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let mut tried = Vec::new();
    let exit = runtime.block_on(async {
        for ground in grounds(flags).await? {
            let Some(more) = try_all(&attacks, ground).await? else {
                return Ok(Exit::Interrupted);
            };
            tried.extend(more);
        }
        Ok::<_, anyhow::Error>(Exit::Good)
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

/// The places that the command line names, or all there are.
async fn grounds(flags: &flags::Attack) -> Result<Vec<AttackContext>> {
    let checkout = Checkout::find()?;
    let local = || -> Result<AttackContext> {
        let mut config = Machine::provision(&checkout, &flags.local)?.config;
        // Below the caches of everybody, on the same file system, and never the caches themselves.
        config.root = config.root.join(FOLDER);
        config.trace_bytes = 0;
        Ok(AttackContext::local(LocalSite::open(config)?))
    };
    let cluster = async |name| -> Result<AttackContext> {
        let local_flags = flags::Local {
            no_trace: true,
            ..flags.local.clone()
        };
        match Subject::open(&checkout, name, &local_flags, &flags.cluster).await? {
            Subject::Cluster(subject) => Ok(AttackContext::pod(Arc::new(subject.driver))),
            Subject::Machine(_) => local(),
        }
    };
    match flags.driver {
        Some(DriverName::Local) => Ok(vec![local()?]),
        Some(name) => Ok(vec![cluster(name).await?]),
        None => {
            let mut grounds = vec![local()?];
            match cluster(DriverName::Kube).await {
                Ok(ground) => grounds.push(ground),
                Err(error) => eprintln!("pod: not tried: {error:#}"),
            }
            Ok(grounds)
        }
    }
}

/// Tries the attacks that run at a ground, and tidies up; `None` after Ctrl-C.
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
    ground.close().await.context("deleting the caches of the trials")?;
    Ok(trials)
}

/// What happened to a promise at one site: the worst, and how many attacks were tried.
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
