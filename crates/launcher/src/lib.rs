//! What decides over a program that cargo builds, without asking cargo: names of variables, sources and manifests.
//!
//! The launcher asks it of `xtask`, and `hybrid-cache-tools` of the runner. The crate depends on nothing, so that the launcher is
//! built within a second.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Files at the root of a workspace that decide over every build. One that does not exist decides by its absence.
pub const ROOT_FILES: [&str; 4] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "rust-toolchain"];
/// Cargo's settings, below each folder from that of the command up to the root of the file system.
pub const SETTINGS: [&str; 2] = [".cargo/config.toml", ".cargo/config"];

/// The target folder of the programs that run in sandboxes and images, below the workspace's root. Their flags would rebuild
/// everything in the usual one.
pub const RUNNER_TARGET: &str = "target/runner";
/// The `RUSTFLAGS` that make such a program independent of the image's C library.
pub const STATIC_FLAGS: &str = "-C target-feature=+crt-static";

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

/// Cargo's arguments that build such a program for `target` below `root`.
pub fn release_build(root: &Path, target: &str, package: &str, program: &str) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = ["build", "--quiet", "--release", "--locked"].map(Into::into).into();
    arguments.extend(["--package", package, "--bin", program].map(Into::into));
    // An explicit target keeps the flags away from build scripts and procedural macros.
    arguments.extend(["--target", target, "--target-dir"].map(Into::into));
    arguments.push(root.join(RUNNER_TARGET).into());
    arguments
}

/// This machine's target, from what `rustc -vV` prints.
pub fn host_target(version: &str) -> Option<&str> {
    version.lines().find_map(|line| line.strip_prefix("host: "))
}

/// True for a variable that a build reads.
pub fn is_read(name: &str) -> bool {
    READ.iter().any(|begin| name.starts_with(begin)) && !is_about_program(name) && !NOT_READ.contains(&name)
}

/// True for a variable in which cargo tells a program about itself.
pub fn is_about_program(name: &str) -> bool {
    let is_of_package = name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
    is_of_package || matches!(name, "CARGO_BIN_NAME" | "CARGO_CRATE_NAME" | "CARGO_PRIMARY_PACKAGE")
}

/// The sources in cargo's list of them: the files behind the colon of its first line, in the form of make, in which a blank of a
/// name follows a backslash.
pub fn sources(list: &str) -> Vec<PathBuf> {
    let line = list.lines().next().unwrap_or_default();
    let files = line.split_once(": ").map_or("", |(_, files)| files);
    let marked = files.replace("\\ ", "\0");
    let names = marked.split(' ').filter(|name| !name.is_empty());
    names.map(|name| name.replace('\0', " ").into()).collect()
}

/// What cargo's list leaves out: manifests of the crates that the sources belong to, and their build scripts, there or not.
pub fn manifests<'a>(sources: impl IntoIterator<Item = &'a PathBuf>) -> BTreeSet<PathBuf> {
    let folders = sources.into_iter().flat_map(|source| source.ancestors().skip(1));
    let crates: BTreeSet<&Path> = folders.filter(|folder| folder.join("Cargo.toml").is_file()).collect();
    let files = crates
        .iter()
        .flat_map(|folder| ["Cargo.toml", "build.rs"].map(|name| folder.join(name)));
    files.collect()
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
