//! What the Docker engine is sent to build from, as a tree in memory: the same files make the same archive and hash.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use tar::{Builder, EntryType};

use super::reproducible::EPOCH_S;
use crate::docker_archive::header;
use hybrid_cache_tools::{ErrorContext, Result};

/// Files by their path.
#[derive(Clone, Debug, Default)]
pub struct Context {
    files: BTreeMap<String, File>,
}

#[derive(Clone, Debug)]
struct File {
    mode: u32,
    /// Shared: an interpreter's files are many megabytes, in several contexts.
    bytes: Arc<[u8]>,
}

impl Context {
    /// Adds a file that anybody may read.
    pub fn add(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.put(path, 0o644, bytes);
    }

    /// Adds a file that anybody may run.
    pub fn add_program(&mut self, path: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.put(path, 0o755, bytes);
    }

    fn put(&mut self, path: impl Into<String>, mode: u32, bytes: impl Into<Vec<u8>>) {
        let bytes = Arc::from(bytes.into());
        self.files.insert(path.into(), File { mode, bytes });
    }

    /// Adds the files of a folder, not of those in it, whose name `takes` accepts.
    ///
    /// # Errors
    /// The folder or one of them cannot be read.
    pub fn add_folder(&mut self, below: &str, folder: &Path, takes: impl Fn(&str) -> bool) -> Result<()> {
        for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_file() && takes(&name) {
                self.add([below, "/", &name].concat(), read(&path)?);
            }
        }
        Ok(())
    }

    /// Takes over the files of another one.
    pub fn merge(&mut self, other: Context) {
        self.files.extend(other.files);
    }

    /// The same files below a folder.
    pub fn below(self, folder: &str) -> Context {
        let files = self.files.into_iter();
        let files = files
            .map(|(path, file)| ([folder, "/", &path].concat(), file))
            .collect();
        Context { files }
    }

    /// The paths of its files.
    #[cfg(test)]
    pub fn paths(&self) -> Vec<&str> {
        self.files.keys().map(String::as_str).collect()
    }

    /// The bytes of a file.
    #[cfg(test)]
    pub fn bytes(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|file| &*file.bytes)
    }

    /// A hash over paths, modes and bytes.
    pub fn hash(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        for (path, file) in &self.files {
            hasher
                .update(&(path.len() as u64).to_le_bytes())
                .update(path.as_bytes());
            hasher.update(&file.mode.to_le_bytes());
            hasher
                .update(&(file.bytes.len() as u64).to_le_bytes())
                .update(&file.bytes);
        }
        hasher.finalize()
    }

    /// The archive, with an entry for each folder so that their modes are ours, too.
    ///
    /// # Errors
    /// A path is too odd for an archive.
    pub fn archive(&self) -> Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        let mut folders = BTreeSet::new();
        for (path, file) in &self.files {
            for (at, _) in path.match_indices('/') {
                let folder = &path[..=at];
                if folders.insert(folder) {
                    let mut header = header(EntryType::Directory, 0o755, 0, EPOCH_S);
                    builder.append_data(&mut header, folder, std::io::empty())?;
                }
            }
            let mut header = header(EntryType::Regular, file.mode, file.bytes.len() as u64, EPOCH_S);
            builder.append_data(&mut header, path, &*file.bytes)?;
        }
        Ok(builder.into_inner()?)
    }
}

/// Reads a file; the error names it.
///
/// # Errors
/// It cannot be read.
pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Context {
        let mut context = Context::default();
        context.add("build/a", "1");
        context.add_program("own/usr/bin/runner", "2");
        context
    }

    #[test]
    fn every_change_of_an_input_changes_the_hash() {
        let original = sample().hash();
        assert_eq!(original, sample().hash());
        let changes: [fn(&mut Context); 4] = [
            |context| context.add("build/a", "2"),
            |context| context.add_program("build/a", "1"),
            |context| context.add("build/ab", ""),
            |context| {
                context.files.remove("build/a");
            },
        ];
        for change in changes {
            let mut changed = sample();
            change(&mut changed);
            assert_ne!(changed.hash(), original);
        }
    }

    #[test]
    fn the_archive_names_each_folder_once_and_before_what_is_in_it() {
        let bytes = sample().archive().unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(Result::unwrap);
        let paths: Vec<_> = entries
            .map(|entry| entry.path().unwrap().display().to_string())
            .collect();
        assert_eq!(
            paths,
            [
                "build/",
                "build/a",
                "own/",
                "own/usr/",
                "own/usr/bin/",
                "own/usr/bin/runner"
            ]
        );
    }
}
