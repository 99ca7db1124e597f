//! `cargo xtask size --prove`: replays a slice of the trace on real volumes.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_report::units;
use hybrid_cache_sizing::proof::{Ended, Proof};
use hybrid_cache_sizing::{Source, Targets, Volume};
use hybrid_cache_trials::prove::{self, Bounds, Control, Plan, Progress, ProofSite};
use indicatif::{ProgressBar, ProgressStyle};

use crate::checkout::Checkout;
use crate::exit::{Exit, Expected};
use crate::flags::{self, DriverName};
use crate::local::{self, Machine};

use super::node::{self, KindNode};

/// The folder of proofs inside the cache folder.
const FOLDER: &str = "proof";
/// How often a line is written where there is no terminal.
const SAY_EVERY: Duration = Duration::from_secs(15);

/// What is replayed unless the command line says otherwise: environments, requests, and microseconds that it may take.
const ON_MACHINE: (usize, usize, f64) = (40, 600, 1800e6);
/// In a cluster each request is a pod.
const IN_CLUSTER: (usize, usize, f64) = (12, 60, 900e6);

/// True if the command line wants the replay in a cluster's node.
fn in_cluster(flags: &flags::Size) -> bool {
    flags.cluster.context.is_some() || matches!(flags.driver, Some(DriverName::Kube | DriverName::Argo))
}

/// Refuses where no file system can be made.
///
/// # Errors
/// This process may not mount, or a program is missing; the message says what still works.
pub fn can_prove(flags: &flags::Size) -> Result<()> {
    if flags.driver == Some(DriverName::Argo) {
        return Err(Expected::usage(
            "--prove has no replay as Workflows of Argo\nhint: `--driver kube` replays in the same pods, as Jobs",
        ));
    }
    if in_cluster(flags) {
        node::cluster_of(&flags.cluster)?;
    }
    match prove::cannot() {
        None => Ok(()),
        Some(why) => Err(Expected::prerequisite(format!(
            "nothing can be replayed here: {why}\nhint: without --prove the sizes are computed all the same"
        ))),
    }
}

/// Replays a slice.
///
/// # Errors
/// The tools cannot be had, or the replay itself does not work. A prediction that does not hold is no error.
pub fn run(flags: &flags::Size, source: &dyn Source, targets: Targets) -> Result<Proof> {
    let plan = plan(flags, targets);
    let stop = Arc::new(AtomicBool::new(false));
    let shown = Shown::new();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    let proof = runtime.block_on(async {
        let ground = Ground::open(flags).await?;
        let stopped = Arc::clone(&stop);
        // The request at work is finished, mounts are taken away, and what was replayed is reported.
        let listening = tokio::spawn(async move {
            if asked_to_end().await {
                eprintln!("ending after this request; what was replayed is reported");
                stopped.store(true, Ordering::Relaxed);
            }
        });
        let control = Control {
            stop: &stop,
            tell: &|progress| shown.tell(progress),
        };
        let proof = prove::prove(source, ground.place(), &plan, &control).await;
        listening.abort();
        anyhow::Ok(proof?)
    })?;
    shown.end();
    Ok(proof)
}

fn plan(flags: &flags::Size, targets: Targets) -> Plan {
    let (environments, requests, limit_us) = if in_cluster(flags) { IN_CLUSTER } else { ON_MACHINE };
    Plan {
        volumes: Volume::ALL.to_vec(),
        bounds: Bounds {
            environments: flags.prove_environments.unwrap_or(environments),
            requests: flags.prove_requests.unwrap_or(requests),
            bytes: u64::MAX,
        },
        most_bytes: flags.prove_bytes,
        claim_bytes: flags.prove_size,
        targets,
        around: prove::AROUND.to_vec(),
        told: 1.0,
        limit: Duration::from_secs_f64(flags.prove_limit.unwrap_or(limit_us) / 1e6),
    }
}

/// Where it is replayed.
enum Ground {
    Machine(Box<LocalConfig>),
    Node { folder: PathBuf, node: Box<KindNode> },
}

impl Ground {
    async fn open(flags: &flags::Size) -> Result<Ground> {
        let checkout = Checkout::find()?;
        if in_cluster(flags) {
            let folder = local::default_root()?.join(FOLDER);
            let node = Box::new(KindNode::open(checkout, &flags.cluster).await?);
            return Ok(Ground::Node { folder, node });
        }
        let provisioned = tokio::task::spawn_blocking(move || Machine::provision(&checkout, &flags::Local::default()));
        let mut config = provisioned.await.context("bringing the tools")??.config;
        // Below the caches of everybody, on the same file system, and never the caches themselves.
        config.root = config.root.join(FOLDER);
        // A replay is no request of anybody.
        config.trace_bytes = 0;
        Ok(Ground::Machine(Box::new(config)))
    }

    fn place(&self) -> ProofSite<'_> {
        match self {
            Ground::Machine(config) => ProofSite::Machine(config),
            Ground::Node { folder, node } => ProofSite::Node {
                folder,
                node: node.as_ref(),
            },
        }
    }
}

/// How the command ends.
pub fn exit(proof: &Proof) -> Exit {
    if !proof.holds() {
        eprintln!("a prediction does not hold\nhint: the report has predicted and observed figures side by side");
        return Exit::Gate;
    }
    if proof.ended == Some(Ended::Interrupted) {
        return Exit::Interrupted;
    }
    if proof.judged() == 0 {
        eprintln!("nothing was replayed far enough to judge it\nhint: give more time with --prove-limit");
        return Exit::Failed;
    }
    Exit::Good
}

/// Ctrl-C, or what a supervisor sends.
async fn asked_to_end() -> bool {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            asked = tokio::signal::ctrl_c() => asked.is_ok(),
            _ = terminate.recv() => true,
        },
        Err(_) => tokio::signal::ctrl_c().await.is_ok(),
    }
}

/// What a person sees meanwhile: a bar on a terminal, a line now and then elsewhere.
struct Shown {
    bar: Option<ProgressBar>,
    said: Mutex<Option<(String, Instant)>>,
}

impl Shown {
    fn new() -> Shown {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            let style = ProgressStyle::with_template("{bar:20} {pos}/{len} {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Shown {
            bar,
            said: Mutex::new(None),
        }
    }

    fn tell(&self, progress: &Progress) {
        let left = progress
            .left_s
            .map(|left_s| format!(", about {} left", units::duration(left_s * 1e6)))
            .unwrap_or_default();
        if let Some(bar) = &self.bar {
            bar.set_length(progress.of as u64);
            bar.set_position(progress.done as u64);
            bar.set_message(format!("{}{left}", progress.what));
            return;
        }
        let Ok(mut said) = self.said.lock() else { return };
        let is_new = said
            .as_ref()
            .is_none_or(|(what, at)| *what != progress.what || at.elapsed() >= SAY_EVERY);
        if is_new {
            *said = Some((progress.what.clone(), Instant::now()));
            eprintln!("{}: {} of {} requests{left}", progress.what, progress.done, progress.of);
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
