//! Damage to files of the caches from outside: `verify` must find it, and a lookup that can see it must never run the files.

use std::fs;
use std::path::{Path, PathBuf};

use hybrid_cache_model::{CacheStatus, Protection, TaskSpec};

use crate::attack::{Attack, AttackMethod};
use crate::attack_context::{AttackContext, with_six};
use crate::error::TrialError;
use crate::local_caches::LocalCaches;
use crate::site::{LOCAL, Need};
use crate::verdict::Verdict;
use crate::volume;
use crate::wheel::Wheel;

pub const ATTACKS: &[Attack] = &[
    Attack {
        id: "flip-a-bit-in-an-environment",
        promise: Protection::VerifyContent,
        tries: "A source, a bytecode file and a generated file are changed, added or removed; their sizes and times stay.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(flip_in_environment(ground))),
    },
    Attack {
        id: "flip-a-bit-in-the-store",
        promise: Protection::VerifyContent,
        tries: "A file of a store path is changed; its size and time stay.",
        sites: LOCAL,
        needs: &[Need::Nix],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(flip_in_store(ground))),
    },
    Attack {
        id: "remove-what-a-lookup-needs",
        promise: Protection::DamageIsMiss,
        tries: "The lock list, the manifest, the interpreter's link, the lease or the whole virtual environment is gone.",
        sites: LOCAL,
        needs: &[],
        layers: &[],
        method: AttackMethod::Steps(|ground| Box::pin(remove_parts(ground))),
    },
];

async fn caches(ground: &AttackContext) -> Result<LocalCaches, TrialError> {
    let wheel = Wheel::new("six", "1.0")
        .file("six.py", "MARK = 'genuine'\n")
        .file("trialdata/__init__.py", "x = 1\n")
        .file("trialdata/data.bin", "some data")
        .file(
            "six-1.0.dist-info/entry_points.txt",
            "[console_scripts]\nsixscript = six:main\n",
        );
    let caches = ground.local_caches(&[wheel]).await?;
    caches
        .caches
        .run_well("fills the caches", &with_six("import six"))
        .await?;
    Ok(caches)
}

/// A way to damage an environment.
type Damage = fn(&LocalCaches) -> Result<(), TrialError>;

/// The first file with this name in the environment.
fn file(caches: &LocalCaches, name: &str) -> Result<PathBuf, TrialError> {
    let environment = volume::only_environment(&caches.volumes.python)?;
    let missing = || TrialError::Other(format!("there is no {name} in {}", environment.display()));
    volume::named(&environment, name).into_iter().next().ok_or_else(missing)
}

fn bytecode(caches: &LocalCaches) -> Result<PathBuf, TrialError> {
    let is_six = |path: &Path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("six.") && name.ends_with(".pyc")
    };
    let missing = || TrialError::Other("there is no bytecode of six".to_owned());
    volume::find(&caches.volumes.python, is_six)
        .into_iter()
        .next()
        .ok_or_else(missing)
}

fn remove(path: &Path) -> Result<(), TrialError> {
    fs::remove_file(path).map_err(TrialError::io(format!("removing {}", path.display())))
}

const DAMAGES: [(&str, Damage); 6] = [
    ("a source was changed", |caches| volume::flip(&file(caches, "six.py")?)),
    ("a data file was changed", |caches| {
        volume::flip(&file(caches, "data.bin")?)
    }),
    ("a generated script was changed", |caches| {
        volume::flip(&file(caches, "sixscript")?)
    }),
    ("bytecode was changed", |caches| volume::flip(&bytecode(caches)?)),
    ("a file was added", |caches| {
        let path = file(caches, "six.py")?.with_file_name("trialadded.py");
        fs::write(&path, "x = 1\n").map_err(TrialError::io("adding a file"))
    }),
    ("a file was removed", |caches| remove(&file(caches, "data.bin")?)),
];

async fn flip_in_environment(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let mut found = Vec::new();
    for (what, damage) in DAMAGES {
        let caches = caches(ground).await?;
        let before = caches.verify().await?;
        if !before.is_clean() {
            return Err(TrialError::Other(format!(
                "`verify` finds problems in whole caches: {:?}",
                before.problems
            )));
        }
        damage(&caches)?;
        if caches.verify().await?.is_clean() {
            found.push(format!("{what}, and `verify` reports nothing"));
        }
        ground.clear().await?;
    }
    Ok(Verdict::held_if_none(&found))
}

async fn flip_in_store(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let caches = ground.local_caches(&[]).await?;
    let spec = TaskSpec {
        system_dependencies: "m4".to_owned(),
        ..TaskSpec::new("import os, shutil\nprint(os.path.realpath(shutil.which('m4')))")
    };
    let ran = caches.caches.run_well("fills the caches", &spec).await?;
    let inside = ran.stdout.trim().trim_start_matches("/nix/").to_owned();
    volume::flip(&caches.volumes.nix().join(inside))?;
    let report = caches.verify().await?;
    Ok(if report.is_clean() {
        Verdict::not_held("a program in the store was changed, and `verify` reports nothing")
    } else {
        Verdict::Held
    })
}

/// Removes a path, including everything in it if it is a folder.
fn remove_any(path: &Path) -> Result<(), TrialError> {
    let is_folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
    let removed = if is_folder {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    removed.map_err(TrialError::io(format!("removing {}", path.display())))
}

async fn remove_parts(ground: &AttackContext) -> Result<Verdict, TrialError> {
    let mut found = Vec::new();
    for name in ["lock.txt", "manifest.json", "python", "venv", ".lease"] {
        let caches = caches(ground).await?;
        remove_any(&file(&caches, name)?)?;
        let spec = with_six("import six\nprint(six.MARK)");
        for when in ["the next run", "the run after it"] {
            let ran = caches.caches.run(&spec).await?;
            if ran.stdout.trim() != "genuine" {
                found.push(format!("without {name}, {when} ended as {:?}", ran.outcome.end));
                break;
            }
            if when == "the run after it" && ran.outcome.cache.python != CacheStatus::Hit {
                found.push(format!("without {name}, the environment is built again and again"));
            }
        }
        ground.clear().await?;
    }
    Ok(Verdict::held_if_none(&found))
}
