//! The build itself: components, root file systems, images for the node, and the archive; each only if it does not exist yet.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::write::GzEncoder;
use hybrid_cache_tools::{Checkout, ErrorContext, Progress, Result};
use serde::Serialize;

use super::archive::{self, Image};
use super::build_dir::{self, BuildDir};
use super::context::{BuildContext, Made, architecture};
use super::identity::{self, Identity};
use super::pins::Pins;
use super::{compile, engine, node, node_images, prerequisites, rootfs};
use crate::docker_archive::Layer;

/// The project's own files for the image.
pub const FILES: &str = "images/kind-node";
/// Where everything is made and kept.
const WORK: &str = "target/node-image";
/// What the image is called, without its tag.
const NAME: &str = "hybrid-cache-node";
/// What the image's archive is called in the work folder.
const ARCHIVE: &str = "archive";
const ARCHIVE_FILE: &str = "node-image.tar";
/// The pinned root that the node itself stands on.
const NODE_ROOT: &str = "node";

/// Programs that a build leaves for this machine.
#[derive(Clone, Debug, Serialize)]
pub struct Programs {
    /// Makes clusters.
    pub kind: PathBuf,
    /// Talks to them.
    pub kubectl: PathBuf,
    /// Talks to a node's containerd.
    pub crictl: PathBuf,
}

/// A node image that Docker has.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeImage {
    /// Its reference.
    pub image: String,
    /// Its archive.
    pub archive: PathBuf,
    /// The archive's size.
    pub archive_bytes: u64,
    /// Programs that belong to it.
    pub programs: Programs,
    /// What this build made, and how long each part took.
    pub made: Vec<Made>,
}

/// The reference of the image that this checkout's pins and files make; the tag holds their digest.
///
/// # Errors
/// The pins cannot be read.
pub fn image_tag(checkout: &Checkout) -> Result<String> {
    let (pins, identity) = read(checkout)?;
    reference(&pins, &identity)
}

/// Where the archive of that image lies once it is built.
///
/// # Errors
/// The pins cannot be read.
pub fn archive_path(checkout: &Checkout) -> Result<PathBuf> {
    let (_, identity) = read(checkout)?;
    Ok(build_dir::product_path(&checkout.path(WORK), ARCHIVE, &identity).join(ARCHIVE_FILE))
}

/// Where the programs lie once an image is built.
pub fn programs(checkout: &Checkout) -> Programs {
    let bin = checkout.path(WORK).join("bin");
    Programs {
        kind: bin.join("kind"),
        kubectl: bin.join("kubectl"),
        crictl: bin.join("crictl"),
    }
}

fn read(checkout: &Checkout) -> Result<(Pins, Identity)> {
    let folder = checkout.path(FILES);
    let files = identity::read_files(&folder)?;
    Ok((Pins::read(&folder)?, identity::image(&files, architecture()?)))
}

fn reference(pins: &Pins, identity: &Identity) -> Result<String> {
    Ok(format!("{NAME}:{}-{identity}", pins.kubernetes()?))
}

/// Builds what is not built yet, loads the image into Docker, and writes its archive into `output` as well, if given.
///
/// # Errors
/// Something is missing on this machine, or a part cannot be made.
pub fn build(checkout: &Checkout, output: Option<&Path>, progress: &dyn Progress) -> Result<NodeImage> {
    let files_folder = checkout.path(FILES);
    prerequisites::check(&Pins::read(&files_folder)?)?;
    let dir = BuildDir::open(&checkout.path(WORK), || {
        progress.line("waiting for another build in target/node-image");
    })?;
    let context = BuildContext::new(&files_folder, dir, progress)?;
    let image = image_tag(checkout)?;
    make(&context, &image)?;
    let archive = archive_path(checkout)?;
    if !engine::has(&image)? {
        context.making("load into Docker", || engine::load(&archive))?;
    }
    engine::forget_stage();
    if let Some(output) = output {
        context.making("write the archive", || write_copy(&archive, output))?;
    }
    Ok(NodeImage {
        image,
        archive_bytes: fs::metadata(&archive)?.len(),
        archive,
        programs: programs(checkout),
        made: context.made(),
    })
}

/// Compiles the components, then puts the image's archive together, each only if it does not exist yet.
fn make(context: &BuildContext<'_>, reference: &str) -> Result<()> {
    let mut folders = BTreeMap::new();
    for component in &context.pins.component {
        folders.insert(&component.name, compile::component(context, component)?);
    }
    let program = |name: &str| -> Result<PathBuf> {
        let component = context.pins.component_of(name)?;
        Ok(folders[&component.name].join(name))
    };
    context
        .dir
        .publish(&[program("kind")?, program("kubectl")?, program("crictl")?])?;
    for name in context.pins.root.keys() {
        rootfs::archive(context, name)?;
    }
    let identity = identity::image(&context.files, context.architecture);
    context.dir.product(ARCHIVE, &identity, |staging| {
        let parts = staging.join("parts");
        fs::create_dir(&parts).with_context(|| format!("cannot create {}", parts.display()))?;
        let images = context.making("images for the node", || node_images::archive(context, &parts, program))?;
        let mut image = Image {
            reference: engine::STAGE.to_owned(),
            layers: vec![
                Layer::from_archive(&rootfs::archive(context, NODE_ROOT)?)?,
                node::layer(context, &parts.join("node.tar"), program)?,
            ],
            start: node::start(),
        };
        let imported = context.making("import them into its containerd", || {
            import(context, &image, &images, &parts)
        })?;
        image.layers.push(imported);
        reference.clone_into(&mut image.reference);
        let file = staging.join(ARCHIVE_FILE);
        context.making("archive", || archive::write(&file, &[image], context.stamp()))?;
        fs::remove_dir_all(&parts).with_context(|| format!("cannot remove {}", parts.display()))
    })?;
    Ok(())
}

/// The layer that the node's own containerd makes of an archive of images.
fn import(context: &BuildContext<'_>, stage: &Image, images: &Path, parts: &Path) -> Result<Layer> {
    let (archive, layer) = (parts.join("stage.tar"), parts.join("imported.tar"));
    archive::write(&archive, std::slice::from_ref(stage), context.stamp())?;
    engine::load(&archive)?;
    engine::import_images(&context.files_folder.join("import-images.sh"), images, &layer)?;
    Layer::from_archive(&layer)
}

/// Copies the archive, compressed if the name ends with `.gz`; the name appears when the copy is whole.
fn write_copy(archive: &Path, output: &Path) -> Result<()> {
    let mut name = output.file_name().context("the output has no file name")?.to_owned();
    name.push(".part");
    let part = output.with_file_name(name);
    let write = || -> io::Result<()> {
        if output.extension().is_some_and(|ending| ending == "gz") {
            let mut encoder = GzEncoder::new(File::create(&part)?, Compression::fast());
            io::copy(
                &mut io::BufReader::with_capacity(1 << 20, File::open(archive)?),
                &mut encoder,
            )?;
            encoder.finish()?.sync_all()?;
        } else {
            fs::copy(archive, &part)?;
            File::open(&part)?.sync_all()?;
        }
        fs::rename(&part, output)
    };
    write().with_context(|| format!("cannot write {}", output.display()))
}
