//! Carries out a bench run from beginning to end: opens the target, takes every sample, and returns the record.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use hybrid_cache_cluster::{Backend, BackendKind, LocalBackend};
use hybrid_cache_driver::local::Network;
use hybrid_cache_model::sample::{AbsentPeer, Completion, Peer, Provenance, RunRecord};
use hybrid_cache_model::{Scenario, Temperature};
use hybrid_cache_tools::{Checkout, Progress, Result, failed};

use crate::alternatives::{self, AlternativeTools};
use crate::builds::{self, TwoBuilds};
use crate::builds_target::BuildsTarget;
use crate::driver_target::DriverTarget;
use crate::levels::{self, LevelsTarget, ToolSource};
use crate::machine;
use crate::mirror::{self, RunningMirror};
use crate::options::{BenchOptions, MeasuredService, PeerChoice};
use crate::peer_driver::{PeerDriver, PeerDrivers};
use crate::plan::{self, Counts};
use crate::provenance;
use crate::session::{Origin, Session};
use crate::target::{self, BenchTarget};
use crate::via::ServiceTarget;

/// Why `--peers all` measures no more than the default elsewhere than on this machine's own driver.
const NOT_HERE: &str =
    "what people would use instead is measured on this machine only, without --driver and --service-url";

/// The result of a bench run.
pub struct Measured {
    /// The folder of the report.
    pub out: PathBuf,
    /// All measurements.
    pub record: RunRecord,
    /// Why the run stopped early, if neither its plan nor the user ended it.
    pub ended: Result<()>,
}

/// The opened target, with everything known about it.
struct Opened {
    target: Box<dyn BenchTarget>,
    provenance: Provenance,
    /// Peers of each scenario.
    peers: Vec<Vec<Peer>>,
    /// Peers that were asked for and cannot be measured.
    absent: Vec<AbsentPeer>,
    counts: Counts,
    /// The other build, in words.
    against: Option<String>,
    mirror: Option<Rc<RunningMirror>>,
}

/// Opens the target and takes every sample. Ctrl-C ends the run early; the samples taken before are kept.
///
/// # Errors
/// A prerequisite is missing, or the report's folder cannot be written. Errors after the first sample are in [`Measured::ended`].
pub async fn measure(
    checkout: &Checkout,
    scenarios: Vec<Scenario>,
    options: &BenchOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Measured> {
    mirror::check(options)?;
    if options.levels.is_some() {
        levels::check(options, &scenarios)?;
    }
    let opened = match (&options.service, &options.builds) {
        _ if options.levels.is_some() => open_levels(checkout, &scenarios, options, progress).await?,
        (Some(service), _) => open_service(checkout, &scenarios, service, options, progress).await?,
        (None, Some(builds)) => open_builds(checkout, &scenarios, builds, options, progress).await?,
        (None, None) => open_driver(checkout, &scenarios, options, progress).await?,
    };
    let Opened {
        target,
        provenance,
        peers,
        absent,
        counts,
        against,
        mirror,
    } = opened;
    let out = options
        .out
        .clone()
        .unwrap_or_else(|| default_out(checkout, &provenance.driver));
    let name = match (&provenance.cluster, &provenance.service) {
        (Some(cluster), _) => format!("cluster {}", cluster.context),
        (None, Some(service)) => format!("the task service at {}", service.url),
        (None, None) => provenance.cpu.clone(),
    };
    let count = scenarios.len();
    progress.line(&format!(
        "measuring {count} scenarios on {name}; report in {}",
        out.display()
    ));
    let origin = Origin {
        provenance,
        against,
        absent_peers: absent,
        has_levels: options.levels.is_some(),
    };
    let mut session = Session::start(target, scenarios, origin, options.until, &out)?;
    let seed = options.seed.unwrap_or_else(fresh_seed);
    let ended = blocks(&mut session, (counts, &peers), seed, options, progress.as_ref()).await;
    let is_complete = session.record().completion == Completion::Complete;
    let mut record = session.finish(progress.as_ref()).await;
    let Some(mirror) = mirror else {
        return Ok(Measured { out, record, ended });
    };
    let has_settled = mirror.settle(is_complete).await;
    let problems = mirror.problems(has_settled);
    problems
        .iter()
        .for_each(|problem| progress.line(&format!("warning: {problem}")));
    record.provenance.mirror = Some(mirror.record());
    record.provenance.notes.extend(problems);
    // What is missing matters more than the failure that it led to, if there is one.
    let ended = mirror.is_complete().and(ended);
    Ok(Measured { out, record, ended })
}

/// Measures a block of rounds, and if a gate fails on it, a second one: a failure counts only if fresh rounds confirm it.
async fn blocks(
    session: &mut Session,
    (counts, peers): (Counts, &[Vec<Peer>]),
    seed: u32,
    options: &BenchOptions,
    progress: &dyn Progress,
) -> Result<()> {
    if let Some(counts) = options.levels {
        let block = plan::levels(counts, session.record().scenarios.len(), seed);
        return session.measure(&block, progress).await;
    }
    let draw = |record: &RunRecord, seed, counts| plan::block(counts, peers, seed, &record.blocks);
    match options.until {
        Some(until) => {
            let draw = |done, rounds| plan::stretch(counts, peers, seed, (done, rounds));
            session.measure_until(until, seed, draw, progress).await?;
        }
        None => session.measure(&draw(session.record(), seed, counts), progress).await?,
    }
    let Some(gate) = &options.gate else { return Ok(()) };
    if session.record().completion == Completion::Interrupted {
        return Ok(());
    }
    let failures = gate.judge(session.record()).failures;
    if failures.is_empty() {
        return Ok(());
    }
    let about: Vec<&str> = failures.iter().map(|failure| failure.about.as_str()).collect();
    progress.line(&format!(
        "the gate fails for {}; measuring again to confirm it",
        about.join("; ")
    ));
    // As many rounds as the first block has, whatever decided that.
    let rounds: u32 = session.record().blocks.iter().map(|block| block.rounds).sum();
    let counts = match options.until {
        Some(_) => counts.of_rounds(rounds),
        None => counts,
    };
    // A service's caches are full by then: a first run of it would only fail.
    let counts = match options.service {
        Some(_) => Counts { first: 0, ..counts },
        None => counts,
    };
    let second = draw(session.record(), seed.wrapping_add(1), counts);
    session.measure(&second, progress).await
}

/// A seed that differs from run to run.
fn fresh_seed() -> u32 {
    let time = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    time.map_or(0, |time| time.subsec_nanos() ^ std::process::id())
}

/// The default folder of a report.
pub fn default_out(checkout: &Checkout, driver: &str) -> PathBuf {
    let time = machine::now().replace([':', '-'], "");
    checkout.path("reports").join(format!("{time}-{driver}"))
}

async fn open_driver(
    checkout: &Checkout,
    scenarios: &[Scenario],
    options: &BenchOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Opened> {
    let (backend, mirror) = match &options.mirror {
        Some(choice) => {
            let (backend, mirror) = mirror::open(checkout, scenarios, choice, options, progress.as_ref())?;
            (backend, Some(mirror))
        }
        None => {
            let (machine, cluster) = (&options.machine, &options.cluster);
            let backend = Backend::open(checkout, options.backend, machine, cluster, progress.as_ref()).await?;
            (backend, None)
        }
    };
    backend.can_run(scenarios)?;
    if let Backend::Local(local) = &backend {
        machine::check_space(&local.machine.config.root)?;
    }
    let mut provenance = provenance::collect(checkout, &backend, options).await?;
    provenance.mirror = mirror.as_ref().map(|mirror| mirror.record());
    if let Backend::Local(local) = &backend
        && let Some(reason) = local.driver.network().await.reason
    {
        let note = format!("tasks share this machine's network, its loopback included: {reason}");
        progress.line(&format!("warning: {note}"));
        provenance.notes.push(note);
    }
    let drivers = match &backend {
        Backend::Cluster(cluster) if options.peers != PeerChoice::None => {
            // Workflows and standby pods are compared with Jobs.
            let has_job = options.backend == BackendKind::Argo || cluster.connection.config.standby.is_some();
            peer_drivers(checkout, options, has_job, &mut provenance.notes, progress).await?
        }
        _ => PeerDrivers::default(),
    };
    let tools = alternatives_on_machine(checkout, &backend, options, &mut provenance, progress);
    let mut absent = Vec::new();
    let mut peers_of = |scenario| match &backend {
        _ if options.peers == PeerChoice::None => Vec::new(),
        Backend::Local(_) => {
            let mut peers = peers_on_machine(scenario, options);
            if let Some(tools) = &tools {
                peers.extend(alternatives::peers(tools, scenario, &mut absent));
            }
            peers
        }
        Backend::Cluster(_) => peers_on_cluster(scenario, &drivers),
    };
    let peers = scenarios.iter().map(&mut peers_of).collect();
    let mut target = DriverTarget::new(backend, drivers, options.tenant.clone());
    target.needs(mirror.clone());
    if let Some(tools) = tools {
        target.add_alternatives(tools).await?;
    }
    Ok(Opened {
        target: Box::new(target),
        provenance,
        peers,
        absent,
        counts: options.counts,
        against: None,
        mirror,
    })
}

async fn open_levels(
    checkout: &Checkout,
    scenarios: &[Scenario],
    options: &BenchOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Opened> {
    let local = LocalBackend::open(checkout, &options.machine, progress.as_ref())?;
    let source = ToolSource {
        checkout: checkout.clone(),
        options: options.machine.clone(),
        runner: local.machine.config.runner.clone(),
    };
    let backend = Backend::Local(Box::new(local));
    backend.can_run(scenarios)?;
    let provenance = provenance::collect(checkout, &backend, options).await?;
    let limits = target::limits(&backend);
    let Backend::Local(local) = backend else {
        return Err(failed!("levels are measured on this machine only"));
    };
    machine::check_space(&local.machine.config.root)?;
    Ok(Opened {
        target: Box::new(LevelsTarget::open(*local, limits, source, options.tenant.clone()).await?),
        provenance,
        peers: Vec::new(),
        absent: Vec::new(),
        counts: options.counts,
        against: None,
        mirror: None,
    })
}

async fn open_builds(
    checkout: &Checkout,
    scenarios: &[Scenario],
    builds: &TwoBuilds,
    options: &BenchOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Opened> {
    let other = builds::find(checkout, builds, progress.as_ref())?;
    let backend = Backend::open(
        checkout,
        BackendKind::Local,
        &options.machine,
        &options.cluster,
        progress.as_ref(),
    )
    .await?;
    backend.can_run(scenarios)?;
    machine::check_space(&builds.caches)?;
    let mut provenance = provenance::collect(checkout, &backend, options).await?;
    provenance
        .notes
        .push(format!("two builds side by side; the other one is {}", other.what));
    let counts = options.counts;
    let wanted = |peer: &Peer| match peer.temperature() {
        Temperature::First => counts.first > 0,
        _ => counts.cached > 0,
    };
    let peers = [Peer::OtherFirst, Peer::OtherCached].into_iter().filter(wanted);
    let peers = vec![peers.collect(); scenarios.len()];
    Ok(Opened {
        target: Box::new(BuildsTarget::open(builds, &other.program).await?),
        provenance,
        peers,
        absent: Vec::new(),
        counts,
        against: Some(other.what),
        mirror: None,
    })
}

async fn open_service(
    checkout: &Checkout,
    scenarios: &[Scenario],
    service: &MeasuredService,
    options: &BenchOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Opened> {
    let (mut target, record) = ServiceTarget::open(service, progress).await?;
    let client = provenance::of_client(checkout, "service", &options.command);
    let mut provenance = provenance::through_service(client, record.clone());
    let has_peers = options.peers != PeerChoice::None;
    if options.peers == PeerChoice::All {
        provenance.notes.push(NOT_HERE.to_owned());
    }
    if has_peers {
        target
            .add_direct_driver(checkout, &record, options, &mut provenance.notes)
            .await;
    }
    let peers_of = |scenario| {
        if has_peers { target.peers(scenario) } else { Vec::new() }
    };
    let peers = scenarios.iter().map(peers_of).collect();
    Ok(Opened {
        target: Box::new(target),
        provenance,
        peers,
        absent: Vec::new(),
        // A second first run would find what the first one left in the caches.
        counts: Counts {
            first: 1,
            ..options.counts
        },
        against: None,
        mirror: None,
    })
}

/// What people would use instead, if it was asked for and tasks run on this machine.
fn alternatives_on_machine(
    checkout: &Checkout,
    backend: &Backend,
    options: &BenchOptions,
    provenance: &mut Provenance,
    progress: &Arc<dyn Progress>,
) -> Option<AlternativeTools> {
    if options.peers != PeerChoice::All {
        return None;
    }
    let note = match backend {
        Backend::Local(_) if options.machine.network == Network::None => {
            "tasks have no network here, so none of the tools that people would use instead was measured".to_owned()
        }
        Backend::Local(local) => {
            let tools = AlternativeTools::find(checkout, &local.machine, progress.as_ref());
            provenance.tools.extend(tools.records.iter().cloned());
            return Some(tools);
        }
        Backend::Cluster(_) => NOT_HERE.to_owned(),
    };
    progress.line(&format!("warning: {note}"));
    provenance.notes.push(note);
    None
}

/// Opens the drivers that are peers of a cluster's. A machine that cannot run tasks measures the cluster without them.
async fn peer_drivers(
    checkout: &Checkout,
    options: &BenchOptions,
    has_job: bool,
    notes: &mut Vec<String>,
    progress: &Arc<dyn Progress>,
) -> Result<PeerDrivers> {
    let local = match PeerDriver::open(checkout, BackendKind::Local, options, progress.as_ref()).await {
        Ok(driver) => Some(driver),
        Err(error) => {
            let error = format!("{error:#}").replace('\n', "; ");
            notes.push(format!("no local driver beside the cluster: {error}"));
            None
        }
    };
    let job = match has_job {
        true => Some(PeerDriver::open(checkout, BackendKind::Kube, options, progress.as_ref()).await?),
        false => None,
    };
    Ok(PeerDrivers { local, job })
}

/// Peers on this machine. Both need the system packages outside the sandbox, where there are none, and the network of this
/// machine.
fn peers_on_machine(scenario: &Scenario, options: &BenchOptions) -> Vec<Peer> {
    if !scenario.asks_python() || scenario.asks_system() || options.machine.network == Network::None {
        return Vec::new();
    }
    vec![Peer::PlainUv, Peer::DirectExec]
}

fn peers_on_cluster(scenario: &Scenario, drivers: &PeerDrivers) -> Vec<Peer> {
    let local = drivers.local.as_ref().is_some_and(|driver| driver.can_run(scenario));
    let local = local.then_some(Peer::LocalDriver);
    let job = drivers.job.as_ref().map(|_| Peer::Job);
    [Some(Peer::BarePod), local, job].into_iter().flatten().collect()
}
