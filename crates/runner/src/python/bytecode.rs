//! Byte-code without paths in it, compiled once for each folder of sources and linked into every environment with it.
//!
//! An ordinary `.pyc` holds the path of its source and is different in every environment: sixteen megabytes for ten
//! environments that share numpy. Here the path inside is `/env/…` whatever the environment's folder
//! is called (the interpreter puts the real one in when it loads the file, so tracebacks are right) and validity is not
//! checked against the source (`unchecked-hash`): the environment never changes after it was published.
//!
//! Shared are whole folders (see [`pool`]), not files: an environment has one link for each folder instead of a folder
//! and a name for each source. Two versions of a package that share some sources have those compiled twice; it would
//! take a second layer, with a name more for every file on the volume, to save that.
//!
//! Sources in folders called `tests` are left out. numpy alone has 250 of them, half of its sources; they are
//! not imported by the programs that use a package, and where one is, the interpreter compiles it in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hybrid_cache_model::Failure;
use hybrid_cache_model::protocol::Interpreter;
use rustix::io::Errno;

use super::compile::{self, Unit};
use super::pool::{self, PYCACHE, Pool};
use super::record::{self, Installed};
use crate::child::Patience;
use crate::store::{At, publish};

/// Where an environment claims to be, inside its byte-code.
const SHOWN_ENVIRONMENT: &str = "/env";
/// Folders between an environment and its packages: `lib/python3.x/site-packages`.
const SITE_DEPTH: usize = 3;

/// What was done, in sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Those whose byte-code the pool had.
    pub reused: usize,
    /// Those whose byte-code was missing from the pool.
    pub compiled: usize,
    /// Those that are no valid Python.
    pub skipped: usize,
}

/// The sources of one folder of site-packages: path to hash and size, sorted by path.
type Sources<'a> = BTreeMap<&'a str, (&'a str, u64)>;

/// One folder of sources and its place in the pool.
struct Folder<'a> {
    /// Relative to site-packages; empty for site-packages itself.
    inside: PathBuf,
    sources: Sources<'a>,
    pooled: PathBuf,
}

/// Gives every source of the environment its byte-code; can be repeated.
///
/// The caller holds [`pool::lock`] until the environment is published. `work` is a folder on the same volume.
///
/// # Errors
/// The volume cannot be written, the interpreter cannot be started, or `patience` ended. What the pool had is linked.
pub fn provide(
    pool: &Pool,
    installed: &Installed,
    interpreter: &Interpreter,
    work: &Path,
    patience: &Patience,
) -> Result<Compiled, Failure> {
    let mut compiled = Compiled::default();
    let mut missing = Vec::new();
    for folder in folders(installed, interpreter) {
        if pool.path.join(&folder.pooled).is_dir() {
            compiled.reused += folder.sources.len();
            attach(pool, installed, &folder)?;
        } else {
            missing.push(folder);
        }
    }
    let staged = work.join("bytecode");
    let units = stage(&missing, &staged, installed, interpreter)?;
    compile::compile(&units, interpreter, work, patience)?;
    let made = units.iter().filter(|unit| unit.target.exists()).count();
    compiled.compiled += made;
    compiled.skipped += units.len() - made;
    for folder in missing {
        pool::place(&staged.join(&folder.pooled), &pool.path.join(&folder.pooled))?;
        attach(pool, installed, &folder)?;
    }
    Ok(compiled)
}

/// All sources that are to have byte-code, by folder.
fn folders<'a>(installed: &'a Installed, interpreter: &Interpreter) -> Vec<Folder<'a>> {
    let mut folders: BTreeMap<&Path, Sources<'a>> = BTreeMap::new();
    for entry in installed.distributions.iter().flat_map(|one| &one.entries) {
        let is_wanted = entry.path.ends_with(".py") && !record::leaves(&entry.path) && !is_test(&entry.path);
        let folder = Path::new(&entry.path).parent().unwrap_or(Path::new(""));
        if !is_wanted {
            continue;
        }
        let source = (entry.hash.as_str(), entry.size.unwrap_or_default());
        let known = folders.entry(folder).or_default().entry(&entry.path).or_insert(source);
        if known.0 != source.0 {
            // Two distributions brought a file of this name: which of the two is on the disk, nobody has noted.
            known.0 = "";
        }
    }
    let folders = folders.into_iter().filter_map(|(inside, mut sources)| {
        sources.retain(|_, (hash, _)| !hash.is_empty());
        let named = sources.iter().map(|(path, (hash, _))| (*path, *hash));
        let pooled = pool::address(named, interpreter);
        let inside = inside.to_owned();
        (!sources.is_empty()).then_some(Folder {
            inside,
            sources,
            pooled,
        })
    });
    folders.collect()
}

/// True for a source below a folder called `tests` that is itself inside a package.
fn is_test(path: &str) -> bool {
    path.split('/').skip(1).any(|part| part == "tests")
}

/// Makes empty folders for the byte-code that is missing, and lists what is to be compiled into them.
fn stage(
    missing: &[Folder<'_>],
    staged: &Path,
    installed: &Installed,
    interpreter: &Interpreter,
) -> Result<Vec<Unit>, Failure> {
    let shown = Path::new(SHOWN_ENVIRONMENT).join(site_inside(installed));
    let mut units = Vec::new();
    for folder in missing {
        let into = staged.join(&folder.pooled);
        publish::ensure_folder(&into)?;
        units.extend(folder.sources.iter().map(|(path, (_, size))| Unit {
            source: installed.site_packages.join(path),
            shown: shown.join(path).to_string_lossy().into_owned(),
            size: *size,
            target: into.join(cached_name(path, interpreter)),
        }));
    }
    Ok(units)
}

/// site-packages, relative to the environment.
fn site_inside(installed: &Installed) -> PathBuf {
    let parts = installed.site_packages.components();
    let skipped = parts.clone().count().saturating_sub(SITE_DEPTH);
    parts.skip(skipped).collect()
}

fn cached_name(source: &str, interpreter: &Interpreter) -> String {
    let stem = Path::new(source).file_stem().unwrap_or_default().to_string_lossy();
    format!("{stem}.{}.pyc", interpreter.abi)
}

/// Makes the folder's byte-code that of the pool.
///
/// A wheel may ship a `__pycache__` of its own and list what is in it: that stays, and gets what it lacks.
fn attach(pool: &Pool, installed: &Installed, folder: &Folder<'_>) -> Result<(), Failure> {
    let inside = folder.inside.join(PYCACHE);
    let link = installed.site_packages.join(&inside);
    let target = pool.target(&folder.pooled, &site_inside(installed).join(inside));
    match rustix::fs::symlink(target, &link) {
        Err(Errno::EXIST) if link.symlink_metadata().is_ok_and(|found| found.is_dir()) => {
            fill(&link, &pool.path.join(&folder.pooled))
        }
        // There from an earlier attempt.
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error).at("link byte-code to", &link),
    }
}

/// Hardlinks each file of `pooled` that `folder` does not have.
fn fill(folder: &Path, pooled: &Path) -> Result<(), Failure> {
    for entry in std::fs::read_dir(pooled).at("read the folder", pooled)? {
        let entry = entry.at("read the folder", pooled)?;
        let link = folder.join(entry.file_name());
        match std::fs::hard_link(entry.path(), &link) {
            Ok(()) => {}
            // The second: the file has as many names as the file system allows, and this environment goes without.
            Err(error)
                if matches!(
                    error.kind(),
                    std::io::ErrorKind::AlreadyExists | std::io::ErrorKind::TooManyLinks
                ) => {}
            Err(error) => return Err(error).at("link byte-code to", &link),
        }
    }
    Ok(())
}
