//! Finds and reads scenarios.

use std::path::{Path, PathBuf};

use hybrid_cache_model::Scenario;
use hybrid_cache_tools::{Checkout, Error, ErrorContext, Result};

/// Loads the scenarios with these names, or all of the checkout's if there are none. A name that ends in `.yaml` is a file, and
/// one with a slash a folder, which stands for all of its scenarios.
///
/// # Errors
/// There is no such scenario, or it is not well-formed.
pub fn load_scenarios(checkout: &Checkout, names: &[String]) -> Result<Vec<Scenario>> {
    let folder = checkout.path("bench-scenarios");
    let mut files: Vec<PathBuf> = if names.is_empty() {
        all_scenarios(&folder)?
    } else {
        Vec::new()
    };
    for name in names {
        if name.contains('/') && Path::new(name).is_dir() {
            files.extend(all_scenarios(Path::new(name))?);
            continue;
        }
        let file = if name.ends_with(".yaml") {
            PathBuf::from(name)
        } else {
            folder.join(format!("{name}.yaml"))
        };
        if !file.is_file() {
            let known: Vec<_> = all_scenarios(&folder)?.iter().filter_map(|file| stem(file)).collect();
            let message = format!("no scenario {name:?}: there is no file {}", file.display());
            return Err(Error::input(format!(
                "{message}\nhint: known ones are {}",
                known.join(", ")
            )));
        }
        files.push(file);
    }
    let scenarios: Vec<Scenario> = files.iter().map(|file| load_scenario(file)).collect::<Result<_>>()?;
    for (at, scenario) in scenarios.iter().enumerate() {
        if let Some(first) = scenarios[..at].iter().position(|other| other.name == scenario.name) {
            let (one, other) = (files[first].display(), files[at].display());
            return Err(Error::input(format!(
                "two scenarios are named {:?}: {one} and {other}\nhint: give each its own name, or name it once",
                scenario.name
            )));
        }
    }
    Ok(scenarios)
}

fn stem(file: &Path) -> Option<String> {
    Some(file.file_stem()?.to_string_lossy().into_owned())
}

fn all_scenarios(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    // The three documented scenarios come first, because readers look for them; the others follow by name.
    let documented = ["python-only", "system-only", "hybrid"];
    let rank = |file: &PathBuf| {
        let name = stem(file).unwrap_or_default();
        (
            documented
                .iter()
                .position(|known| *known == name)
                .unwrap_or(documented.len()),
            name,
        )
    };
    files.sort_by_cached_key(rank);
    if files.is_empty() {
        return Err(Error::input(format!("no scenario in {}", folder.display())));
    }
    Ok(files)
}

fn load_scenario(file: &Path) -> Result<Scenario> {
    let text = std::fs::read_to_string(file).map_err(|error| Error::input(format!("{}: {error}", file.display())))?;
    Scenario::from_yaml(&file.display().to_string(), &text).map_err(|error| Error::input(error.to_string()))
}
