//! Where, when and with what a bench run was measured.

use std::collections::BTreeMap;
use std::path::Path;

use hybrid_cache_model::sample::Provenance;
use xshell::{Shell, cmd};

use super::machine;
use crate::checkout::Checkout;
use crate::flags;
use crate::local::Machine;

/// Everything a reader may ask about a report's origin.
pub fn collect(checkout: &Checkout, machine: &Machine, flags: &flags::Bench) -> Provenance {
    let (revision, dirty) = revision(checkout.root());
    let root = &machine.config.root;
    Provenance {
        driver: "local".to_owned(),
        started_at: machine::now(),
        revision,
        dirty,
        command: command_line(flags),
        kernel: machine::kernel(),
        os: machine::os(),
        arch: std::env::consts::ARCH.to_owned(),
        cpu: machine::cpu(),
        cpus: machine::cpus(),
        memory_bytes: machine::memory_bytes(),
        file_systems: BTreeMap::from([("cache folder".to_owned(), machine::file_system(root))]),
        interpreter: machine.config.interpreter.version.clone(),
        index: machine.config.index.clone(),
        system_provider: machine.provider.clone(),
        system_source: machine
            .config
            .system
            .as_ref()
            .map_or("none".to_owned(), |system| system.source_id.clone()),
        tools: machine.tools.clone(),
        cluster: None,
        notes: machine.notes.clone(),
    }
}

/// The command as a reader would type it again; the paths of this machine are left out.
fn command_line(flags: &flags::Bench) -> String {
    let mut words = vec!["cargo xtask bench".to_owned()];
    words.extend(flags.scenario.iter().map(|name| format!("--scenario {name}")));
    words.push(format!(
        "--first-runs {} --cached-runs {}",
        flags.first_runs, flags.cached_runs
    ));
    if flags.uncached_runs > 0 {
        words.push(format!("--uncached-runs {}", flags.uncached_runs));
    }
    words.join(" ")
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
