//! The images of a node as an archive, and layers put together file by file.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use hybrid_cache_tools::{ErrorContext, Result, failed};
use serde::Serialize;
use tar::EntryType;

use crate::docker_archive::{self, ArchivedImage, BUFFER_BYTES, Layer, header};

/// Where programs of every image are looked for.
pub const SEARCH_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

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
    /// What asks it to end, if that is not SIGTERM.
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

/// Writes one archive with all images; layers that several of them share are in it once.
///
/// # Errors
/// A layer cannot be read, or the archive cannot be written.
pub fn write(archive: &Path, images: &[Image], stamp: Stamp<'_>) -> Result<()> {
    let archived = images.iter().map(|image| {
        Ok(ArchivedImage {
            reference: &image.reference,
            layers: &image.layers,
            configuration: configuration(image, stamp)?,
        })
    });
    let archived: Vec<_> = archived.collect::<Result<_>>()?;
    docker_archive::write(archive, &archived, stamp.made_at_s)
}

fn configuration(image: &Image, stamp: Stamp<'_>) -> Result<Vec<u8>> {
    let created = jiff::Timestamp::from_second(i64::try_from(stamp.made_at_s)?)
        .map_err(|error| failed!("the time of the image: {error}"))?;
    let diff_ids = image.layers.iter().map(Layer::diff_id);
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
            let mut header = header(EntryType::Directory, mode, 0, self.made_at_s);
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
        let mut header = header(EntryType::Regular, mode, bytes.len() as u64, self.made_at_s);
        Ok(self.tar.append_data(&mut header, place, bytes)?)
    }

    /// Adds a symbolic link.
    ///
    /// # Errors
    /// The layer cannot be written.
    pub fn link(&mut self, place: &str, to: &str) -> Result<()> {
        self.above(place)?;
        let mut header = header(EntryType::Symlink, 0o777, 0, self.made_at_s);
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
        Layer::from_archive(&self.path)
    }
}
