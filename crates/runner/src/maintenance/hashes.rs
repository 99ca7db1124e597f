//! The hashes of one verification. Each inode is read once, however many names it has.

use std::collections::BTreeMap;

use hybrid_cache_model::Protection;

use crate::store::digest::{self, Digests, Pace};
use crate::store::tree::{Kind, Tree};

/// The hashes so far.
#[derive(Debug, Default)]
pub struct Hashes {
    /// By inode.
    pub known: Digests,
    /// The number of inodes that were read.
    pub inodes: u64,
    /// The bytes that were read.
    pub bytes: u64,
}

impl Hashes {
    /// Hashes every file of these trees that has no hash yet.
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

    /// Drops the hashes of files with one name, which cannot occur again.
    pub fn forget<'a>(&mut self, trees: impl Iterator<Item = &'a Tree>) {
        for item in trees.flat_map(|tree| &tree.items) {
            if item.links < 2 && matches!(item.kind, Kind::File(_)) {
                self.known.remove(&item.inode);
            }
        }
    }
}
