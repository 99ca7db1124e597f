//! `cargo xtask image` and `cargo xtask node-image`.

use std::io::IsTerminal;

use hybrid_cache_image::docker::Engine;
use hybrid_cache_image::node_image;
use hybrid_cache_image::task_image::{
    self, Base, BuildOptions, Built, OVERRIDE, Rebuild, Seed, ensure_seeded, overridden, push, service,
};
use hybrid_cache_tools::{Checkout, OperatorSettings, Result};

use crate::checkout;
use crate::exit::Exit;
use crate::flags;
use crate::progress::Reporter;

/// `cargo xtask image`
pub fn run(flags: &flags::Image) -> Result<Exit> {
    let seed = Seed::new(&flags.warm, &flags.warm_system)?;
    let checkout = checkout()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let engine = Engine::connect().await?;
        if flags.service {
            return build_service(&checkout, &engine, flags).await;
        }
        let built = build(&checkout, &engine, flags, seed).await?;
        show(&built, flags.json)
    })?;
    Ok(Exit::Good)
}

async fn build(checkout: &Checkout, engine: &Engine, flags: &flags::Image, seed: Option<Seed>) -> Result<Built> {
    let reporter = Reporter::new();
    let options = BuildOptions {
        base: Base::from_flag(flags.base.as_deref()),
        rebuild: if flags.force {
            Rebuild::Always
        } else {
            Rebuild::WhenChanged
        },
        python_versions: OperatorSettings::read(None)?.python_versions,
    };
    let mut built = task_image::ensure(checkout, engine, &options, &reporter).await?;
    if let Some(seed) = seed {
        built = ensure_seeded(checkout, engine, &built, seed, options.rebuild, &reporter).await?;
    }
    if let Some(target) = &flags.push {
        built.pushed = push(engine, &built.reference, target, &reporter).await?;
    }
    Ok(built)
}

async fn build_service(checkout: &Checkout, engine: &Engine, flags: &flags::Image) -> Result<()> {
    let reporter = Reporter::new();
    let mut built = service::ensure(checkout, engine, &reporter).await?;
    if let Some(target) = &flags.push {
        built.pushed = push(engine, &built.reference, target, &reporter).await?;
    }
    reporter.finish();
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&built)?);
    } else {
        println!("{}", built.reference);
        eprintln!("{} · {} MiB", built.id, built.size_bytes.div_ceil(1 << 20));
    }
    Ok(())
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

/// `cargo xtask node-image`
pub fn build_node_image(flags: &flags::NodeImage) -> Result<Exit> {
    let reporter = Reporter::new();
    let built = node_image::build(&checkout()?, flags.output.as_deref(), &reporter)?;
    reporter.finish();
    if flags.json {
        println!("{}", serde_json::to_string_pretty(&built)?);
    } else {
        println!("{}", built.image);
    }
    Ok(Exit::Good)
}
