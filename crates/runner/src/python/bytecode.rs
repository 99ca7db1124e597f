//! Bytecode without paths, compiled once for each folder of sources and linked into every environment that has the
//! folder.
//!
//! An ordinary `.pyc` contains the path of its source and so differs in every environment: 16 MB for ten environments
//! that share numpy. Here the path is `/env/…` for every environment. The interpreter substitutes the real path when it
//! loads the file, so tracebacks are right. Validity is not checked against the source (`unchecked-hash`), because a
//! published environment never changes.
//!
//! Whole folders are shared (see [`pool`]), not files: an environment has one link for each folder instead of a folder
//! and a name for each source. If two versions of a package share some sources, those are compiled twice. Avoiding that
//! would need a second layer with one more name for every file.
//!
//! A folder's bytecode depends only on the bytes of its sources as hashed on disk, and not on a package's own claims.
//! So environments that share bytecode have the same sources.
//!
//! Sources in folders called `tests` are left out: numpy alone has 250 of them, half of its sources. Programs that use
//! a package rarely import them, and the interpreter then compiles them in memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{Failure, FailureKind, Protection};
use rustix::io::Errno;

use super::compile::{self, Unit};
use super::content::CONTENT_FILE;
use super::pool::{self, PYCACHE, Pool};
use super::record::Installed;
use crate::child::Deadline;
use crate::store::digest::Pace;
use crate::store::tree::{self, Item, Kind, Listing, Tree};
use crate::store::{IoContext, files};

/// The path of the environment as stored in bytecode.
const SHOWN_ENVIRONMENT: &str = "/env";

/// The result, in numbers of sources.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Sources whose bytecode was in the pool.
    pub reused: usize,
    /// Sources that were compiled.
    pub compiled: usize,
    /// Sources that are not valid Python.
    pub skipped: usize,
}

/// An environment to provide bytecode for.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// Its distributions.
    pub installed: &'a Installed,
    /// Its files.
    pub tree: &'a Tree,
    /// The same with the hashes of their bytes.
    pub listing: &'a Listing,
    /// The interpreter.
    pub interpreter: &'a Interpreter,
}

/// One folder of sources and its place in the pool.
struct Folder<'a> {
    /// Relative to the environment.
    inside: PathBuf,
    sources: Vec<&'a Item>,
    pooled: PathBuf,
}

/// Links bytecode for every source of the environment. Can be repeated.
///
/// The caller holds [`pool::lock`] until the environment is published. `work` is a folder on the same volume.
///
/// # Errors
/// The volume cannot be written, the interpreter cannot be started, or `deadline` passed. Bytecode that the pool already
/// had is linked by then.
pub fn provide(pool: &Pool, sources: &Sources<'_>, work: &Path, deadline: &Deadline) -> Result<Compiled, Failure> {
    let mut compiled = Compiled::default();
    let mut missing = Vec::new();
    let venv = &sources.installed.venv;
    for folder in folders(sources) {
        if pool.path.join(&folder.pooled).is_dir() {
            compiled.reused += folder.sources.len();
            attach(pool, venv, &folder)?;
        } else {
            missing.push(folder);
        }
    }
    let staged = work.join("bytecode");
    let units = stage(&missing, &staged, sources)?;
    compile::compile(&units, sources.interpreter, work, deadline)?;
    let made = units.iter().filter(|unit| unit.target.exists()).count();
    compiled.compiled += made;
    compiled.skipped += units.len() - made;
    for folder in missing {
        let made = staged.join(&folder.pooled);
        describe(&made)?;
        pool::place(&made, &pool.path.join(&folder.pooled))?;
        attach(pool, venv, &folder)?;
    }
    Ok(compiled)
}

/// Writes the list of the bytecode files, for verification.
fn describe(folder: &Path) -> Result<(), Failure> {
    let path = folder.join(CONTENT_FILE);
    let mut listing = tree::read(folder, Pace::Background)?;
    // Leave out empty folders, and the list itself from an earlier attempt.
    listing
        .lines
        .retain(|name, line| line.mode != "folder" && name != CONTENT_FILE);
    std::fs::write(&path, listing.to_text()).io_context("write", &path)
}

/// The place in the pool of each folder's bytecode: from the path in the environment to the path in the pool.
pub fn addresses(tree: &Tree, listing: &Listing, site: &str, interpreter: &Interpreter) -> BTreeMap<PathBuf, PathBuf> {
    let hash = |item: &Item| listing.lines.get(&item.name).map(|line| line.content.clone());
    let folders = grouped(tree, site, &hash, interpreter);
    folders
        .into_iter()
        .map(|folder| (folder.inside, folder.pooled))
        .collect()
}

/// All sources that are to have bytecode, by folder.
fn folders<'a>(sources: &Sources<'a>) -> Vec<Folder<'a>> {
    let hash = |item: &Item| {
        if Protection::ContentHashes.is_on() {
            return sources.listing.lines.get(&item.name).map(|line| line.content.clone());
        }
        let mut entries = sources.installed.distributions.iter().flat_map(|one| &one.entries);
        let claim = entries.rfind(|entry| entry.path == item.name);
        claim.map(|entry| entry.hash.clone())
    };
    grouped(sources.tree, &sources.installed.site, &hash, sources.interpreter)
}

fn grouped<'a>(
    tree: &'a Tree,
    site: &str,
    hash: &dyn Fn(&Item) -> Option<String>,
    interpreter: &Interpreter,
) -> Vec<Folder<'a>> {
    let mut folders: BTreeMap<&Path, Vec<(&Item, String)>> = BTreeMap::new();
    for item in &tree.items {
        let Ok(inside) = item.path.strip_prefix(site) else {
            continue;
        };
        let is_source = matches!(item.kind, Kind::File(_)) && item.name.ends_with(".py");
        if is_source && !is_test(inside) {
            let folder = item.path.parent().unwrap_or(Path::new(""));
            folders
                .entry(folder)
                .or_default()
                .extend(hash(item).map(|hash| (item, hash)));
        }
    }
    let folder = |(inside, sources): (&Path, Vec<(&'a Item, String)>)| {
        let name = |item: &'a Item| item.name.get(site.len() + 1..).unwrap_or_default();
        let named = sources.iter().map(|(item, hash)| (name(item), hash.as_str()));
        let pooled = pool::address(named, interpreter);
        let sources: Vec<&Item> = sources.into_iter().map(|(item, _)| item).collect();
        let inside = inside.to_owned();
        (!sources.is_empty()).then_some(Folder {
            inside,
            sources,
            pooled,
        })
    };
    folders.into_iter().filter_map(folder).collect()
}

/// True for a source below a folder called `tests` that is itself inside a package.
fn is_test(path: &Path) -> bool {
    path.components().skip(1).any(|part| part.as_os_str() == "tests")
}

/// Creates empty folders for the missing bytecode, and lists what to compile into them.
fn stage(missing: &[Folder<'_>], staged: &Path, sources: &Sources<'_>) -> Result<Vec<Unit>, Failure> {
    let shown = Path::new(SHOWN_ENVIRONMENT);
    let mut units = Vec::new();
    for folder in missing {
        let into = staged.join(&folder.pooled);
        files::ensure_folder(&into)?;
        units.extend(folder.sources.iter().map(|item| Unit {
            source: sources.tree.full(&item.path),
            shown: shown.join(&item.path).to_string_lossy().into_owned(),
            size: item.bytes,
            target: into.join(cached_name(&item.path, sources.interpreter)),
        }));
    }
    Ok(units)
}

fn cached_name(source: &Path, interpreter: &Interpreter) -> String {
    let stem = source.file_stem().unwrap_or_default().to_string_lossy();
    format!("{stem}.{}.pyc", interpreter.abi)
}

/// Links the folder's bytecode to the pool.
fn attach(pool: &Pool, venv: &Path, folder: &Folder<'_>) -> Result<(), Failure> {
    let inside = folder.inside.join(PYCACHE);
    let link = venv.join(&inside);
    let target = pool.target(&folder.pooled, &inside);
    match rustix::fs::symlink(&target, &link) {
        Ok(()) => Ok(()),
        // The link exists from an earlier attempt.
        Err(Errno::EXIST) if std::fs::read_link(&link).is_ok_and(|found| found == target) => Ok(()),
        Err(Errno::EXIST) => {
            let message = format!("{} is in the place of bytecode", link.display());
            Err(Failure::new(FailureKind::CacheDamaged, message))
        }
        Err(error) => Err(error).io_context("link bytecode to", &link),
    }
}
