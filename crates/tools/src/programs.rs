//! Builds our programs that run elsewhere: static if the machine can link them so, because they bring no C library.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use hybrid_cache_launcher::{RUNNER_TARGET, STATIC_FLAGS, host_target, release_build};
use serde::{Deserialize, Serialize};
use xshell::{Shell, cmd};

use crate::checkout::Checkout;
use crate::error::{Error, ErrorContext, Result};
use crate::facts::{self, Witness};
use crate::failed;
use crate::progress::Progress;
use crate::{environment, sources};

/// Maximum number of kept copies of the runner, at 8 MB each: a service can outlive this many builds.
const MAX_KEPT_RUNNERS: usize = 16;

/// A built program.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Built {
    /// The program.
    pub program: PathBuf,
    /// What a reader of the report should know.
    pub notes: Vec<String>,
}

/// The runner, which is the first program of every sandbox.
///
/// # Errors
/// It does not build.
pub fn build(checkout: &Checkout, progress: &dyn Progress) -> Result<Built> {
    progress.step("building the runner");
    program(checkout, "hybrid-cache-runner", "runner")
}

/// The runner under a name that no later build takes away: a service goes on with the one it has begun with.
///
/// # Errors
/// It does not build, or cannot be copied.
pub fn build_kept(checkout: &Checkout, progress: &dyn Progress) -> Result<Built> {
    let fingerprint = sources::fingerprint(checkout);
    if let Some(built) = facts::recall(checkout, "runner", &fingerprint) {
        return Ok(built);
    }
    let began = SystemTime::now();
    let built = build(checkout, progress)?;
    let witnesses = sources::witnesses(checkout, &built.program, began)?;
    let program = kept(&built.program, &checkout.path("target/runner/kept"))?;
    let built = Built { program, ..built };
    if let Some(mut witnesses) = witnesses {
        witnesses.push(Witness::new(&built.program));
        facts::keep(checkout, "runner", &fingerprint, &witnesses, &built);
    }
    Ok(built)
}

/// A copy in a folder that is named after size and modification time, which differ between two builds.
fn kept(program: &Path, folder: &Path) -> Result<PathBuf> {
    let data = std::fs::metadata(program).with_context(|| format!("reading {}", program.display()))?;
    let own = folder.join(format!("{}.{:09}-{}", data.mtime(), data.mtime_nsec(), data.size()));
    let copy = own.join("runner");
    if !copy.is_file() {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        make_room(folder);
        let made = tempfile::Builder::new()
            .permissions(Permissions::from_mode(0o755))
            .tempdir_in(folder)
            .and_then(|made| {
                std::fs::copy(program, made.path().join("runner"))?;
                std::fs::rename(made.path(), &own)
            });
        // Another process may have made the same one meanwhile.
        made.or_else(|error| if copy.is_file() { Ok(()) } else { Err(error) })
            .with_context(|| format!("copying {} to {}", program.display(), own.display()))?;
    }
    Ok(copy)
}

/// Deletes the oldest copies. One that another process has deleted meanwhile is gone as well.
fn make_room(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut copies: Vec<_> = entries
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    copies.sort();
    for (_, path) in copies.iter().rev().skip(MAX_KEPT_RUNNERS - 1) {
        let _ = std::fs::remove_dir_all(path);
    }
}

/// The task service as a program that runs in any image.
///
/// # Errors
/// It does not build, or only with this machine's own C library.
pub fn service(checkout: &Checkout, progress: &dyn Progress) -> Result<PathBuf> {
    progress.step("building the service (the first time takes minutes)");
    static_alone(program(checkout, "hybrid-cache-service", "hybrid-cache-service")?)
}

/// The program, if it is static.
///
/// # Errors
/// It is not.
pub fn static_alone(built: Built) -> Result<PathBuf> {
    match built.notes.first() {
        None => Ok(built.program),
        Some(note) => Err(Error::prerequisite(format!(
            "{note}\nhint: install it (Debian: libc6-dev, Fedora: glibc-static); an image's program must be static"
        ))),
    }
}

/// Builds with the release profile. A folder of its own keeps its flags from rebuilding everything else.
fn program(checkout: &Checkout, package: &str, name: &str) -> Result<Built> {
    let shell = Shell::new()?;
    shell.change_dir(checkout.root());
    let version = cmd!(shell, "rustc -vV")
        .quiet()
        .read()
        .context("asking rustc for its target")?;
    let target = host_target(&version).context("rustc -vV names no host")?;
    let cargo = environment::raw("CARGO").unwrap_or_else(|| "cargo".into());
    let build = || cmd!(shell, "{cargo}").args(release_build(checkout.root(), target, package, name));
    let mut notes = Vec::new();
    let linked = build().quiet().env("RUSTFLAGS", STATIC_FLAGS).ignore_stderr().run();
    if linked.is_err() {
        build()
            .quiet()
            .env("RUSTFLAGS", "")
            .run()
            .with_context(|| format!("building {name}"))?;
        notes.push(format!(
            "the {name} is linked dynamically: this machine has no static C library"
        ));
    }
    let program = checkout.path(RUNNER_TARGET).join(target).join("release").join(name);
    if !program.is_file() {
        return Err(failed!("cargo built no {}", program.display()));
    }
    Ok(Built { program, notes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_build_leaves_the_runner_of_an_earlier_one_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let (program, copies) = (folder.path().join("runner"), folder.path().join("kept"));
        let built = |text: &str| {
            let _ = std::fs::remove_file(&program);
            std::fs::write(&program, text).unwrap();
            kept(&program, &copies).unwrap()
        };
        let first = built("one");
        assert_eq!(kept(&program, &copies).unwrap(), first);
        let second = built("another");
        assert_ne!(first, second);
        let read = |path: &Path| std::fs::read_to_string(path).unwrap();
        assert_eq!((read(&first), read(&second)), ("one".to_owned(), "another".to_owned()));
        for number in 0..2 * MAX_KEPT_RUNNERS {
            built(&"x".repeat(100 + number));
        }
        assert_eq!(std::fs::read_dir(&copies).unwrap().count(), MAX_KEPT_RUNNERS);
    }
}
