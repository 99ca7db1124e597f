//! The pool of byte-code: one folder for each distinct set of sources, linked into every environment that has them.
//!
//! ```text
//! bytecode/<abi>/<key>/<module>.<abi>.pyc     key: interpreter version, and path and hash of each source
//! envs/<environment-key>/lib/python3.x/site-packages/<package>/__pycache__ -> ../../…/bytecode/<abi>/<key>
//! locks/bytecode                              shared: an environment with such links is on its way; alone: sweeping
//! ```
//!
//! A link costs an environment one entry, however many sources the folder has. It is relative, so it leads to the pool
//! wherever the volume is mounted; it is right for an environment in `envs/` and leads nowhere from staging, where
//! the interpreter compiles in memory as it does where there is no byte-code at all.
//!
//! A folder comes into the pool whole, by one rename, and the first one wins. It leaves when no published environment
//! links to it. The lock keeps a folder from leaving between a publisher's look and its environment's appearance; where
//! locks do not work, what is lost is the byte-code, and `verify` says so.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use hybrid_cache_model::Failure;
use hybrid_cache_model::protocol::Interpreter;
use rustix::io::Errno;

use super::PythonVolume;
use crate::store::lock::{self, Lock, Mode};
use crate::store::{At, publish};

/// The name under which the interpreter looks for byte-code.
pub const PYCACHE: &str = "__pycache__";
/// Folders between the volume and the content of an environment: `envs`, `<environment-key>`.
const ENVIRONMENT_DEPTH: usize = 2;

/// A link of an environment into the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The link itself.
    pub path: PathBuf,
    /// The pool's folder, relative to the pool: `<abi>/<key>`.
    pub folder: PathBuf,
}

/// Takes the lock on the pool's content: shared to publish links to it, exclusive to remove from it.
///
/// # Errors
/// It was not to be had until `deadline`, or the volume cannot be written.
pub fn lock(volume: &PythonVolume, mode: Mode, deadline: Instant) -> Result<Lock, Failure> {
    publish::ensure_folder(&volume.locks())?;
    lock::wait(&volume.locks().join("bytecode"), mode, deadline)
}

/// Where in the pool the byte-code of one folder's sources is, given as sorted `(path, hash)`: `<abi>/<key>`.
///
/// The full version is part of the address: the same ABI tag covers releases that compile differently.
pub fn address<'a>(sources: impl Iterator<Item = (&'a str, &'a str)>, interpreter: &Interpreter) -> PathBuf {
    let mut hasher = blake3::Hasher::new();
    let mut add = |field: &str| {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field.as_bytes());
    };
    add(&interpreter.version);
    for (path, hash) in sources {
        add(path);
        add(hash);
    }
    let mut hex = hasher.finalize().to_hex().to_string();
    hex.truncate(32);
    Path::new(&interpreter.abi).join(hex)
}

/// Moves a finished folder to its place in the pool; one that is there already stays.
///
/// # Errors
/// The volume cannot be written.
pub fn place(from: &Path, to: &Path) -> Result<(), Failure> {
    publish::ensure_folder(to.parent().unwrap_or(Path::new(".")))?;
    match rustix::fs::rename(from, to) {
        Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(error) => Err(error).at("rename into place", to),
    }
}

/// What a link at `inside` (relative to the environment) has to say to lead to `folder` of the pool.
pub fn target(pool: &Path, folder: &Path, inside: &Path) -> PathBuf {
    let depth = inside.parent().map_or(0, |parent| parent.components().count());
    let mut target: PathBuf = std::iter::repeat_n("..", depth + ENVIRONMENT_DEPTH).collect();
    target.push(pool.file_name().unwrap_or_default());
    target.join(folder)
}

/// The pool's folder that a link of this name leads to; `None` where it is none of ours.
pub fn read(pool: &Path, link: &Path) -> Option<PathBuf> {
    if link.file_name() != Some(OsStr::new(PYCACHE)) {
        return None;
    }
    let target = std::fs::read_link(link).ok()?;
    let down: PathBuf = target
        .components()
        .skip_while(|part| *part == Component::ParentDir)
        .collect();
    let folder = down.strip_prefix(pool.file_name()?).ok()?;
    (folder.components().count() == 2).then(|| folder.to_owned())
}

/// All links of an environment into the pool. Entries that vanish while this looks are left out.
///
/// # Errors
/// A folder cannot be read.
pub fn links(pool: &Path, environment: &Path) -> Result<Vec<Link>, Failure> {
    let mut links = Vec::new();
    let mut folders = vec![environment.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.at("read the folder", &folder)?,
        };
        for entry in entries {
            let entry = entry.at("read the folder", &folder)?;
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_symlink() {
                let path = entry.path();
                links.extend(read(pool, &path).map(|folder| Link { path, folder }));
            }
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter(version: &str) -> Interpreter {
        Interpreter {
            path: String::new(),
            implementation: "cpython".into(),
            version: version.into(),
            abi: "cpython-311".into(),
            platform: String::new(),
            libc: String::new(),
            binary_hash: String::new(),
        }
    }

    #[test]
    fn the_address_depends_on_paths_content_and_interpreter() {
        let base = address([("p/a.py", "1"), ("p/b.py", "2")].into_iter(), &interpreter("3.11.7"));
        assert!(base.starts_with("cpython-311") && base.components().count() == 2);
        for (sources, version) in [
            ([("p/a.py", "1"), ("p/c.py", "2")], "3.11.7"),
            ([("p/a.py", "1"), ("p/b.py", "3")], "3.11.7"),
            ([("p/a.py", "1"), ("p/b.py", "2")], "3.11.8"),
        ] {
            assert_ne!(base, address(sources.into_iter(), &interpreter(version)));
        }
    }

    #[test]
    fn a_link_leads_from_an_environment_to_the_pool_and_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let pool = dir.path().join("bytecode");
        let folder = Path::new("cpython-311/k");
        std::fs::create_dir_all(pool.join(folder)).unwrap();
        let environment = dir.path().join("envs/e");
        let inside = Path::new("lib/python3.11/site-packages/a/b/__pycache__");
        std::fs::create_dir_all(environment.join(inside).parent().unwrap()).unwrap();
        let path = environment.join(inside);
        rustix::fs::symlink(target(&pool, folder, inside), &path).unwrap();
        rustix::fs::symlink("elsewhere", environment.join(PYCACHE)).unwrap();
        assert_eq!(path.canonicalize().unwrap(), pool.join(folder).canonicalize().unwrap());
        let folder = folder.to_owned();
        assert_eq!(links(&pool, &environment).unwrap(), [Link { path, folder }]);
    }

    #[test]
    fn the_first_folder_stays() {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("pool/abi/k");
        for content in ["first", "second"] {
            let from = dir.path().join(content);
            std::fs::create_dir(&from).unwrap();
            std::fs::write(from.join("f"), content).unwrap();
            place(&from, &to).unwrap();
        }
        assert_eq!(std::fs::read_to_string(to.join("f")).unwrap(), "first");
    }
}
