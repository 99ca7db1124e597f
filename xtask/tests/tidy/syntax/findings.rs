//! What the sources of all crates give, read once for all rules: parsing takes most of the time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::thread;

use super::graph::{Circle, circles};
use super::lines::shipped_lines;
use super::source::Crate;
use super::types::repeated;
use crate::tree::Tree;

pub(crate) struct Findings {
    /// In the repository.
    pub(crate) folder: PathBuf,
    pub(crate) circles: Vec<Circle>,
    /// Type → the files that define one of this name.
    pub(crate) repeated: BTreeMap<String, BTreeSet<String>>,
    /// Lines of each file without tests.
    pub(crate) lines: Vec<(usize, String)>,
}

/// One for each crate.
pub(crate) fn findings() -> &'static [Findings] {
    static ALL: OnceLock<Vec<Findings>> = OnceLock::new();
    ALL.get_or_init(|| {
        let tree = Tree::read();
        thread::scope(|scope| {
            let root = &tree.root;
            let read = |folder: PathBuf| {
                let krate = Crate::read(&root.join(&folder));
                Findings {
                    circles: circles(&krate),
                    repeated: repeated(&krate),
                    lines: shipped_lines(&krate),
                    folder,
                }
            };
            let all: Vec<_> = tree
                .crates()
                .into_iter()
                .map(|folder| scope.spawn(move || read(folder)))
                .collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        })
    })
}
