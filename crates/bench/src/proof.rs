//! Replays a slice of a trace on real volumes, to show what the computed sizes are worth.

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
/// What is replayed by default: environments, requests, and seconds that it may take.
const ON_MACHINE: (usize, usize, u64) = (40, 600, 1800);
/// In a cluster each request is a pod.
const IN_CLUSTER: (usize, usize, u64) = (12, 60, 900);

/// Where a slice is replayed.
#[derive(Clone, Debug)]
pub enum ProofPlace {
    /// On file systems of this machine.
    Machine(MachineOptions),
    /// On PersistentVolumes in the node of a kind cluster.
    KindNode(ClusterChoice),
}

/// What is replayed, and how much of it.
#[derive(Clone, Debug)]
pub struct ProofOptions {
    /// Where.
    pub place: ProofPlace,
    /// What the sizes are to reach.
    pub targets: Targets,
    /// Most environments; `None` is a default for the place.
    pub environments: Option<usize>,
    /// Most requests; `None` is a default for the place.
    pub requests: Option<usize>,
    /// When the replay ends at the latest; `None` is a default for the place.
    pub limit: Option<Duration>,
    /// Largest file system, in bytes.
    pub most_bytes: u64,
    /// The claim around whose size is replayed, in bytes; `None` is the one recommended for the slice.
    pub claim_bytes: Option<u64>,
}

/// Refuses if no file system can be made there.
///
/// # Errors
/// This process may not mount, a program is missing, or the cluster is not one of kind's.
pub fn can_prove(place: &ProofPlace) -> Result<()> {
    if let ProofPlace::KindNode(cluster) = place {
        kind_cluster_name(cluster)?;
    }
    match prove::cannot() {
        None => Ok(()),
        Some(why) => Err(Error::prerequisite(format!(
            "nothing can be replayed here: {why}\nhint: without --prove the sizes are computed all the same"
        ))),
    }
}

/// Replays a slice. Ctrl-C or SIGTERM ends it after the request that runs; what was replayed is in the result.
///
/// # Errors
/// A tool is missing, or the replay itself does not work. A prediction that does not hold is in the result.
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
        tell: &|told| report(told, progress.as_ref()),
    };
    let proof = prove::prove(source, ground.place(), &plan(options), &control).await;
    listening.abort();
    proof.map_err(|error| Error::other(ErrorClass::Failed, error))
}

fn report(told: &prove::Progress, progress: &dyn Progress) {
    let left = told.left_s.map(|left_s| units::duration(left_s * 1e6));
    let left = left.map(|left| format!(", about {left} left")).unwrap_or_default();
    progress.count(told.done, told.of, &format!("{}{left}", told.what));
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
        told: 1.0,
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
        // Below the shared caches, on the same file system, and never the caches themselves.
        config.root = config.root.join(FOLDER);
        // A replay is not a request of a user.
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

/// Waits for Ctrl-C, or for what a supervisor sends; false if this process cannot hear them.
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
