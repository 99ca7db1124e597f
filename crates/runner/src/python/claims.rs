//! Warns about packages whose `RECORD` does not match their files.
//!
//! Wheels with a wrong `RECORD` exist in public indexes and must install. No key depends on these claims, so a wrong
//! hash does no harm. A user who debugs a strange import still needs to know about it.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::record::{Entry, Installed};
use crate::store::digest::{Digests, Inode, Wanted};
use crate::store::tree::{Item, Tree, text};

/// How many files a warning names; the rest is counted.
const MAX_NAMED_FILES: usize = 3;

/// Requests the SHA-256 of every file for which a package claims one.
pub fn want(installed: &Installed, tree: &Tree, wanted: &mut BTreeMap<Inode, Wanted>) {
    let items = items(tree);
    for entry in installed.distributions.iter().flat_map(|one| &one.entries) {
        let item = claimed(entry).and_then(|_| items.get(text(entry.path.as_ref()).as_str()));
        if let Some(wanted) = item.and_then(|item| wanted.get_mut(&item.inode)) {
            wanted.sha256 = true;
        }
    }
}

/// The mismatches as warnings, at most one for each kind.
pub fn warnings(installed: &Installed, tree: &Tree, digests: &Digests) -> Vec<String> {
    let items = items(tree);
    let mut owners: BTreeMap<&str, Vec<(String, &Entry)>> = BTreeMap::new();
    for distribution in &installed.distributions {
        for entry in &distribution.entries {
            owners.entry(&entry.path).or_default().push((distribution.pin(), entry));
        }
    }
    let (mut wrong, mut shared) = (Vec::new(), Vec::new());
    for (path, claims) in owners {
        let pins: BTreeSet<&str> = claims.iter().map(|(pin, _)| pin.as_str()).collect();
        let pins: Vec<&str> = pins.into_iter().collect();
        if pins.len() > 1 {
            shared.push(format!("{path} ({})", pins.join(", ")));
        }
        let Some(item) = items.get(text(path.as_ref()).as_str()) else {
            continue;
        };
        // If several packages own a file, the last one installed provided it, but uv does not record which.
        if !claims.iter().any(|(_, entry)| agrees(entry, item, digests)) {
            wrong.push(format!("{path} ({})", pins.join(", ")));
        }
    }
    let mut warnings = Vec::new();
    if !wrong.is_empty() {
        let what = "files differ from what their package's RECORD says: ";
        warnings.push(format!("{} {what}{}", wrong.len(), some(&wrong)));
    }
    if !shared.is_empty() {
        let what = "files belong to more than one package; the last one installed has it: ";
        warnings.push(format!("{} {what}{}", shared.len(), some(&shared)));
    }
    warnings
}

fn items(tree: &Tree) -> BTreeMap<&str, &Item> {
    tree.items.iter().map(|item| (item.name.as_str(), item)).collect()
}

fn some(all: &[String]) -> String {
    let named = all.iter().take(MAX_NAMED_FILES).cloned().collect::<Vec<_>>().join(", ");
    match all.len().saturating_sub(MAX_NAMED_FILES) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

/// The SHA-256 that an entry claims; `None` if it has no hash or another kind.
fn claimed(entry: &Entry) -> Option<&str> {
    entry.hash.strip_prefix("sha256=")
}

fn agrees(entry: &Entry, item: &Item, digests: &Digests) -> bool {
    if entry.size.is_some_and(|size| size != item.bytes) {
        return false;
    }
    let (Some(claimed), Some(Ok(digest))) = (claimed(entry), digests.get(&item.inode)) else {
        return true;
    };
    let Some(found) = digest.sha256 else { return true };
    claimed.trim_end_matches('=') == BASE64_URL_SAFE_NO_PAD.encode(found)
}
