//! What the program is built from: the sources that cargo lists, manifests, cargo's settings, and variables.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use hybrid_cache_launcher::{ROOT_FILES, SETTINGS, is_read, manifests, sources};

use crate::paths::Paths;

/// A digest of all variables that a build reads. Their values may be secret, so only the digest is kept.
pub fn variables() -> u64 {
    let mut all: Vec<_> = env::vars_os()
        .filter(|(name, _)| name.to_str().is_some_and(is_read))
        .collect();
    all.sort();
    let mut hasher = DefaultHasher::new();
    all.hash(&mut hasher);
    hasher.finish()
}

/// Every file that decides what the program is. A file that is not there decides by its absence.
///
/// # Errors
/// Cargo left no list of the program's sources.
pub fn files(paths: &Paths) -> io::Result<BTreeSet<PathBuf>> {
    let list = fs::read_to_string(paths.program.with_extension("d"))?;
    let mut all: BTreeSet<PathBuf> = sources(&list).into_iter().collect();
    let manifests = manifests(&all);
    all.extend(manifests);
    all.extend(ROOT_FILES.map(|name| paths.root.join(name)));
    all.extend(settings(paths));
    all.extend([paths.launcher.clone(), paths.program.clone()]);
    Ok(all)
}

/// Cargo's settings, from the folder of the command up to the root of the file system, and the user's.
fn settings(paths: &Paths) -> Vec<PathBuf> {
    let below = |folder: &Path| SETTINGS.map(|name| folder.join(name));
    let mut all: Vec<PathBuf> = paths.root.ancestors().flat_map(below).collect();
    // A folder within the checkout counts only if it has settings: otherwise each folder would have a record of its own.
    let here = env::current_dir().unwrap_or_default();
    all.extend(here.ancestors().flat_map(below).filter(|file| file.exists()));
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".cargo")));
    all.extend(
        home.into_iter()
            .flat_map(|home| ["config.toml", "config"].map(|name| home.join(name))),
    );
    all
}
