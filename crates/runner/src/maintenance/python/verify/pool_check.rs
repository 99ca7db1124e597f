//! Compares each folder of the bytecode pools with the list that was written when it was created.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hybrid_cache_model::{Failure, Protection};

use super::findings::PythonFindings;
use crate::maintenance::hashes::Hashes;
use crate::python::content::CONTENT_FILE;
use crate::python::{PythonVolume, pool};
use crate::store::folder::entries;
use crate::store::tree::{Listing, Tree};

/// Examines every folder of every pool.
pub fn examine(
    volume: &PythonVolume,
    tenants: &[PythonVolume],
    hashes: &mut Hashes,
    findings: &mut PythonFindings,
) -> Result<(), Failure> {
    let pools: BTreeSet<PathBuf> = tenants.iter().flat_map(pool::all).collect();
    for abi in pools
        .iter()
        .map(|pool| entries(pool))
        .collect::<Result<Vec<_>, _>>()?
        .concat()
    {
        let mut read = Vec::new();
        for folder in entries(&abi)? {
            if let Ok(tree) = Tree::read(&folder) {
                read.push((folder, tree));
            }
        }
        hashes.add(read.iter().map(|(_, tree)| tree));
        for (folder, tree) in &read {
            findings.report.files += tree.items.len() as u64;
            let problems = problems(folder, tree, hashes);
            // Skip a folder that a collection has removed meanwhile.
            if !problems.is_empty() && folder.exists() {
                findings.note_all(volume.root(), folder, &problems);
                findings.bytecode.insert(folder.clone());
            }
        }
        hashes.forget(read.iter().map(|(_, tree)| tree));
    }
    Ok(())
}

fn problems(folder: &Path, tree: &Tree, hashes: &Hashes) -> Vec<(PathBuf, String)> {
    if !Protection::VerifyContent.is_on() {
        return Vec::new();
    }
    let path = folder.join(CONTENT_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => return vec![(path, format!("the folder's list of files cannot be read: {error}"))],
    };
    let Some(expected) = Listing::parse(&text) else {
        return vec![(path, "is not a list of files".to_owned())];
    };
    match tree.listing(&hashes.known) {
        Err((name, what)) => vec![(folder.join(name), what)],
        Ok(mut found) => {
            found.lines.remove(CONTENT_FILE);
            let differences = expected.differences(&found).into_iter();
            differences.map(|(name, what)| (folder.join(name), what)).collect()
        }
    }
}
