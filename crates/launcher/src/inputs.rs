//! What the program is built from: the sources that cargo lists, manifests, cargo's settings, and variables.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::env;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use crate::paths::Paths;

/// Beginnings of the names of variables that cargo, rustc, a linker or a build script reads.
const READ: [&str; 13] = [
    "CARGO",
    "RUST",
    "CC",
    "CXX",
    "CFLAGS",
    "AR",
    "LD",
    "HOST",
    "TARGET",
    "PKG_CONFIG",
    "LIB",
    "PATH",
    "HOME",
];
/// Variables that have such a name and change no build.
const NOT_READ: [&str; 2] = ["RUST_BACKTRACE", "RUST_LOG"];

/// True for a variable in which cargo tells a program about itself.
pub fn is_told(name: &str) -> bool {
    let is_of_package = name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    is_of_package || matches!(name, "CARGO_BIN_NAME" | "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE")
}

/// A digest of all variables that a build reads. Their values may be secret, so only the digest is kept.
pub fn variables() -> u64 {
    let is_read = |name: &str| READ.iter().any(|begin| name.starts_with(begin));
    let mut all: Vec<_> = env::vars_os()
        .filter(|(name, _)| {
            name.to_str()
                .is_some_and(|name| is_read(name) && !is_told(name) && !NOT_READ.contains(&name))
        })
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
    // Cargo's list names neither manifests nor a build script that did not exist.
    let crates: BTreeSet<PathBuf> = all
        .iter()
        .flat_map(|source| source.ancestors().skip(1))
        .filter(|folder| folder.join("Cargo.toml").is_file())
        .map(Path::to_owned)
        .collect();
    for folder in crates {
        all.extend(["Cargo.toml", "build.rs"].map(|name| folder.join(name)));
    }
    for name in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain"] {
        all.insert(paths.root.join(name));
    }
    all.extend(settings(paths));
    all.extend([paths.launcher.clone(), paths.program.clone()]);
    Ok(all)
}

/// Cargo's settings, from the folder of the command up to the root of the file system, and the user's.
fn settings(paths: &Paths) -> Vec<PathBuf> {
    let names = [".cargo/config.toml", ".cargo/config"];
    let below = |folder: &Path| names.map(|name| folder.join(name));
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

/// The files behind the colon of a list in the form of make, in which a blank of a name follows a backslash.
fn sources(list: &str) -> Vec<PathBuf> {
    let line = list.lines().next().unwrap_or_default();
    let files = line.split_once(": ").map_or("", |(_, files)| files);
    let marked = files.replace("\\ ", "\0");
    let names = marked.split(' ').filter(|name| !name.is_empty());
    names.map(|name| name.replace('\0', " ").into()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_sources_keeps_names_with_blanks_whole() {
        let list = "/target/my\\ program: /a/lib.rs /with\\ blank/main.rs\n\n/a/lib.rs:\n";
        let expected = ["/a/lib.rs", "/with blank/main.rs"].map(PathBuf::from);
        assert_eq!(sources(list), expected);
        assert!(sources("").is_empty());
    }
}
