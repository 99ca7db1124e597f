//! Which image tasks run in, and where it goes.

use hybrid_cache_tools::{Checkout, Progress, Result, environment};

use super::build_records;
use crate::docker::Engine;

/// The variable that names an image to use instead of ours, everywhere.
pub const OVERRIDE: &str = "NIX_PORTABLE_BASE_IMAGE";

/// The image that tasks run in: the one that [`OVERRIDE`] names, else the one that was built last. `None` if nothing was built
/// yet; [`super::ensure`] builds it.
pub fn reference(checkout: &Checkout) -> Option<String> {
    overridden().or_else(|| build_records::last(checkout).map(|built| built.reference))
}

/// The image that a person wants instead of ours.
pub fn overridden() -> Option<String> {
    environment::text(OVERRIDE)
}

/// Pushes an image; its reference by digest, if the engine knows it.
///
/// # Errors
/// The registry cannot be reached, or refuses.
pub async fn push(engine: &Engine, reference: &str, target: &str, progress: &dyn Progress) -> Result<Option<String>> {
    progress.step(&["pushing ", target].concat());
    engine.tag(reference, target).await?;
    engine.push(target, &mut |line| progress.detail(line)).await?;
    let pushed = engine.image(target).await?;
    let repository = target.rsplit_once(':').map_or(target, |(repository, _)| repository);
    let digests = pushed.map(|image| image.digests).unwrap_or_default();
    Ok(digests.into_iter().find(|digest| digest.starts_with(repository)))
}
