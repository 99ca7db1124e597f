//! The provenance of a bench run: where, when and with what it was measured.

use std::collections::BTreeMap;
use std::path::Path;

use hybrid_cache_cluster::Backend;
use hybrid_cache_model::sample::{Provenance, ServiceRecord};
use hybrid_cache_tools::{Checkout, Machine, Result};
use xshell::{Shell, cmd};

use crate::options::BenchOptions;
use crate::{cluster_facts, machine};

/// Value of a fact that a service does not report to its clients.
const NOT_REPORTED: &str = "not reported to clients";

/// Collects everything that a reader may ask about a report's origin.
///
/// # Errors
/// The cluster does not answer.
pub async fn collect(checkout: &Checkout, backend: &Backend, options: &BenchOptions) -> Result<Provenance> {
    let client = of_client(checkout, backend.driver().name(), &options.command);
    match backend {
        Backend::Local(local) => Ok(on_machine(&local.machine, client)),
        Backend::Cluster(cluster) => cluster_facts::describe(cluster, &options.cluster, client).await,
    }
}

/// The facts about the client, wherever tasks run.
pub fn of_client(checkout: &Checkout, driver: &str, command: &str) -> Provenance {
    let (revision, dirty) = revision(checkout.root());
    Provenance {
        driver: driver.to_owned(),
        started_at: machine::now(),
        revision,
        dirty,
        command: command.to_owned(),
        kernel: machine::kernel(),
        os: machine::os(),
        arch: std::env::consts::ARCH.to_owned(),
        cpu: machine::cpu(),
        cpus: machine::cpus(),
        memory_bytes: machine::memory_bytes(),
        file_systems: BTreeMap::new(),
        interpreter: String::new(),
        index: String::new(),
        system_provider: String::new(),
        system_source: String::new(),
        tools: Vec::new(),
        cluster: None,
        service: None,
        mirror: None,
        notes: Vec::new(),
    }
}

/// The provenance of a run through a service: the client's machine, and nothing that only the service knows.
pub fn through_service(client: Provenance, service: ServiceRecord) -> Provenance {
    Provenance {
        file_systems: BTreeMap::from([("caches".to_owned(), NOT_REPORTED.to_owned())]),
        interpreter: NOT_REPORTED.to_owned(),
        index: NOT_REPORTED.to_owned(),
        system_provider: NOT_REPORTED.to_owned(),
        system_source: "the service's own source".to_owned(),
        service: Some(service),
        ..client
    }
}

fn on_machine(machine: &Machine, client: Provenance) -> Provenance {
    let root = &machine.config.root;
    let system = machine.config.system.as_ref();
    Provenance {
        file_systems: BTreeMap::from([("cache folder".to_owned(), machine::file_system(root))]),
        interpreter: machine.config.interpreter.version.clone(),
        index: machine.config.sources.with_index(&machine.config.index),
        system_provider: machine.provider.clone(),
        system_source: system.map_or("none".to_owned(), |system| system.source_id.clone()),
        tools: machine.tools.clone(),
        notes: machine.notes.clone(),
        ..client
    }
}

/// The checked-out revision and whether there are uncommitted changes; empty outside git.
fn revision(root: &Path) -> (String, bool) {
    let Ok(shell) = Shell::new() else {
        return Default::default();
    };
    let revision = cmd!(shell, "git -C {root} rev-parse HEAD")
        .quiet()
        .ignore_stderr()
        .read();
    let changes = cmd!(shell, "git -C {root} status --porcelain --untracked-files=no")
        .quiet()
        .ignore_stderr()
        .read();
    (
        revision.unwrap_or_default(),
        changes.is_ok_and(|changes| !changes.is_empty()),
    )
}
