//! Provides the Nix program: an existing `nix`, or the one that nix-portable unpacks into the volume.

use std::path::{Path, PathBuf};
use std::process::Command;

use hybrid_cache_model::protocol::Provider;
use hybrid_cache_model::{Failure, FailureKind};

use super::SystemVolume;
use super::nix::WorkDir;
use super::nix_errors;
use crate::child::{self, Deadline};
use crate::store::lock::{self, Mode};
use crate::store::{IoContext, files};

/// What nix-portable needs to unpack itself.
#[derive(Debug)]
pub struct Bootstrap<'a> {
    /// The volume.
    pub volume: &'a SystemVolume,
    /// Home and temporary folder.
    pub work_dir: &'a WorkDir,
    /// Certificates and proxies.
    pub variables: &'a [(String, String)],
    /// When to give up, waiting for other processes included.
    pub deadline: &'a Deadline,
}

/// The Nix program of a request's provider, unpacked first if nix-portable has not done so on this volume.
///
/// # Errors
/// The program is missing, or nix-portable failed.
pub fn program(provider: &Provider, bootstrap: &Bootstrap<'_>) -> Result<PathBuf, Failure> {
    match provider {
        Provider::Nix { program } => existing(Path::new(program)),
        Provider::NixPortable { program } => {
            let program = Path::new(program);
            NixPortable { program }.program(bootstrap)
        }
    }
}

fn existing(program: &Path) -> Result<PathBuf, Failure> {
    if program.exists() {
        return Ok(program.to_owned());
    }
    let message = format!("the nix program {} does not exist", program.display());
    Err(Failure::new(FailureKind::Tool, message)
        .hint("run `cargo xtask tools` to see which nix is used and where it comes from"))
}

/// nix-portable: a shell script with an archive behind it.
///
/// It expects its store at `$NP_LOCATION/.nix-portable/nix`, but here the store is mounted at `/nix`, so a link of that
/// name points there. It does no locking, and it remembers its choice of runtime (`conf/last_auto_runtime`) even if it
/// is wrong. So it is called once for each volume, under a lock; afterwards only the unpacked nix is used.
struct NixPortable<'a> {
    program: &'a Path,
}

/// The runtimes to try in order: its own choice first.
const RUNTIMES: [Option<&str>; 3] = [None, Some("bwrap"), Some("proot")];

impl NixPortable<'_> {
    fn program(&self, bootstrap: &Bootstrap<'_>) -> Result<PathBuf, Failure> {
        if let Some(nix) = unpacked_nix(bootstrap.volume)? {
            return Ok(nix);
        }
        let path = bootstrap.volume.lock_path("nix-portable");
        let _alone = lock::wait(&path, Mode::Exclusive, bootstrap.deadline.instant())?;
        // The previous holder of the lock has probably unpacked it.
        if let Some(nix) = unpacked_nix(bootstrap.volume)? {
            return Ok(nix);
        }
        self.unpack(bootstrap)?;
        unpacked_nix(bootstrap.volume)?.ok_or_else(|| {
            let store = bootstrap.volume.root().join("store");
            Failure::new(
                FailureKind::Tool,
                format!("nix-portable succeeded but left no nix in {}", store.display()),
            )
            .hint("check that the volume's `.nix-portable/nix` is what is mounted there")
        })
    }

    fn unpack(&self, bootstrap: &Bootstrap<'_>) -> Result<(), Failure> {
        let location = location(bootstrap)?;
        let mut last = None;
        for runtime in RUNTIMES {
            let result = self.call(&location, runtime, bootstrap);
            match result {
                Err(failure) if failure.kind == FailureKind::Sandbox => {
                    files::delete(&location.join(".nix-portable/conf/last_auto_runtime"))?;
                    last = Some(failure);
                }
                other => return other,
            }
        }
        last.map_or(Ok(()), Err)
    }

    fn call(&self, location: &Path, runtime: Option<&str>, bootstrap: &Bootstrap<'_>) -> Result<(), Failure> {
        let home = bootstrap.work_dir.path();
        let mut command = Command::new(self.program);
        command.args(["nix", "--version"]).current_dir(home).env_clear();
        command
            .env("NP_LOCATION", location)
            .env("HOME", home)
            .env("TMPDIR", home);
        command.env("PATH", "/usr/bin:/bin").env("USER", "nix");
        // Without this it would download and install git, which our flakes do not need.
        command.env("NP_GIT", "/bin/true");
        command.envs(runtime.map(|runtime| ("NP_RUNTIME", runtime)));
        command.envs(bootstrap.variables.iter().map(|(name, value)| (name, value)));
        let exit = child::run(&mut command, "nix-portable", Vec::new(), bootstrap.deadline)?;
        if exit.status.success() {
            return Ok(());
        }
        Err(nix_errors::failure("nix-portable", &exit.describe(), &exit.stderr))
    }
}

/// A folder whose `.nix-portable/nix` is the mounted store.
fn location(bootstrap: &Bootstrap<'_>) -> Result<PathBuf, Failure> {
    let location = bootstrap.volume.state().join("nix-portable");
    let inside = location.join(".nix-portable");
    files::ensure_folder(&inside)?;
    files::link_atomic(bootstrap.volume.root(), &inside.join("nix"))?;
    Ok(location)
}

/// The newest nix that nix-portable has put into the store: `<hash>-nix-2…/bin/nix`.
fn unpacked_nix(volume: &SystemVolume) -> Result<Option<PathBuf>, Failure> {
    let store = volume.root().join("store");
    let entries = match std::fs::read_dir(&store) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.io_context("read the folder", &store)?,
    };
    // The database is written last; before that the unpacked paths are not registered.
    if !volume.root().join("var/nix/db/db.sqlite").exists() {
        return Ok(None);
    }
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let versions = names.filter_map(|name| Some((version(&name)?, name)));
    let found = versions.map(|(version, name)| (version, store.join(name).join("bin/nix")));
    Ok(found.filter(|(_, path)| path.exists()).max().map(|(_, path)| path))
}

/// The version of a store path that is Nix itself, as numbers, so that 2.10 sorts after 2.9.
fn version(name: &str) -> Option<Vec<u32>> {
    let version = name.split_once('-')?.1.strip_prefix("nix-")?;
    version.split('.').map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Duration, Instant};

    /// Stands in for nix-portable, whose binary is on no package registry: it makes the same files in the same places.
    const DOUBLE: &str = r#"#!/bin/sh
set -e
dir="$NP_LOCATION/.nix-portable"
mkdir "$dir/tmpbin" || { echo "rm: cannot remove tmpbin" >&2; exit 1; }
echo call >> "$dir/calls"
mkdir -p "$dir/conf"
if [ -e "$dir/refuse" ] && [ "$NP_RUNTIME" != proot ]; then
    rmdir "$dir/tmpbin"; touch "$dir/conf/last_auto_runtime"
    echo "error: setting up a private mount namespace: Operation not permitted" >&2; exit 1
fi
sleep 0.1
for version in 2.9.1 2.20.6; do
    mkdir -p "$dir/nix/store/0c$version-nix-$version/bin"
    touch "$dir/nix/store/0c$version-nix-$version/bin/nix"
done
mkdir -p "$dir/nix/var/nix/db" "$dir/nix/store/0d-nix-2.20.6-man"
touch "$dir/nix/var/nix/db/db.sqlite"
rmdir "$dir/tmpbin"
"#;

    fn double() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("nix-portable");
        std::fs::write(&program, DOUBLE).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::create_dir_all(dir.path().join("nix/var/hybrid-cache/locks")).unwrap();
        (dir, program)
    }

    fn find(root: &Path, program: &Path) -> Result<PathBuf, Failure> {
        let volume = SystemVolume::new(root.join("nix"), &hybrid_cache_model::Tenant::default());
        let work_dir = WorkDir::create(&volume).unwrap();
        let deadline = Deadline::at(Instant::now() + Duration::from_secs(20)).unwrap();
        let bootstrap = Bootstrap {
            volume: &volume,
            work_dir: &work_dir,
            variables: &[],
            deadline: &deadline,
        };
        NixPortable { program }.program(&bootstrap)
    }

    #[test]
    fn concurrent_preparations_unpack_nix_portable_once() {
        let (dir, program) = double();
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| find(dir.path(), &program))).collect();
            for one in all {
                let nix = one.join().unwrap().unwrap();
                assert!(nix.ends_with("store/0c2.20.6-nix-2.20.6/bin/nix"), "{}", nix.display());
            }
        });
        let calls = dir.path().join("nix/var/hybrid-cache/nix-portable/.nix-portable/calls");
        assert_eq!(std::fs::read_to_string(calls).unwrap(), "call\n");
    }

    #[test]
    fn a_runtime_that_may_not_make_namespaces_is_replaced() {
        let (dir, program) = double();
        let inside = dir.path().join("nix/var/hybrid-cache/nix-portable/.nix-portable");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(inside.join("refuse"), "").unwrap();
        find(dir.path(), &program).unwrap();
        assert!(!inside.join("conf/last_auto_runtime").exists());
    }

    #[test]
    fn a_missing_nix_portable_is_named() {
        let (dir, _) = double();
        let failure = find(dir.path(), Path::new("/no/nix-portable")).unwrap_err();
        assert!(failure.message.contains("/no/nix-portable"), "{failure}");
    }
}
