//! The hashes of a whole verification: each inode is read once, whatever the number of its names.

use std::collections::BTreeMap;

use hybrid_cache_model::Protection;

use crate::store::digest::{self, Digests, Pace};
use crate::store::tree::{Kind, Tree};

/// Hashes that are known already.
#[derive(Debug, Default)]
pub struct Hashes {
    /// By inode.
    pub known: Digests,
    /// Inodes that were read.
    pub inodes: u64,
    /// Bytes of those.
    pub bytes: u64,
}

impl Hashes {
    /// Reads every file of these trees that is not known.
    pub fn add<'a>(&mut self, trees: impl Iterator<Item = &'a Tree>) {
        if !Protection::VerifyContent.is_on() {
            return;
        }
        let mut wanted = BTreeMap::new();
        trees.for_each(|tree| tree.want(&mut wanted));
        wanted.retain(|inode, _| !self.known.contains_key(inode));
        self.inodes += wanted.len() as u64;
        self.bytes += wanted.values().map(|file| file.bytes).sum::<u64>();
        self.known.append(&mut digest::all(&wanted, Pace::Full));
    }

    /// Drops what cannot be met again: the hashes of files that have one name.
    pub fn forget<'a>(&mut self, trees: impl Iterator<Item = &'a Tree>) {
        for item in trees.flat_map(|tree| &tree.items) {
            if item.links < 2 && matches!(item.kind, Kind::File(_)) {
                self.known.remove(&item.inode);
            }
        }
    }
}
