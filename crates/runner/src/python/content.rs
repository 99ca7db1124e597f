//! The content of a virtual environment. Its key is computed from it, and `verify` compares the environment with it.
//!
//! Bytecode is not part of it, because it is made from the sources. Bytecode that a wheel contains is dropped: it may
//! not match its source, and the interpreter would run it instead.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use hybrid_cache_model::protocol::Interpreter;
use hybrid_cache_model::{EnvironmentKey, Failure, FailureKind};

use super::claims;
use super::pool::PYCACHE;
use super::record::Installed;
use crate::store::digest::{self, Inode, Pace, Wanted};
use crate::store::files;
use crate::store::known_files::KnownFiles;
use crate::store::tree::{Item, Listing, Tree};

/// Name of the file that lists an environment's content, beside the virtual environment.
pub const CONTENT_FILE: &str = "content";

/// The content of an environment.
#[derive(Clone, Debug)]
pub struct Content {
    /// Its files, without bytecode.
    pub tree: Tree,
    /// The same with hashes.
    pub listing: Listing,
    /// Warnings about packages that describe it wrongly.
    pub warnings: Vec<String>,
}

impl Content {
    /// Hashes a newly installed environment, and drops bytecode that its wheels contained.
    ///
    /// # Errors
    /// It cannot be read or written, or holds something that is neither a file nor a folder nor a link.
    pub fn take(installed: &Installed) -> Result<Content, Failure> {
        let (mut tree, byte_code) = read(&installed.venv)?;
        if drop_brought(&installed.venv, &byte_code)? {
            // A folder may have become empty, which makes it an item.
            tree = read(&installed.venv)?.0;
        }
        let mut wanted: BTreeMap<Inode, Wanted> = BTreeMap::new();
        tree.want(&mut wanted);
        claims::want(installed, &tree, &mut wanted);
        let digests = digest::all(&wanted, Pace::Background);
        let listing = tree.listing(&digests).map_err(|(name, what)| {
            let path = tree.full(Path::new(&name));
            Failure::new(FailureKind::CacheAccess, format!("{} {what}", path.display()))
        })?;
        let warnings = claims::warnings(installed, &tree, &digests);
        Ok(Content {
            tree,
            listing,
            warnings,
        })
    }

    /// The environment's name.
    pub fn key(&self, interpreter: &Interpreter) -> EnvironmentKey {
        EnvironmentKey::new(self.listing.to_text().as_bytes(), interpreter)
    }
}

/// What is in the environment at `venv`: its content, and everything in folders for bytecode or links that take their
/// place.
///
/// # Errors
/// See [`Tree::read`].
pub fn read(venv: &Path) -> Result<(Tree, Vec<Item>), Failure> {
    read_beside(venv, &KnownFiles::default())
}

/// Like [`read`], for environments that share files with others that were read before.
///
/// # Errors
/// See [`Tree::read`].
pub fn read_beside(venv: &Path, known: &KnownFiles) -> Result<(Tree, Vec<Item>), Failure> {
    let mut tree = Tree::read_beside(venv, known)?;
    let (byte_code, items) = tree
        .items
        .into_iter()
        .partition(|item| cache_folder(&item.path).is_some());
    tree.items = items;
    Ok((tree, byte_code))
}

/// The folder for bytecode that `path` is in, or is itself.
pub fn cache_folder(path: &Path) -> Option<PathBuf> {
    let mut folder = PathBuf::new();
    for part in path.components() {
        folder.push(part);
        if part.as_os_str() == PYCACHE {
            return Some(folder);
        }
    }
    None
}

/// Deletes the bytecode folders that packages installed; true if there was one. Links come from an earlier attempt to
/// publish, because a wheel cannot contain links.
fn drop_brought(venv: &Path, byte_code: &[Item]) -> Result<bool, Failure> {
    let folders: BTreeSet<PathBuf> = byte_code.iter().filter_map(|item| cache_folder(&item.path)).collect();
    let mut dropped = false;
    for folder in folders {
        let folder = venv.join(folder);
        if !folder.is_symlink() {
            files::delete(&folder)?;
            dropped = true;
        }
    }
    Ok(dropped)
}
