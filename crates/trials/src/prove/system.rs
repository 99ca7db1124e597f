//! Store paths that stand in for a trace's parts, and a program that stands in for Nix and makes them.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use hybrid_cache_model::protocol::{PackageSource, Provider, SystemTools};
use hybrid_cache_sizing::Weight;
use serde::Deserialize;

use crate::error::TrialError;
use crate::prove::slice::{Made, Slice};

const NIX: &str = include_str!("nix.py");
/// Block of the file system, in bytes.
const BLOCK: u64 = 4096;

/// The package that stands for an environment.
pub fn package(made: &Made) -> String {
    format!("set{}", made.number)
}

/// Writes what each package is made of into a folder; returns it.
///
/// # Errors
/// It cannot be written.
pub fn write(folder: &Path, slice: &Slice) -> Result<PathBuf, TrialError> {
    let folder = folder.join("packages");
    let failed = || TrialError::io(format!("writing {}", folder.display()));
    fs::create_dir_all(&folder).map_err(failed())?;
    for made in &slice.environments {
        let package = package(made);
        // Its own path first: a folder with a file.
        let mut text = line(&format!("s{}", made.number), &package, Weight::new(2 * BLOCK, 2));
        for part in &made.parts {
            let weight = slice.parts[*part as usize];
            text.push_str(&line(&format!("p{part}"), &format!("part{part}"), weight));
        }
        fs::write(folder.join(package), text).map_err(failed())?;
    }
    Ok(folder)
}

/// A store path has thirty-two letters before its name.
fn line(unique: &str, name: &str, weight: Weight) -> String {
    format!("{unique:0>32}-{name} {} {}\n", weight.bytes / BLOCK, weight.inodes)
}

/// The program in Nix's place, for one volume.
///
/// # Errors
/// It cannot be written.
pub fn tools(interpreter: &str, packages: &Path, volume: &Path) -> Result<SystemTools, TrialError> {
    let beside = volume.with_extension("nix.py");
    let failed = || TrialError::io(format!("writing {}", beside.display()));
    let quoted = |path: &Path| format!("{:?}", path.display().to_string());
    let text = NIX
        .replace("@ROOT@", &quoted(volume))
        .replace("@SPECS@", &quoted(packages));
    fs::write(&beside, format!("#!{interpreter} -I\n{text}")).map_err(failed())?;
    fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).map_err(failed())?;
    Ok(SystemTools {
        provider: Provider::Nix {
            program: beside.display().to_string(),
        },
        source: PackageSource::Nixpkgs {
            flake: "proof".to_owned(),
        },
        variables: Vec::new(),
    })
}

/// What an entry of the index says of its store paths.
#[derive(Deserialize)]
struct IndexEntry {
    closure: Vec<String>,
}

/// The store paths of an entry of the index, as `store/<name>`; none if it cannot be read.
pub fn parts(entry: &Path) -> BTreeSet<String> {
    let read = fs::read(entry).ok();
    let entry: Option<IndexEntry> = read.and_then(|text| serde_json::from_slice(&text).ok());
    let paths = entry.map(|entry| entry.closure).unwrap_or_default();
    let name = |path: &String| Some(format!("store/{}", Path::new(path).file_name()?.to_str()?));
    paths.iter().filter_map(name).collect()
}
