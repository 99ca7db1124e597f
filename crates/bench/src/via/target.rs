//! Measures runs through the service.
//!
//! A client cannot empty the service's caches. So each scenario gets one run against the caches as they are. It counts as a first
//! run if they held nothing for it; the runs after it are cached in any case.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use hybrid_cache_api::Client;
use hybrid_cache_cluster::{Backend, BackendKind};
use hybrid_cache_model::sample::{LayerUsage, Peer, ServiceRecord};
use hybrid_cache_model::{Scenario, TaskSpec, Temperature};
use hybrid_cache_tools::{Checkout, ErrorContext, Progress, Result, failed};
use tokio::task::{JoinHandle, spawn_blocking};

use super::connect;
use super::failure::{TaskError, client_error};
use super::task::{self, Control, Done};
use super::who::who;
use crate::machine;
use crate::options::{BenchOptions, MeasuredService};
use crate::peer_driver::PeerDriver;
use crate::target::{BenchTarget, END_LIMIT, PeerRun, Run, limits};

/// A running task, and how to stop it.
type Running = (Arc<Control>, JoinHandle<Result<Done, TaskError>>);

/// A service, and a driver as its peer.
pub struct ServiceTarget {
    client: Arc<Client>,
    /// A driver of the service's kind; `None` if this machine cannot reach one.
    direct: Option<PeerDriver>,
    /// The running task: an interruption must end it.
    running: Option<Running>,
    refusals: u32,
    /// True if the service was seen working for other clients: waiting until it is idle would then be pointless.
    shared: bool,
    progress: Arc<dyn Progress>,
}

impl ServiceTarget {
    /// Queries the service's version and driver.
    ///
    /// # Errors
    /// The service does not answer or denies access, or something else answers.
    pub async fn open(
        service: &MeasuredService,
        progress: &Arc<dyn Progress>,
    ) -> Result<(ServiceTarget, ServiceRecord)> {
        let client = Arc::new(connect::client(&service.url, service.token_file.as_deref())?.build());
        let asked = Arc::clone(&client);
        let record = spawn_blocking(move || who(&asked))
            .await
            .context("asking the service")?;
        let record = record.map_err(|error| client_error(&error))?;
        let target = ServiceTarget {
            client,
            direct: None,
            running: None,
            refusals: 0,
            shared: false,
            progress: Arc::clone(progress),
        };
        Ok((target, record))
    }

    /// Opens a driver of the service's kind as its peer. Without one, the service is still measured, and the notes say why the
    /// peer is missing.
    pub async fn add_direct_driver(
        &mut self,
        checkout: &Checkout,
        service: &ServiceRecord,
        options: &BenchOptions,
        notes: &mut Vec<String>,
    ) {
        match open_direct(checkout, service, options, self.progress.as_ref()).await {
            Ok(driver) => {
                if let Backend::Local(local) = driver.backend() {
                    let kind = machine::file_system(&local.machine.config.root);
                    let interpreter = &local.machine.config.interpreter.version;
                    notes.push(format!(
                        "the direct driver beside the service runs on this machine, in caches of its own ({kind}, interpreter {interpreter})"
                    ));
                }
                self.direct = Some(driver);
            }
            Err(error) => {
                let error = format!("{error:#}").replace('\n', "; ");
                notes.push(format!("no direct driver beside the service: {error}"));
            }
        }
    }

    /// Peers of a scenario.
    pub fn peers(&self, scenario: &Scenario) -> Vec<Peer> {
        let direct = self.direct.as_ref().is_some_and(|direct| direct.can_run(scenario));
        let direct = direct.then_some(Peer::DirectDriver);
        direct.into_iter().chain([Peer::RoundTrip]).collect()
    }

    async fn work(&mut self, spec: TaskSpec) -> Result<Done> {
        let (client, control) = (Arc::clone(&self.client), Arc::new(Control::default()));
        let (worker, settle) = (Arc::clone(&control), !self.shared);
        let work = spawn_blocking(move || task::run(&client, &spec, &worker, settle));
        // Store the work here while waiting for it: an interruption drops the waiting, not the work.
        let (_, work) = self.running.insert((control, work));
        let done = work.await;
        self.running = None;
        done.context("running a task")?.map_err(TaskError::into_error)
    }
}

async fn open_direct(
    checkout: &Checkout,
    service: &ServiceRecord,
    options: &BenchOptions,
    progress: &dyn Progress,
) -> Result<PeerDriver> {
    let kind = match service.driver.as_deref() {
        Some("local") if service.same_machine => BackendKind::Local,
        Some("local") => return Err(failed!("the service runs its tasks on another machine")),
        Some("kube") => BackendKind::Kube,
        Some("argo") => BackendKind::Argo,
        Some(other) => return Err(failed!("this program knows no driver {other}")),
        None => return Err(failed!("the service does not say which driver it has")),
    };
    let driver = PeerDriver::open(checkout, kind, options, progress).await?;
    if let Backend::Local(local) = driver.backend() {
        machine::check_space(&local.machine.config.root)?;
    }
    Ok(driver)
}

#[async_trait(?Send)]
impl BenchTarget for ServiceTarget {
    async fn run(&mut self, _: usize, scenario: &Scenario, temperature: Temperature) -> Result<Run> {
        let mut spec = scenario.request.clone();
        if temperature == Temperature::Uncached {
            spec.use_cache = false;
        }
        let done = self.work(spec).await?;
        self.refusals += done.refusals;
        self.shared |= !done.settled;
        Ok(done.run)
    }

    async fn peer(&mut self, _: usize, scenario: &Scenario, peer: Peer) -> Result<PeerRun> {
        match peer {
            Peer::DirectDriver => {
                let direct = self.direct.as_mut();
                let direct = direct.context("there is no direct driver to compare the service with")?;
                let limits = limits(direct.backend());
                let taken = direct.cached(scenario, &limits).await?;
                Ok(PeerRun::with_runner(taken.wall, taken.runner_us))
            }
            Peer::RoundTrip => {
                let client = Arc::clone(&self.client);
                let asked = spawn_blocking(move || {
                    // This opens the connection, so that it is open as for a task's second request.
                    client.health()?;
                    let started = Instant::now();
                    client.health().map(|_| started.elapsed())
                });
                let asked = asked.await.context("asking for the service's health")?;
                Ok(asked.map_err(|error| client_error(&error))?.into())
            }
            _ => return Err(failed!("this target has no such peer")),
        }
    }

    async fn usage(&mut self, _: usize) -> Result<Option<Vec<LayerUsage>>> {
        // The usage is unknown, because other clients fill the volumes too.
        Ok(None)
    }

    async fn end_epochs(&mut self) -> Result<()> {
        Ok(())
    }

    async fn end_running(&mut self) -> Result<()> {
        let Some((control, work)) = self.running.take() else {
            return Ok(());
        };
        if let Some(id) = control.stop() {
            let client = Arc::clone(&self.client);
            // If the task has ended meanwhile, nothing is left to cancel.
            let _ = tokio::time::timeout(END_LIMIT, spawn_blocking(move || client.cancel(&id))).await;
        }
        // The worker notices the end, and deletes the task.
        if tokio::time::timeout(END_LIMIT, work).await.is_err() {
            let warning = "warning: the last task was cancelled but has not ended yet; the service keeps running it";
            self.progress.line(warning);
        }
        Ok(())
    }

    async fn close(mut self: Box<Self>) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        if self.refusals > 0 {
            let times = self.refusals;
            notes.push(format!(
                "the service was too busy to accept a task {times} times; no sample includes these waits"
            ));
        }
        if self.shared {
            let note = "the service also worked for other clients, whose tasks may have slowed the samples";
            notes.push(note.to_owned());
        }
        if let Some(direct) = self.direct.take() {
            direct.end().await?;
        }
        Ok(notes)
    }
}
