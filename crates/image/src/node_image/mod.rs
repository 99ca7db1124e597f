//! `cargo xtask node-image`: a kind node image made from package registries alone, for machines without a container registry.

mod archive;
mod compile;
mod engine;
mod held;
mod identity;
mod needs;
mod node;
mod outside;
mod pins;
mod roots;
mod talk;
#[cfg(test)]
mod tests;
mod work;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use self::archive::{Image, Layer, Stamp};
use self::identity::{Files, Identity};
use self::pins::{Component, Pins};
use self::talk::{Made, Talk};
use self::work::Work;
use crate::checkout::Checkout;
use crate::exit::Exit;
use crate::flags;

/// The project's own files for the image.
const FILES: &str = "images/kind-node";
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

/// Everything that the parts of a build look at.
struct Site {
    pins: Pins,
    files: Files,
    files_folder: PathBuf,
    architecture: &'static str,
    work: Work,
    talk: Talk,
}

/// What `--json` prints.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    image: String,
    archive: PathBuf,
    archive_bytes: u64,
    programs: Programs,
    made: Vec<Made>,
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
    Ok(work::place(&checkout.path(WORK), ARCHIVE, &identity).join(ARCHIVE_FILE))
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

/// Go's, Debian's and Docker's name of this machine's architecture.
fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("a node image for {other} is not known how to be made"),
    }
}

/// Builds what is not built yet, loads the image into Docker and prints its reference.
///
/// # Errors
/// Something is missing on this machine, or a part cannot be made.
pub fn run(flags: &flags::NodeImage) -> Result<Exit> {
    let checkout = Checkout::find()?;
    let files_folder = checkout.path(FILES);
    let pins = Pins::read(&files_folder)?;
    needs::check(&pins)?;
    let talk = Talk::default();
    let work = Work::open(&checkout.path(WORK), || {
        talk.say("waiting for another build in target/node-image")
    })?;
    let site = Site {
        files: identity::read_files(&files_folder)?,
        architecture: architecture()?,
        pins,
        files_folder,
        work,
        talk,
    };
    let image = image_tag(&checkout)?;
    site.build(&image)?;
    let archive = archive_path(&checkout)?;
    if !engine::has(&image)? {
        site.talk.making("load into Docker", || engine::load(&archive))?;
    }
    engine::forget_stage();
    if let Some(output) = &flags.output {
        site.talk.making("write the archive", || copy(&archive, output))?;
    }
    if flags.json {
        let answer = Answer {
            image,
            archive_bytes: fs::metadata(&archive)?.len(),
            archive,
            programs: programs(&checkout),
            made: site.talk.made(),
        };
        println!("{}", serde_json::to_string_pretty(&answer)?);
    } else {
        println!("{image}");
    }
    Ok(Exit::Good)
}

impl Site {
    fn component_identity(&self, component: &Component) -> Result<Identity> {
        identity::component(&self.pins, component, &self.files, self.architecture)
    }

    fn stamp(&self) -> Stamp<'static> {
        Stamp {
            architecture: self.architecture,
            made_at_s: self.pins.made_at_s,
        }
    }

    /// Compiles the components, then puts the image's archive together, each where it is not there yet.
    fn build(&self, reference: &str) -> Result<()> {
        let mut folders = BTreeMap::new();
        for component in &self.pins.component {
            folders.insert(&component.name, compile::component(self, component)?);
        }
        let program = |name: &str| -> Result<PathBuf> {
            let component = self.pins.component_of(name)?;
            Ok(folders[&component.name].join(name))
        };
        self.work
            .publish(&[program("kind")?, program("kubectl")?, program("crictl")?])?;
        for name in self.pins.root.keys() {
            roots::archive(self, name)?;
        }
        let identity = identity::image(&self.files, self.architecture);
        self.work.product(ARCHIVE, &identity, |staging| {
            let parts = staging.join("parts");
            fs::create_dir(&parts).with_context(|| format!("cannot create {}", parts.display()))?;
            let images = self
                .talk
                .making("images for the node", || held::archive(self, &parts, program))?;
            let mut image = Image {
                reference: engine::STAGE.to_owned(),
                layers: vec![
                    Layer::of(&roots::archive(self, NODE_ROOT)?)?,
                    node::layer(self, &parts.join("node.tar"), program)?,
                ],
                start: node::start(),
            };
            let imported = self.talk.making("import them into its containerd", || {
                self.import(&image, &images, &parts)
            })?;
            image.layers.push(imported);
            reference.clone_into(&mut image.reference);
            let file = staging.join(ARCHIVE_FILE);
            self.talk
                .making("archive", || archive::write(&file, &[image], self.stamp()))?;
            fs::remove_dir_all(&parts).with_context(|| format!("cannot remove {}", parts.display()))
        })?;
        Ok(())
    }

    /// The layer that the node's own containerd makes of an archive of images.
    fn import(&self, stage: &Image, images: &Path, parts: &Path) -> Result<Layer> {
        let (archive, layer) = (parts.join("stage.tar"), parts.join("imported.tar"));
        archive::write(&archive, std::slice::from_ref(stage), self.stamp())?;
        engine::load(&archive)?;
        engine::import_images(&self.files_folder.join("import-images.sh"), images, &layer)?;
        Layer::of(&layer)
    }
}

/// Copies the archive, compressed where the name ends with `.gz`; the name appears when the copy is whole.
fn copy(archive: &Path, output: &Path) -> Result<()> {
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
