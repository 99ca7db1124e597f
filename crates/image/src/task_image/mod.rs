//! `cargo xtask image`: the image that tasks run in, built once for each content, the same id for the same content.

mod archive;
mod base;
mod build;
mod contents;
mod context;
mod normal;
mod remembered;
mod seed;
pub mod service;
mod talk;

use std::io::IsTerminal;

use anyhow::{Context as _, Result};

pub use base::Base;
pub use build::{Order, Rebuild, ensure};
pub use remembered::Built;

use crate::checkout::Checkout;
use crate::docker::Engine;
use crate::exit::Exit;
use crate::flags;
use seed::Seed;
use talk::Talk;

/// What the image is made from, in the checkout.
const FOLDER: &str = "images/nix-portable-base";
/// What the image is called; its tag is a hash of what it is made of.
pub const REPOSITORY: &str = "nix-portable-base";
/// Names an image to use instead of ours, everywhere.
pub const OVERRIDE: &str = "NIX_PORTABLE_BASE_IMAGE";

/// The image that tasks shall run in: the one that [`OVERRIDE`] names, else the one that was built last. None where
/// nothing was built yet; [`ensure`] builds it.
pub fn reference(checkout: &Checkout) -> Option<String> {
    overridden().or_else(|| remembered::last(checkout).map(|built| built.reference))
}

/// The image that a person wants instead of ours.
pub fn overridden() -> Option<String> {
    std::env::var(OVERRIDE).ok().filter(|reference| !reference.is_empty())
}

/// Runs the command.
///
/// # Errors
/// There is no Docker engine, a tool or the base cannot be had, or the build fails.
pub fn run(flags: &flags::Image) -> Result<Exit> {
    let seed = Seed::of_flags(flags)?;
    let checkout = Checkout::find()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let engine = Engine::connect().await?;
        if flags.service {
            return build_service(&checkout, &engine, flags).await;
        }
        let order = Order {
            base: Base::of_flag(flags.base.as_deref()),
            rebuild: if flags.force {
                Rebuild::Always
            } else {
                Rebuild::WhenChanged
            },
        };
        let mut built = ensure(&checkout, &engine, &order).await?;
        if let Some(seed) = seed {
            built = seed::ensure_seeded(&checkout, &engine, &built, seed, order.rebuild).await?;
        }
        if let Some(target) = &flags.push {
            built.pushed = push(&engine, &built.reference, target).await?;
        }
        show(&built, flags.json)
    })?;
    Ok(Exit::Good)
}

async fn build_service(checkout: &Checkout, engine: &Engine, flags: &flags::Image) -> Result<()> {
    let mut built = service::ensure(checkout, engine).await?;
    if let Some(target) = &flags.push {
        built.pushed = push(engine, &built.reference, target).await?;
    }
    match flags.json {
        true => println!("{}", serde_json::to_string_pretty(&built)?),
        false => {
            println!("{}", built.reference);
            eprintln!("{} · {} MiB", built.id, built.size_bytes.div_ceil(1 << 20));
        }
    }
    Ok(())
}

/// Pushes an image; its reference by digest, where the engine tells it.
async fn push(engine: &Engine, reference: &str, target: &str) -> Result<Option<String>> {
    let talk = Talk::new();
    talk.step(&["pushing ", target].concat());
    engine.tag(reference, target).await?;
    engine.push(target, &mut |line| talk.detail(line)).await?;
    let pushed = engine.image(target).await?;
    let repository = target.rsplit_once(':').map_or(target, |(repository, _)| repository);
    let digests = pushed.map(|image| image.digests).unwrap_or_default();
    Ok(digests.into_iter().find(|digest| digest.starts_with(repository)))
}

fn show(built: &Built, is_json: bool) -> Result<()> {
    if is_json {
        println!("{}", serde_json::to_string_pretty(built)?);
        return Ok(());
    }
    println!("{}", built.reference);
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    let (unpacked, compressed) = (
        mebibytes(built.sizes.unpacked_bytes),
        mebibytes(built.sizes.compressed_bytes),
    );
    eprintln!("{} · {unpacked} MiB on a node, {compressed} MiB compressed", built.id);
    if let Some(pushed) = &built.pushed {
        eprintln!("pushed as {pushed}");
    }
    if overridden().is_some() && std::io::stderr().is_terminal() {
        eprintln!("note: {OVERRIDE} is set, so other commands use that image and not this one");
    }
    Ok(())
}
