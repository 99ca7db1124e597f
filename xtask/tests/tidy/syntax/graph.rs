//! Circles in the graph of uses, and how they are described.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::source::{Crate, FileId};
use super::uses::{Uses, uses};

/// How many uses of one file by another a message names.
const SHOWN_USES: usize = 3;

/// Files that use each other's items, directly or through others.
pub(crate) struct Circle {
    /// Paths in the crate's folder, sorted.
    pub(crate) files: Vec<String>,
    /// The files and the uses between them, for a person.
    pub(crate) reported: String,
}

/// The circles of a crate.
pub(crate) fn circles(krate: &Crate) -> Vec<Circle> {
    let uses = uses(krate);
    let mut edges: BTreeMap<FileId, BTreeSet<FileId>> = BTreeMap::new();
    for (user, definer) in uses.keys() {
        edges.entry(*user).or_default().insert(*definer);
    }
    components(&edges)
        .into_iter()
        .map(|files| describe(krate, &uses, &files))
        .collect()
}

/// Sets of files of which each reaches each other; files without a circle are left out.
fn components(edges: &BTreeMap<FileId, BTreeSet<FileId>>) -> Vec<BTreeSet<FileId>> {
    let reached: BTreeMap<FileId, BTreeSet<FileId>> = edges.keys().map(|from| (*from, reach(edges, *from))).collect();
    let mut found: Vec<BTreeSet<FileId>> = Vec::new();
    for (file, from_here) in reached.iter().filter(|(file, from_here)| from_here.contains(file)) {
        let back = |other: &&FileId| reached.get(other).is_some_and(|from| from.contains(file));
        let circle: BTreeSet<FileId> = from_here.iter().filter(back).copied().collect();
        if !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

/// What can be reached from `from` in at least one step.
fn reach(edges: &BTreeMap<FileId, BTreeSet<FileId>>, from: FileId) -> BTreeSet<FileId> {
    let (mut reached, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(file) = next.pop() {
        let further = edges.get(&file).into_iter().flatten();
        next.extend(further.copied().filter(|file| reached.insert(*file)));
    }
    reached
}

fn describe(krate: &Crate, uses: &Uses, files: &BTreeSet<FileId>) -> Circle {
    let name = |file: &FileId| krate.files[*file].path.display().to_string();
    let mut names: Vec<String> = files.iter().map(name).collect();
    names.sort();
    let mut reported = format!("circle of {} files: {}\n", names.len(), names.join(" "));
    for ((user, definer), uses) in uses {
        if !files.contains(user) || !files.contains(definer) {
            continue;
        }
        let (user, definer) = (name(user), name(definer));
        let _ = writeln!(reported, "  {user} -> {definer}");
        for one in uses.iter().take(SHOWN_USES) {
            let _ = writeln!(reported, "      {user}:{}: `{}`", one.line, one.path);
        }
        if uses.len() > SHOWN_USES {
            let _ = writeln!(reported, "      and {} more", uses.len() - SHOWN_USES);
        }
    }
    Circle { files: names, reported }
}
