//! The local driver: its tasks, and what callers ask of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hybrid_cache_model::protocol::{Identity, Limits};
use hybrid_cache_model::trust;
use hybrid_cache_model::{Outcome, Phase, TaskErrors, TaskSpec};
use tokio::sync::watch;

use crate::local::config::LocalConfig;
use crate::local::contents::LocalContents;
use crate::local::flow::{self, TaskRun};
use crate::local::folders::{self, Folders};
use crate::local::memory::MemoryGroups;
use crate::local::network::{NetworkStatus, NetworkWait, Networks};
use crate::local::sandbox::HostLayout;
use crate::local::task_resources;
use crate::log::{LogReader, LogWriter};
use crate::trace::{Notes, RequestRecorder};
use crate::{Driver, DriverError, Epoch, Lifetime, SubmitOptions, Ticket, ids};

/// Runs tasks on this machine.
pub struct LocalDriver {
    pub(super) config: Arc<LocalConfig>,
    pub(super) host: Arc<HostLayout>,
    pub(super) folders: Folders,
    memory: Arc<MemoryGroups>,
    networks: Arc<Networks>,
    trace: Option<Arc<RequestRecorder>>,
    tasks: Mutex<HashMap<String, LocalTask>>,
}

/// One task, for the driver's callers.
struct LocalTask {
    ended: watch::Receiver<Option<Outcome>>,
    settled: watch::Receiver<Option<Outcome>>,
    cancel: watch::Sender<bool>,
    preparing: watch::Receiver<Option<Phase>>,
    waits: watch::Receiver<NetworkWait>,
    log: Arc<LogWriter>,
}

impl LocalDriver {
    /// Opens the cache folder, and creates it if it is missing.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(mut config: LocalConfig) -> Result<LocalDriver, DriverError> {
        let folders = Folders::open(&config.root)?;
        let shared = folders.sandbox();
        let cannot_write = || DriverError::io(format!("cannot write the sandbox's files in {shared:?}"));
        let host = HostLayout::read(&shared).map_err(cannot_write())?;
        let trusted = host.trust(&config.certificates).map_err(cannot_write())?;
        // In front, so that a variable of the configuration wins.
        let variables = trusted.iter().flat_map(|file| trust::certificate_variables(file));
        config.task_variables.splice(0..0, variables);
        let (config, host) = (Arc::new(config), Arc::new(host));
        let trace = config.trace().map(|trace| {
            let contents = LocalContents {
                config: Arc::clone(&config),
                host: Arc::clone(&host),
                folders: folders.clone(),
            };
            Arc::new(RequestRecorder::new(trace, config.max_age_s, Arc::new(contents)))
        });
        Ok(LocalDriver {
            networks: Networks::new(Arc::clone(&config), host.identity.is_some()).into(),
            config,
            host,
            folders,
            trace,
            memory: Arc::new(MemoryGroups::open()),
            tasks: Mutex::default(),
        })
    }

    /// The cache folder.
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// The user that runs user code; `None` if this process is not root, and user code runs as its user.
    pub fn identity(&self) -> Option<Identity> {
        self.host.identity
    }

    /// The path of the cache folder.
    pub fn root(&self) -> &Path {
        &self.config.root
    }

    /// The network that tasks get: the configured one, or this machine's if there can be no other. The first call creates one
    /// to find out, which takes about 0.2 s.
    pub async fn network(&self) -> NetworkStatus {
        self.networks.status().await
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, LocalTask>> {
        // The map is complete between its calls, even if one panicked.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find<T>(&self, ticket: &Ticket, pick: impl FnOnce(&LocalTask) -> T) -> Result<T, DriverError> {
        let unknown = || DriverError::UnknownTicket(ticket.clone());
        if ticket.driver != self.name() {
            return Err(unknown());
        }
        self.tasks().get(&ticket.id).map(pick).ok_or_else(unknown)
    }
}

#[async_trait]
impl Driver for LocalDriver {
    fn name(&self) -> &'static str {
        "local"
    }

    fn check(&self, spec: &TaskSpec) -> Result<(), TaskErrors> {
        spec.check_for(&self.config.policy()).map(drop)
    }

    fn check_limits(&self, spec: &TaskSpec, limits: &Limits) -> Result<(), TaskErrors> {
        task_resources::check(&spec.resources, limits)
    }

    /// bubblewrap ends its sandbox with the process that started it.
    fn lifetime(&self) -> Lifetime {
        Lifetime::WithProcess
    }

    async fn submit(&self, spec: &TaskSpec, options: &SubmitOptions) -> Result<Ticket, DriverError> {
        let clock = Instant::now();
        let task = self.config.check(spec)?;
        self.check_limits(spec, &options.limits)?;
        let config = match self.config.for_task(&task)? {
            Some(config) => Arc::new(config),
            None => Arc::clone(&self.config),
        };
        let id = match &options.id {
            Some(id) => folders::check_id(id)?.to_owned(),
            None => ids::unique("task"),
        };
        let ticket = Ticket {
            driver: self.name().to_owned(),
            id: id.clone(),
        };
        let log = Arc::new(LogWriter::new());
        log.hold_to(&options.limits);
        let (cancel, cancelled) = watch::channel(false);
        let (ended_sender, ended) = watch::channel(None);
        let (settled_sender, settled) = watch::channel(None);
        let (phase_sender, preparing) = watch::channel(None);
        let (waits_sender, waits) = watch::channel(NetworkWait::default());
        let run = TaskRun {
            config,
            host: Arc::clone(&self.host),
            folders: self.folders.clone(),
            memory: Arc::clone(&self.memory),
            networks: Arc::clone(&self.networks),
            network: None,
            id: id.clone(),
            spec: spec.clone(),
            task,
            options: options.for_task(spec),
            log: Arc::clone(&log),
            cancel: cancelled,
            preparing: phase_sender,
            waits: waits_sender,
            clock,
            trace: self.trace.clone(),
            notes: Notes {
                is_whole: true,
                ..Notes::default()
            },
        };
        let handle = LocalTask {
            ended,
            settled,
            cancel,
            preparing,
            waits,
            log,
        };
        match self.tasks().entry(id) {
            // The id was submitted before, and its task exists.
            Entry::Occupied(_) => return Ok(ticket),
            Entry::Vacant(place) => place.insert(handle),
        };
        tokio::spawn(async move {
            let outcome = flow::run(run, &ended_sender).await;
            settled_sender.send_replace(Some(outcome));
        });
        Ok(ticket)
    }

    async fn wait(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        let receiver = self.find(ticket, |task| task.ended.clone())?;
        outcome(receiver, ticket).await
    }

    async fn settle(&self, ticket: &Ticket) -> Result<Outcome, DriverError> {
        let receiver = self.find(ticket, |task| task.settled.clone())?;
        outcome(receiver, ticket).await
    }

    async fn cancel(&self, ticket: &Ticket) -> Result<(), DriverError> {
        self.find(ticket, |task| task.cancel.send_replace(true)).map(|_| ())
    }

    fn preparing(&self, ticket: &Ticket) -> Result<watch::Receiver<Option<Phase>>, DriverError> {
        self.find(ticket, |task| task.preparing.clone())
    }

    fn waits(&self, ticket: &Ticket) -> Option<String> {
        self.find(ticket, |task| task.waits.borrow().why()).ok().flatten()
    }

    fn waited(&self, ticket: &Ticket) -> Duration {
        let waited = self.find(ticket, |task| task.waits.borrow().waited());
        waited.unwrap_or_default()
    }

    fn logs(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        self.find(ticket, |task| task.log.reader())
    }

    fn take_log(&self, ticket: &Ticket) -> Result<LogReader, DriverError> {
        self.find(ticket, |task| task.log.take())
    }

    fn forget(&self, ticket: &Ticket) {
        self.tasks().remove(&ticket.id);
    }

    async fn flush_trace(&self) -> Option<String> {
        match &self.trace {
            Some(trace) => trace.flush().await,
            None => None,
        }
    }

    fn trace_warning(&self) -> Option<String> {
        self.trace.as_ref().and_then(|trace| trace.warning())
    }

    async fn fresh_epoch(&self) -> Result<Epoch, DriverError> {
        self.folders.create_epoch()
    }

    async fn discard_epoch(&self, epoch: &Epoch) -> Result<(), DriverError> {
        let (folders, epoch) = (self.folders.clone(), epoch.clone());
        let deletion = tokio::task::spawn_blocking(move || folders.delete_epoch(&epoch)).await;
        deletion.unwrap_or_else(|panic| {
            Err(DriverError::Io {
                what: "cannot delete an epoch".to_owned(),
                source: std::io::Error::other(panic),
            })
        })
    }
}

async fn outcome(mut receiver: watch::Receiver<Option<Outcome>>, ticket: &Ticket) -> Result<Outcome, DriverError> {
    let gone = || DriverError::UnknownTicket(ticket.clone());
    let found = receiver.wait_for(Option::is_some).await.map_err(|_| gone())?;
    found.clone().ok_or_else(gone)
}
