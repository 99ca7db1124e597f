//! Image archives as `docker save` writes them: layers, configurations and a manifest, the same bytes for the same parts.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use hybrid_cache_tools::{ErrorContext, Result};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tar::{Builder, EntryType, Header};

/// Large enough that a system call costs nothing against the copy.
pub const BUFFER_BYTES: usize = 1 << 20;

/// A finished layer: an uncompressed tar archive.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The archive's file.
    pub path: PathBuf,
    /// The digest of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Layer {
    /// A tar archive as it is.
    ///
    /// # Errors
    /// The archive cannot be read.
    pub fn from_archive(path: &Path) -> Result<Layer> {
        let sha256 = sha256_of(path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = path.to_owned();
        Ok(Layer { path, sha256 })
    }

    /// How an image's configuration names the layer.
    pub fn diff_id(&self) -> String {
        format!("sha256:{}", self.sha256)
    }
}

/// An image of an archive.
#[derive(Debug)]
pub struct ArchivedImage<'a> {
    /// Its name with a tag.
    pub reference: &'a str,
    /// From the bottom.
    pub layers: &'a [Layer],
    /// Its configuration: JSON that names the layers by [`Layer::diff_id`].
    pub configuration: Vec<u8>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ManifestEntry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

/// Writes one archive with all images; a layer that several of them share is in it once. `made_at_s` is the time of every entry,
/// in seconds since 1970.
///
/// # Errors
/// A layer cannot be read, or the archive cannot be written.
pub fn write(archive: &Path, images: &[ArchivedImage<'_>], made_at_s: u64) -> Result<()> {
    write_entries(archive, images, made_at_s).with_context(|| format!("cannot write {}", archive.display()))
}

fn write_entries(archive: &Path, images: &[ArchivedImage<'_>], made_at_s: u64) -> io::Result<()> {
    let file = BufWriter::with_capacity(BUFFER_BYTES, File::create(archive)?);
    let mut tar = Builder::new(file);
    let (mut written, mut manifest) = (BTreeSet::new(), Vec::new());
    for image in images {
        let layers: Vec<String> = image.layers.iter().map(|l| format!("{}/layer.tar", l.sha256)).collect();
        for (layer, name) in image.layers.iter().zip(&layers) {
            if written.insert(name.clone()) {
                append_file(&mut tar, name, &layer.path, made_at_s)?;
            }
        }
        let config = format!("{}.json", hexadecimal(&Sha256::digest(&image.configuration)));
        if written.insert(config.clone()) {
            append(&mut tar, &config, &image.configuration, made_at_s)?;
        }
        let repo_tags = vec![image.reference.to_owned()];
        manifest.push(ManifestEntry {
            config,
            repo_tags,
            layers,
        });
    }
    append(&mut tar, "manifest.json", &serde_json::to_vec(&manifest)?, made_at_s)?;
    tar.into_inner()?.flush()
}

fn append(tar: &mut Builder<impl Write>, name: &str, bytes: &[u8], made_at_s: u64) -> io::Result<()> {
    let mut header = header(EntryType::Regular, 0o644, bytes.len() as u64, made_at_s);
    tar.append_data(&mut header, name, bytes)
}

fn append_file(tar: &mut Builder<impl Write>, name: &str, path: &Path, made_at_s: u64) -> io::Result<()> {
    let mut file = File::open(path)?;
    let bytes = file.seek(SeekFrom::End(0))?;
    file.rewind()?;
    let mut header = header(EntryType::Regular, 0o644, bytes, made_at_s);
    tar.append_data(&mut header, name, BufReader::with_capacity(BUFFER_BYTES, file))
}

/// The header of an entry that belongs to root.
pub fn header(kind: EntryType, mode: u32, bytes: u64, made_at_s: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(made_at_s);
    header.set_size(bytes);
    header
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; BUFFER_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hexadecimal(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Bytes as lower-case hexadecimal text.
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
