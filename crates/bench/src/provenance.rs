//! Where, when and with what a bench run was measured.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use hybrid_cache_model::sample::Provenance;
use xshell::{Shell, cmd};

use super::{cluster, machine};
use crate::checkout::Checkout;
use crate::flags;
use crate::local::Machine;
use crate::subject::Subject;

/// Everything a reader may ask about a report's origin.
///
/// # Errors
/// The cluster does not answer.
pub async fn collect(checkout: &Checkout, subject: &Subject, flags: &flags::Bench) -> Result<Provenance> {
    let client = of_client(checkout, subject.driver().name(), flags);
    match subject {
        Subject::Machine(on) => Ok(on_machine(&on.machine, client)),
        Subject::Cluster(on) => cluster::describe(on, flags, client).await,
    }
}

/// What is true of the client wherever tasks run.
pub fn of_client(checkout: &Checkout, driver: &str, flags: &flags::Bench) -> Provenance {
    let (revision, dirty) = revision(checkout.root());
    Provenance {
        driver: driver.to_owned(),
        started_at: machine::now(),
        revision,
        dirty,
        command: command_line(driver, flags),
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
        notes: Vec::new(),
    }
}

fn on_machine(machine: &Machine, client: Provenance) -> Provenance {
    let root = &machine.config.root;
    let system = machine.config.system.as_ref();
    Provenance {
        file_systems: BTreeMap::from([("cache folder".to_owned(), machine::file_system(root))]),
        interpreter: machine.config.interpreter.version.clone(),
        index: machine.config.index.clone(),
        system_provider: machine.provider.clone(),
        system_source: system.map_or("none".to_owned(), |system| system.source_id.clone()),
        tools: machine.tools.clone(),
        notes: machine.notes.clone(),
        ..client
    }
}

/// The command as a reader would type it again; the paths of this machine are left out.
fn command_line(driver: &str, flags: &flags::Bench) -> String {
    let mut words = vec!["cargo xtask bench".to_owned()];
    if let Some(url) = &flags.via {
        words.push(format!("--via {url}"));
    } else if let Some(driver) = driver_of(driver, flags) {
        words.push(format!("--driver {driver}"));
    }
    words.extend(flags.scenario.iter().map(|name| format!("--scenario {name}")));
    if let Some(per_s) = flags.load {
        words.push(format!("--load {per_s} --load-seconds {}", flags.load_seconds));
        return words.join(" ");
    }
    if flags.via.is_none() {
        words.push(format!("--first-runs {}", flags.first_runs));
    }
    words.push(format!("--cached-runs {}", flags.cached_runs));
    if flags.uncached_runs > 0 {
        words.push(format!("--uncached-runs {}", flags.uncached_runs));
    }
    words.join(" ")
}

/// The driver as a flag; the bench's own service, under load, has the one that was asked for.
fn driver_of(driver: &str, flags: &flags::Bench) -> Option<String> {
    let asked = flags.driver.to_possible_value()?;
    let name = if driver == "service" { asked.get_name() } else { driver };
    (name != "local").then(|| name.to_owned())
}

/// The checked-out revision and whether there are changes on top of it; empty outside git.
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
