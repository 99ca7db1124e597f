//! What a program that cargo builds depends on: its sources, the manifests, cargo's settings and the compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::checkout::Checkout;
use crate::error::{ErrorContext, Result};
use crate::facts::{Fingerprint, Witness};
use crate::{environment, process};

/// How long rustc may take to say where it is installed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// True for a variable that cargo, rustup, rustc or a linker reads. Variables that cargo only sets for the program that it runs do not count.
fn is_read(name: &str) -> bool {
    let is_set_by_cargo =
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") || name == "CARGO_BIN_NAME";
    let starts = ["CARGO", "RUST", "CC", "CFLAGS", "AR", "LD", "PATH", "HOME"];
    !is_set_by_cargo && starts.iter().any(|start| name.starts_with(start))
}

/// A digest of what is known before cargo is asked.
pub fn fingerprint(checkout: &Checkout) -> Fingerprint {
    let mut fingerprint = Fingerprint::from_program();
    fingerprint.variables(is_read);
    fingerprint.program("cargo");
    fingerprint.program("rustc");
    for name in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain"] {
        fingerprint.file(&checkout.path(name));
    }
    for folder in checkout.root().ancestors() {
        fingerprint.file(&folder.join(".cargo/config.toml"));
        fingerprint.file(&folder.join(".cargo/config"));
    }
    let home = environment::raw("HOME").map(PathBuf::from).unwrap_or_default();
    let folder =
        |variable: &str, usual: &str| environment::raw(variable).map_or_else(|| home.join(usual), PathBuf::from);
    fingerprint.file(&folder("CARGO_HOME", ".cargo").join("config.toml"));
    fingerprint.file(&folder("RUSTUP_HOME", ".rustup").join("settings.toml"));
    fingerprint
}

/// The files that cargo says a program was built from, and the compiler. `None` if one of them has changed since.
///
/// # Errors
/// Cargo left no such list, or rustc does not say where it is.
pub fn witnesses(checkout: &Checkout, program: &Path) -> Result<Option<Vec<Witness>>> {
    let list = program.with_extension("d");
    let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    let built = fs::metadata(program)?.modified()?;
    let mut paths = sources(&text);
    if paths.iter().any(|path| is_newer(path, built)) {
        return Ok(None);
    }
    // Cargo's list names no manifest.
    let crates = paths
        .iter()
        .flat_map(|path| path.ancestors())
        .map(|folder| folder.join("Cargo.toml"));
    let mut manifests: Vec<PathBuf> = crates
        .filter(|path| path.starts_with(checkout.root()) && path.is_file())
        .collect();
    manifests.sort();
    manifests.dedup();
    paths.extend(manifests);
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]).current_dir(checkout.root());
    let sysroot = process::output(&mut rustc, ANSWER_TIMEOUT)?;
    paths.push(Path::new(sysroot.trim()).join("bin/rustc"));
    Ok(Some(paths.into_iter().map(Witness::new).collect()))
}

fn is_newer(path: &Path, built: SystemTime) -> bool {
    let modified = fs::metadata(path).and_then(|data| data.modified());
    modified.is_ok_and(|modified| modified > built)
}

/// The files behind the colon of a list in the form of make, in which a blank of a name follows a backslash.
fn sources(list: &str) -> Vec<PathBuf> {
    let files = list
        .lines()
        .next()
        .and_then(|line| line.split_once(": "))
        .map_or("", |(_, files)| files);
    let marked = files.replace("\\ ", "\0");
    marked
        .split(' ')
        .filter(|file| !file.is_empty())
        .map(|file| file.replace('\0', " ").into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_sources_keeps_names_with_blanks_whole() {
        let list = "/target/my\\ runner: /a/lib.rs /with\\ blank/main.rs\n";
        assert_eq!(
            sources(list),
            [PathBuf::from("/a/lib.rs"), PathBuf::from("/with blank/main.rs")]
        );
        assert!(sources("").is_empty());
    }
}
