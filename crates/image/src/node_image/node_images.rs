//! The images that a node holds: one static program each, some above a small root file system.

use std::path::{Path, PathBuf};

use hybrid_cache_tools::{Result, failed};
use xshell::{Shell, cmd};

use super::archive::{self, Image, LayerBuilder, SEARCH_PATH, Start};
use super::context::BuildContext;
use super::{command, pins, rootfs};
use crate::docker_archive::Layer;

/// Writes an archive of all of them; `program` finds a compiled one, layers are made in `folder`.
///
/// # Errors
/// A part is missing, kubeadm asks for an image that is not pinned, or the archive cannot be written.
pub fn archive(
    context: &BuildContext<'_>,
    folder: &Path,
    program: impl Fn(&str) -> Result<PathBuf>,
) -> Result<PathBuf> {
    check_against_kubeadm(context, &program("kubeadm")?)?;
    let mut images = Vec::new();
    for pinned in &context.pins.image {
        let mut layers = Vec::new();
        if let Some(root) = &pinned.root {
            layers.push(Layer::from_archive(&rootfs::archive(context, root)?)?);
        }
        let mut entrypoint = Vec::new();
        if let Some(name) = &pinned.program {
            layers.push(layer(context, folder, pinned, &program(name)?)?);
            entrypoint.push(format!("/{}", pinned.place));
        }
        images.push(Image {
            reference: pinned.reference.clone(),
            layers,
            start: Start {
                env: vec![SEARCH_PATH.to_owned()],
                entrypoint,
                stop_signal: None,
            },
        });
    }
    let file = folder.join("images.tar");
    archive::write(&file, &images, context.stamp())?;
    Ok(file)
}

fn layer(context: &BuildContext<'_>, folder: &Path, pinned: &pins::PinnedImage, program: &Path) -> Result<Layer> {
    let file = folder.join(format!("{}.tar", pinned.name()));
    let mut layer = LayerBuilder::new(&file, context.pins.made_at_s)?;
    layer.folder("tmp", 0o1777)?;
    layer.copy(&pinned.place, program, 0o755)?;
    for (place, to) in &pinned.links {
        layer.link(place, to)?;
    }
    layer.finish()
}

/// What kubeadm asks for must be there: nothing else will bring it to a node.
fn check_against_kubeadm(context: &BuildContext<'_>, kubeadm: &Path) -> Result<()> {
    let shell = Shell::new()?;
    let version = context.pins.kubernetes()?;
    let wanted = command::run(
        cmd!(shell, "{kubeadm} config images list --kubernetes-version {version}"),
        "asking kubeadm for its images",
    )?;
    let has = |wanted: &&str| context.pins.image.iter().any(|image| image.reference == *wanted);
    let lacking: Vec<&str> = wanted.lines().filter(|wanted| !has(wanted)).collect();
    if !lacking.is_empty() {
        return Err(failed!(
            "kubeadm {version} asks for {}, which {} does not pin",
            lacking.join(", "),
            pins::FILE
        ));
    }
    Ok(())
}
