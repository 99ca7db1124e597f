//! `cargo xtask bench`: measures first against cached runs of the scenarios and writes a report.
//!
//! Every sample is on disk before the next one begins; rendering is a step of its own. Interrupted by Ctrl-C, it
//! renders what it has.

mod beside;
mod cluster;
mod direct;
mod load;
mod machine;
mod peer;
mod place;
mod plan;
mod progress;
mod provenance;
mod session;
mod via;
#[cfg(test)]
mod workflow;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use hybrid_cache_model::Scenario;
use hybrid_cache_model::sample::{Peer, Provenance, RunRecord};

use crate::checkout::Checkout;
use crate::exit::{Exit, Expected};
use crate::flags::{self, DriverName};
use crate::results;
use crate::subject::Subject;
use beside::Beside;
use direct::{Direct, Neighbours};
use place::Place;
use plan::Counts;
use session::Session;
use via::Via;

/// Free space below which a bench run does not start, in bytes: several toolchains are unpacked at the same time.
const MIN_FREE_BYTES: u64 = 3 << 30;

/// Runs the command.
///
/// # Errors
/// A scenario is not well-formed, a prerequisite is missing, the caches or the report cannot be written.
pub fn run(flags: &flags::Bench) -> Result<Exit> {
    // Requests that are made to be measured say nothing of the size that volumes need.
    let mut flags = flags.clone();
    flags.local.no_trace = true;
    let flags = &flags;
    let checkout = Checkout::find()?;
    let scenarios = load_scenarios(&checkout, &flags.scenario)?;
    if let Some(per_s) = flags.load {
        return load::run(&checkout, scenarios, per_s, flags);
    }
    let baseline = flags.baseline.as_deref().map(results::load).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let measured = runtime.block_on(measure(&checkout, scenarios, flags));
    // A request of a client that nobody waits for any more.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let Measured { out, record, ended } = measured?;
    results::write(&out, &record)?;
    if let Err(error) = ended {
        let samples = record.samples.len();
        eprintln!(
            "{samples} samples were taken before; report: {}",
            out.join("report.html").display()
        );
        return Err(error);
    }
    results::conclude(&out, &record, baseline.as_ref(), flags.gate)
}

/// What a bench run came to.
struct Measured {
    out: PathBuf,
    record: RunRecord,
    /// Why it stopped before its end, where that was neither its plan nor a person.
    ended: Result<()>,
}

/// What is measured, opened, with all that is known of it.
struct Opened {
    place: Box<dyn Place>,
    provenance: Provenance,
    /// For each scenario.
    peers: Vec<Vec<Peer>>,
    counts: Counts,
}

/// Opens the place to measure, takes every sample, and says where the report goes.
async fn measure(checkout: &Checkout, scenarios: Vec<Scenario>, flags: &flags::Bench) -> Result<Measured> {
    let opened = match &flags.via {
        Some(url) => open_service(checkout, &scenarios, url, flags).await?,
        None => open_driver(checkout, &scenarios, flags).await?,
    };
    let Opened {
        place,
        provenance,
        peers,
        counts,
    } = opened;
    let rounds = plan::rounds(counts, &peers);
    let out = flags
        .out
        .clone()
        .unwrap_or_else(|| default_out(checkout, &provenance.driver));
    let name = match (&provenance.cluster, &provenance.service) {
        (Some(cluster), _) => format!("cluster {}", cluster.context),
        (None, Some(service)) => format!("the task service at {}", service.url),
        (None, None) => provenance.cpu.clone(),
    };
    eprintln!(
        "measuring {} scenarios on {name}; report in {}",
        scenarios.len(),
        out.display()
    );
    let mut session = Session::start(place, scenarios, provenance, &out)?;
    let ended = session.measure(&rounds).await;
    let record = session.finish().await;
    Ok(Measured { out, record, ended })
}

async fn open_driver(checkout: &Checkout, scenarios: &[Scenario], flags: &flags::Bench) -> Result<Opened> {
    let subject = Subject::open(checkout, flags.driver, &flags.local, &flags.cluster).await?;
    subject.can_run(scenarios)?;
    if let Subject::Machine(on) = &subject {
        check_space(&on.machine.config.root)?;
    }
    let mut provenance = provenance::collect(checkout, &subject, flags).await?;
    if let Subject::Machine(on) = &subject
        && let Some(reason) = on.driver.network().await.reason
    {
        let note = format!("tasks share this machine's network, its loopback included: {reason}");
        eprintln!("warning: {note}");
        provenance.notes.push(note);
    }
    let beside = match (&subject, flags.no_peers) {
        (Subject::Cluster(_), false) => neighbours(checkout, flags, &mut provenance.notes).await?,
        _ => Neighbours::default(),
    };
    let of = |scenario| match &subject {
        Subject::Machine(_) => peers_on_machine(scenario, flags),
        Subject::Cluster(_) => peers_on_cluster(scenario, flags, &beside),
    };
    let peers = scenarios.iter().map(of).collect();
    let counts = Counts {
        first: flags.first_runs,
        cached: flags.cached_runs,
        uncached: flags.uncached_runs,
    };
    Ok(Opened {
        place: Box::new(Direct::new(subject, beside, flags.tenant.clone())),
        provenance,
        peers,
        counts,
    })
}

async fn open_service(checkout: &Checkout, scenarios: &[Scenario], url: &str, flags: &flags::Bench) -> Result<Opened> {
    let (mut via, service) = Via::open(url, flags.token_file.as_deref()).await?;
    let mut provenance = via::provenance(provenance::of_client(checkout, "service", flags), service.clone());
    if !flags.no_peers {
        via.beside(checkout, &service, flags, &mut provenance.notes).await;
    }
    let none = |_: &Scenario| Vec::new();
    let peers = match flags.no_peers {
        true => scenarios.iter().map(none).collect(),
        false => scenarios.iter().map(|scenario| via.peers(scenario)).collect(),
    };
    let counts = Counts {
        // A second one would find what the first has left.
        first: 1,
        cached: flags.cached_runs,
        uncached: flags.uncached_runs,
    };
    Ok(Opened {
        place: Box::new(via),
        provenance,
        peers,
        counts,
    })
}

/// The drivers beside a cluster's. A machine that can run no tasks measures the cluster all the same.
async fn neighbours(checkout: &Checkout, flags: &flags::Bench, notes: &mut Vec<String>) -> Result<Neighbours> {
    let local = match Beside::open(checkout, DriverName::Local, flags).await {
        Ok(beside) => Some(beside),
        Err(error) => {
            let error = format!("{error:#}").replace('\n', "; ");
            notes.push(format!("no local driver beside the cluster: {error}"));
            None
        }
    };
    let job = match flags.driver {
        DriverName::Argo => Some(Beside::open(checkout, DriverName::Kube, flags).await?),
        DriverName::Kube | DriverName::Local => None,
    };
    Ok(Neighbours { local, job })
}

/// Loads the scenarios that were named, or all of the checkout's.
fn load_scenarios(checkout: &Checkout, names: &[String]) -> Result<Vec<Scenario>> {
    let folder = checkout.path("bench-scenarios");
    let mut files: Vec<PathBuf> = if names.is_empty() {
        all_scenarios(&folder)?
    } else {
        Vec::new()
    };
    for name in names {
        let file = if name.ends_with(".yaml") {
            PathBuf::from(name)
        } else {
            folder.join(format!("{name}.yaml"))
        };
        if !file.is_file() {
            let known: Vec<_> = all_scenarios(&folder)?.iter().filter_map(|file| stem(file)).collect();
            let message = format!("no scenario {name:?}: there is no file {}", file.display());
            return Err(Expected::usage(format!(
                "{message}\nhint: known ones are {}",
                known.join(", ")
            )));
        }
        files.push(file);
    }
    files.iter().map(|file| load_scenario(file)).collect()
}

fn stem(file: &Path) -> Option<String> {
    Some(file.file_stem()?.to_string_lossy().into_owned())
}

fn all_scenarios(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    // The three documented scenarios first, as everybody looks for them; then by name.
    let documented = ["python-only", "system-only", "hybrid"];
    let rank = |file: &PathBuf| {
        let name = stem(file).unwrap_or_default();
        (
            documented
                .iter()
                .position(|known| *known == name)
                .unwrap_or(documented.len()),
            name,
        )
    };
    files.sort_by_cached_key(rank);
    if files.is_empty() {
        return Err(Expected::usage(format!("no scenario in {}", folder.display())));
    }
    Ok(files)
}

fn load_scenario(file: &Path) -> Result<Scenario> {
    let text =
        std::fs::read_to_string(file).map_err(|error| Expected::usage(format!("{}: {error}", file.display())))?;
    Scenario::from_yaml(&file.display().to_string(), &text).map_err(|error| Expected::usage(error.to_string()))
}

/// Which peers exist for a scenario. Both need the system packages outside the sandbox, where there are none.
fn peers_on_machine(scenario: &Scenario, flags: &flags::Bench) -> Vec<Peer> {
    if flags.no_peers
        || !scenario.asks_python()
        || scenario.asks_system()
        || flags.local.network() == flags::NetworkName::None
    {
        return Vec::new();
    }
    vec![Peer::PlainUv, Peer::DirectExec]
}

fn peers_on_cluster(scenario: &Scenario, flags: &flags::Bench, beside: &Neighbours) -> Vec<Peer> {
    let local = beside.local.as_ref().is_some_and(|beside| beside.can_run(scenario));
    let wanted = [
        (Peer::BarePod, !flags.no_peers),
        (Peer::LocalDriver, local),
        (Peer::Job, beside.job.is_some()),
    ];
    wanted.into_iter().filter_map(|(peer, is)| is.then_some(peer)).collect()
}

fn check_space(root: &Path) -> Result<()> {
    match machine::free_bytes(root) {
        Some(free) if free < MIN_FREE_BYTES => Err(Expected::prerequisite(format!(
            "{} has {} MiB free, a bench run wants {} MiB\nhint: free some space or name another folder with --cache-dir",
            root.display(),
            free >> 20,
            MIN_FREE_BYTES >> 20
        ))),
        _ => Ok(()),
    }
}

fn default_out(checkout: &Checkout, driver: &str) -> PathBuf {
    let time = machine::now().replace([':', '-'], "");
    checkout.path("reports").join(format!("{time}-{driver}"))
}
