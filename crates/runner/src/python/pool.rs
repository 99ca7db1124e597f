//! The bytecode pool: one folder for each distinct set of sources, linked into every environment that has them.
//!
//! ```text
//! bytecode/<abi>/<key>/<module>.<abi>.pyc     key: interpreter version, and path and hash of each source's bytes
//! bytecode/<abi>/<key>/content                hash of each of them, for verification
//! tenants/<tenant>/bytecode/<abi>/<key>/…     the same for packages of the tenant's private index
//! …/envs/<environment-key>/venv/lib/python3.x/site-packages/<package>/__pycache__ -> ../../…/bytecode/<abi>/<key>
//! locks/bytecode                              shared: an environment with such links is on its way; alone: sweeping
//! ```
//!
//! A link costs an environment one directory entry, however many sources the folder has. It is relative, so it works
//! wherever the volume is mounted. It is correct for an environment in `envs/` and dangles in staging, where the
//! interpreter compiles in memory instead.
//!
//! A folder enters the pool by one rename, and the first one wins. It is removed when no published environment links to
//! it. The lock prevents its removal between a publisher's check and the publication. Without working locks the
//! bytecode may be lost, which `verify` reports.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::time::Instant;

use hybrid_cache_model::Failure;
use hybrid_cache_model::protocol::{IndexScope, Interpreter};
use rustix::io::Errno;

use super::PythonVolume;
use crate::store::lock::{self, Lock, Mode};
use crate::store::{IoContext, files};

/// The name under which the interpreter looks for bytecode.
pub const PYCACHE: &str = "__pycache__";
/// Folders between a tenant's own and the content of an environment: `envs`, `<environment-key>`, `venv`.
const ENVIRONMENT_DEPTH: usize = 3;

/// A pool and its distance from an environment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Its path.
    pub path: PathBuf,
    /// The number of folders between the pool's parent and the content of a published environment.
    pub depth: usize,
}

impl Pool {
    /// The pool of a volume's scope: the shared one, or the tenant's own.
    pub fn from_volume(volume: &PythonVolume) -> Pool {
        let path = volume.bytecode();
        let beside = path.parent().unwrap_or(volume.root());
        let above = volume
            .own()
            .strip_prefix(beside)
            .map_or(0, |own| own.components().count());
        Pool {
            depth: above + ENVIRONMENT_DEPTH,
            path,
        }
    }

    /// The target of a link at `inside` (relative to the virtual environment) to `folder` of the pool.
    pub fn target(&self, folder: &Path, inside: &Path) -> PathBuf {
        let depth = inside.parent().map_or(0, |parent| parent.components().count());
        let mut target: PathBuf = std::iter::repeat_n("..", depth + self.depth).collect();
        target.push(self.path.file_name().unwrap_or_default());
        target.join(folder)
    }

    /// The folders of this pool that the links of the environment at `venv` will point to once it is published; in
    /// staging they dangle.
    ///
    /// # Errors
    /// A folder cannot be read.
    pub fn links_from_staging(&self, venv: &Path) -> Result<Vec<PathBuf>, Failure> {
        let mut folders = Vec::new();
        for link in cache_links(venv)? {
            let (Ok(inside), Ok(target)) = (link.strip_prefix(venv), std::fs::read_link(&link)) else {
                continue;
            };
            let folder: PathBuf = target
                .components()
                .skip(target.components().count().saturating_sub(2))
                .collect();
            if self.target(&folder, inside) == target {
                folders.push(folder);
            }
        }
        Ok(folders)
    }
}

/// A link of an environment into the pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The link itself.
    pub path: PathBuf,
    /// The pool's folder, relative to the pool: `<abi>/<key>`.
    pub folder: PathBuf,
}

/// The pools that a tenant's environments may link to: the shared one and its own.
pub fn all(volume: &PythonVolume) -> Vec<PathBuf> {
    let scopes = [IndexScope::Public, IndexScope::Private];
    let mut pools = scopes.map(|scope| volume.clone().with_scope(scope).bytecode()).to_vec();
    pools.dedup();
    pools
}

/// Takes the lock on the pools' content: shared to publish links to it, exclusive to remove from it.
///
/// # Errors
/// The lock is not free before `deadline`, or the volume cannot be written.
pub fn lock(volume: &PythonVolume, mode: Mode, deadline: Instant) -> Result<Lock, Failure> {
    files::ensure_folder(&volume.locks())?;
    lock::wait(&volume.locks().join("bytecode"), mode, deadline)
}

/// The place in the pool of one folder's bytecode, `<abi>/<key>`, for its sources as sorted `(path, hash)`.
///
/// The full version is part of it, because releases with the same ABI tag may compile differently.
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

/// Moves a finished folder to its place in the pool. An existing folder stays.
///
/// # Errors
/// The volume cannot be written.
pub fn place(from: &Path, to: &Path) -> Result<(), Failure> {
    files::ensure_folder(to.parent().unwrap_or(Path::new(".")))?;
    match rustix::fs::rename(from, to) {
        Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
        Err(error) => Err(error).io_context("rename into place", to),
    }
}

/// The folder of the pool at `pool` that the link at `link` points to; `None` if it points elsewhere.
///
/// Resolves the path as text, because the target may be gone.
pub fn read(pool: &Path, link: &Path) -> Option<PathBuf> {
    if link.file_name() != Some(OsStr::new(PYCACHE)) {
        return None;
    }
    let mut led_to = link.parent()?.to_owned();
    for part in std::fs::read_link(link).ok()?.components() {
        match part {
            Component::ParentDir => drop(led_to.pop()),
            part => led_to.push(part),
        }
    }
    let folder = led_to.strip_prefix(pool).ok()?;
    (folder.components().count() == 2).then(|| folder.to_owned())
}

/// All links of an environment into the pool. Entries that disappear meanwhile are left out.
///
/// # Errors
/// A folder cannot be read.
pub fn links(pool: &Path, environment: &Path) -> Result<Vec<Link>, Failure> {
    let links = cache_links(environment)?.into_iter();
    let read = |path: PathBuf| read(pool, &path).map(|folder| Link { path, folder });
    Ok(links.filter_map(read).collect())
}

/// All links of an environment in the place of a bytecode folder.
fn cache_links(environment: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut links = Vec::new();
    let mut folders = vec![environment.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            other => other.io_context("read the folder", &folder)?,
        };
        for entry in entries {
            let entry = entry.io_context("read the folder", &folder)?;
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_symlink() && entry.file_name() == PYCACHE {
                links.push(entry.path());
            }
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use hybrid_cache_model::Tenant;

    use super::*;
    use crate::python::environment::VENV;

    fn interpreter(version: &str) -> Interpreter {
        Interpreter {
            path: String::new(),
            implementation: "cpython".into(),
            version: version.into(),
            abi: "cpython-311".into(),
            platform: String::new(),
            libc: String::new(),
            binary_hash: String::new(),
            start: String::new(),
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
        let public = PythonVolume::open_write(dir.path(), &Tenant::default()).unwrap();
        let private = public.clone().with_scope(IndexScope::Private);
        let folder = Path::new("cpython-311/k");
        let environment = public.environments().join("e");
        let mut expected = Vec::new();
        for (name, volume) in [("a", &public), ("b", &private)] {
            let pool = Pool::from_volume(volume);
            std::fs::create_dir_all(pool.path.join(folder)).unwrap();
            let inside = Path::new("lib/python3.11/site-packages").join(name).join(PYCACHE);
            let path = environment.join(VENV).join(&inside);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            rustix::fs::symlink(pool.target(folder, &inside), &path).unwrap();
            assert_eq!(
                path.canonicalize().unwrap(),
                pool.path.join(folder).canonicalize().unwrap()
            );
            let folder = folder.to_owned();
            expected.push((pool.path, Link { path, folder }));
        }
        rustix::fs::symlink("elsewhere", environment.join(PYCACHE)).unwrap();
        assert_ne!(expected[0].0, expected[1].0);
        for (pool, link) in expected {
            assert_eq!(links(&pool, &environment).unwrap(), [link]);
        }
    }

    #[test]
    fn the_first_folder_published_to_the_pool_stays() {
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
