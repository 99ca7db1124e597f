//! The local driver: a task is a runner in a bubblewrap sandbox on this machine. No Docker, no cluster, no root.

mod claims;
pub mod config;
mod flow;
pub mod folders;
mod landlock;
mod layout;
mod maintain;
mod memory;
mod network;
mod process;
mod requests;
pub mod sandbox;
mod set_aside;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hybrid_cache_model::protocol::Identity;
use hybrid_cache_model::{Outcome, Phase, TaskSpec};
use tokio::sync::watch;

pub use config::{LocalConfig, Network, SystemConfig};
pub use folders::{Folders, VolumePair};
pub use landlock::Landlock;
pub use maintain::Maintenance;
pub use memory::lacking as memory_limit_lacking;
pub use network::NetworkStatus;

use crate::log::{LogReader, LogWriter};
use crate::trace::{Notes, Recorder};
use crate::{Driver, DriverError, Epoch, Lifetime, SubmitOptions, Ticket};

/// Runs tasks on this machine.
pub struct LocalDriver {
    config: Arc<LocalConfig>,
    host: Arc<sandbox::HostLayout>,
    folders: Folders,
    memory: Arc<memory::MemoryGroups>,
    networks: Arc<network::Networks>,
    trace: Option<Arc<Recorder>>,
    tasks: Mutex<HashMap<String, Running>>,
}

/// What is known of a task.
struct Running {
    ended: watch::Receiver<Option<Outcome>>,
    settled: watch::Receiver<Option<Outcome>>,
    cancel: watch::Sender<bool>,
    preparing: watch::Receiver<Option<Phase>>,
    waits: watch::Receiver<network::Wait>,
    log: Arc<LogWriter>,
}

impl LocalDriver {
    /// Opens the cache folder, making it where it is not there.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn open(config: LocalConfig) -> Result<LocalDriver, DriverError> {
        let folders = Folders::open(&config.root)?;
        let shared = folders.sandbox();
        let host = sandbox::HostLayout::read(&shared).map_err(DriverError::io(format!(
            "cannot write the sandbox's files in {shared:?}"
        )))?;
        let (config, host) = (Arc::new(config), Arc::new(host));
        let trace = config.trace().map(|trace| {
            let resident = maintain::OnThisMachine {
                config: Arc::clone(&config),
                host: Arc::clone(&host),
                folders: folders.clone(),
            };
            Arc::new(Recorder::new(trace, config.max_age_s, Arc::new(resident)))
        });
        Ok(LocalDriver {
            networks: network::Networks::new(Arc::clone(&config), host.identity.is_some()).into(),
            config,
            host,
            folders,
            trace,
            memory: Arc::new(memory::MemoryGroups::open()),
            tasks: Mutex::default(),
        })
    }

    /// The cache folder's parts.
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// The user that runs user code, where this process is root.
    pub fn identity(&self) -> Option<Identity> {
        self.host.identity
    }

    /// The folder that holds everything.
    pub fn root(&self) -> &Path {
        &self.config.root
    }

    /// Which network tasks get: the configured one, or this machine's if there can be no other. The first call finds
    /// out by making one, which takes about 0.2 s.
    pub async fn network(&self) -> NetworkStatus {
        self.networks.status().await
    }

    fn tasks(&self) -> MutexGuard<'_, HashMap<String, Running>> {
        // The map is whole between its calls, whatever panicked.
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find<T>(&self, ticket: &Ticket, pick: impl FnOnce(&Running) -> T) -> Result<T, DriverError> {
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

    /// bubblewrap ends its sandbox with the process that started it.
    fn lifetime(&self) -> Lifetime {
        Lifetime::WithProcess
    }

    async fn submit(&self, spec: &TaskSpec, options: &SubmitOptions) -> Result<Ticket, DriverError> {
        let clock = Instant::now();
        let task = spec.check()?;
        let id = match &options.id {
            Some(id) => folders::check_id(id)?.to_owned(),
            None => folders::unique_id("task"),
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
        let (waits_sender, waits) = watch::channel(network::Wait::default());
        let flow = flow::Flow {
            config: Arc::clone(&self.config),
            host: Arc::clone(&self.host),
            folders: self.folders.clone(),
            memory: Arc::clone(&self.memory),
            networks: Arc::clone(&self.networks),
            network: None,
            id: id.clone(),
            spec: spec.clone(),
            task,
            options: options.clone(),
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
        let running = Running {
            ended,
            settled,
            cancel,
            preparing,
            waits,
            log,
        };
        match self.tasks().entry(id) {
            // Submitted before under this id: it is on its way already.
            Entry::Occupied(_) => return Ok(ticket),
            Entry::Vacant(place) => place.insert(running),
        };
        tokio::spawn(async move {
            let outcome = flow.run(&ended_sender).await;
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
