//! A task service as the place to measure, seen as its clients see it: every run is submitted, run, followed and deleted
//! over HTTP.
//!
//! A client cannot empty the service's caches. So each scenario has one run that finds them as they are: it counts as a
//! first run where they held nothing, and whatever they held, the runs behind it are cached.

mod answer;
mod client;
mod events;
pub mod metrics;
mod problem;
pub mod task;
#[cfg(test)]
pub mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use hybrid_cache_model::sample::{LayerUsage, Peer, Provenance, ServiceRecord};
use hybrid_cache_model::{Scenario, TaskSpec, Temperature};
use tokio::task::{JoinHandle, spawn_blocking};

use super::beside::Beside;
use super::place::{END_LIMIT, PeerRun, Place, Run, limits};
use super::{check_space, machine};
use crate::checkout::Checkout;
use crate::flags::{self, DriverName};
use crate::subject::Subject;
pub use client::Client;
pub use problem::ClientError;
use task::{Control, Done};

/// What a service tells its clients nothing of.
const NOT_TOLD: &str = "not told to clients";

/// A task under way, and how to stop it.
type Running = (Arc<Control>, JoinHandle<Result<Done, ClientError>>);

/// A service, and its driver beside it.
pub struct Via {
    client: Arc<Client>,
    /// A driver of the service's kind, where one can be reached from here.
    direct: Option<Beside>,
    /// The task under way: an interruption must end it.
    running: Option<Running>,
    refusals: u32,
    /// True once the service was found at work for others: it would be waited for in vain.
    shared: bool,
}

impl Via {
    /// Asks the service who it is.
    ///
    /// # Errors
    /// It does not answer, lets nobody in, or is none.
    pub async fn open(url: &str, token_file: Option<&Path>) -> Result<(Via, ServiceRecord)> {
        let client = Arc::new(Client::new(url, token_file)?);
        let asked = Arc::clone(&client);
        let record = spawn_blocking(move || who(&asked)).await?;
        let record = record.map_err(ClientError::into_error)?;
        let via = Via {
            client,
            direct: None,
            running: None,
            refusals: 0,
            shared: false,
        };
        Ok((via, record))
    }

    /// Puts a driver of the service's kind beside it. Where there is none, the service is measured all the same, and the
    /// notes say why.
    pub async fn beside(
        &mut self,
        checkout: &Checkout,
        service: &ServiceRecord,
        flags: &flags::Bench,
        notes: &mut Vec<String>,
    ) {
        match open_direct(checkout, service, flags).await {
            Ok(beside) => {
                if let Subject::Machine(on) = beside.subject() {
                    let kind = machine::file_system(&on.machine.config.root);
                    let interpreter = &on.machine.config.interpreter.version;
                    notes.push(format!(
                        "the direct driver beside the service runs on this machine, in caches of its own ({kind}, interpreter {interpreter})"
                    ));
                }
                self.direct = Some(beside);
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
        // Kept here while it is awaited: an interruption drops the waiting, not the work.
        let (_, work) = self.running.insert((control, work));
        let done = work.await;
        self.running = None;
        done?.map_err(ClientError::into_error)
    }
}

/// Version and driver as the service tells them, which also shows that it is one and lets us in.
pub fn who(client: &Client) -> Result<ServiceRecord, ClientError> {
    let told = client.metrics().map_err(|error| match error {
        // Some other server, which has no such path.
        ClientError::Refused { problem, .. } if problem.status == 404 => client.foreign(problem),
        other => other,
    })?;
    let Some(version) = metrics::build(&told, "version") else {
        return Err(client.foreign("its metrics name no version"));
    };
    Ok(ServiceRecord {
        url: client.url().to_owned(),
        version,
        driver: metrics::build(&told, "driver"),
        same_machine: client.is_on_this_machine(),
    })
}

async fn open_direct(checkout: &Checkout, service: &ServiceRecord, flags: &flags::Bench) -> Result<Beside> {
    let name = match service.driver.as_deref() {
        Some("local") if service.same_machine => DriverName::Local,
        Some("local") => bail!("the service runs its tasks on another machine"),
        Some("kube") => DriverName::Kube,
        Some("argo") => DriverName::Argo,
        Some(other) => bail!("this program knows no driver {other}"),
        None => bail!("the service does not say which driver it has"),
    };
    let beside = Beside::open(checkout, name, flags).await?;
    if let Subject::Machine(on) = beside.subject() {
        check_space(&on.machine.config.root)?;
    }
    Ok(beside)
}

/// What a report says of where it was measured: the client's machine, and nothing that only the service knows.
pub fn provenance(client: Provenance, service: ServiceRecord) -> Provenance {
    Provenance {
        file_systems: BTreeMap::from([("caches".to_owned(), NOT_TOLD.to_owned())]),
        interpreter: NOT_TOLD.to_owned(),
        index: NOT_TOLD.to_owned(),
        system_provider: NOT_TOLD.to_owned(),
        system_source: "the service's own source".to_owned(),
        service: Some(service),
        ..client
    }
}

#[async_trait(?Send)]
impl Place for Via {
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
                let direct = direct.context("there is no direct driver beside the service")?;
                let limits = limits(direct.subject());
                let taken = direct.cached(scenario, &limits).await?;
                Ok((taken.wall, Some(taken.runner_us)))
            }
            Peer::RoundTrip => {
                let client = Arc::clone(&self.client);
                let asked = spawn_blocking(move || {
                    // The connection is there then, as it is for a task's second request.
                    client.health()?;
                    let started = Instant::now();
                    client.health().map(|()| started.elapsed())
                });
                Ok((asked.await?.map_err(ClientError::into_error)?, None))
            }
            _ => bail!("it is no peer here"),
        }
    }

    async fn usage(&mut self, _: usize) -> Result<Option<Vec<LayerUsage>>> {
        // What the volumes hold is everybody's.
        Ok(None)
    }

    async fn end_round(&mut self) -> Result<()> {
        Ok(())
    }

    async fn end_running(&mut self) -> Result<()> {
        let Some((control, work)) = self.running.take() else {
            return Ok(());
        };
        if let Some(id) = control.stop() {
            let client = Arc::clone(&self.client);
            // Where it has ended meanwhile, nothing is left to cancel.
            let _ = tokio::time::timeout(END_LIMIT, spawn_blocking(move || client.cancel(&id))).await;
        }
        // The worker sees the end, and deletes the task.
        if tokio::time::timeout(END_LIMIT, work).await.is_err() {
            eprintln!("warning: the last task was asked to end and has not yet; the service goes on with it");
        }
        Ok(())
    }

    async fn close(mut self: Box<Self>) -> Result<Vec<String>> {
        let mut notes = Vec::new();
        if self.refusals > 0 {
            let times = self.refusals;
            notes.push(format!(
                "the service was too busy to take a task {times} times; such waits are in no sample"
            ));
        }
        if self.shared {
            let told = "the service worked for others too: samples may hold what their tasks took of it".to_owned();
            notes.push(told);
        }
        if let Some(direct) = self.direct.take() {
            direct.end().await?;
        }
        Ok(notes)
    }
}
