//! What all tasks of one kube driver share.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hybrid_cache_model::{CachePolicy, Task};
use tokio::task::JoinSet;

use crate::kube::api::cluster::Cluster;
use crate::kube::api::pulse::{self, Pulse};
use crate::kube::config::KubeConfig;
use crate::kube::flow::admission::AdmissionQueue;
use crate::kube::flow::kept_failures::KeptFailures;
use crate::kube::flow::recent_hits::{CacheRequest, RecentHits};
use crate::kube::logs::follow::StreamSplitting;
use crate::kube::maintenance::tenant_folders::TenantFolders;
use crate::kube::observe::registry::WorkloadRegistry;
use crate::kube::observe::watch::Watches;
use crate::kube::sets::key;
use crate::kube::sets::state::{SetTicket, VolumeSets, Wish};
use crate::kube::standby::pool::StandbyPools;
use crate::needs::Needs;
use crate::trace::RequestRecorder;

/// What all tasks of one kube driver share.
pub struct Shared {
    /// The configuration that the driver was opened with.
    pub config: KubeConfig,
    /// The namespace.
    pub cluster: Arc<Cluster>,
    /// The workloads that are followed.
    pub registry: Arc<WorkloadRegistry>,
    /// Requests that hit the caches lately.
    pub recent_hits: RecentHits,
    /// The volume sets.
    pub sets: Arc<VolumeSets>,
    /// The tenants whose folders exist on the volumes.
    pub tenants: TenantFolders,
    /// Whether the cluster separates the two output streams.
    pub splitting: Arc<StreamSplitting>,
    /// Whether the API server answers.
    pub pulse: Arc<Pulse>,
    /// Tasks without a node.
    pub admission: Arc<AdmissionQueue>,
    /// The standby pods.
    pub standby: Arc<StandbyPools>,
    /// Workloads of failed tasks that stay for people to look at.
    pub kept_failures: KeptFailures,
    /// Records requests; empty until someone asks for a trace.
    pub trace: OnceLock<RequestRecorder>,
    /// The background tasks run for as long as someone may read what they show.
    _pulse: JoinSet<()>,
    _watches: Watches,
}

impl Shared {
    /// Begins to watch the namespace, and to check whether its API server answers.
    pub fn start(cluster: Arc<Cluster>, config: KubeConfig) -> Shared {
        let registry = Arc::default();
        let standby = Arc::default();
        let watches = Watches::start(&cluster, &registry, &standby);
        let pulse = Arc::default();
        let mut checking = JoinSet::new();
        checking.spawn(pulse::run(
            Arc::clone(&cluster),
            Arc::clone(&registry),
            Arc::clone(&pulse),
        ));
        Shared {
            sets: Arc::new(VolumeSets::new(&config)),
            admission: Arc::new(AdmissionQueue::for_sets(config.sets().len())),
            config,
            cluster,
            registry,
            recent_hits: RecentHits::default(),
            tenants: TenantFolders::default(),
            splitting: Arc::default(),
            pulse,
            standby,
            kept_failures: KeptFailures::default(),
            trace: OnceLock::new(),
            _pulse: checking,
            _watches: watches,
        }
    }

    /// Chooses the volume set of a task.
    pub fn place(&self, request: &CacheRequest, task: &Task) -> SetTicket {
        if self.sets.count() == 1 {
            return self.sets.enter(0);
        }
        let uses_volumes = Needs::from(task).any() && task.cache == CachePolicy::Use;
        let wish = if uses_volumes {
            Wish::Environment {
                key: key::of_request(request),
                known_on: self.recent_hits.sets_of(request),
            }
        } else {
            Wish::Any
        };
        self.sets.place(&wish, Instant::now())
    }

    /// How long the cluster keeps an ended task that no one has fetched, and so how long an outage may last.
    pub fn retention(&self) -> Duration {
        Duration::from_secs(self.config.ttl_s.into())
    }
}
