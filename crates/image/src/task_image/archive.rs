//! An archive of `docker save`, rewritten so that loading it gives the same image id for the same files.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::reproducible;
use crate::docker_archive::{self, ArchivedImage, Layer, hexadecimal};
use hybrid_cache_tools::{ErrorContext, Result};

/// What the rewritten image is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Sizes {
    /// Bytes of its layers as they lie on a node's disk.
    pub unpacked_bytes: u64,
    /// Bytes of its layers as they go over the network.
    pub compressed_bytes: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Manifest {
    config: String,
    layers: Vec<String>,
}

/// Rewrites `saved` into `target`, using the empty folder `work`. The image will be called `reference`.
///
/// # Errors
/// The archive is not one of `docker save`, or files cannot be read or written.
pub fn normalise(saved: &Path, target: &Path, work: &Path, reference: &str) -> Result<Sizes> {
    let what = || format!("rewriting {}", saved.display());
    let unpacked = work.join("saved");
    tar::Archive::new(File::open(saved)?)
        .unpack(&unpacked)
        .with_context(what)?;
    let manifest = fs::read(unpacked.join("manifest.json")).with_context(what)?;
    let manifests: Vec<Manifest> = serde_json::from_slice(&manifest).with_context(what)?;
    let manifest = manifests
        .first()
        .context("the archive holds no image")
        .with_context(what)?;

    let mut layers = Vec::new();
    for (number, name) in manifest.layers.iter().enumerate() {
        let file = work.join(format!("layer-{number}.tar"));
        layers.push(rewrite(&unpacked.join(name), file).with_context(|| format!("rewriting layer {name}"))?);
    }
    let config = fs::read(unpacked.join(&manifest.config)).with_context(what)?;
    let mut config: Value = serde_json::from_slice(&config).with_context(what)?;
    let sizes = Sizes {
        unpacked_bytes: layers.iter().map(|layer| layer.bytes).sum(),
        compressed_bytes: layers.iter().map(|layer| layer.compressed_bytes).sum(),
    };
    let layers: Vec<Layer> = layers.into_iter().map(|rewritten| rewritten.layer).collect();
    let ids: Vec<String> = layers.iter().map(Layer::diff_id).collect();
    reproducible::config(&mut config, &ids);
    let image = ArchivedImage {
        reference,
        layers: &layers,
        configuration: serde_json::to_vec(&config).with_context(what)?,
    };
    docker_archive::write(target, &[image], reproducible::EPOCH_S).with_context(what)?;
    Ok(sizes)
}

struct Rewritten {
    layer: Layer,
    bytes: u64,
    compressed_bytes: u64,
}

fn rewrite(from: &Path, file: PathBuf) -> Result<Rewritten> {
    let mut plain = tempfile::tempfile_in(file.parent().unwrap_or(Path::new(".")))?;
    let mut saved = BufReader::new(File::open(from)?);
    let is_gzip = io::BufRead::fill_buf(&mut saved)?.starts_with(&[0x1f, 0x8b]);
    // An engine with containerd's image store saves layers as it pulled them.
    if is_gzip {
        io::copy(&mut GzDecoder::new(saved), &mut plain)?;
    } else {
        io::copy(&mut saved, &mut plain)?;
    }
    let mut sink = Sink {
        file: BufWriter::new(File::create(&file)?),
        hash: Sha256::new(),
        compressed: GzEncoder::new(Count(0), Compression::default()),
        bytes: 0,
    };
    io::Seek::rewind(&mut plain)?;
    reproducible::layer(&mut BufReader::new(plain), &mut sink)?;
    sink.file.flush()?;
    let layer = Layer {
        path: file,
        sha256: hexadecimal(&sink.hash.finalize()),
    };
    Ok(Rewritten {
        layer,
        bytes: sink.bytes,
        compressed_bytes: sink.compressed.finish()?.0,
    })
}

/// Takes a layer once: written, hashed, and counted as it would be compressed.
struct Sink {
    file: BufWriter<File>,
    hash: Sha256,
    compressed: GzEncoder<Count>,
    bytes: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        self.compressed.write_all(bytes)?;
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

struct Count(u64);

impl Write for Count {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bytes of each regular file of a small archive, by path.
///
/// # Errors
/// The archive is broken.
pub fn files(archive: &[u8]) -> Result<Vec<(PathBuf, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in tar::Archive::new(archive).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes)?;
            found.push((entry.path()?.into_owned(), bytes));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use tar::{Builder, EntryType, Header};

    fn file_header(bytes: u64) -> Header {
        docker_archive::header(EntryType::Regular, 0o644, bytes, reproducible::EPOCH_S)
    }

    /// What `docker save` of an image with one layer looks like, with the layer compressed or not.
    fn saved(folder: &Path, time: u64, is_compressed: bool) -> PathBuf {
        let mut layer = Builder::new(Vec::new());
        let mut header = file_header(4);
        header.set_mtime(time);
        layer.append_data(&mut header, "file", &b"text"[..]).unwrap();
        let mut layer = layer.into_inner().unwrap();
        if is_compressed {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&layer).unwrap();
            layer = encoder.finish().unwrap();
        }
        let config = json!({"created": time, "config": {"User": "1"}, "container": time.to_string()}).to_string();
        let manifest = json!([{"Config": "c.json", "RepoTags": ["x:1"], "Layers": ["0/layer.tar"]}]).to_string();
        let path = folder.join(format!("saved-{time}.tar"));
        let mut archive = Builder::new(File::create(&path).unwrap());
        for (name, bytes) in [
            ("0/layer.tar", layer.as_slice()),
            ("c.json", config.as_bytes()),
            ("manifest.json", manifest.as_bytes()),
        ] {
            archive
                .append_data(&mut file_header(bytes.len() as u64), name, bytes)
                .unwrap();
        }
        archive.into_inner().unwrap();
        path
    }

    #[test]
    fn builds_at_different_times_on_different_engines_become_the_same_archive() {
        let dir = tempfile::tempdir().unwrap();
        let mut archives = Vec::new();
        for (time, is_compressed) in [(1, false), (2_000_000_000, true)] {
            let saved = saved(dir.path(), time, is_compressed);
            let work = dir.path().join(time.to_string());
            fs::create_dir(&work).unwrap();
            let target = work.join("out.tar");
            let sizes = normalise(&saved, &target, &work, "image:tag").unwrap();
            assert!(sizes.compressed_bytes > 0 && sizes.compressed_bytes < sizes.unpacked_bytes);
            archives.push(fs::read(target).unwrap());
        }
        assert!(archives[0] == archives[1]);
        let files = files(&archives[0]).unwrap();
        let manifest = files
            .iter()
            .find(|(path, _)| path == Path::new("manifest.json"))
            .unwrap();
        assert!(String::from_utf8_lossy(&manifest.1).contains("image:tag"));
    }

    #[test]
    fn what_is_no_saved_image_is_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("odd.tar");
        Builder::new(File::create(&file).unwrap()).into_inner().unwrap();
        let error = normalise(&file, &dir.path().join("out"), dir.path(), "x:1").unwrap_err();
        assert!(format!("{error:#}").contains("odd.tar"));
    }
}
