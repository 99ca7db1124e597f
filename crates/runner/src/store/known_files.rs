//! Remembers the metadata of files with several names, so that each is read once.
//!
//! Size, mode and number of names belong to the inode, and a folder lists each entry's inode number. So a walk over a
//! hundred environments that share files calls stat once for each file, which is most of the cost of a walk.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::sync::{PoisonError, RwLock};

use super::digest::Inode;

/// The metadata of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// True if it has any execute bit.
    pub executable: bool,
    /// Its size in bytes.
    pub bytes: u64,
    /// The number of its hard links.
    pub links: u64,
}

impl Facts {
    /// The metadata from `found`.
    pub fn from_metadata(found: &Metadata) -> Facts {
        Facts {
            executable: found.mode() & 0o111 != 0,
            bytes: found.len(),
            links: found.nlink(),
        }
    }
}

/// The files with several names, during one walk.
#[derive(Debug, Default)]
pub struct KnownFiles {
    /// `None` once a folder was seen to list other numbers than its files have, as overlay file systems do.
    files: RwLock<Option<HashMap<Inode, Facts>>>,
}

impl KnownFiles {
    /// For a walk over folders that share files.
    pub fn shared() -> KnownFiles {
        KnownFiles {
            files: RwLock::new(Some(HashMap::new())),
        }
    }

    /// The metadata of the file that a folder lists as `inode`, if known.
    pub fn get(&self, inode: Inode) -> Option<Facts> {
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        files.as_ref()?.get(&inode).copied()
    }

    /// Adds a file; `listed` is the inode that its folder lists.
    pub fn add(&self, inode: Inode, facts: Facts, listed: Option<Inode>) {
        let differs = listed.is_some_and(|listed| listed != inode);
        if facts.links < 2 && !differs {
            return;
        }
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        if differs {
            *files = None;
        } else if let Some(files) = files.as_mut() {
            files.insert(inode, facts);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTS: Facts = Facts {
        executable: false,
        bytes: 3,
        links: 2,
    };

    #[test]
    fn files_with_several_names_are_known_and_others_are_not_kept() {
        let known = KnownFiles::shared();
        known.add((1, 2), FACTS, Some((1, 2)));
        known.add((1, 3), Facts { links: 1, ..FACTS }, Some((1, 3)));
        assert_eq!(known.get((1, 2)), Some(FACTS));
        assert_eq!([known.get((1, 3)), known.get((2, 2))], [None; 2]);
    }

    #[test]
    fn nothing_is_remembered_if_folders_list_other_inode_numbers() {
        let known = KnownFiles::shared();
        known.add((1, 2), FACTS, Some((1, 2)));
        known.add((1, 3), Facts { links: 1, ..FACTS }, Some((1, 2)));
        known.add((1, 4), FACTS, Some((1, 4)));
        assert_eq!([known.get((1, 2)), known.get((1, 4))], [None; 2]);
    }
}
