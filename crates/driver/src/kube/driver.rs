//! The kube driver: opens a namespace, and answers for its tasks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::try_join_all;
use hybrid_cache_model::pod::{PodMaintainReport, PodMaintenanceCommand};
use hybrid_cache_model::standby::StandbyStatus;
use hybrid_cache_model::task_error::Faults;
use hybrid_cache_model::volume_set::VolumeSetStatus;
use hybrid_cache_model::{Failure, FailureKind, Outcome, Phase, SourcePolicy, Task, TaskErrors, TaskSpec, Tenant};
use k8s_openapi::jiff::Timestamp;
use tokio::sync::watch;

use crate::kube::api::cluster::Cluster;
use crate::kube::api::connect::{self, Reach};
use crate::kube::api::create_error::CreateError;
use crate::kube::bare_pod::{self, BarePod};
use crate::kube::config::{KubeConfig, VolumeSet};
use crate::kube::flow::adopt::{self, EarlierSubmit, SubmittedTask};
use crate::kube::flow::discard;
use crate::kube::flow::recent_hits::CacheRequest;
use crate::kube::flow::task_registry::{Presence, TaskAnswer, TaskHandle, TaskRegistry};
use crate::kube::maintenance::contents::ClusterContents;
use crate::kube::maintenance::merge::{self, SetReport};
use crate::kube::maintenance::{epochs, on_sets, sweep};
use crate::kube::names;
use crate::kube::shared::Shared;
use crate::kube::standby::keeper;
use crate::kube::standby::set::{self, PoolKey};
use crate::log::LogReader;
use crate::trace::{RequestRecorder, TraceConfig};
use crate::{Driver, DriverError, Epoch, Room, SubmitOptions, Ticket, ids};

/// The driver's name if tasks are Jobs.
pub const KUBE: &str = "kube";
/// The driver's name if tasks are Workflows.
const ARGO: &str = "argo";

/// Runs tasks on a cluster.
pub struct KubeDriver {
    shared: Arc<Shared>,
    tasks: TaskRegistry,
}

impl KubeDriver {
    /// Opens a namespace of a cluster: checks that the cluster answers, begins to watch the namespace, and deletes what
    /// crashed drivers left there. Needs a tokio runtime.
    ///
    /// # Errors
    /// The configuration is invalid, or the cluster does not answer.
    pub async fn open(client: kube::Client, config: KubeConfig) -> Result<KubeDriver, DriverError> {
        config.check()?;
        let cluster = Arc::new(Cluster::new(client, &config.namespace, config.argo.is_some()));
        cluster.check().await?;
        let shared = Arc::new(Shared::start(cluster, config));
        tokio::spawn(sweep::run(Arc::downgrade(&shared)));
        if let Some(range) = shared.config.standby {
            let sets = 0..shared.sets.count();
            let general = sets.map(|set| {
                let standing = PoolKey::standing();
                (PoolKey { set, ..standing }, range)
            });
            for (key, range) in general.chain(set::prepared_pools(&shared.config)) {
                let name = set::name(&shared.config, &key);
                shared.standby.ensure(&key, &name, range, true);
            }
            tokio::spawn(keeper::run(Arc::downgrade(&shared)));
        }
        Ok(KubeDriver {
            shared,
            tasks: TaskRegistry::default(),
        })
    }

    /// Connects, and opens the driver there; see [`KubeDriver::open`].
    ///
    /// # Errors
    /// The kubeconfig or the pod's token cannot be read, or the cluster does not answer.
    pub async fn connect(reach: &Reach, config: KubeConfig) -> Result<KubeDriver, DriverError> {
        KubeDriver::open(connect::client(reach).await?, config).await
    }

    /// Records requests from now on. A second call changes nothing. Nothing is written before the first request.
    pub fn record(&self, trace: TraceConfig) {
        let contents = Arc::new(ClusterContents(Arc::downgrade(&self.shared)));
        let recorder = RequestRecorder::new(trace, self.shared.config.max_age_s, contents);
        // An error means that an earlier call has set it.
        let _ = self.shared.trace.set(recorder);
    }

    fn policy(&self) -> SourcePolicy<'_> {
        let network = &self.shared.config.network;
        SourcePolicy::new(&network.sources, &network.python_variables)
    }

    /// The task, checked also against the index that its pod would use and against what the operator lets one task have.
    fn checked(&self, spec: &TaskSpec) -> Result<Task, TaskErrors> {
        let mut faults = Faults::default();
        let task = faults.keep(spec.check_for(&self.policy()).map(Some));
        faults.keep(self.shared.config.check_resources(&spec.resources));
        // Without a fault there is a task.
        faults.result(task)?.map_or_else(|| spec.check(), Ok)
    }

    /// Drops the remembered hit of a task's packages, as happens an hour after their use was recorded, so that the next task
    /// with them records their use again. For replays, which compress time.
    ///
    /// # Errors
    /// The task's text is not acceptable.
    pub fn forget_use(&self, epoch: &Epoch, tenant: &Tenant, spec: &TaskSpec) -> Result<(), DriverError> {
        let request = CacheRequest::new(epoch, tenant, &spec.check()?);
        self.shared.recent_hits.forget(&request);
        Ok(())
    }

    /// The configuration that the driver was opened with.
    pub fn config(&self) -> &KubeConfig {
        &self.shared.config
    }

    /// Submits a task under an id, or finds the one that exists, whichever process submitted it.
    async fn begin(&self, id: String, submitted: SubmittedTask, earlier: EarlierSubmit) -> Result<Ticket, DriverError> {
        loop {
            if let Some(channels) = self.tasks.enter(&id) {
                let (shared, tasks) = (Arc::clone(&self.shared), self.tasks.clone());
                // The caller may go away while the task is being submitted; the task continues.
                let task = submitted.clone();
                tokio::spawn(adopt::submit(shared, tasks, id.clone(), task, channels, earlier));
            }
            let Some(mut presence) = self.tasks.pick(&id, |task| task.presence.clone()) else {
                continue;
            };
            let answered = presence
                .wait_for(|presence| !matches!(presence, Presence::Asking))
                .await;
            let answered = answered.map(|presence| presence.clone());
            match answered {
                Ok(Presence::Present) => return Ok(self.ticket(&id)),
                Ok(Presence::Unanswered(CreateError::MaybeCreated(failure))) => return Err(failure.into()),
                Ok(Presence::Unanswered(CreateError::NotCreated(failure) | CreateError::Refused(failure))) => {
                    return Err(DriverError::NotStarted(failure));
                }
                // Another call only looked for the task, and its entry is gone.
                Ok(Presence::Absent) => {}
                Ok(Presence::Asking) | Err(_) => return Err(DriverError::UnknownTicket(self.ticket(&id))),
            }
        }
    }

    fn ticket(&self, id: &str) -> Ticket {
        Ticket {
            driver: self.name().to_owned(),
            id: id.to_owned(),
        }
    }

    /// Reads something of a task. A task that this process does not know is looked for in the cluster.
    fn find<T>(&self, ticket: &Ticket, pick: impl FnOnce(&TaskHandle) -> T) -> Result<T, DriverError> {
        if !self.knows(ticket) {
            return Err(DriverError::UnknownTicket(ticket.clone()));
        }
        if let Some(channels) = self.tasks.enter(&ticket.id) {
            let (shared, tasks) = (Arc::clone(&self.shared), self.tasks.clone());
            tokio::spawn(adopt::adopt(shared, tasks, ticket.id.clone(), channels));
        }
        let unknown = || DriverError::UnknownTicket(ticket.clone());
        self.tasks.pick(&ticket.id, pick).ok_or_else(unknown)
    }

    async fn answer(&self, mut answers: watch::Receiver<TaskAnswer>, ticket: &Ticket) -> Result<Outcome, DriverError> {
        let found = answers.wait_for(|answer| !matches!(answer, TaskAnswer::Pending)).await;
        match found.map(|answer| answer.clone()) {
            Ok(TaskAnswer::Outcome(outcome)) => Ok(*outcome),
            Ok(TaskAnswer::Unreachable(failure)) => Err(failure.into()),
            Ok(TaskAnswer::Absent | TaskAnswer::Pending) | Err(_) => Err(DriverError::UnknownTicket(ticket.clone())),
        }
    }

    /// Runs a maintenance command in a pod. Commands about epochs mount whole volumes, the others those of `epoch`. With several
    /// volume sets, all of them get the same command, and their answers are joined: figures are added up, paths name the set.
    ///
    /// # Errors
    /// A pod could not run or did not answer, or it reported a failure; with several sets the failure names the set.
    pub async fn maintain(&self, epoch: &Epoch, question: PodMaintenanceCommand) -> Result<PodMaintainReport, Failure> {
        merge::joined(self.maintain_sets(epoch, |_| question.clone()).await)
    }

    /// Runs a maintenance command on each volume set at one time, and returns each answer; see [`merge::joined`].
    pub async fn maintain_sets(
        &self,
        epoch: &Epoch,
        question: impl Fn(&VolumeSet) -> PodMaintenanceCommand,
    ) -> Vec<SetReport> {
        on_sets::ask(&self.shared, epoch, question).await
    }

    /// Creates the folders of the standing caches on the volumes of all sets, which pods mount. Needed once for each pair of
    /// volumes; folders that exist stay as they are.
    ///
    /// # Errors
    /// The volumes cannot be mounted or written.
    pub async fn initialise(&self) -> Result<(), Failure> {
        let tenant = Tenant::default();
        let question = PodMaintenanceCommand::CreateEpoch { epoch: None, tenant };
        self.maintain(&Epoch::Standing, question).await.map(|_| ())
    }

    /// What crashed drivers have left and the next driver that is opened deletes: `epoch NAME`, `secret/NAME`.
    ///
    /// # Errors
    /// The cluster denies access, or does not answer.
    pub async fn leftovers(&self) -> Result<Vec<String>, Failure> {
        sweep::leftovers(&self.shared).await
    }

    /// Has standby pods for the caches of an epoch and a tenant on each volume set, and waits until all are ready.
    ///
    /// # Errors
    /// They are not within `limit`, or this driver has no standby pods.
    pub async fn fill_standby(&self, epoch: &Epoch, tenant: &Tenant, limit: Duration) -> Result<(), Failure> {
        let none = || Failure::new(FailureKind::Internal, "this driver is not configured for standby pods");
        let range = self.shared.config.standby.ok_or_else(none)?;
        let keys = (0..self.shared.sets.count()).map(|set| PoolKey {
            epoch: epoch.clone(),
            tenant: tenant.clone(),
            set,
            prepared: None,
        });
        let (keys, pools): (Vec<PoolKey>, _) = (keys.collect(), &self.shared.standby);
        for key in &keys {
            if !pools.ensure(key, &set::name(&self.shared.config, key), range, false) {
                return Err(Failure::new(
                    FailureKind::Internal,
                    "this driver has too many pools of standby pods",
                ));
            }
        }
        let prepared = set::prepared_pools(&self.shared.config).map(|(key, _)| key);
        let prepared = prepared.filter(|key| (&key.epoch, &key.tenant) == (epoch, tenant) && pools.has(key));
        let keys: Vec<PoolKey> = prepared.chain(keys).collect();
        try_join_all(keys.iter().map(|key| pools.wait_until_full(key, limit))).await?;
        Ok(())
    }

    /// Ends all pools of this driver, with the pods that wait. A pod that runs a task ends its task.
    ///
    /// # Errors
    /// The cluster refuses, or does not answer.
    pub async fn end_standby(&self) -> Result<(), Failure> {
        keeper::end(&self.shared, |_| true).await
    }

    /// Runs a program that does nothing in a pod of the same image, mounts, requests and restrictions as the task's own pod would
    /// have if everything that it asks for were cached. The pod is created and watched as a task's is, and its end is seen in the
    /// same way.
    ///
    /// # Errors
    /// The task is not acceptable, the cluster does not accept the pod, or its program fails.
    pub async fn bare_pod(&self, epoch: &Epoch, spec: &TaskSpec) -> Result<BarePod, Failure> {
        bare_pod::run(&self.shared, epoch, spec).await
    }
}

/// A ticket that this process does not know is looked for in the cluster, so that a restarted service finds its tasks.
/// `logs`, `preparing` and `cancel` start the search and answer at once; `wait` and `settle` report if there is no such task.
#[async_trait]
impl Driver for KubeDriver {
    fn name(&self) -> &'static str {
        match self.shared.config.argo {
            Some(_) => ARGO,
            None => KUBE,
        }
    }

    fn check(&self, spec: &TaskSpec) -> Result<(), TaskErrors> {
        self.checked(spec).map(drop)
    }

    fn knows(&self, ticket: &Ticket) -> bool {
        // A driver whose tasks are Workflows still finds earlier tasks that were Jobs.
        ticket.driver == KUBE || ticket.driver == self.name()
    }

    fn remembers(&self) -> Duration {
        Duration::from_secs(self.shared.config.ttl_s.into())
    }

    fn unseen(&self) -> Duration {
        self.shared.pulse.outage_time()
    }

    async fn room(&self) -> Room {
        self.shared.admission.room().await
    }

    fn full(&self) -> Option<String> {
        // While the cluster does not answer, what it said before may be outdated.
        let is_down = self.shared.pulse.is_down();
        let silent = || "the cluster does not answer".to_owned();
        is_down.then(silent).or_else(|| self.shared.admission.full())
    }

    async fn submit(&self, spec: &TaskSpec, options: &SubmitOptions) -> Result<Ticket, DriverError> {
        let submitted = SubmittedTask {
            spec: spec.clone(),
            task: self.checked(spec)?,
            options: options.for_task(spec),
            clock: Instant::now(),
        };
        let Some(id) = &options.id else {
            return self
                .begin(ids::unique("task"), submitted, EarlierSubmit::Impossible)
                .await;
        };
        names::check_id(id)?;
        let earlier = if options.first {
            EarlierSubmit::Impossible
        } else {
            EarlierSubmit::Possible
        };
        self.begin(id.clone(), submitted, earlier).await
    }

    async fn wait(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        let receiver = self.find(ticket, |task| task.ended.clone())?;
        self.answer(receiver, ticket).await
    }

    async fn settle(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        let receiver = self.find(ticket, |task| task.settled.clone())?;
        self.answer(receiver, ticket).await
    }

    async fn cancel(&self, ticket: &Ticket) -> Result<(), DriverError> {
        self.find(ticket, |task| task.cancel.send_replace(true)).map(|_| ())
    }

    fn preparing(&self, ticket: &Ticket) -> Result<watch::Receiver<Option<Phase>>, DriverError> {
        self.find(ticket, |task| task.preparing.clone())
    }

    fn waits(&self, ticket: &Ticket) -> Option<String> {
        let known = self.tasks.pick(&ticket.id, |task| task.waits.borrow().why.clone());
        known.flatten().filter(|_| self.knows(ticket))
    }

    fn waited(&self, ticket: &Ticket) -> Duration {
        let known = self.tasks.pick(&ticket.id, |task| task.waits.borrow().waited());
        let waited = known.filter(|_| self.knows(ticket)).unwrap_or_default();
        // The driver lets no task wait longer than this.
        waited.min(self.shared.retention())
    }

    fn logs(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        self.find(ticket, |task| task.log.reader())
    }

    fn take_log(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        self.find(ticket, |task| task.log.take())
    }

    fn forget(&self, ticket: &Ticket) {
        if let Some(task) = self.tasks.remove(&ticket.id) {
            tokio::spawn(discard::discard(Arc::clone(&self.shared), task));
        }
    }

    async fn flush_trace(&self) -> Option<String> {
        match self.shared.trace.get() {
            Some(trace) => trace.flush().await,
            None => None,
        }
    }

    fn trace_warning(&self) -> Option<String> {
        self.shared.trace.get().and_then(RequestRecorder::warning)
    }

    fn standby(&self) -> Option<StandbyStatus> {
        let is_configured = self.shared.config.standby.is_some();
        is_configured.then(|| self.shared.standby.status(Timestamp::now()))
    }

    fn volume_sets(&self) -> Vec<VolumeSetStatus> {
        match self.shared.sets.count() {
            1 => Vec::new(),
            _ => self.shared.sets.status(),
        }
    }

    async fn fresh_epoch(&self) -> Result<Epoch, DriverError> {
        Ok(epochs::create(&self.shared).await?)
    }

    async fn discard_epoch(&self, epoch: &Epoch) -> Result<(), DriverError> {
        match epoch {
            Epoch::Standing => Ok(()),
            Epoch::Fresh(name) => {
                // Its pods mount what is deleted.
                keeper::end(&self.shared, |key| key.epoch == *epoch).await?;
                Ok(epochs::delete(&self.shared, name).await?)
            }
        }
    }
}
