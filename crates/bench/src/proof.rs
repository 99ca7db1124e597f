//! Replays a slice of a trace on real volumes, to check the computed sizes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hybrid_cache_cluster::{ClusterChoice, ProofNode, kind_cluster_name};
use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_report::units;
use hybrid_cache_sizing::proof::Proof;
use hybrid_cache_sizing::{Source, Targets, Volume};
use hybrid_cache_tools::{
    Checkout, Error, ErrorClass, ErrorContext, Machine, MachineOptions, Progress, Result, default_root,
};
use hybrid_cache_trials::prove::{self, Bounds, Control, Plan, ProofSite};

/// The folder of proofs inside the cache folder.
const FOLDER: &str = "proof";
/// Default size of a replay: environments, requests, and a time limit in seconds.
const ON_MACHINE: (usize, usize, u64) = (40, 600, 1800);
/// Default size of a replay in a cluster, where each request is a pod.
const IN_CLUSTER: (usize, usize, u64) = (12, 60, 900);

/// Where a slice is replayed.
#[derive(Clone, Debug)]
pub enum ProofPlace {
    /// On file systems of this machine.
    Machine(MachineOptions),
    /// On PersistentVolumes in the node of a kind cluster.
    KindNode(ClusterChoice),
}

/// The slice to replay.
#[derive(Clone, Debug)]
pub struct ProofOptions {
    /// Where to replay it.
    pub place: ProofPlace,
    /// Targets of the sizes.
    pub targets: Targets,
    /// Maximum number of environments; `None` means the place's default.
    pub environments: Option<usize>,
    /// Maximum number of requests; `None` means the place's default.
    pub requests: Option<usize>,
    /// Time limit of the replay; `None` means the place's default.
    pub limit: Option<Duration>,
    /// Largest file system, in bytes.
    pub most_bytes: u64,
    /// Bytes of the claim around whose size the slice is replayed; `None` means the size recommended for the slice.
    pub claim_bytes: Option<u64>,
}

/// Checks that a file system can be made in this place.
///
/// # Errors
/// This process may not mount, a program is missing, or the cluster is not a kind cluster.
pub fn can_prove(place: &ProofPlace) -> Result<()> {
    if let ProofPlace::KindNode(cluster) = place {
        kind_cluster_name(cluster)?;
    }
    match prove::cannot() {
        None => Ok(()),
        Some(why) => Err(Error::prerequisite(format!(
            "no trace can be replayed here: {why}\nhint: leave out `--prove` to compute the sizes only"
        ))),
    }
}

/// Replays a slice. Ctrl-C or SIGTERM ends the replay after the current request; the result has what was replayed.
///
/// # Errors
/// A tool is missing, or the replay itself does not work. A wrong prediction is part of the result, not an error.
pub async fn prove(
    checkout: &Checkout,
    source: &dyn Source,
    options: &ProofOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Proof> {
    let ground = Ground::open(checkout, &options.place, progress).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, heard) = (Arc::clone(&stop), Arc::clone(progress));
    let listening = tokio::spawn(async move {
        if asked_to_end().await {
            heard.line("ending after this request; what was replayed is reported");
            stopped.store(true, Ordering::Relaxed);
        }
    });
    let control = Control {
        stop: &stop,
        tell: &|progress_now| report(progress_now, progress.as_ref()),
    };
    let proof = prove::prove(source, ground.place(), &plan(options), &control).await;
    listening.abort();
    proof.map_err(|error| Error::other(ErrorClass::Failed, error))
}

fn report(progress_now: &prove::ReplayProgress, progress: &dyn Progress) {
    let left = progress_now.left_s.map(|left_s| units::duration(left_s * 1e6));
    let left = left.map(|left| format!(", about {left} left")).unwrap_or_default();
    progress.count(
        progress_now.done,
        progress_now.of,
        &format!("{}{left}", progress_now.what),
    );
}

fn plan(options: &ProofOptions) -> Plan {
    let (environments, requests, limit_s) = match options.place {
        ProofPlace::Machine(_) => ON_MACHINE,
        ProofPlace::KindNode(_) => IN_CLUSTER,
    };
    Plan {
        volumes: Volume::ALL.to_vec(),
        bounds: Bounds {
            environments: options.environments.unwrap_or(environments),
            requests: options.requests.unwrap_or(requests),
            bytes: u64::MAX,
        },
        most_bytes: options.most_bytes,
        claim_bytes: options.claim_bytes,
        targets: options.targets,
        around: prove::AROUND.to_vec(),
        claim_share: 1.0,
        limit: options.limit.unwrap_or(Duration::from_secs(limit_s)),
    }
}

/// The place, opened.
enum Ground {
    Machine(Box<LocalConfig>),
    Node { folder: PathBuf, node: Box<ProofNode> },
}

impl Ground {
    async fn open(checkout: &Checkout, place: &ProofPlace, progress: &Arc<dyn Progress>) -> Result<Ground> {
        let options = match place {
            ProofPlace::Machine(options) => options.clone(),
            ProofPlace::KindNode(cluster) => {
                let folder = default_root()?.join(FOLDER);
                let node = Box::new(ProofNode::open(checkout.clone(), cluster).await?);
                return Ok(Ground::Node { folder, node });
            }
        };
        let (checkout, progress) = (checkout.clone(), Arc::clone(progress));
        let provision = move || Machine::provision(&checkout, &options, progress.as_ref());
        let machine = tokio::task::spawn_blocking(provision).await;
        let mut config = machine.context("bringing the tools")??.config;
        // Use a folder below the shared caches, on the same file system, and never the caches themselves.
        config.root = config.root.join(FOLDER);
        // A replayed request is not a request of a user, so it is not recorded.
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

/// Waits for Ctrl-C, or for a supervisor's signal; returns false if this process cannot receive them.
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
