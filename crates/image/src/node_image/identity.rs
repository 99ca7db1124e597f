//! What makes a part of the node image "the same": digests over pins and files, never over times or places.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::pins::{Component, PinnedRoot, Pins};
use hybrid_cache_tools::{ErrorContext, Result};

/// Raise it when this program would make something else of the same pins and files.
const RECIPE: &str = "node image 1";

/// Twelve hexadecimal digits are enough to distinguish the images of one machine.
const SHOWN: usize = 12;

/// A digest, short enough for a file name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(String);

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The project's own files for the image: path relative to their folder, to content.
pub type Files = BTreeMap<String, Vec<u8>>;

/// Reads a folder with everything below it.
///
/// # Errors
/// A file cannot be read.
pub fn read_files(folder: &Path) -> Result<Files> {
    let mut files = Files::new();
    read_below(folder, "", &mut files).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(files)
}

fn read_below(folder: &Path, prefix: &str, files: &mut Files) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            read_below(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.insert(name, std::fs::read(entry.path())?);
        }
    }
    Ok(())
}

/// The whole image. Pages of documentation do not belong to it.
pub fn image(files: &Files, architecture: &str) -> Identity {
    let files = files.iter().filter(|(name, _)| !name.ends_with(".md"));
    digest([RECIPE, architecture], files)
}

/// A component's programs.
///
/// # Errors
/// The pins cannot be written down.
pub fn component(pins: &Pins, component: &Component, files: &Files, architecture: &str) -> Result<Identity> {
    let pinned = serde_json::to_string(component)?;
    let own = format!("{}/", component.name);
    let files = files.iter().filter(|(name, _)| name.starts_with(&own));
    Ok(digest([RECIPE, architecture, &pins.toolchain, &pinned], files))
}

/// A root file system.
///
/// # Errors
/// The pins cannot be written down.
pub fn root(pins: &Pins, root: &PinnedRoot, files: &Files, architecture: &str) -> Result<Identity> {
    let pinned = serde_json::to_string(&(root, pins.made_at_s))?;
    let files = files.iter().filter(|(name, _)| Some(*name) == root.hook.as_ref());
    Ok(digest([RECIPE, architecture, &pins.suite, &pinned], files))
}

/// Each part goes in with its length, so that no two lists of parts read the same.
fn digest<'a, const N: usize>(parts: [&str; N], files: impl Iterator<Item = (&'a String, &'a Vec<u8>)>) -> Identity {
    let mut hasher = blake3::Hasher::new();
    let mut add = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    parts.iter().for_each(|part| add(part.as_bytes()));
    for (name, content) in files {
        add(name.as_bytes());
        add(content);
    }
    let mut text = hasher.finalize().to_hex().to_string();
    text.truncate(SHOWN);
    Identity(text)
}
