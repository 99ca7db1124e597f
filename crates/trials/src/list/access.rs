//! Attacks on what a task can see and read of the volumes.

use hybrid_cache_model::{CacheStatus, Protection, TaskSpec};
use serde_json::json;

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::{AttackContext, program, with_python, with_six};
use crate::error::TrialError;
use crate::probe::{Packages, Probe};
use crate::site::{ANYWHERE, LOCAL, Need, Site};
use crate::verdict::Verdict;
use crate::volume;
use crate::wheel::Wheel;

const READ_OTHERS: &str = include_str!("../probes/read_others.py");

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "write-into-the-caches",
        promise: Protection::ReadOnlyMounts,
        tries: "A task writes, deletes, renames, links and remounts what is cached, its environment and the runner.",
        sites: ANYWHERE,
        needs: &[],
        layers: &[Protection::Landlock, Protection::Seccomp],
        method: AttackMethod::Probe(Probe {
            code: include_str!("../probes/write.py"),
            packages: Packages::Python,
        }),
    },
    Attack {
        id: "devices-and-kernel-settings",
        promise: Protection::ReadOnlyMounts,
        tries: "A task opens devices, kernel settings, sockets of container engines and other processes' folders.",
        sites: ANYWHERE,
        needs: &[],
        layers: &[],
        method: AttackMethod::Probe(Probe {
            code: include_str!("../probes/outside.py"),
            packages: Packages::None,
        }),
    },
    Attack {
        id: "see-downloads-and-locks",
        promise: Protection::NarrowMounts,
        tries: "A task looks for uv's cache, locks, indexes and the Nix database among its mounts.",
        sites: ANYWHERE,
        needs: &[],
        // A whole volume is not accessible to the user that runs user code, if that user differs from the runner's.
        layers: &[Protection::PrivateFiles],
        method: AttackMethod::Steps(|ground| Box::pin(see_downloads(ground))),
    },
    Attack {
        id: "read-another-environment",
        promise: Protection::Landlock,
        tries: "A task reads a file of another environment, by its path, through /proc and through handles.",
        sites: ANYWHERE,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(another_environment(ground))),
    },
    Attack {
        id: "read-byte-code-on-a-first-run",
        promise: Protection::Landlock,
        tries: "A task reads another package's bytecode while its own environment is still in staging.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(bytecode_on_a_first_run(ground))),
    },
    Attack {
        id: "read-another-store-path",
        promise: Protection::Landlock,
        tries: "A task reads a store path that another task's system packages brought.",
        sites: LOCAL,
        needs: &[Need::Nix],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(another_store_path(ground))),
    },
    Attack {
        id: "other-users-read-the-caches",
        promise: Protection::PrivateFiles,
        tries: "Another user of the machine reads what is below the cache folder.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(read_by_others(ground))),
    },
];

async fn another_environment(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let (other, caches) = (ground.other(), ground.warm().await?);
    let code = format!("import {other} as other\nprint(other.__file__, other.__cached__)");
    // Run from the caches: a task that has just prepared its environment sees it in another place.
    let ran = caches
        .run_well("tells where its files are", &with_python(other, &code))
        .await?;
    let paths: Vec<&str> = ran.stdout.split_whitespace().collect();
    let folder = paths
        .first()
        .and_then(|path| path.rsplit_once('/'))
        .map_or("", |(folder, _)| folder);
    let known = json!({"paths": paths, "folders": [folder]});
    let probe = Probe {
        code: READ_OTHERS,
        packages: Packages::Python,
    };
    ground.probe_with(&probe, &known, &json!({})).await
}

async fn bytecode_on_a_first_run(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let wheels = ["six", "trialattacker"].map(|name| Wheel::module(name, "1.0", ""));
    let caches = ground.local_caches(&wheels).await?.caches;
    caches.run_well("fills the caches", &with_six("import six")).await?;
    let code = "import os, six\nprint(os.path.realpath(six.__cached__))";
    let ran = caches.run_well("tells where its bytecode is", &with_six(code)).await?;
    let path = ran.stdout.trim();
    if !path.contains("/bytecode/") {
        return Err(TrialError::Other(format!(
            "the bytecode of six is at {path}, not in the pool"
        )));
    }
    let known = json!({"paths": [path], "folders": [path.rsplit_once('/').map_or("", |(folder, _)| folder)]});
    let ran = caches
        .run(&with_python("trialattacker", &program(&known, READ_OTHERS)))
        .await?;
    if !matches!(ran.outcome.cache.python, CacheStatus::Built { .. }) {
        return Err(TrialError::Other("the attacking task was no first run".to_owned()));
    }
    Ok(Verdict::held_if_none(&ran.findings("attacks")?.got))
}

async fn another_store_path(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = ground.warm().await?;
    let system = |package: &str, code: &str| TaskSpec {
        system_dependencies: package.to_owned(),
        ..TaskSpec::new(code)
    };
    let code = "import os, shutil\nprint(os.path.realpath(shutil.which('gzip')))";
    let ran = caches.run_well("tells where gzip is", &system("gzip", code)).await?;
    let path = ran.stdout.trim();
    if !path.starts_with("/nix/store/") {
        return Err(TrialError::Other(format!("gzip is at {path}, not in the store")));
    }
    let known = json!({"paths": [path], "folders": [path.rsplit_once('/').map_or("", |(folder, _)| folder)]});
    let spec = system("m4", &program(&known, READ_OTHERS));
    caches.run_well("fills the caches", &system("m4", "print(1)")).await?;
    let ran = caches.run(&spec).await?;
    Ok(Verdict::held_if_none(&ran.findings("attacks")?.got))
}

async fn read_by_others(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = ground.local_caches(&[]).await?;
    let root = caches.folder.join("root");
    let opened = caches.with(&json!({"root": root}))?;
    drop(opened);
    let open = volume::open_to_others(&root);
    let open: Vec<String> = open
        .iter()
        .map(|path| format!("{} is open to others", path.display()))
        .collect();
    Ok(Verdict::held_if_none(&open))
}

async fn see_downloads(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let probe = Probe {
        code: include_str!("../probes/mounts.py"),
        packages: Packages::Python,
    };
    if ground.site() == Site::Pod {
        return ground.probe(&probe).await;
    }
    let caches = ground.local_caches(&[Wheel::module("six", "1.0", "")]).await?;
    let spec = with_six(&program(&json!({}), probe.code));
    caches
        .caches
        .run_well("fills the caches", &with_six("import six"))
        .await?;
    let ran = caches.caches.run(&spec).await?;
    Ok(Verdict::held_if_none(&ran.findings("looks around")?.got))
}
