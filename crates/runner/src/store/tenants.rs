//! The folders of tenants below the root of a cache: `tenants/<tenant>`.

use std::path::Path;

use hybrid_cache_model::tenant::TENANTS_FOLDER;
use hybrid_cache_model::{Failure, Tenant};

use super::failure::IoContext;

/// The tenants that have a folder below `root`, sorted.
///
/// # Errors
/// The folder cannot be read.
pub fn list(root: &Path) -> Result<Vec<Tenant>, Failure> {
    let folder = root.join(TENANTS_FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.io_context("read the folder", &folder)?,
    };
    let mut tenants = Vec::new();
    for entry in entries {
        let entry = entry.io_context("read the folder", &folder)?;
        // Ignore other names: the runner creates none.
        if entry.file_type().io_context("look at", &entry.path())?.is_dir() {
            tenants.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
        }
    }
    tenants.sort();
    Ok(tenants)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_tenants_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(list(dir.path()).unwrap().is_empty());
        for name in ["b", "default", "A", ".x"] {
            std::fs::create_dir_all(dir.path().join(TENANTS_FOLDER).join(name)).unwrap();
        }
        let names: Vec<String> = list(dir.path()).unwrap().into_iter().map(String::from).collect();
        assert_eq!(names, ["b", "default"]);
    }
}
