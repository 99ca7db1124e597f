//! Each protection is taken out once, and an attack must notice: otherwise the list shows nothing.
//!
//! The runner is built once more for this, with the feature `mutations`, into a folder of its own that nothing installs.
//! The driver and the service of this process have the feature through this crate's dev-dependencies alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use hybrid_cache_driver::local::LocalConfig;
use hybrid_cache_model::Protection;
use hybrid_cache_model::protection::MUTATIONS_VARIABLE;
use hybrid_cache_trials::{Attack, AttackContext, LocalSite, Site, Standing, list, run};

use crate::machine;

/// Protections in the order of the promise table. Each group has a test program of its own: taking a protection out
/// counts for the whole process, and one program for all would take longer than a test should.
pub struct Group {
    first: Protection,
    last: Protection,
}

/// What keeps a package from another one's place.
pub const PACKAGES: Group = Group {
    first: Protection::ContentHashes,
    last: Protection::WheelsOnly,
};
/// What keeps builds apart, and a task from places that no operator named.
pub const SOURCES: Group = Group {
    first: Protection::BuildMounts,
    last: Protection::NamedSources,
};
/// What keeps a task from files and locks.
pub const FILES: Group = Group {
    first: Protection::ReadOnlyMounts,
    last: Protection::LeaseRequired,
};
/// What keeps a task from the network, the kernel, the machine's resources, the service and other tenants.
pub const TASKS: Group = Group {
    first: Protection::NetworkNamespace,
    last: Protection::PrivateIndex,
};

impl Group {
    fn members(&self) -> &'static [Protection] {
        let place = |wanted| Protection::ALL.iter().position(|one| *one == wanted).unwrap();
        &Protection::ALL[place(self.first)..=place(self.last)]
    }
}

/// Builds the runner whose protections can be taken out. Never a release build, which refuses the feature.
fn mutant() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("mutants");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "hybrid-cache-runner",
            "--bin",
            "runner",
        ])
        .args(["--features", "mutations", "--target-dir"])
        .arg(&folder)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success(), "the runner does not build with `mutations`");
    folder.join("debug/runner")
}

/// The configuration under which the runner goes without these, everywhere.
fn without(config: &LocalConfig, removed: &[Protection]) -> LocalConfig {
    let mut config = config.clone();
    let names: Vec<&str> = removed.iter().map(|protection| protection.name()).collect();
    let variable = (MUTATIONS_VARIABLE.to_owned(), names.join(","));
    config.task_variables.push(variable.clone());
    config.python_tools.variables.push(variable.clone());
    if let Some(system) = &mut config.system {
        system.tools.variables.push(variable);
    }
    config
}

/// Tries attacks while these are taken out of the runner and of this process.
async fn tried(
    attacks: &[&Attack],
    whole: &AttackContext,
    config: &LocalConfig,
    removed: &[Protection],
) -> Vec<(String, Standing, String)> {
    removed.iter().for_each(|protection| protection.set(false));
    let mut ground = whole.beside(without(config, removed)).await.unwrap();
    let mut results = Vec::new();
    for attack in attacks {
        let trials = run(&[attack], &ground, |_| {}).await;
        results.extend(trials.into_iter().map(|trial| {
            let detail = trial.detail().unwrap_or_default().to_owned();
            (trial.id.clone(), trial.standing(), detail)
        }));
    }
    ground.close().await.unwrap();
    removed.iter().for_each(|protection| protection.set(true));
    results
}

/// Attacks that something stops which no mutation takes out, and what that is. They guard against its loss.
const STOPPED_ELSEWHERE: &[(&str, &str)] = &[
    (
        "wheel-brings-byte-code",
        "what a package brings is deleted before anything is compiled",
    ),
    ("decoy-site-packages", "the layout check refuses a second site-packages"),
    ("installer-leaves-a-file-out", "hashing a file that is not there fails"),
    ("wheel-path-traversal", "uv refuses such a path"),
    ("wheel-symlinks", "uv writes no links"),
    (
        "wheel-replaces-the-interpreter",
        "preparing starts the base interpreter, which reads nothing of the environment",
    ),
    (
        "devices-and-kernel-settings",
        "the sandbox has no devices, and its user is nobody",
    ),
    (
        "run-without-a-lease",
        "a lookup's answer carries the lock, so there is none without it",
    ),
    (
        "evict-in-a-loop",
        "the gap that it looks for is open for less than a millisecond",
    ),
    ("flip-a-bit-in-the-store", "Nix compares its own hashes as well"),
];

/// Attacks of one promise, with its protection in place and without it: what is not as it should be.
async fn problems_of(
    protection: Protection,
    all: &[&Attack],
    whole: &AttackContext,
    config: &LocalConfig,
) -> Vec<String> {
    let mut problems = Vec::new();
    let is_its = |attack: &&&Attack| attack.promise == protection && attack.runs_at(Site::Local);
    let attacks: Vec<&Attack> = all.iter().filter(is_its).copied().collect();
    // With nothing of its own layer taken out, an attack achieves nothing: also if the layers in front are gone.
    for attack in &attacks {
        for (id, standing, detail) in tried(&[attack], whole, config, attack.layers).await {
            if standing == Standing::NotHeld || standing == Standing::CouldNotTry {
                problems.push(format!("{id} with {protection} in place: {standing}: {detail}"));
            }
        }
    }
    let mut noticed = false;
    for attack in &attacks {
        let removed: Vec<Protection> = attack.layers.iter().copied().chain([protection]).collect();
        for (id, standing, detail) in tried(&[attack], whole, config, &removed).await {
            println!("{protection}: without it {id}: {standing}: {detail}");
            let succeeds = standing == Standing::NotHeld;
            noticed |= succeeds;
            let stopped_elsewhere = STOPPED_ELSEWHERE.iter().any(|(known, _)| *known == id);
            // One that does not apply here says nothing about the protection.
            if !succeeds && standing != Standing::NotApplicable && !stopped_elsewhere {
                problems.push(format!("{id} does not notice that {protection} is taken out"));
            }
        }
    }
    if !noticed {
        problems.push(format!("no attack notices that {protection} is taken out"));
    }
    problems
}

/// Takes out each protection of a group, one after the other, and fails unless its attacks notice.
pub async fn each_is_noticed(test: &str, group: &Group) {
    let covered: Vec<Protection> = [PACKAGES, SOURCES, FILES, TASKS]
        .iter()
        .flat_map(Group::members)
        .copied()
        .collect();
    assert_eq!(covered, Protection::ALL, "each protection belongs to one group");
    let Some(mut machine) = machine::open(test) else {
        return;
    };
    machine.config.runner = mutant();
    let config = machine.config.clone();
    let mut whole = AttackContext::local(LocalSite::open(machine.config.clone()).unwrap());
    let all = list::all();
    for (known, why) in STOPPED_ELSEWHERE {
        let exists = all.iter().any(|attack| attack.id == *known);
        assert!(exists, "no attack is called {known} ({why})");
    }
    let mut problems = Vec::new();
    for protection in group.members() {
        problems.extend(problems_of(*protection, &all, &whole, &config).await);
    }
    whole.close().await.unwrap();
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}
