//! `cargo xtask chaos`: tries the list of faults and prints which promises hold.

use std::process::Command;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use hybrid_cache_cluster::{ClusterConnection, FaultyCluster, connection};
use hybrid_cache_tools::{Error, ErrorContext, Machine, Result, default_root};
use hybrid_cache_trials::chaos::{self, Fault, FaultContext, FaultTrial, PledgeRow, Serve, Settings, list};
use serde_json::json;

use crate::exit::Exit;
use crate::flags::{self, DriverName};
use crate::progress::Reporter;
use crate::{results, runtime, trials};

/// The folder of faults inside the cache folder.
const FOLDER: &str = "chaos";

/// Runs the command. The exit code is 3 if a promise does not hold, and 1 if a fault could not be tried.
pub fn run(flags: &flags::Chaos) -> Result<Exit> {
    let faults = trials::chosen(list::all(), &flags.only)?;
    if flags.list {
        trials::show_list(&faults, flags.json)?;
        return Ok(Exit::Good);
    }
    let seed = flags.seed.unwrap_or_else(new_seed);
    eprintln!("seed: {seed} (repeat with --seed {seed} --rounds {})", flags.rounds);
    let runtime = runtime::threads(Some(2))?;
    let tried = runtime.block_on(async {
        let field = field(flags, seed).await?;
        // A killed fault may have left the node paused.
        field.recover().await.map_err(trials::failed)?;
        let trials = try_all(&faults, &field).await;
        field.recover().await.map_err(trials::failed)?;
        Ok::<_, Error>(trials)
    })?;
    let Some(tried) = tried else {
        return Ok(Exit::Interrupted);
    };
    let rows = chaos::table(&tried);
    if flags.json {
        let report = json!({"seed": seed, "rounds": flags.rounds, "promises": rows});
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        show(&rows);
    }
    Ok(trials::exit(rows.iter().map(|row| row.standing).max()))
}

/// Chooses a seed that is short enough to type.
fn new_seed() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::from(elapsed.subsec_nanos()) ^ (elapsed.as_secs() & 0xff_ffff)
}

/// The place that the command line names.
async fn field(flags: &flags::Chaos, seed: u64) -> Result<FaultContext> {
    let checkout = crate::checkout()?;
    let settings = Settings {
        seed,
        rounds: flags.rounds,
        serve: Some(serve(flags)?),
    };
    if flags.driver == DriverName::Local {
        let reporter = Reporter::new();
        let mut config = Machine::provision(
            &checkout,
            &flags.local.options(flags.cluster.settings.as_deref()),
            &reporter,
        )?
        .config;
        reporter.finish();
        // Use a folder below the shared caches, on the same file system, and never the caches themselves.
        config.root = config.root.join(FOLDER);
        config.trace_bytes = 0;
        return FaultContext::local(config, settings).map_err(trials::failed);
    }
    let mut cluster = ClusterConnection::open(&checkout, &flags.cluster.choice()).await?;
    if flags.driver == DriverName::Argo {
        cluster.needs_argo().await?;
        cluster.config = connection::with_argo(cluster.config);
    }
    let folder = default_root()?.join(FOLDER);
    let hands = Arc::new(FaultyCluster::new(cluster, flags.node_container.clone()));
    let opened = FaultContext::cluster(hands, &folder, settings).await;
    opened.map_err(trials::failed)
}

/// The command with which this program starts itself as a task service.
fn serve(flags: &flags::Chaos) -> Result<Serve> {
    let program = std::env::current_exe().context("finding this program")?;
    let driver = flags.driver;
    let which: Vec<String> = match &flags.cluster.context {
        Some(context) => vec!["--context".to_owned(), context.clone()],
        None => vec!["--name".to_owned(), flags.cluster.name.clone()],
    };
    Ok(Arc::new(move |at| {
        let mut command = Command::new(&program);
        command.args(["serve", "--listen", &at.listen.to_string()]);
        command.arg("--data-dir").arg(&at.data);
        command.arg("--token-file").arg(&at.token_file);
        match driver {
            // The service's tasks report over loopback that they run.
            DriverName::Local => command
                .args(["--driver", "local", "--network", "shared"])
                .arg("--cache-dir")
                .arg(&at.caches),
            DriverName::Kube => command.args(["--driver", "kube"]).args(&which),
            DriverName::Argo => command.args(["--driver", "argo"]).args(&which),
        };
        command
    }))
}

/// Tries the faults and reports each result; `None` after Ctrl-C. The context removes what the faults created.
async fn try_all(faults: &[&Fault], field: &FaultContext) -> Option<Vec<FaultTrial>> {
    eprintln!("trying faults: {}", field.site());
    let tried = chaos::run(faults, field, |trial| {
        eprintln!(
            "  {:>14}  {} ({} ms)",
            trial.standing().to_string(),
            trial.id,
            trial.took_ms
        );
    });
    tokio::select! {
        trials = tried => Some(trials),
        () = asked_to_end() => None,
    }
}

/// Waits for Ctrl-C or a supervisor's signal, because mounts and a paused node must not outlive this process.
async fn asked_to_end() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        },
        Err(_) => drop(tokio::signal::ctrl_c().await),
    }
}

fn show(rows: &[PledgeRow]) {
    let mut table = results::plain_table();
    table.set_header(["promise", "fault", "stands", "tried", "seen"]);
    for row in rows {
        for (number, trial) in row.trials.iter().enumerate() {
            let promise = if number == 0 { row.text } else { "" };
            let standing = trial.standing().to_string();
            table.add_row([promise, &trial.id, &standing, &trial.tried, &trial.seen]);
        }
    }
    println!("{table}");
    for trial in rows.iter().flat_map(|row| &row.trials) {
        if let Some(detail) = trial.detail() {
            println!("\n{}: {}: {detail}", trial.standing(), trial.id);
        }
    }
}
