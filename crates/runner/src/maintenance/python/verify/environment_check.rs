//! Examines one environment: its records against each other, the virtual environment against its listing, and the
//! bytecode links against their sources.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hybrid_cache_model::{EnvironmentKey, Failure, Protection};

use crate::maintenance::hashes::Hashes;
use crate::python::content::{self, CONTENT_FILE};
use crate::python::environment::{DAMAGED_FILE, LOCK_FILE, MANIFEST_FILE, Manifest, VENV};
use crate::python::{PythonVolume, bytecode, pool, record};
use crate::store::digest::Inode;
use crate::store::known_files::KnownFiles;
use crate::store::stage::LEASE;
use crate::store::tree::{Item, Listing, Tree};

/// The names in an environment's folder.
const OURS: [&str; 5] = [LEASE, LOCK_FILE, MANIFEST_FILE, CONTENT_FILE, VENV];

/// The files of an environment, not yet hashed.
pub struct Read(Result<(Tree, Vec<Item>), Failure>);

impl Read {
    /// The virtual environment's files, without bytecode.
    pub fn tree(&self) -> Option<&Tree> {
        self.0.as_ref().ok().map(|(tree, _)| tree)
    }

    /// The number of its entries.
    pub fn items(&self) -> usize {
        self.tree().map_or(0, |tree| tree.items.len())
    }
}

/// Reads the names of an environment.
pub fn read(environment: &Path, known: &KnownFiles) -> Read {
    Read(content::read_beside(&environment.join(VENV), known))
}

/// Each problem with its path.
type Problems = Vec<(PathBuf, String)>;

/// The findings for one environment.
#[derive(Debug, Default)]
pub struct EnvironmentFindings {
    /// What is wrong with it.
    pub problems: Problems,
    /// Damaged inodes that have other names as well.
    pub inodes: Vec<Inode>,
}

/// Finds the problems of an environment. `damaged` lists the damaged bytecode folders.
pub fn judge(
    volume: &PythonVolume,
    environment: &Path,
    read: &Read,
    hashes: &Hashes,
    damaged: &BTreeSet<PathBuf>,
) -> EnvironmentFindings {
    let mut judged = EnvironmentFindings::default();
    let mut note = |path: PathBuf, what: String| judged.problems.push((path, what));
    let missing = OURS.iter().filter(|name| !environment.join(name).exists());
    let missing: Vec<&&str> = missing.collect();
    for name in &missing {
        note(environment.join(name), "is missing".to_owned());
    }
    for entry in std::fs::read_dir(environment).into_iter().flatten().flatten() {
        if entry.file_name() == DAMAGED_FILE {
            note(
                environment.to_owned(),
                "was marked as damaged while a task used it".to_owned(),
            );
        } else if !OURS.iter().any(|name| entry.file_name() == *name) {
            note(entry.path(), "was not published".to_owned());
        }
    }
    if !missing.is_empty() {
        return judged;
    }
    let python = environment.join(VENV).join("bin/python");
    if !python.exists() {
        note(python, "leads to an interpreter that is gone".to_owned());
    }
    let (manifest, listing) = match own_files(environment) {
        Ok(own) => own,
        Err((name, what)) => {
            note(environment.join(name), what);
            return judged;
        }
    };
    match &read.0 {
        Err(failure) => note(environment.join(VENV), failure.message.clone()),
        Ok((tree, bytecode)) => {
            if Protection::VerifyContent.is_on() {
                compare(environment, tree, &listing, hashes, &mut judged);
            }
            let found = links(volume, environment, (tree, bytecode), (&manifest, &listing), damaged);
            judged.problems.extend(found);
        }
    }
    judged
}

/// The manifest and the listing, if neither has changed since it was written.
fn own_files(environment: &Path) -> Result<(Manifest, Listing), (&'static str, String)> {
    let read = |name: &'static str| {
        std::fs::read_to_string(environment.join(name)).map_err(|error| (name, format!("cannot be read: {error}")))
    };
    let [manifest, lock, text] = [read(MANIFEST_FILE)?, read(LOCK_FILE)?, read(CONTENT_FILE)?];
    let manifest: Manifest = serde_json::from_str(&manifest).map_err(|error| (MANIFEST_FILE, error.to_string()))?;
    let changed = "was changed since it was published".to_owned();
    if manifest.sealed(&lock) != manifest.seal {
        return Err((MANIFEST_FILE, format!("{MANIFEST_FILE} or {LOCK_FILE} {changed}")));
    }
    let name = environment.file_name().unwrap_or_default();
    let key = EnvironmentKey::new(text.as_bytes(), &manifest.interpreter);
    if manifest.key != key || name != key.as_str() {
        return Err((CONTENT_FILE, changed));
    }
    let listing = Listing::parse(&text).ok_or((CONTENT_FILE, "is not a list of files".to_owned()))?;
    if environment.join(LEASE).metadata().is_ok_and(|found| found.len() > 0) {
        return Err((LEASE, changed));
    }
    Ok((manifest, listing))
}

fn compare(environment: &Path, tree: &Tree, expected: &Listing, hashes: &Hashes, judged: &mut EnvironmentFindings) {
    let venv = environment.join(VENV);
    let mut damaged = BTreeSet::new();
    match tree.listing(&hashes.known) {
        Err((name, what)) => {
            judged.problems.push((venv.join(&name), what));
            damaged.insert(name);
        }
        Ok(found) => {
            for (name, what) in expected.differences(&found) {
                judged.problems.push((venv.join(&name), what));
                damaged.insert(name);
            }
        }
    }
    let shared = tree
        .items
        .iter()
        .filter(|item| item.links > 1 && damaged.contains(&item.name));
    judged.inodes.extend(shared.map(|item| item.inode));
}

/// Checks that every link points to existing, undamaged bytecode of the sources beside it, and that no link is missing.
fn links(
    volume: &PythonVolume,
    environment: &Path,
    (tree, bytecode): (&Tree, &[Item]),
    (manifest, listing): (&Manifest, &Listing),
    damaged: &BTreeSet<PathBuf>,
) -> Problems {
    let mut problems = Problems::new();
    let site = record::site(&manifest.interpreter);
    let expected = bytecode::addresses(tree, listing, &site, &manifest.interpreter);
    let pools = pool::all(volume);
    let mut linked = BTreeSet::new();
    for item in bytecode {
        let link = environment.join(VENV).join(&item.path);
        let led_to = pools.iter().find_map(|pool| Some((pool, pool::read(pool, &link)?)));
        let Some((pool, folder)) = led_to else {
            problems.push((link, "was not published".to_owned()));
            continue;
        };
        let target = pool.join(&folder);
        if expected.get(item.path.parent().unwrap_or(Path::new(""))) != Some(&folder) {
            problems.push((link, "leads to the bytecode of other sources".to_owned()));
        } else if !target.is_dir() {
            let what = "leads to bytecode that is gone: every import from here compiles again";
            problems.push((link, what.to_owned()));
        } else if damaged.contains(&target) {
            problems.push((link, "leads to bytecode that is damaged".to_owned()));
        }
        linked.insert(volume.relative(&target));
    }
    for folder in manifest.bytecode.iter().filter(|folder| !linked.contains(*folder)) {
        problems.push((environment.to_owned(), format!("its link to {folder} is missing")));
    }
    problems
}
