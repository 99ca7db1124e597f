//! What a program that cargo builds depends on: its sources, the manifests, cargo's settings and the compiler.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use hybrid_cache_launcher::{ROOT_FILES, SETTINGS, is_read, manifests, sources};

use crate::checkout::Checkout;
use crate::error::{ErrorContext, Result};
use crate::facts::{Fingerprint, Witness};
use crate::{environment, process};

/// Coarsest time stamps of a file system.
const GRANULARITY: Duration = Duration::from_secs(2);
/// How long rustc may take to say where it is installed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A digest of what is known before cargo is asked.
pub fn fingerprint(checkout: &Checkout) -> Fingerprint {
    let mut fingerprint = Fingerprint::from_program();
    fingerprint.variables(is_read);
    fingerprint.program("cargo");
    fingerprint.program("rustc");
    for name in ROOT_FILES {
        fingerprint.file(&checkout.path(name));
    }
    for folder in checkout.root().ancestors() {
        SETTINGS.iter().for_each(|name| fingerprint.file(&folder.join(name)));
    }
    let home = environment::raw("HOME").map(PathBuf::from).unwrap_or_default();
    let folder =
        |variable: &str, usual: &str| environment::raw(variable).map_or_else(|| home.join(usual), PathBuf::from);
    fingerprint.file(&folder("CARGO_HOME", ".cargo").join("config.toml"));
    fingerprint.file(&folder("RUSTUP_HOME", ".rustup").join("settings.toml"));
    fingerprint
}

/// The files that cargo says a program was built from, and the compiler. `None` if one of them has changed since shortly before
/// cargo `began`: it may have been read before or after that change.
///
/// # Errors
/// Cargo left no such list, or rustc does not say where it is.
pub fn witnesses(checkout: &Checkout, program: &Path, began: SystemTime) -> Result<Option<Vec<Witness>>> {
    let list = program.with_extension("d");
    let text = fs::read_to_string(&list).with_context(|| format!("reading {}", list.display()))?;
    let mut paths = sources(&text);
    let manifests = manifests(&paths);
    paths.extend(manifests);
    let latest = began.checked_sub(GRANULARITY).unwrap_or(SystemTime::UNIX_EPOCH);
    if paths.iter().any(|path| is_newer(path, latest)) {
        return Ok(None);
    }
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "sysroot"]).current_dir(checkout.root());
    let sysroot = process::output(&mut rustc, ANSWER_TIMEOUT)?;
    paths.push(Path::new(sysroot.trim()).join("bin/rustc"));
    Ok(Some(paths.into_iter().map(Witness::new).collect()))
}

fn is_newer(path: &Path, moment: SystemTime) -> bool {
    let modified = fs::metadata(path).and_then(|data| data.modified());
    modified.is_ok_and(|modified| modified >= moment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_that_changes_while_cargo_builds_leaves_no_witnesses() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("bench-scenarios")).unwrap();
        let checkout = Checkout::open(folder.path()).unwrap();
        let (source, program) = (folder.path().join("main.rs"), folder.path().join("program"));
        fs::write(&source, "fn main() {}").unwrap();
        fs::write(
            program.with_extension("d"),
            format!("{}: {}\n", program.display(), source.display()),
        )
        .unwrap();
        fs::write(&program, "built after the change").unwrap();
        let now = SystemTime::now();
        assert!(
            witnesses(&checkout, &program, now).unwrap().is_none(),
            "changed during the build"
        );
        let later = now + 2 * GRANULARITY;
        assert!(
            witnesses(&checkout, &program, later).unwrap().is_some(),
            "changed long before"
        );
    }
}
