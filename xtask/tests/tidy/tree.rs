//! The files of the repository, as git lists them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use xshell::{Shell, cmd};

pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<PathBuf>,
}

impl Tree {
    pub(crate) fn read() -> Tree {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned();
        let shell = Shell::new().unwrap();
        let listed = cmd!(shell, "git -C {root} ls-files --cached --others --exclude-standard")
            .quiet()
            .read()
            .unwrap();
        let mut files: Vec<PathBuf> = listed.lines().map(PathBuf::from).collect();
        // A file that is deleted but not yet committed is still listed.
        files.retain(|file| root.join(file).is_file());
        assert!(files.len() > 50, "git lists only {} files", files.len());
        Tree { root, files }
    }

    pub(crate) fn rust(&self) -> impl Iterator<Item = &PathBuf> {
        self.files
            .iter()
            .filter(|file| file.extension().is_some_and(|extension| extension == "rs"))
    }

    /// The folders of all crates: those that have a manifest and a root file.
    pub(crate) fn crates(&self) -> BTreeSet<PathBuf> {
        let manifests = self.files.iter().filter(|file| file.ends_with("Cargo.toml"));
        let folders = manifests.map(|manifest| manifest.parent().unwrap().to_owned());
        let has = |folder: &Path, file: &str| self.root.join(folder).join(file).is_file();
        folders
            .filter(|folder| has(folder, "src/lib.rs") || has(folder, "src/main.rs"))
            .collect()
    }

    pub(crate) fn text(&self, file: &Path) -> String {
        fs::read_to_string(self.root.join(file)).unwrap_or_default()
    }

    /// The part of a Rust file that ships: everything in front of its tests, without comments.
    pub(crate) fn shipped(&self, file: &Path) -> String {
        let text = self.text(file);
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
        code.lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub(crate) fn manifest(&self, file: &Path) -> toml::Table {
        self.text(file)
            .parse()
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }
}

/// Whether a file belongs to tests alone, by its name or its folder's.
pub(crate) fn is_test_file(file: &Path) -> bool {
    let stem = file.file_stem().unwrap().to_string_lossy();
    stem == "tests" || stem.ends_with("_tests") || file.components().any(|part| part.as_os_str() == "tests")
}

/// Fails with all of `problems`, one a line.
pub(crate) fn report(problems: &[String]) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}
