//! The image of the task service: its program and nothing else, so that the program decides what the image is.

use hybrid_cache_tools::{Checkout, ErrorContext, Progress, Result, programs};
use serde::Serialize;

use super::build::load_normal;
use super::build_records::{self, ImageBuildDir};
use super::context::{self, Context};
use super::reproducible;
use crate::docker::{Build, BuildCache, Engine};

/// What the image is called; its tag is a hash of what it is made of, and `latest` follows it.
pub const REPOSITORY: &str = "hybrid-cache-service";
/// The stage of the Dockerfile that needs no base image.
const STAGE: &str = "brought";
/// The Dockerfile, in the checkout as in the context.
const DOCKERFILE: &str = "images/service/Dockerfile";
/// Where that stage takes the program from.
const PROGRAM: &str = "target/service-image/hybrid-cache-service";
/// Name of the image before it is brought into normal form.
const RAW: &str = "hybrid-cache-service-raw:latest";

/// An image of the service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceImage {
    /// `hybrid-cache-service:<hash of its content>`.
    pub reference: String,
    /// The engine's id of it.
    pub id: String,
    /// Bytes on the engine's disk.
    pub size_bytes: u64,
    /// The reference by digest under which a registry has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pushed: Option<String>,
}

/// The image that was built last.
pub fn reference(checkout: &Checkout) -> Option<String> {
    build_records::last_service(checkout)
}

/// The image in the engine, built if it does not exist yet.
///
/// # Errors
/// The program does not build, or the engine goes away.
pub async fn ensure(checkout: &Checkout, engine: &Engine, progress: &dyn Progress) -> Result<ServiceImage> {
    let program = context::read(&programs::service(checkout, progress)?)?;
    let tree = tree(checkout, program)?;
    let reference = [REPOSITORY, ":", &hash(&tree).to_hex()[..16]].concat();
    if engine.image(&reference).await?.is_none() {
        make(engine, &tree, &reference, checkout, progress).await?;
    }
    // What compose names; a build of compose itself may have moved it.
    engine.tag(&reference, &[REPOSITORY, ":latest"].concat()).await?;
    build_records::keep_service(checkout, &reference)?;
    let image = engine.image(&reference).await?;
    let image = image.with_context(|| format!("{reference} was loaded, but the engine does not have it"))?;
    Ok(ServiceImage {
        reference,
        id: image.id,
        size_bytes: image.size_bytes,
        pushed: None,
    })
}

/// The context. The program is left in the checkout as well, where compose finds it with `HYBRID_CACHE_SERVICE_STAGE=brought`.
fn tree(checkout: &Checkout, program: Vec<u8>) -> Result<Context> {
    let path = checkout.path(PROGRAM);
    if std::fs::read(&path).ok().as_deref() != Some(&program) {
        let what = || format!("writing {}", path.display());
        std::fs::create_dir_all(path.parent().unwrap_or(&path)).with_context(what)?;
        std::fs::write(&path, &program).with_context(what)?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, executable).with_context(what)?;
    }
    let mut tree = Context::default();
    tree.add("Dockerfile", context::read(&checkout.path(DOCKERFILE))?);
    tree.add_program(PROGRAM, program);
    Ok(tree)
}

fn hash(tree: &Context) -> blake3::Hash {
    let mut content = tree.clone();
    // What normal form is decides over the id as well.
    let form = [include_str!("archive.rs"), include_str!("reproducible.rs")].concat();
    content.add("form", form);
    content.add("time", reproducible::EPOCH_S.to_string());
    content.hash()
}

async fn make(
    engine: &Engine,
    tree: &Context,
    reference: &str,
    checkout: &Checkout,
    progress: &dyn Progress,
) -> Result<()> {
    let dir = ImageBuildDir::open(checkout, || progress.step("waiting for another build of this checkout"))?;
    progress.step("building the service's image");
    let build = Build {
        reference: RAW,
        target: Some(STAGE),
        arguments: &[],
        cache: BuildCache::Use,
    };
    engine
        .build(&build, tree.archive()?, &mut |line| progress.detail(line))
        .await?;
    load_normal(engine, progress, &dir.folder, RAW, reference).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_takes_the_program_that_is_left_in_the_checkout_and_needs_no_base() {
        let checkout = crate::tests::checkout();
        let text = String::from_utf8(context::read(&checkout.path(DOCKERFILE)).unwrap()).unwrap();
        let lines: Vec<_> = text.lines().collect();
        let stage = |name: &str| {
            let ends = format!(" AS {name}");
            lines.iter().position(|line| line.ends_with(&ends)).unwrap()
        };
        // A builder without BuildKit goes through every stage in front of the one that is asked for.
        assert!(stage(STAGE) < stage("build"), "a base image would be pulled");
        assert_eq!(lines[stage(STAGE) + 1], format!("COPY {PROGRAM} /"));
        assert_eq!(
            (lines[stage("frame")], lines[stage(STAGE)]),
            ("FROM scratch AS frame", "FROM frame AS brought")
        );
        let ignored = std::fs::read_to_string(checkout.path(".dockerignore")).unwrap();
        for taken in [DOCKERFILE, PROGRAM, "crates", "Cargo.lock"] {
            assert!(ignored.lines().any(|line| line == format!("!{taken}")), "{taken}");
        }
    }
}
