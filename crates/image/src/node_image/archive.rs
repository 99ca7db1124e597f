//! Image archives as `docker save` writes them: layers, a configuration and a manifest, the same bytes for the same parts.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Read, Seek as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Large enough that a system call costs nothing against the copy.
const BUFFER_BYTES: usize = 1 << 20;

/// Where programs of every image are looked for.
pub const SEARCH_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A finished layer: an uncompressed tar archive.
#[derive(Clone, Debug)]
pub struct Layer {
    path: PathBuf,
    sha256: String,
}

/// An image that is to be written.
#[derive(Debug)]
pub struct Image {
    /// Its name with a tag.
    pub reference: String,
    /// From the bottom.
    pub layers: Vec<Layer>,
    /// How it starts.
    pub start: Start,
}

/// How containers of an image start and end.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Start {
    /// `NAME=value`.
    pub env: Vec<String>,
    /// Program and its first arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub entrypoint: Vec<String>,
    /// What asks it to end, where that is not SIGTERM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_signal: Option<String>,
}

/// What does not differ between the images of a build.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// Go's name of the architecture.
    pub architecture: &'a str,
    /// In seconds since 1970.
    pub made_at_s: u64,
}

#[derive(Serialize)]
struct Configuration<'a> {
    architecture: &'a str,
    os: &'static str,
    created: String,
    config: &'a Start,
    rootfs: RootFs,
}

#[derive(Serialize)]
struct RootFs {
    r#type: &'static str,
    diff_ids: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    repo_tags: Vec<String>,
    layers: Vec<String>,
}

impl Layer {
    /// Takes a tar archive as it is.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn of(path: &Path) -> Result<Layer> {
        let sha256 = sha256_of(path).with_context(|| format!("cannot read {}", path.display()))?;
        let path = path.to_owned();
        Ok(Layer { path, sha256 })
    }
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let (mut hasher, mut buffer) = (Sha256::new(), vec![0; BUFFER_BYTES]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hex(&hasher.finalize())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes one archive with all images; layers that several of them share are in it once.
///
/// # Errors
/// A layer cannot be read, or the archive cannot be written.
pub fn write(archive: &Path, images: &[Image], stamp: Stamp<'_>) -> Result<()> {
    let write = || -> Result<()> {
        let file = BufWriter::with_capacity(BUFFER_BYTES, File::create(archive)?);
        let mut tar = tar::Builder::new(file);
        let (mut written, mut entries) = (BTreeSet::new(), Vec::new());
        for image in images {
            let layers: Vec<String> = image.layers.iter().map(|l| format!("{}/layer.tar", l.sha256)).collect();
            for (layer, name) in image.layers.iter().zip(&layers) {
                if written.insert(name.clone()) {
                    append_file(&mut tar, name, &layer.path, stamp.made_at_s)?;
                }
            }
            let configuration = configuration(image, stamp)?;
            let config = format!("{}.json", hex(&Sha256::digest(&configuration)));
            if written.insert(config.clone()) {
                append(&mut tar, &config, &configuration, stamp.made_at_s)?;
            }
            let repo_tags = vec![image.reference.clone()];
            entries.push(Entry {
                config,
                repo_tags,
                layers,
            });
        }
        append(
            &mut tar,
            "manifest.json",
            &serde_json::to_vec(&entries)?,
            stamp.made_at_s,
        )?;
        tar.into_inner()?.flush()?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", archive.display()))
}

fn configuration(image: &Image, stamp: Stamp<'_>) -> Result<Vec<u8>> {
    let created = jiff::Timestamp::from_second(i64::try_from(stamp.made_at_s)?)?;
    let diff_ids = image.layers.iter().map(|layer| format!("sha256:{}", layer.sha256));
    Ok(serde_json::to_vec(&Configuration {
        architecture: stamp.architecture,
        os: "linux",
        created: created.to_string(),
        config: &image.start,
        rootfs: RootFs {
            r#type: "layers",
            diff_ids: diff_ids.collect(),
        },
    })?)
}

fn append(tar: &mut tar::Builder<impl Write>, name: &str, bytes: &[u8], made_at_s: u64) -> io::Result<()> {
    let mut header = header(0o644, made_at_s);
    header.set_size(bytes.len() as u64);
    tar.append_data(&mut header, name, bytes)
}

fn append_file(tar: &mut tar::Builder<impl Write>, name: &str, path: &Path, made_at_s: u64) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut header = header(0o644, made_at_s);
    header.set_size(file.seek(io::SeekFrom::End(0))?);
    file.rewind()?;
    tar.append_data(&mut header, name, io::BufReader::with_capacity(BUFFER_BYTES, file))
}

fn header(mode: u32, made_at_s: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_mode(mode);
    header.set_mtime(made_at_s);
    header.set_uid(0);
    header.set_gid(0);
    header
}

/// A layer that is being put together, file by file; folders in front of a file come by themselves.
pub struct LayerBuilder {
    path: PathBuf,
    tar: tar::Builder<BufWriter<File>>,
    folders: BTreeSet<String>,
    made_at_s: u64,
}

impl LayerBuilder {
    /// Begins one in a new file.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn new(path: &Path, made_at_s: u64) -> Result<LayerBuilder> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        Ok(LayerBuilder {
            path: path.to_owned(),
            tar: tar::Builder::new(BufWriter::with_capacity(BUFFER_BYTES, file)),
            folders: BTreeSet::new(),
            made_at_s,
        })
    }

    /// Adds a folder, with those above it.
    ///
    /// # Errors
    /// The layer cannot be written.
    pub fn folder(&mut self, place: &str, mode: u32) -> Result<()> {
        if let Some((above, _)) = place.rsplit_once('/') {
            self.folder(above, 0o755)?;
        }
        if self.folders.insert(place.to_owned()) {
            let mut header = header(mode, self.made_at_s);
            header.set_entry_type(tar::EntryType::Directory);
            header.set_size(0);
            self.tar.append_data(&mut header, place, io::empty())?;
        }
        Ok(())
    }

    /// Adds a file of this machine.
    ///
    /// # Errors
    /// It cannot be read, or the layer cannot be written.
    pub fn copy(&mut self, place: &str, source: &Path, mode: u32) -> Result<()> {
        let bytes = std::fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        self.file(place, &bytes, mode)
    }

    /// Adds a file.
    ///
    /// # Errors
    /// The layer cannot be written.
    pub fn file(&mut self, place: &str, bytes: &[u8], mode: u32) -> Result<()> {
        self.above(place)?;
        let mut header = header(mode, self.made_at_s);
        header.set_size(bytes.len() as u64);
        Ok(self.tar.append_data(&mut header, place, bytes)?)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// The layer cannot be written.
    pub fn link(&mut self, place: &str, to: &str) -> Result<()> {
        self.above(place)?;
        let mut header = header(0o777, self.made_at_s);
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        Ok(self.tar.append_link(&mut header, place, to)?)
    }

    fn above(&mut self, place: &str) -> Result<()> {
        place
            .rsplit_once('/')
            .map_or(Ok(()), |(above, _)| self.folder(above, 0o755))
    }

    /// Ends it.
    ///
    /// # Errors
    /// The layer cannot be written.
    pub fn finish(self) -> Result<Layer> {
        self.tar.into_inner()?.flush()?;
        Layer::of(&self.path)
    }
}
